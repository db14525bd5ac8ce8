"""First trajectories of a policy search, found without a policy, and what else is done to a trajectory alone."""

import warnings
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike
from jaxtyping import Array

from costogo.core.errors import CostogoError
from costogo.core.validate import is_concrete, require, require_shape
from costogo.learn.constrained_gps.task import PolicySearch
from costogo.problem import AffineFeedback, OptimalControlProblem, open_loop, rollout
from costogo.problem.costs import ScaledCost, TrackingCost
from costogo.solvers import DistributionSolution, GaussianDDP, GaussianTrajectory

STAGES, STAGE_ITERATIONS = 10, 5  # in which first trajectories meet what makes a problem hard


def first_trajectory(
    task: PolicySearch,
    solver: GaussianDDP,
    condition: Any,
    x0: Array,
    iterations: int,
    scale: ArrayLike,
    share: float = 1.0,
) -> DistributionSolution:
    """Maximum-entropy trajectory without a policy, from the task's guess, for the cost times `scale` (spec
    constrained_gps section 6, step 1).

    Where the task can be eased it is reached by way of easier problems, up to `share` of what makes it hard.
    """

    def problem_at(share: ArrayLike) -> OptimalControlProblem:
        problem = task.problem_at(condition, share)
        if task.first_cost is not None:
            problem = eqx.tree_at(lambda p: p.stage_cost, problem, _fitting(task.first_cost(condition), problem))
        return scaled(problem, scale)

    easiest = problem_at(0.0)
    N, nu, nx = easiest.horizon, easiest.nu, len(x0)
    controls = jnp.zeros((N, nu), x0.dtype) if task.guess is None else task.guess(condition)
    require_shape("guess", controls.shape, (N, nu), "return controls for every interval of the problem's horizon")
    q = GaussianTrajectory(
        open_loop(easiest, x0, controls),
        controls,
        jnp.zeros((N, nu, nx), x0.dtype),
        jnp.broadcast_to(jnp.eye(nu, dtype=x0.dtype), (N, nu, nu)),
        jnp.broadcast_to(task.start_covariance.astype(x0.dtype), (N + 1, nx, nx)),
    )
    solver = eqx.tree_at(lambda s: s.max_iterations, solver, iterations)
    found = solver.run(easiest, q, noise=task.noise)
    if task.eased is None or share == 0:
        return found

    def harder(q: GaussianTrajectory, share: Array) -> tuple[GaussianTrajectory, DistributionSolution]:
        problem = problem_at(share)
        found = brief.run(problem, followed(problem, q), noise=task.noise)
        return found.q, found

    brief = eqx.tree_at(lambda s: s.max_iterations, solver, STAGE_ITERATIONS)
    shares = share * jnp.arange(1, STAGES + 1, dtype=x0.dtype) / STAGES
    return jax.tree.map(lambda leaf: leaf[-1], jax.lax.scan(harder, found.q, shares)[1])


def _fitting(cost: Any, problem: OptimalControlProblem) -> Any:
    """The cost of the first trajectories. Raises if it tracks a demonstration that is not one of the problem."""
    if isinstance(cost, TrackingCost) and is_concrete(cost.dt):
        knots, N = len(cost.x_refs), problem.horizon
        require(
            knots in (N, N + 1) and bool(np.isclose(cost.dt, problem.dt)),
            f"first_cost tracks {knots} states {cost.dt:g} s apart, the problem has {N} intervals of {problem.dt:g} s; "
            "pass a demonstration of the same rate, with a state for each knot",
        )
    return cost


def followed(problem: OptimalControlProblem, q: GaussianTrajectory) -> GaussianTrajectory:
    """The distribution about what its control law does in another problem; its states' covariances stay."""
    law = AffineFeedback.unbounded(q.states[:-1], q.controls, q.gains)
    moved = rollout(problem.dynamics, q.states[0], law, problem.times(0.0, q.states.dtype)[:-1])
    return eqx.tree_at(lambda q: (q.states, q.controls), q, moved)


def scaled(problem: OptimalControlProblem, factor: ArrayLike) -> OptimalControlProblem:
    """The problem with its cost times a factor."""
    terminal = problem.terminal_cost
    cost = None if terminal is None else (lambda x: factor * terminal(x))
    return eqx.tree_at(
        lambda p: (p.stage_cost, p.terminal_cost),
        problem,
        (ScaledCost(problem.stage_cost, factor), cost),
        is_leaf=lambda leaf: leaf is None,
    )


def check_trajectories(q: GaussianTrajectory) -> None:
    """Warn of trajectories (conditions, ...) that are not finite, naming condition and knot; raise if none is."""
    if not is_concrete(q.states):
        return
    finite = np.all(np.isfinite(np.asarray(q.states)), axis=-1)
    lost = [(i, int(np.argmin(row))) for i, row in enumerate(finite) if not all(row)]
    if not lost:
        return
    told = ", ".join(f"that of condition {i} is not from knot {k} on" for i, k in lost)
    message = (
        f"first trajectories must be finite, but {told}; pass a guess or a first_cost that keeps them near "
        "what works, or a smaller first_scale"
    )
    if len(lost) == len(finite):
        raise CostogoError(message)
    warnings.warn(f"{message}. The search goes on without them", stacklevel=3)
