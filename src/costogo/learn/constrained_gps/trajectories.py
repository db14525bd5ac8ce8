"""What methods of policy search share: first trajectories, their examples, rollouts of trajectories and policy."""

import abc
from typing import Any, ClassVar

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from costogo.core.validate import require
from costogo.learn.constrained_gps.agreement import regression
from costogo.learn.constrained_gps.first_trajectory import check_trajectories, first_trajectory
from costogo.learn.constrained_gps.policy_fit import fit_likelihood
from costogo.learn.constrained_gps.task import PolicySearch, Rollouts
from costogo.nn import GaussianPolicy
from costogo.problem import AffineFeedback, rollout
from costogo.solvers import GaussianDDP, GaussianTrajectory


class PolicySearchMethod(eqx.Module):
    """What every method of policy search has: a task, and first trajectories of maximum entropy, found without a policy
    by `first_iterations` of `solver` on the cost times `first_scale`.

    A policy is fitted by `fit_iterations` of L-BFGS; where it is fitted to trajectories, to `samples` states of every
    knot. The last `tail` knots of a trajectory are no example for the policy: where no terminal cost stands for the
    future, a trajectory ends as if there were none, and a walker throws itself forward.
    """

    task: PolicySearch
    first_scale: eqx.AbstractVar[float]
    solver: GaussianDDP = eqx.field(default_factory=GaussianDDP)
    first_iterations: int = eqx.field(static=True, default=100)
    samples: int = eqx.field(static=True, default=20)
    fit_iterations: int = eqx.field(static=True, default=150)
    tail: int = eqx.field(static=True, default=0)

    steps_per_epoch: ClassVar[int] = 1
    first_share: ClassVar[float] = 1.0  # of what makes the task hard, under which first trajectories are found

    def __check_init__(self):
        check_counts(self, "first_iterations", "fit_iterations")
        even = self.samples >= 2 and self.samples % 2 == 0
        require(even, f"samples is {self.samples}; pass an even number of at least 2")
        require(0 < self.first_scale <= 1, f"first_scale is {self.first_scale}; pass a number in (0, 1]")

    def init(self, key: Array) -> Any:
        """First state, with `step` and `policy`. Raises `CostogoError` if no first trajectory is finite, warns if some
        are not: a search goes on without them."""
        q = eqx.filter_jit(type(self).first)(self)
        check_trajectories(q)
        return eqx.filter_jit(type(self).begin)(self, key, q)

    @abc.abstractmethod
    def begin(self, key: Array, q: GaussianTrajectory) -> Any:
        """First state, from the first trajectories."""

    @abc.abstractmethod
    def step(self, state: Any) -> tuple[Any, dict[str, Array]]:
        """One iteration, and its metrics."""

    def evaluate(self, state: Any) -> dict[str, Array]:
        """Costs of the policy without noise, unscaled, as of `PolicySearch.evaluate`: on the training conditions, and
        on the unseen ones if the task has any."""
        return self.task.evaluate(state.policy)

    def first(self) -> GaussianTrajectory:
        """The first trajectory of every condition."""

        def one(condition, x0):
            its = self.first_iterations
            return first_trajectory(self.task, self.solver, condition, x0, its, self.first_scale, self.first_share)

        return jax.vmap(one)(self.task.conditions, self.task.starts).q

    def examples(self, N: int, stride: int = 1) -> slice:
        """Knots that are examples for the policy: not those of the tail, and every `stride`-th of the others."""
        require(0 <= self.tail < N, f"tail is {self.tail}; pass 0 to {N - 1}, fewer than the problem has intervals")
        return slice(0, N - self.tail, stride)

    def exemplary(self, values: Float[Array, "conditions N"]) -> Float[Array, "conditions N"]:
        """Values of the knots, zero where they are no examples."""
        N = values.shape[1]
        return jnp.where(jnp.arange(N) < self.examples(N).stop, values, 0.0)


