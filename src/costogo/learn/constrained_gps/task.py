"""What a policy search is given: problems, starts, what the policy sees, and how a policy is judged."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jax.typing import ArrayLike
from jaxtyping import Array, Bool, Float

from costogo.core.validate import require, require_shape
from costogo.nn import GaussianPolicy
from costogo.problem import OptimalControlProblem
from costogo.problem.rollout import next_state


class Rollouts(eqx.Module):
    """What a policy does: states, controls, cost of each knot, and whether each state was valid and finite."""

    states: Float[Array, "*n N+1 nx"]
    controls: Float[Array, "*n N nu"]
    costs: Float[Array, "*n N"]
    valid: Bool[Array, "*n N+1"]


class PolicySearch(eqx.Module):
    """A task for policy search, the same for all methods (spec constrained_gps section 7).

    `problem_of(condition)` is the problem of one of the `conditions` (a pytree whose leaves have a leading axis, or
    None where there is one only; pushes live there), `starts` (conditions, nx) its initial states, with covariance
    `start_covariance`; `noise` is the covariance of the process in one step. `observe(x)` is what the policy sees and
    `policy(key)` makes one. `guess(condition)` are controls (N, nu) to begin with, by default zero, and
    `first_cost(condition)` is what the first trajectories are optimised for, by default the problem's stage cost: that
    of tracking a demonstration, say. `eased(condition, share)`, if given, is the problem with a share, 0 to 1, of what
    makes it hard. Trajectories then begin without it and meet ever larger shares: under a disturbance that fells them
    at once, nothing can be improved. `valid(x)` tells a failure; a policy that fails, or whose cost is above `worst`,
    costs `worst`. Policies are judged over `test_steps` intervals, by default the problem's horizon, on the training
    conditions and, if given, on `unseen`: conditions and starts that training does not touch.
    """

    problem_of: Callable[[Any], OptimalControlProblem]
    conditions: Any
    starts: Float[Array, "conditions nx"]
    start_covariance: Float[Array, "nx nx"]
    noise: Float[Array, "nx nx"]
    policy: Callable[[Array], GaussianPolicy]
    observe: Callable[[Array], Array]
    guess: Callable[[Any], Array] | None = None
    first_cost: Callable[[Any], Callable] | None = None
    eased: Callable[[Any, ArrayLike], OptimalControlProblem] | None = None
    valid: Callable[[Array], Array] | None = None
    unseen: tuple[Any, Float[Array, "unseen nx"]] | None = None
    worst: float = eqx.field(static=True, default=1e6)
    test_steps: int | None = eqx.field(static=True, default=None)

    def __check_init__(self):
        require(self.starts.ndim == 2, f"starts has shape {self.starts.shape}; pass one state per row")
        nx = self.starts.shape[1]
        for name in ("start_covariance", "noise"):
            require_shape(name, getattr(self, name).shape, (nx, nx), "pass the covariance of a state")
        require(self.worst > 0, f"worst is {self.worst}; pass a positive cost")
        require(self.test_steps is None or self.test_steps >= 1, f"test_steps is {self.test_steps}; pass at least 1")
        _check_group("conditions", self.conditions, self.starts)
        if self.unseen is not None:
            conditions, starts = self.unseen
            require_shape("unseen starts", starts.shape, (len(starts), nx), "pass one state per row")
            _check_group("unseen conditions", conditions, starts)

    def problem_at(self, condition: Any, share: ArrayLike) -> OptimalControlProblem:
        """The problem of a condition with a share of what makes it hard, if the task has such."""
        return self.problem_of(condition) if self.eased is None else self.eased(condition, share)

    def test(self, policy: GaussianPolicy, conditions: Any, starts: Array) -> tuple[Array, Array]:
        """Costs (n,) of the policy without noise on any conditions, and which ended in failure (n,)."""
        return self.judged(self.roll_out(policy, conditions, starts, steps=self.test_steps))

    def judged(self, rollouts: Rollouts) -> tuple[Array, Array]:
        """Costs (n,) of rollouts, `worst` where they failed, and which did (n,)."""
        costs, good = jnp.sum(rollouts.costs, axis=-1), jnp.all(rollouts.valid, axis=-1)
        good &= jnp.isfinite(costs) & (costs < self.worst)
        return jnp.where(good, costs, self.worst), ~good

    def evaluate(self, policy: GaussianPolicy) -> dict[str, Array]:
        """Mean cost and share of failures, on the training conditions and on the unseen ones."""
        tested, trained = (self.conditions, self.starts), len(self.starts)
        if self.unseen is not None:
            tested = jax.tree.map(lambda *leaves: jnp.concatenate(leaves), tested, self.unseen)
        costs, failed = self.test(policy, *tested)
        found = {"cost": jnp.mean(costs[:trained]), "failed": jnp.mean(failed[:trained])}
        if self.unseen is not None:
            found |= {"unseen_cost": jnp.mean(costs[trained:]), "unseen_failed": jnp.mean(failed[trained:])}
        return found

    def roll_out(
        self,
        policy: GaussianPolicy,
        conditions: Any,
        starts: Float[Array, "n nx"],
        *,
        steps: int | None = None,
        noise: Float[Array, "n N nu"] | None = None,
    ) -> Rollouts:
        """The policy's mean on conditions, for `steps` intervals (by default the problem's horizon); with `noise`,
        standard normal, the policy's own is added. The terminal cost belongs to the last knot."""

        def one(condition, x0, noise):
            problem = self.problem_of(condition)
            problem = problem if steps is None else replace(problem, horizon=steps)
            ts = problem.times(0.0, x0.dtype)

            def step(x, knot):
                t, extra = knot
                u = jnp.asarray(policy(self.observe(x)), x.dtype)
                if extra is not None:
                    u += jnp.exp(policy.log_std) * extra
                new = next_state(problem.dynamics, x, u, t)
                return new, (new, u)

            _, (states, controls) = jax.lax.scan(step, x0, (ts[:-1], noise))
            return self.rollouts_of(problem, jnp.concatenate([x0[None], states]), controls)

        return jax.vmap(one, in_axes=(0, 0, None if noise is None else 0))(conditions, starts, noise)

    def rollouts_of(
        self, problem: OptimalControlProblem, states: Float[Array, "N+1 nx"], controls: Float[Array, "N nu"]
    ) -> Rollouts:
        """What one rollout on a problem cost, knot by knot, and where it was valid."""
        ts = problem.times(0.0, states.dtype)[:-1]
        costs = jax.vmap(problem.stage_cost)(states[:-1], controls, ts)
        if problem.terminal_cost is not None:
            costs = costs.at[-1].add(problem.terminal_cost(states[-1]))
        valid = jnp.all(jnp.isfinite(states), axis=-1)
        if self.valid is not None:
            valid &= jax.vmap(self.valid)(states)
        return Rollouts(states, controls, costs, valid)


def _check_group(name: str, conditions: Any, starts: Array) -> None:
    for leaf in jax.tree.leaves(conditions):
        require(len(leaf) == len(starts), f"{name} have a leaf of length {len(leaf)}, their starts {len(starts)} rows; "
                "pass one entry per start")  # fmt: skip
