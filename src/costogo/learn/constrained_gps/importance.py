"""Importance-sampled guided policy search, plain and with adapted guiding trajectories: a baseline."""

import equinox as eqx
import jax
import jax.numpy as jnp
from jax.scipy.special import logsumexp
from jaxtyping import Array, Float, Int

from costogo.core.status import Status
from costogo.core.validate import require
from costogo.learn.constrained_gps.agreement import Observe, draw_noise, policy_terms
from costogo.learn.constrained_gps.first_trajectory import scaled
from costogo.learn.constrained_gps.policy_fit import PolicyFit, minimise
from costogo.learn.constrained_gps.task import Rollouts
from costogo.learn.constrained_gps.trajectories import SampledPolicySearch, check_counts
from costogo.nn import GaussianPolicy
from costogo.solvers import GaussianTrajectory, LikelihoodTerms
from costogo.solvers.gaussian import log_determinant

LEAST_REGULARISATION, MOST_REGULARISATION = 1e-6, 1.0


class Played(eqx.Module):
    """A policy and rollouts of it, (conditions, rollouts, ...)."""

    policy: GaussianPolicy
    rollouts: Rollouts

    @property
    def cost(self) -> Float[Array, ""]:
        """Mean cost of a rollout."""
        return jnp.mean(jnp.sum(self.rollouts.costs, axis=-1))


class ImportanceState(eqx.Module):
    """State between two iterations: guiding trajectories and their damping, the best policy so far, the one it was
    last compared with, and the regularisation `w_r`."""

    step: Int[Array, ""]
    key: Array
    q: GaussianTrajectory
    damping: Float[Array, " conditions"]
    best: Played
    recent: Played
    regularisation: Float[Array, ""]

    @property
    def policy(self) -> GaussianPolicy:
        """The best policy."""
        return self.best.policy


