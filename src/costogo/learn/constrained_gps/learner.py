"""Guided policy search: trajectory distributions and a policy in turn. Constrained (Algorithm 1) and variational."""

import abc
from collections.abc import Callable
from typing import ClassVar

import equinox as eqx
import jax
import jax.numpy as jnp
from jax.typing import ArrayLike
from jaxtyping import Array, Float, Int

from costogo.core.status import Status
from costogo.learn.constrained_gps.agreement import ascend, draw_noise, policy_terms, regression
from costogo.learn.constrained_gps.first_trajectory import followed, scaled
from costogo.learn.constrained_gps.policy_fit import PolicyFit, Regression, fit_likelihood, fit_policy
from costogo.learn.constrained_gps.trajectories import PolicySearchMethod, check_counts
from costogo.nn import GaussianPolicy
from costogo.solvers import GaussianTrajectory, LikelihoodTerms, PolicyTerms


class GPSState(eqx.Module):
    """State between two iterations: count, key, trajectories, their damping, multipliers, policy."""

    step: Int[Array, ""]
    key: Array
    q: GaussianTrajectory
    damping: Float[Array, " conditions"]
    weights: Float[Array, "conditions N"]
    policy: GaussianPolicy


class GuidedPolicySearch(PolicySearchMethod):
    """What constrained and variational policy search share: a step improves every trajectory by the iterations of
    `solver`, drawn to the policy, and then fits the policy to samples of all of them.

    The cost is scaled by a factor that rises geometrically from `first_scale` to one over `ramp` steps; so does, evenly
    from zero, the share of what makes the task hard, if it can be eased (not in the paper). `samples` are drawn in
    antithetic pairs; those that average the policy are the same throughout. The last `tail` knots are no examples for
    the policy, but drawn to it by the mean of the other multipliers (not in the paper): a trajectory goes on as the
    policy would, where one that is free to end as it likes throws itself forward and falls after its last knot.

    The first fit stops after `first_fit` iterations. A policy that fits the first trajectories well is steep between
    the states they show; trajectories that are then drawn to it get its gains, and it stays steep.
    """

    first_weight: ArrayLike = 0.1
    first_scale: float = eqx.field(static=True, default=0.1)
    first_fit: int = eqx.field(static=True, default=30)
    ramp: int = eqx.field(static=True, default=50)

    first_share: ClassVar[float] = 0.0
    terms: ClassVar[type[PolicyTerms]]
    fit: ClassVar[Callable[..., PolicyFit]]

    def __check_init__(self):
        check_counts(self, "first_fit", "ramp")

    @abc.abstractmethod
    def raised(self, weights: Array, divergence: Array) -> Array:
        """The multipliers of the next step."""

    def carried_on(self, weights: Float[Array, "conditions N"]) -> Float[Array, "conditions N"]:
        """The multipliers, those of the tail the mean of the others."""
        stop = self.examples(weights.shape[1]).stop
        mean = jnp.mean(weights[:, :stop], axis=1, keepdims=True)
        return weights.at[:, stop:].set(mean)

    def share(self, step: ArrayLike) -> Array:
        """Share of the ramp that lies behind step number `step`, counted from zero."""
        return jnp.minimum(jnp.asarray(step, float) / self.ramp, 1.0)

    def scale(self, step: ArrayLike) -> Array:
        """Factor of the cost in step number `step`."""
        return self.first_scale ** (1.0 - self.share(step))

    def begin(self, key: Array, q: GaussianTrajectory) -> GPSState:
        """Multipliers, and a policy fitted to the first trajectories."""
        key, network, draw = jax.random.split(key, 3)
        weights = jnp.full(q.controls.shape[:2], self.first_weight, q.controls.dtype)
        weights = self.raised(weights, jnp.zeros_like(weights))
        alike = jnp.ones_like(weights)
        policy = self._fitted(self.task.policy(network), q, alike, draw, self.first_fit).policy
        damping = jnp.zeros(len(q.controls), q.controls.dtype)
        return GPSState(jnp.array(0, jnp.int32), key, q, damping, weights, policy)

    def step(self, state: GPSState) -> tuple[GPSState, dict[str, Array]]:
        """One iteration; metrics are means over conditions and knots, failures are counted."""
        key, draw = jax.random.split(state.key)
        share, scale = self.share(state.step), self.scale(state.step)

        def improve(condition, q, weights, damping):
            problem = scaled(self.task.problem_at(condition, share), scale)
            q = q if self.task.eased is None else followed(problem, q)
            terms_of = self._terms_of(state.policy, weights)
            return self.solver.run(problem, q, terms_of, noise=self.task.noise, damping=damping)

        found = jax.vmap(improve)(self.task.conditions, state.q, state.weights, state.damping)
        q = jax.vmap(_finite_or)(found.q, state.q)
        fit = self._fitted(state.policy, q, state.weights, draw, self.fit_iterations)
        divergence = self.divergence(fit.policy, q, state.weights)
        weights = self.carried_on(self.raised(state.weights, divergence))
        failed = (found.status != Status.CONVERGED) & (found.status != Status.MAX_ITERATIONS)
        # A damping at its largest is no use to the next step, which has another policy to agree with.
        damping = jnp.where(failed, 0.0, found.damping)
        metrics = {
            "trajectory_cost": jnp.mean(found.cost) / scale,
            "divergence": jnp.mean(divergence[:, self.examples(divergence.shape[1])]),
            "weight": jnp.mean(weights),
            "fit": fit.after,
            "policy_std": jnp.mean(jnp.exp(fit.policy.log_std)),
            "scale": scale,
            "damping": jnp.mean(damping),
            "trajectory_failures": jnp.mean(failed),
        }
        return GPSState(state.step + 1, key, q, damping, weights, fit.policy), metrics

    def divergence(self, policy: GaussianPolicy, q: GaussianTrajectory, weights: Array) -> Array:
        """`E KL(pi || q)` of every knot (conditions, N), for a policy that is linear about each knot."""
        return jax.vmap(lambda q, w: self._terms_of(policy, w)(q).divergence(q))(q, weights)

    def _fitted(
        self, policy: GaussianPolicy, q: GaussianTrajectory, weights: Array, key: Array, iterations: int
    ) -> PolicyFit:
        rows: Regression = regression(self.task.observe, q, self.exemplary(weights), key, self.samples)
        return type(self).fit(policy, rows, iterations=iterations)

    def _terms_of(self, policy: GaussianPolicy, weights: Array) -> Callable[[GaussianTrajectory], PolicyTerms]:
        noise = draw_noise(jax.random.PRNGKey(0), self.samples, self.task.starts.shape[1])
        return lambda q: policy_terms(policy, self.task.observe, weights, noise, q, self.terms)


