"""DAGGER: the policy is taught, where it goes, by the feedback of the first trajectories. A baseline."""

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from costogo.learn.constrained_gps.policy_fit import PolicyFit, Regression, fit_policy
from costogo.learn.constrained_gps.task import Rollouts
from costogo.learn.constrained_gps.trajectories import SampledPolicySearch, check_counts
from costogo.nn import GaussianPolicy
from costogo.solvers import GaussianTrajectory
from costogo.solvers.gaussian import log_determinant

NEGLIGIBLE = 1e-6


class Lessons(eqx.Module):
    """What the oracle was asked: observations, its answers, the knot of each (counted through all conditions), log
    density of the state under the trajectory, and a random rank. Empty rows have a log density of minus infinity."""

    observations: Float[Array, "n no"]
    controls: Float[Array, "n nu"]
    knots: Int[Array, " n"]
    log_density: Float[Array, " n"]
    rank: Float[Array, " n"]

    def weights(self, knots: int) -> Float[Array, " n"]:
        """Density of the state under the trajectory, relative to the largest at the same knot, of `knots` in all."""
        largest = jax.ops.segment_max(self.log_density, self.knots, num_segments=knots)[self.knots]
        known = jnp.isfinite(self.log_density)
        return jnp.where(known, jnp.exp(jnp.where(known, self.log_density - largest, 0.0)), 0.0)


class DaggerState(eqx.Module):
    """State between two iterations: the oracle's trajectories, its answers, the policy."""

    step: Int[Array, ""]
    key: Array
    q: GaussianTrajectory
    lessons: Lessons
    policy: GaussianPolicy


