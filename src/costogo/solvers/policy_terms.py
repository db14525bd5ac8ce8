"""What a trajectory distribution has to do with a policy: agreement with it, or its likelihood."""

from typing import Any

import equinox as eqx
import jax.numpy as jnp
from jax.typing import ArrayLike
from jaxtyping import Array, Float

from costogo.lqr import LQModel
from costogo.solvers.gaussian import GaussianTrajectory, log_determinant, matrix_powers, symmetric


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

    def metric(self, covariances: Array) -> Float[Array, "N nu nu"]:
        """`lambda C^-1`, in which controls are drawn to the policy's mean."""
        return self.weight[:, None, None] * jnp.linalg.inv(covariances)

    def pull(self, controls: Array, covariances: Array) -> Array:
        """What the distance of the means costs, `sum 1/2 d' metric d`."""
        apart = controls - self.mean
        return 0.5 * jnp.einsum("ki,kij,kj->", apart, self.metric(covariances), apart)

    def penalty(self, q: GaussianTrajectory) -> Array:
        """What the objective of the trajectory has beside cost and entropy, `sum lambda E KL(pi || q)`."""
        return jnp.sum(self.weight * self.divergence(q))

    def best_covariance(self, Quu: Array, q: GaussianTrajectory, cap: ArrayLike) -> Float[Array, "N nu nu"]:
        """The minimiser over the covariance of the controls, for given gains (eq. 8)."""
        M = self.second_moment(q.controls, q.gains, q.state_covariances)
        return agreeing_covariance(Quu, M, self.weight, cap)

    def add_to(self, model: LQModel, controls: Array, covariances: Array) -> LQModel:
        """The model with `1/2 |u - mu(x)|^2` in `metric` added to its stages (paper eq. 3 to 5): no sweep needs to
        know of the policy."""
        metric = self.metric(covariances)
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
        logarithms = log_determinant(q.covariances) - log_determinant(self.covariance)
        return 0.5 * (logarithms - self.mean.shape[-1] + trace)


class LikelihoodTerms(PolicyTerms):
    """Terms of variational policy search instead: `-E_q log pi(u | x)` beside cost and entropy (spec constrained_gps
    section 7, B1). The metric is the policy's own precision, and `C = (Quu + Sigma^-1)^-1`. With weight one."""

    def metric(self, covariances: Array) -> Float[Array, "N nu nu"]:
        """`lambda Sigma^-1`."""
        return self.weight[:, None, None] * jnp.linalg.inv(self.covariance)

    def penalty(self, q: GaussianTrajectory) -> Array:
        """`-sum E_q log pi` without its constants."""
        M = self.second_moment(q.controls, q.gains, q.state_covariances)
        return 0.5 * jnp.sum(self.metric(q.covariances) * (M - self.covariance + q.covariances))

    def best_covariance(self, Quu: Array, q: GaussianTrajectory, cap: ArrayLike) -> Float[Array, "N nu nu"]:
        """That of maximum entropy under cost and likelihood."""
        (inverse,) = matrix_powers(Quu + self.metric(q.covariances), -1.0)
        return capped(inverse, cap)


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
    root, inverse = matrix_powers(Quu, 0.5, -0.5)
    values, vectors = jnp.linalg.eigh(symmetric(root @ M @ root))
    discriminant = jnp.sqrt((weight - 1.0) ** 2 + 4.0 * weight * jnp.maximum(values, 0.0))
    # The difference of two large numbers, for lambda > 1, by its conjugate.
    large = 2.0 * weight * jnp.maximum(values, 0.0) / jnp.where(weight > 1, discriminant + weight - 1.0, 1.0)
    scale = jnp.where(weight > 1, large, 0.5 * (1.0 - weight + discriminant))
    half = inverse @ vectors
    found = symmetric(jnp.einsum("...ij,...j,...kj->...ik", half, scale, half))
    return capped(found, cap)


def capped(M: Float[Array, "*n m m"], cap: ArrayLike) -> Float[Array, "*n m m"]:
    """A symmetric matrix whose eigenvalues are lowered to at most `cap`."""
    values, vectors = jnp.linalg.eigh(M)
    return jnp.einsum("...ij,...j,...kj->...ik", vectors, jnp.minimum(values, cap), vectors)
