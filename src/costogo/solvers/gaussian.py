"""Gaussian trajectory distributions: time-varying linear-Gaussian control laws and their agreement with a policy."""

from typing import Any

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

    def sample_states(self, noise: Float[Array, "m nx"]) -> Float[Array, "N m nx"]:
        """States at the knots before the last, `states[k] + L_k s_i` with `L L' = state_covariances`."""
        roots = matrix_power(self.state_covariances[:-1], 0.5, floor=0.0)
        return self.states[:-1, None] + jnp.einsum("kij,mj->kmi", roots, noise)


class PolicyTerms(eqx.Module):
    """What a trajectory is to agree with: the policy seen from its knots (spec constrained_gps 4.1 and 4.6).

    `mean` and `slope` are averages of the policy's mean and Jacobian over samples of the state, `covariance` is its
    noise, `weight` the multiplier `lambda_k >= 0` of each knot.
    """

    mean: Float[Array, "N nu"]
    slope: Float[Array, "N nu nx"]
    covariance: Float[Array, "N nu nu"]
    weight: Float[Array, " N"]

    @staticmethod
    def none(N: int, nx: int, nu: int, dtype: Any) -> "PolicyTerms":
        """No policy: weight zero."""
        eye = jnp.broadcast_to(jnp.eye(nu, dtype=dtype), (N, nu, nu))
        return PolicyTerms(jnp.zeros((N, nu), dtype), jnp.zeros((N, nu, nx), dtype), eye, jnp.zeros(N, dtype))

    def add_to(self, model: LQModel, controls: Array, covariances: Array) -> LQModel:
        """The model with `lambda/2 |u - mu(x)|^2` in the metric of `covariances^-1` added to its stages (paper eq. 3
        to 5): no sweep needs to know of the policy."""
        metric = self.weight[:, None, None] * jnp.linalg.inv(covariances)
        apart = controls - self.mean
        pull = jnp.einsum("kij,kj->ki", metric, apart)
        cross = jnp.einsum("kij,kjx->kix", metric, self.slope)
        return eqx.tree_at(
            lambda m: (m.R, m.r, m.P, m.Q, m.q),
            model,
            (
                model.R + metric,
                model.r + pull,
                model.P - cross,
                model.Q.at[:-1].add(jnp.einsum("kix,kiy->kxy", self.slope, cross)),
                model.q.at[:-1].add(-jnp.einsum("kix,ki->kx", self.slope, pull)),
            ),
        )

    def second_moment(self, controls: Array, gains: Array, state_covariances: Array) -> Float[Array, "N nu nu"]:
        """`M = Sigma + d d' + (K - mu_x) S (K - mu_x)'` of eq. 8, `d` the distance of the means."""
        apart, turn = controls - self.mean, gains - self.slope
        spread = jnp.einsum("kix,kxy,kjy->kij", turn, state_covariances[:-1], turn)
        return self.covariance + apart[:, :, None] * apart[:, None, :] + spread

    def divergence(self, q: GaussianTrajectory) -> Float[Array, " N"]:
        """`E_{q(x)} KL(pi || q)` of each knot (spec 4.1); zero if they agree, never negative."""
        M = self.second_moment(q.controls, q.gains, q.state_covariances)
        trace = jnp.trace(jnp.linalg.solve(q.covariances, M), axis1=-2, axis2=-1)
        logarithms = _log_determinant(q.covariances) - _log_determinant(self.covariance)
        return 0.5 * (logarithms - self.mean.shape[-1] + trace)


def propagate(
    model: LQModel, gains: Array, covariances: Array, start: Float[Array, "nx nx"], noise: Float[Array, "nx nx"]
) -> Float[Array, "N+1 nx nx"]:
    """State covariances forward in time: `S+ = (A + B K) S (A + B K)' + B C B' + F`, with `C` that of the controls."""

    def step(S, knot):
        A, B, K, C = knot
        closed = A + B @ K
        new = closed @ S @ closed.T + B @ C @ B.T + noise
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
    return 0.5 * jnp.sum(_log_determinant(covariances))


def agreeing_covariance(
    Quu: Float[Array, "*n nu nu"], M: Float[Array, "*n nu nu"], weight: Float[Array, "*n"], cap: ArrayLike = jnp.inf
) -> Float[Array, "*n nu nu"]:
    """The positive definite solution of `A Q A + (lambda - 1) A - lambda M = 0` (paper eq. 8; spec 4.5).

    With `W = Q^1/2 M Q^1/2`, `A = Q^-1/2 1/2 [(1 - lambda) I + ((lambda - 1)^2 I + 4 lambda W)^1/2] Q^-1/2`: the
    maximum-entropy `Q^-1` at lambda = 0, `M` for a large one. Eigenvalues of `Quu` below 1e-6 of the largest (at least
    1e-6) are raised to that, those of the result above `cap` lowered to it: deviations from the spec's second form
    for indefinite `Quu`.
    """
    weight = jnp.asarray(weight)[..., None]
    root, inverse = matrix_power(Quu, 0.5), matrix_power(Quu, -0.5)
    values, vectors = jnp.linalg.eigh(symmetric(root @ M @ root))
    discriminant = jnp.sqrt((weight - 1.0) ** 2 + 4.0 * weight * jnp.maximum(values, 0.0))
    # The difference of two large numbers, for lambda > 1, by its conjugate.
    large = 2.0 * weight * jnp.maximum(values, 0.0) / jnp.where(weight > 1, discriminant + weight - 1.0, 1.0)
    scale = jnp.where(weight > 1, large, 0.5 * (1.0 - weight + discriminant))
    half = inverse @ vectors
    found = symmetric(jnp.einsum("...ij,...j,...kj->...ik", half, scale, half))
    values, vectors = jnp.linalg.eigh(found)
    return jnp.einsum("...ij,...j,...kj->...ik", vectors, jnp.minimum(values, cap), vectors)


def matrix_power(M: Float[Array, "*n m m"], power: float, floor: float = EIGENVALUE_FLOOR) -> Float[Array, "*n m m"]:
    """Power of a symmetric matrix whose eigenvalues are raised to at least `floor` times the largest (or one, if that
    is less)."""
    values, vectors = jnp.linalg.eigh(symmetric(M))
    least = floor * jnp.maximum(1.0, values[..., -1:])
    return jnp.einsum("...ij,...j,...kj->...ik", vectors, jnp.maximum(values, least) ** power, vectors)


def symmetric(M: Array) -> Array:
    """Symmetric part."""
    return 0.5 * (M + jnp.swapaxes(M, -1, -2))


def _log_determinant(M: Array) -> Array:
    return jnp.linalg.slogdet(M)[1]