class ImportanceSampledGPS(SampledPolicySearch):
    """Importance-sampled guided policy search (Levine and Koltun 2013; spec constrained_gps section 7, B2 and B3).

    A step maximises over the policy, by L-BFGS, `importance_objective` of an active set: of every condition `guiding`
    rollouts of its trajectory, `rollouts` of the best policy and as many of the policy it was last compared with. Then
    best and new policy are rolled out with the same random numbers. If the new one costs less, it is the best and
    `w_r`, `regularisation` at first, is divided by ten; otherwise it is multiplied by ten, within [1e-6, 1]. Rewards
    are costs, negative, divided by `reward_scale`, which sets the unit of `w_r`. With `adapt` (B3) the guiding
    trajectories are first improved by `adapt_iterations` on `adapt_scale l - log pi_best`.

    Deviations: the best policy is rolled out anew in every step, and never judged by the rollouts it was fitted to;
    guiding rollouts are new in every step too; `first_scale` widens the guiding distributions as it does the first
    trajectories of the other methods. The paper's text was not at hand, the spec is a design after it.
    """

    adapt: bool = eqx.field(static=True, default=False)
    guiding: int = eqx.field(static=True, default=20)
    rollouts: int = eqx.field(static=True, default=20)
    adapt_iterations: int = eqx.field(static=True, default=2)
    adapt_scale: float = eqx.field(static=True, default=1.0)
    regularisation: float = eqx.field(static=True, default=1e-2)
    reward_scale: float = eqx.field(static=True, default=1.0)

    def __check_init__(self):
        check_counts(self, "guiding", "rollouts", "adapt_iterations")
        for name in ("adapt_scale", "reward_scale"):
            require(getattr(self, name) > 0, f"{name} is {getattr(self, name)}; pass a positive number")
        within = LEAST_REGULARISATION <= self.regularisation <= MOST_REGULARISATION
        require(within, f"regularisation is {self.regularisation}; pass a number in [1e-6, 1]")

    def begin(self, key: Array, q: GaussianTrajectory) -> ImportanceState:
        """Guiding trajectories, and a policy pretrained on them."""
        key, fit, one, two = jax.random.split(key, 4)
        policy = self.pretrained(fit, q)
        best, recent = (Played(policy, self.roll_policy(k, policy, self.rollouts)) for k in (one, two))
        strength = jnp.asarray(self.regularisation, q.controls.dtype)
        damping = jnp.zeros(len(q.controls), q.controls.dtype)
        return ImportanceState(jnp.array(0, jnp.int32), key, q, damping, best, recent, strength)

    def step(self, state: ImportanceState) -> tuple[ImportanceState, dict[str, Array]]:
        """One iteration; costs are those of noisy rollouts, `effective` the effective share of the active set at the
        last knot, for the new policy."""
        key, guide, judge = jax.random.split(state.key, 3)
        q, damping = self._adapted(state) if self.adapt else (state.q, state.damping)
        fit, effective = self._optimised(state, q, self.roll_guide(guide, q, self.guiding))
        tried, held = (
            Played(policy, self.roll_policy(judge, policy, self.rollouts)) for policy in (fit.policy, state.best.policy)
        )
        better = tried.cost < held.cost
        best, recent = _select(better, tried, held), _select(better, held, tried)
        strength = state.regularisation * jnp.where(better, 0.1, 10.0)
        strength = jnp.clip(strength, LEAST_REGULARISATION, MOST_REGULARISATION)
        metrics = {
            "policy_cost": best.cost,
            "tried_cost": tried.cost,
            "better": better.astype(best.cost.dtype),
            "regularisation": state.regularisation,
            "fit": fit.after,
            "effective": effective,
            "policy_std": jnp.mean(jnp.exp(best.policy.log_std)),
        }
        return ImportanceState(state.step + 1, key, q, damping, best, recent, strength), metrics

    def _adapted(self, state: ImportanceState) -> tuple[GaussianTrajectory, Array]:
        """Guiding trajectories drawn to the best policy."""
        task, N = self.task, state.q.controls.shape[1]
        noise = draw_noise(jax.random.PRNGKey(0), self.samples, task.starts.shape[1])
        weights = jnp.ones(N, state.q.controls.dtype)
        solver = eqx.tree_at(lambda s: s.max_iterations, self.solver, self.adapt_iterations)

        def one(condition, q, damping):
            def terms_of(q):
                return policy_terms(state.best.policy, task.observe, weights, noise, q, LikelihoodTerms)

            problem = scaled(task.problem_of(condition), self.adapt_scale)
            return solver.run(problem, q, terms_of, noise=task.noise, damping=damping)

        found = jax.vmap(one)(task.conditions, state.q, state.damping)
        ended = (found.status == Status.CONVERGED) | (found.status == Status.MAX_ITERATIONS)
        return found.q, jnp.where(ended, found.damping, 0.0)

    def _optimised(self, state: ImportanceState, q: GaussianTrajectory, guiding: Rollouts) -> tuple[PolicyFit, Array]:
        """The policy that maximises the objective on the active set, from the best; and the set's effective share."""
        sets = (guiding, state.best.rollouts, state.recent.rollouts)
        active = jax.tree.map(lambda *a: jnp.concatenate(a, axis=1), *sets)
        observe, n = self.task.observe, active.costs.shape[1]
        xs, us, sources, played = self._sources(state, q, active)
        shares = jnp.array([self.guiding, self.rollouts, self.rollouts], xs.dtype) / n
        rewards = -active.costs / self.reward_scale
        dynamic, static = eqx.partition(state.best.policy, eqx.is_inexact_array)

        def weights_of(dynamic):
            own = policy_log_density(eqx.combine(dynamic, static), observe, xs, us)
            own = jnp.where(played, own, 0.0)
            return jax.vmap(importance_log_weights, in_axes=(0, 0, None))(own, sources, shares)

        def loss(dynamic):
            weights = weights_of(dynamic)
            values = jax.vmap(importance_objective, in_axes=(0, 0, None))(weights, rewards, state.regularisation)
            return -jnp.sum(values) / rewards[:, 0].size  # per knot, whatever their number

        found, before, after, gradient, count = minimise(loss, dynamic, self.fit_iterations, 1e-6)
        last = jax.nn.softmax(weights_of(found)[..., -1], axis=1)
        effective = jnp.mean(1.0 / jnp.sum(last**2, axis=1)) / n
        return PolicyFit(eqx.combine(found, static), before, after, gradient, count), effective

    def _sources(self, state: ImportanceState, q: GaussianTrajectory, active: Rollouts) -> tuple[Array, ...]:
        """States, controls, their log densities (c, 3, n, N) under the three sources, and which knots these exist for.

        All are zero at the others, such as those after a rollout has diverged: such a knot counts as equally likely
        under all sources and the policy, and only its cost speaks.
        """
        xs, us, observe = active.states[..., :-1, :], active.controls, self.task.observe
        sources = jnp.stack(
            [
                jax.vmap(guide_log_density)(q, xs, us),
                policy_log_density(state.best.policy, observe, xs, us),
                policy_log_density(state.recent.policy, observe, xs, us),
            ],
            axis=1,
        )
        good = jnp.all(jnp.isfinite(sources), axis=1)
        xs, us = jnp.where(good[..., None], xs, 0.0), jnp.where(good[..., None], us, 0.0)
        return xs, us, jnp.where(good[:, None], sources, 0.0), good


