"""Gaussian trajectory distributions: time-varying linear-Gaussian control laws about a trajectory."""

import equinox as eqx
import jax
import jax.numpy as jnp
from jax.typing import ArrayLike
from jaxtyping import Array, Float

from costogo.lqr import LQModel

EIGENVALUE_FLOOR = 1e-6


class GaussianTrajectory(eqx.Module):
    """`q(u | x, k) = N(controls[k] + gains[k] (x - states[k]), covariances[k])` about a trajectory.

    `state_covariances` are those of the states under the linearised dynamics, `F + f_xu Sigma f_xu'`.
    """

    states: Float[Array, "N+1 nx"]
    controls: Float[Array, "N nu"]
    gains: Float[Array, "N nu nx"]
    covariances: Float[Array, "N nu nu"]
    state_covariances: Float[Array, "N+1 nx nx"]

    def sample_states(self, noise: Float[Array, "*N m nx"]) -> Float[Array, "N m nx"]:
        """States at the knots before the last, `states[k] + L_k s_i` with `L L' = state_covariances` and `s` standard
        normal `noise`, of each knot or the same at all."""
        S = self.state_covariances[:-1]
        slight = 1e-12 * jnp.max(jnp.diagonal(S, axis1=-2, axis2=-1), axis=-1)
        roots = jnp.linalg.cholesky(S + slight[:, None, None] * jnp.eye(S.shape[-1], dtype=S.dtype))
        return self.states[:-1, None] + noise @ jnp.swapaxes(roots, -1, -2)


def propagate(
    model: LQModel,
    gains: Array,
    covariances: Array,
    start: Float[Array, "nx nx"],
    noise: Float[Array, "nx nx"],
    limit: ArrayLike = jnp.inf,
) -> Float[Array, "N+1 nx nx"]:
    """State covariances forward in time: `S+ = (A + B K) S (A + B K)' + B C B' + F`, with `C` that of the controls.

    A state whose standard deviation would be above `limit` (a number or (nx,)) is shrunk to it, correlations kept.
    """

    def step(S, knot):
        A, B, K, C = knot
        closed = A + B @ K
        new = closed @ S @ closed.T + B @ C @ B.T + noise
        shrink = 1.0 / jnp.maximum(1.0, jnp.sqrt(jnp.diagonal(new)) / limit)
        new = shrink[:, None] * new * shrink
        return new, new

    _, rest = jax.lax.scan(step, start, (model.A, model.B, gains, covariances))
    return jnp.concatenate([start[None], rest])


def expected_cost(model: LQModel, q: GaussianTrajectory) -> Array:
    """What the spread of states and controls adds to the cost, `1/2 sum_k tr(Sigma_k l_xu,xu)`, terminal knot
    included."""
    S, K, C = q.state_covariances, q.gains, q.covariances
    KS = jnp.einsum("kux,kxy->kuy", K, S[:-1])
    controls = jnp.einsum("kux,kvx->kuv", KS, K) + C
    return 0.5 * (jnp.sum(model.Q * S) + jnp.sum(model.R * controls)) + jnp.sum(model.P * KS)


def entropy(covariances: Array) -> Array:
    """`1/2 sum_k log |C_k|`, the entropy of the controls without its constants."""
    return 0.5 * jnp.sum(log_determinant(covariances))


def matrix_powers(M: Float[Array, "*n m m"], *powers: float) -> tuple[Float[Array, "*n m m"], ...]:
    """Powers of a symmetric matrix whose eigenvalues are raised to at least 1e-6 times the largest (or one, if that is
    less)."""
    values, vectors = jnp.linalg.eigh(symmetric(M))
    values = jnp.maximum(values, EIGENVALUE_FLOOR * jnp.maximum(1.0, values[..., -1:]))
    return tuple(jnp.einsum("...ij,...j,...kj->...ik", vectors, values**power, vectors) for power in powers)


def symmetric(M: Array) -> Array:
    """Symmetric part."""
    return 0.5 * (M + jnp.swapaxes(M, -1, -2))


def log_determinant(M: Array) -> Array:
    """Logarithm of the determinant of a positive definite matrix."""
    return jnp.linalg.slogdet(M)[1]