def _finite_or(new: GaussianTrajectory, old: GaussianTrajectory) -> GaussianTrajectory:
    """The new trajectory if it is finite, else the old one, from which the next step tries again."""
    good = jnp.all(jnp.array([jnp.all(jnp.isfinite(leaf)) for leaf in jax.tree.leaves(new)]))
    return jax.tree.map(lambda new, old: jnp.where(good, new, old), new, old)


class ConstrainedGPS(GuidedPolicySearch):
    """One policy from several Gaussian trajectories that are pulled into agreement with it (Levine and Koltun 2014,
    Algorithm 1; spec constrained_gps section 6).

    Trajectories are drawn to the policy by `lambda KL(pi || q)`, the policy is fitted to minimise the same, and the
    multipliers `lambda`, `first_weight` at first, are raised by `rate` times the divergence.

    Deviations from the paper: those of `GaussianDDP`; averages of the policy over the same antithetic samples
    throughout; the multipliers' rise is limited (spec section 9).
    """

    rate: ArrayLike = 0.1

    terms = PolicyTerms
    fit = fit_policy

    def raised(self, weights: Array, divergence: Array) -> Array:
        """Dual ascent (paper eq. 2)."""
        return ascend(weights, divergence, rate=self.rate, slack=self.first_weight)


class VariationalGPS(GuidedPolicySearch):
    """Variational policy search (Levine and Koltun 2013), as a baseline (spec constrained_gps section 7, B1).

    Trajectories minimise cost - entropy - `E log pi`, the policy maximises the likelihood of their samples: the
    divergence `KL(q || pi)`, reverse to that of `ConstrainedGPS`, with weight one throughout (`first_weight` is not
    used).
    """

    terms = LikelihoodTerms
    fit = fit_likelihood

    def raised(self, weights: Array, divergence: Array) -> Array:
        """One, always."""
        return jnp.ones_like(weights)