def importance_objective(
    log_weights: Float[Array, "n N"], rewards: Float[Array, "n N"], regularisation: Float[Array, ""]
) -> Float[Array, ""]:
    """`sum_t [sum_i w_t^i r_t^i / Z_t + w_r log Z_t]` with `Z_t = sum_i w_t^i`, of one condition (spec constrained_gps
    section 7, B2), from the logarithms of the weights."""
    rewarded = jnp.sum(jax.nn.softmax(log_weights, axis=0) * rewards)
    return rewarded + regularisation * jnp.sum(logsumexp(log_weights, axis=0))


def importance_log_weights(
    policy: Float[Array, "n N"], sources: Float[Array, "s n N"], shares: Float[Array, " s"]
) -> Float[Array, "n N"]:
    """`log w_t^i = sum_{t' <= t} log pi(u|x) - log q_t^i`, with `q_t` the mixture of the sources up to knot t.

    From `log pi` and `log q_j` of the control at each knot of each rollout; `shares` are the shares of the rollouts
    that came from each source. The dynamics and the density of the start are common to all and cancel.
    """
    mixture = logsumexp(jnp.cumsum(sources, axis=-1) + jnp.log(shares)[:, None, None], axis=0)
    return jnp.cumsum(policy, axis=-1) - mixture


def policy_log_density(
    policy: GaussianPolicy, observe: Observe, states: Float[Array, "c n N nx"], controls: Float[Array, "c n N nu"]
) -> Float[Array, "c n N"]:
    """`log pi(u | x)` of every knot."""
    each = jax.vmap(jax.vmap(jax.vmap(lambda x, u: policy.log_density(observe(x), u))))
    return each(states, controls)


def guide_log_density(
    q: GaussianTrajectory, states: Float[Array, "n N nx"], controls: Float[Array, "n N nu"]
) -> Float[Array, "n N"]:
    """`log q(u | x)` of every knot, under one trajectory."""
    apart = controls - q.controls - jnp.einsum("kux,nkx->nku", q.gains, states - q.states[:-1])
    squares = jnp.einsum("nki,kij,nkj->nk", apart, jnp.linalg.inv(q.covariances), apart)
    constant = log_determinant(q.covariances) + controls.shape[-1] * jnp.log(2.0 * jnp.pi)
    return -0.5 * (squares + constant)


def _select(condition: Array, one: Played, other: Played) -> Played:
    return jax.tree.map(lambda a, b: jnp.where(condition, a, b), one, other)