class Dagger(SampledPolicySearch):
    """Data set aggregation (Ross et al. 2011) with trajectory feedback as the oracle (spec constrained_gps section 7,
    B5).

    The oracle of a condition is the linear feedback of its first trajectory, `u* = u_k + K_k (x - x_k)`. A step rolls
    the policy out, with its noise, `rollouts` times on each condition, asks the oracle at every `stride`-th knot,
    appends its answers and fits the policy to all so far by least squares in the metric `A_k^-1`. A row's weight is its
    probability under the trajectory, `N(x; x_k, S_k)`, divided by the largest among the rows of its knot. The first
    data set is from rollouts of the oracle, with the noise of its trajectory.

    Deviation: the data set holds at most `capacity` rows. When it is full, rows of negligible weight (below 1e-6) go
    first; of the others, those that stay are a uniform sample of all there ever were (random ranks, the highest
    stay).
    """

    rollouts: int = eqx.field(static=True, default=20)
    capacity: int = eqx.field(static=True, default=100_000)
    stride: int = eqx.field(static=True, default=1)

    def __check_init__(self):
        check_counts(self, "rollouts", "capacity", "stride")

    def begin(self, key: Array, q: GaussianTrajectory) -> DaggerState:
        """The oracle, rollouts of it, and a policy fitted to them."""
        key, network, draw, rank = jax.random.split(key, 4)
        asked = self._asked(rank, q, self.roll_guide(draw, q, self.rollouts))
        lessons = self._kept(_empty(asked, self.capacity), asked, q)
        policy = self._fitted(self.task.policy(network), lessons, q).policy
        return DaggerState(jnp.array(0, jnp.int32), key, q, lessons, policy)

    def step(self, state: DaggerState) -> tuple[DaggerState, dict[str, Array]]:
        """One iteration; the cost is that of the noisy rollouts, before the fit, `weight` the mean of the rows'."""
        key, draw, rank = jax.random.split(state.key, 3)
        played = self.roll_policy(draw, state.policy, self.rollouts)
        lessons = self._kept(state.lessons, self._asked(rank, state.q, played), state.q)
        fit = self._fitted(state.policy, lessons, state.q)
        known = jnp.isfinite(lessons.log_density)
        metrics = {
            "policy_cost": jnp.mean(jnp.sum(played.costs, axis=-1)),
            "fit": fit.after,
            "rows": jnp.sum(known).astype(fit.after.dtype),
            "weight": jnp.sum(lessons.weights(_knots(state.q))) / jnp.maximum(jnp.sum(known), 1),
            "policy_std": jnp.mean(jnp.exp(fit.policy.log_std)),
        }
        return DaggerState(state.step + 1, key, state.q, lessons, fit.policy), metrics

    def _asked(self, key: Array, q: GaussianTrajectory, played: Rollouts) -> Lessons:
        """The oracle's answers at the knots of rollouts."""
        conditions, N = q.controls.shape[:2]
        kept = self.examples(N, self.stride)
        xs = jnp.swapaxes(played.states[..., :-1, :], 1, 2)[:, kept]
        answers, log_density = jax.vmap(_oracle)(jax.tree.map(lambda a: a[:, :N][:, kept], q), xs)
        knots = jnp.arange(conditions * N, dtype=jnp.int32).reshape(conditions, N)[:, kept]
        knots = jnp.broadcast_to(knots[..., None], log_density.shape)
        xs, answers = xs.reshape(-1, xs.shape[-1]), answers.reshape(-1, answers.shape[-1])
        rank = jax.random.uniform(key, (len(xs),), log_density.dtype)
        good = jnp.all(jnp.isfinite(xs), axis=-1) & jnp.isfinite(log_density.ravel())
        log_density = jnp.where(good, log_density.ravel(), -jnp.inf)
        observations = jax.vmap(self.task.observe)(jnp.where(good[:, None], xs, 0.0))
        return Lessons(observations, jnp.where(good[:, None], answers, 0.0), knots.ravel(), log_density, rank)

    def _kept(self, old: Lessons, new: Lessons, q: GaussianTrajectory) -> Lessons:
        """`capacity` rows of both."""
        both = jax.tree.map(lambda a, b: jnp.concatenate([a, b]), old, new)
        weights = both.weights(_knots(q))
        order = both.rank + (weights >= NEGLIGIBLE) + (weights > 0.0)
        chosen = jax.lax.top_k(order, self.capacity)[1]
        return jax.tree.map(lambda a: a[chosen], both)

    def _fitted(self, policy: GaussianPolicy, lessons: Lessons, q: GaussianTrajectory) -> PolicyFit:
        nu = q.controls.shape[-1]
        precisions = jnp.linalg.inv(q.covariances).reshape(-1, nu, nu)[lessons.knots]
        weights = lessons.weights(_knots(q))
        unused = jnp.zeros_like(lessons.controls)
        rows = Regression(lessons.observations, lessons.controls, precisions, unused, weights)
        return fit_policy(policy, rows, iterations=self.fit_iterations)


def _oracle(q: GaussianTrajectory, states: Float[Array, "N m nx"]) -> tuple[Array, Array]:
    """Controls (N, m, nu) of the feedback at states of the knots, and the states' log densities (N, m); all fields of
    `q` are of these knots."""
    apart = states - q.states[:, None]
    controls = q.controls[:, None] + jnp.einsum("kux,kmx->kmu", q.gains, apart)
    S = q.state_covariances
    squares = jnp.sum(apart * jnp.swapaxes(jnp.linalg.solve(S, jnp.swapaxes(apart, 1, 2)), 1, 2), axis=-1)
    return controls, -0.5 * (squares + log_determinant(S)[:, None] + S.shape[-1] * jnp.log(2.0 * jnp.pi))


def _empty(like: Lessons, capacity: int) -> Lessons:
    """A data set without rows."""
    blank = jax.tree.map(lambda a: jnp.zeros((capacity, *a.shape[1:]), a.dtype), like)
    return eqx.tree_at(lambda d: d.log_density, blank, jnp.full(capacity, -jnp.inf, like.log_density.dtype))


def _knots(q: GaussianTrajectory) -> int:
    return q.controls.shape[0] * q.controls.shape[1]
