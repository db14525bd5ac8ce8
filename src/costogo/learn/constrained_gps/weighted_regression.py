"""Cost-weighted regression: the policy is fitted to its own rollouts, the cheap ones most. A baseline."""

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from costogo.core.validate import require
from costogo.learn.constrained_gps.policy_fit import Regression, fit_likelihood
from costogo.learn.constrained_gps.task import Rollouts
from costogo.learn.constrained_gps.trajectories import SampledPolicySearch, check_counts
from costogo.nn import GaussianPolicy
from costogo.solvers import GaussianTrajectory

BISECTIONS = 60
SMALLEST_LOG, LARGEST_LOG = -9.0, 14.0  # of beta, per unit of the median cost above the least


class WeightedRegressionState(eqx.Module):
    """State between two iterations."""

    step: Int[Array, ""]
    key: Array
    policy: GaussianPolicy


class CostWeightedRegression(SampledPolicySearch):
    """Cost-weighted regression (Peters and Schaal 2007; spec constrained_gps section 7, B4).

    A step rolls out the policy with its noise, `rollouts` times in all, the same number (rounded down) on each
    condition, weights every knot by `cost_weights` of the cost to go, among the rollouts of its condition, so that the
    effective sample size is `share` of the rollouts, and fits mean and noise by weighted maximum likelihood to every
    `stride`-th knot. The policy is pretrained on the first trajectories.

    Deviations: `fit_iterations` are 150 by default, as for all methods (spec section 7, last line), not B4's 50.
    """

    rollouts: int = eqx.field(static=True, default=1000)
    share: float = eqx.field(static=True, default=0.1)
    stride: int = eqx.field(static=True, default=1)

    def __check_init__(self):
        check_counts(self, "stride")
        require(0 < self.share < 1, f"share is {self.share}; pass a number in (0, 1)")
        conditions = len(self.task.starts)
        least = conditions * max(2, int(jnp.ceil(1.0 / self.share - 1e-9)))
        require(
            self.rollouts >= least,
            f"rollouts is {self.rollouts}; pass at least {least}, for {conditions} conditions and this share",
        )

    def begin(self, key: Array, q: GaussianTrajectory) -> WeightedRegressionState:
        """A policy pretrained on the first trajectories."""
        key, fit = jax.random.split(key)
        return WeightedRegressionState(jnp.array(0, jnp.int32), key, self.pretrained(fit, q))

    def step(self, state: WeightedRegressionState) -> tuple[WeightedRegressionState, dict[str, Array]]:
        """One iteration; the cost is that of the noisy rollouts, before the fit."""
        key, draw = jax.random.split(state.key)
        played = self.roll_policy(draw, state.policy, self.rollouts // len(self.task.starts))
        to_go = jnp.cumsum(played.costs[..., ::-1], axis=-1)[..., ::-1]
        weights = jax.vmap(cost_weights, in_axes=(0, None))(to_go, self.share)
        fit = fit_likelihood(state.policy, self._rows(played, weights), iterations=self.fit_iterations)
        metrics = {
            "policy_cost": jnp.mean(to_go[..., 0]),
            "least_cost": jnp.mean(jnp.min(to_go[..., 0], axis=1)),
            "effective": jnp.mean(effective_share(weights, axis=1)),
            "fit": fit.after,
            "policy_std": jnp.mean(jnp.exp(fit.policy.log_std)),
        }
        return WeightedRegressionState(state.step + 1, key, fit.policy), metrics

    def _rows(self, played: Rollouts, weights: Array) -> Regression:
        """The knots of all rollouts; what was done there is wanted exactly."""
        kept = self.examples(weights.shape[-1], self.stride)
        xs = played.states[..., :-1, :][:, :, kept].reshape(-1, played.states.shape[-1])
        us = played.controls[:, :, kept].reshape(-1, played.controls.shape[-1])
        unused = jnp.broadcast_to(jnp.eye(us.shape[-1], dtype=us.dtype), (*us.shape, us.shape[-1]))
        return Regression(jax.vmap(self.task.observe)(xs), us, unused, jnp.zeros_like(us), weights[..., kept].ravel())


def cost_weights(to_go: Float[Array, "n N"], share: float) -> Float[Array, "n N"]:
    """`exp(-beta_t (J_t^i - min_j J_t^j))`, with `beta_t` such that `effective_share` is `share` at every knot.

    The share falls as beta rises, so beta is bisected, on a logarithmic scale. Costs that are all the same get weights
    of one.
    """
    above = to_go - jnp.min(to_go, axis=0)
    mean, median = jnp.mean(above, axis=0), jnp.median(above, axis=0)
    unit = jnp.where(median > 0, median, mean)  # the mean of rollouts one of which went astray says nothing of the rest
    above = above / jnp.where(unit > 0, unit, 1.0)

    def halve(_, bounds):
        low, high = bounds
        middle = 0.5 * (low + high)
        even = effective_share(jnp.exp(-jnp.exp(middle) * above)) > share
        return jnp.where(even, middle, low), jnp.where(even, high, middle)

    bounds = jnp.full_like(unit, SMALLEST_LOG), jnp.full_like(unit, LARGEST_LOG)
    low, high = jax.lax.fori_loop(0, BISECTIONS, halve, bounds)
    return jnp.exp(-jnp.exp(0.5 * (low + high)) * above)


def effective_share(weights: Float[Array, "*n"], axis: int = 0) -> Float[Array, "*m"]:
    """Effective sample size `(sum w)^2 / sum w^2`, as a share of the samples."""
    return jnp.sum(weights, axis) ** 2 / jnp.sum(weights**2, axis) / weights.shape[axis]
