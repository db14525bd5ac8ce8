"""Equations of motion of a mechanical system from the velocities of its bodies."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float


def acceleration(
    velocities: Callable[[Array, Array], Array],
    inertia: Float[Array, "m m"],
    gyroscopic: Callable[[Array], Array],
    potential: Callable[[Array], Array],
    q: Float[Array, " n"],
    qd: Float[Array, " n"],
    force: Float[Array, " n"],
) -> Float[Array, " n"]:
    """Solve Lagrange's equations for `qdd`, with the kinetic energy `T = 1/2 w' W w`, `w = velocities(q, qd) = J(q)
    qd`.

    `w` collects the linear and angular velocities of all bodies, `W` their inertia in the frames in which they are
    given. With `c(w)` the moments that come from turning frames (`omega x I omega`), the equations are

        J' (W (J qdd + dJ/dt qd) + c(w)) = Q - grad V,

    and `dJ/dt qd` is the derivative of `w` along the motion. `Q` is the generalised force, work per unit of coordinate.
    """
    J = jax.vmap(lambda e: velocities(q, e), out_axes=-1)(jnp.eye(len(q), dtype=q.dtype))
    w, drift = jax.jvp(lambda q: velocities(q, qd), (q,), (qd,))
    rhs = force - jax.grad(potential)(q) - J.T @ (inertia @ drift + gyroscopic(w))
    M = J.T @ inertia @ J

    inverse = _inverse(jax.lax.stop_gradient(M))
    # The derivative of a solution is a solution: nothing differentiates the factorisation.
    return jax.lax.custom_linear_solve(lambda v: M @ v, rhs, lambda _, b: inverse @ b, symmetric=True)


def _inverse(M: Float[Array, "m m"]) -> Float[Array, "m m"]:
    """Inverse of a small positive definite matrix by Gauss-Jordan steps, which need no pivots there."""
    eye = jnp.eye(len(M), dtype=M.dtype)
    table = jnp.concatenate([M, eye], axis=1)
    for k in range(len(M)):
        table -= jnp.outer(table[:, k] - eye[k], table[k] / table[k, k])
    return table[:, len(M) :]