class SampledPolicySearch(PolicySearchMethod):
    """What the baselines of constrained guided policy search share (spec constrained_gps section 7, B2 to B5).

    The first trajectories are found as those of `GuidedPolicySearch`, but `first_scale` is one by default (there 0.1):
    nothing here raises the scale later, and a tenth of the cost makes the controls' variance ten times as large. A
    policy may be pretrained on them by maximum likelihood. Rollouts, of trajectories and of policies, start from
    `N(starts, start_covariance)` and have noise in the controls only: the noise of the process is in the covariances of
    a trajectory, not in the dynamics.
    """

    first_scale: float = eqx.field(static=True, default=1.0)

    def pretrained(self, key: Array, q: GaussianTrajectory) -> GaussianPolicy:
        """A policy of maximum likelihood under samples of the trajectories. (Of their states; the mean over controls
        is exact.)"""
        network, draw = jax.random.split(key)
        weights = self.exemplary(jnp.ones(q.controls.shape[:2], q.controls.dtype))
        rows = regression(self.task.observe, q, weights, draw, self.samples)
        return fit_likelihood(self.task.policy(network), rows, iterations=self.fit_iterations).policy

    def roll_policy(self, key: Array, policy: GaussianPolicy, count: int) -> Rollouts:
        """`count` noisy rollouts of the policy on each condition: leaves (conditions, count, ...)."""
        starts, noise = self._draws(key, count)
        conditions = jax.tree.map(lambda a: jnp.repeat(a, count, axis=0), self.task.conditions)
        flat = self.task.roll_out(policy, conditions, _joined(starts), noise=_joined(noise))
        return self._bounded(jax.tree.map(lambda a: a.reshape(-1, count, *a.shape[1:]), flat))

    def roll_guide(self, key: Array, q: GaussianTrajectory, count: int) -> Rollouts:
        """`count` noisy rollouts of each trajectory's control law on the true dynamics, as of `roll_policy`."""
        starts, noise = self._draws(key, count)

        def one(condition, q, x0, noise):
            problem = self.task.problem_of(condition)
            controls = q.controls + jnp.einsum("kij,kj->ki", jnp.linalg.cholesky(q.covariances), noise)
            law = AffineFeedback.unbounded(q.states[:-1], controls, q.gains)
            played = rollout(problem.dynamics, x0, law, problem.times(0.0, x0.dtype)[:-1])
            return self.task.rollouts_of(problem, *played)

        several = jax.vmap(one, in_axes=(None, None, 0, 0))
        return self._bounded(jax.vmap(several)(self.task.conditions, q, starts, noise))

    def _draws(self, key: Array, count: int) -> tuple[Float[Array, "c m nx"], Float[Array, "c m N nu"]]:
        """Starts, and standard normal noise of the controls."""
        task = self.task
        problem = task.problem_of(jax.tree.map(lambda a: a[0], task.conditions))
        first, second = jax.random.split(key)
        (conditions, nx), dtype = task.starts.shape, task.starts.dtype
        values, vectors = jnp.linalg.eigh(task.start_covariance)  # unlike Cholesky's, right for a start without spread
        root = vectors * jnp.sqrt(jnp.maximum(values, 0.0))
        starts = task.starts[:, None] + jax.random.normal(first, (conditions, count, nx), dtype) @ root.T
        return starts, jax.random.normal(second, (conditions, count, problem.horizon, problem.nu), dtype)

    def _bounded(self, rollouts: Rollouts) -> Rollouts:
        """A knot costs at most `task.worst`, and that where its cost is not finite."""
        costs = jnp.minimum(jnp.where(jnp.isnan(rollouts.costs), jnp.inf, rollouts.costs), self.task.worst)
        return eqx.tree_at(lambda r: r.costs, rollouts, costs)


def check_counts(module: eqx.Module, *names: str) -> None:
    """Raise unless the fields named are at least 1."""
    for name in names:
        require(getattr(module, name) >= 1, f"{name} is {getattr(module, name)}; pass at least 1")


def _joined(values: Array) -> Array:
    return values.reshape(-1, *values.shape[2:])
