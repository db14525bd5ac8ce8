"""Cholesky factorisation and solves for the small matrices of a Riccati sweep.

Up to `UNROLLED` columns the factorisation is written out in elementwise operations: XLA fuses them, no LAPACK call is
dispatched, and nothing can deadlock (docs: JAX versions). Larger matrices go to LAPACK.
"""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

UNROLLED = 12


def cholesky(M: Float[Array, "n n"]) -> tuple[Float[Array, "n n"], Bool[Array, ""]]:
    """Lower factor L with `LL' = M`, and whether M is positive definite.

    A pivot that is not positive (or NaN) is replaced by one, so that the factor is finite; the flag tells.
    """
    if M.shape[-1] > UNROLLED:
        L = jnp.linalg.cholesky(M)
        ok = jnp.all(jnp.isfinite(L))
        return jnp.where(ok, L, jnp.eye(M.shape[-1], dtype=M.dtype)), ok
    n = M.shape[-1]
    columns, ok = [], jnp.array(True)
    row = jnp.arange(n)
    for j in range(n):
        pivot = M[j, j]
        positive = pivot > 0
        ok &= positive
        root = jnp.sqrt(jnp.where(positive, pivot, 1.0))
        column = jnp.where(row >= j, M[:, j], 0.0) / root
        column = column.at[j].set(root)
        M = M - column[:, None] * column[None, :]
        columns.append(column)
    L = jnp.stack(columns, axis=1)
    ok &= jnp.all(jnp.isfinite(L))
    return jnp.where(ok, L, jnp.eye(n, dtype=L.dtype)), ok


def lower_solve(L: Float[Array, "n n"], B: Float[Array, "n m"]) -> Float[Array, "n m"]:
    """Solve `L X = B` by forward substitution."""
    n = L.shape[-1]
    if n > UNROLLED:
        return jax.scipy.linalg.solve_triangular(L, B, lower=True)
    rows = []
    for j in range(n):
        row = B[j] / L[j, j]
        rows.append(row)
        if j + 1 < n:
            B = B - L[:, j, None] * row
    return jnp.stack(rows)


def upper_solve(L: Float[Array, "n n"], B: Float[Array, "n m"]) -> Float[Array, "n m"]:
    """Solve `L' X = B` by back substitution, given the lower factor."""
    n = L.shape[-1]
    if n > UNROLLED:
        return jax.scipy.linalg.solve_triangular(L, B, lower=True, trans=1)
    rows = []
    for j in reversed(range(n)):
        row = B[j] / L[j, j]
        rows.append(row)
        if j > 0:
            B = B - L[j, :, None] * row
    return jnp.stack(rows[::-1])


def cholesky_solve(L: Float[Array, "n n"], B: Float[Array, "n m"]) -> Float[Array, "n m"]:
    """Solve `LL' X = B`."""
    return upper_solve(L, lower_solve(L, B))
