"""Model predictive control: a solver, applied again at every step from a shifted plan."""

import dataclasses
from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jax.typing import ArrayLike
from jaxtyping import Array, Bool, Float, Int

from costogo.core.validate import as_floating, require
from costogo.mpc.plan import Plan
from costogo.problem import OptimalControlProblem
from costogo.solvers import BoxDDP, ImplicitAdjoint, Solution, solve


class ControllerState(eqx.Module):
    """State of the controller: the last plan, when the next step is due, and whether the plan is still a guess."""

    plan: Plan
    due: Float[Array, ""]
    fresh: Bool[Array, ""]


class StepInfo(eqx.Module):
    """What one control step reports: predicted cost, status code, iterations."""

    cost: Float[Array, ""]
    status: Int[Array, ""]
    iterations: Int[Array, ""]


class RecedingHorizon(eqx.Module):
    """Receding-horizon controller.

    At each step the problem is solved from the measured state and time, starting from the last plan: interpolated at
    the new knots (steps and knots need not coincide), followed with its feedback from the measured state, and continued
    where it ends. The first control is applied. `iterations=None` solves to convergence; `iterations=n` takes at most n
    iterations per step (n=1: real-time iteration), and then `MAX_ITERATIONS` is the normal status.

    `guess(x, ts) -> states (N+1, nx), controls (N, nu)` is where planning starts, and how a plan goes on beyond its
    end; without it these are zero controls and the last control held. With an infeasible-start solver such as `SLQ` the
    guess need not follow the dynamics, and where `iterations` limits a step, the first one may take
    `first_iterations`. All state is explicit: `u, state, info = controller.step(state, x, t)`.
    """

    problem: OptimalControlProblem
    solver: Any = eqx.field(default_factory=BoxDDP)
    adjoint: Any = eqx.field(default_factory=ImplicitAdjoint)
    iterations: int | None = eqx.field(static=True, default=None)
    guess: Callable | None = None
    first_iterations: int = eqx.field(static=True, default=10)

    def __check_init__(self):
        require(
            self.iterations is None or self.iterations >= 1,
            f"iterations is {self.iterations}; pass at least 1, or None to solve to convergence",
        )
        require(self.first_iterations >= 1, f"first_iterations is {self.first_iterations}; pass at least 1")

    def init(
        self,
        x0: Float[ArrayLike, " nx"],
        controls: Float[ArrayLike, "N nu"] | None = None,
        *,
        t0: ArrayLike = 0.0,
    ) -> ControllerState:
        """Controller state before the first step, at `t0`; `controls` is the first plan, if there is no `guess`."""
        x0 = as_floating("x0", x0)
        t0 = jnp.asarray(t0, x0.dtype)
        if self.guess is not None:
            states, controls = self.guess(x0, self.problem.times(t0, x0.dtype))
        else:
            shape = (self.problem.horizon, self.problem.nu)
            controls = jnp.zeros(shape, x0.dtype) if controls is None else jnp.asarray(controls, x0.dtype)
            states = jnp.broadcast_to(x0, (self.problem.horizon + 1, x0.size))
        return ControllerState(Plan.open_loop(t0, states, controls), t0, jnp.array(self.guess is not None))

    def plan(
        self, state: ControllerState, x: Float[ArrayLike, " nx"], t: ArrayLike | None = None
    ) -> tuple[Solution, ControllerState]:
        """Solve for state `x` at time `t` (default: one interval after the last step); what `step` does, with all of
        the solution. Where the solve failed, the state still has the old plan, moved on."""
        x = as_floating("x", x)
        t = state.due if t is None else jnp.asarray(t, x.dtype)
        start = jax.lax.stop_gradient(_warm_start(self.problem, self.guess, state, x, t))
        given = {} if self.solver.differentiable else {"states": start.states}
        solver = self._solver(state.fresh)
        solution = solve(self.problem, x, start.controls, solver=solver, adjoint=self.adjoint, t0=t, **given)
        new = Plan(t, solution.states, solution.controls, jax.lax.stop_gradient(solution.gains))
        due = t + jnp.asarray(self.problem.dt, t.dtype)
        return solution, ControllerState(_finite_plan(new, start), due, jnp.zeros_like(state.fresh))

    def _solver(self, fresh: Array) -> Any:
        """The solver with the iterations of one step."""
        if self.iterations is None:
            return self.solver
        limit: Any = self.iterations
        if self.guess is not None and not self.solver.differentiable:
            # One program for both: the first solve is not compiled apart.
            limit = jnp.where(fresh, self.first_iterations, limit)
        return dataclasses.replace(self.solver, max_iterations=limit)

    def step(
        self, state: ControllerState, x: Float[ArrayLike, " nx"], t: ArrayLike | None = None
    ) -> tuple[Float[Array, " nu"], ControllerState, StepInfo]:
        """Control for state `x` at time `t` (default: one interval after the last step).

        A failed solve leaves a finite plan where there was one before.
        """
        solution, state = self.plan(state, x, t)
        return state.plan.controls[0], state, StepInfo(solution.cost, solution.status, solution.iterations)


@eqx.filter_jit
def _warm_start(problem: OptimalControlProblem, guess: Callable | None, state: ControllerState, x: Array, t: Array):
    """The last plan, moved to the knots from `t` on and followed from `x`; a guess is not followed."""
    plan = state.plan
    if guess is None:
        tail = Plan.open_loop(t, *(jnp.broadcast_to(a[-1], a.shape) for a in (plan.states, plan.controls)))
    else:
        tail = Plan.open_loop(t, *guess(x, problem.times(t, x.dtype)))
    warm = plan.move(problem, tail)
    states, controls = warm.follow(problem, x)
    # From a state that is not finite, the plan without feedback is still one.
    keep = ~state.fresh & jnp.all(jnp.isfinite(states)) & jnp.all(jnp.isfinite(controls))
    states, controls = (jnp.where(keep, new, old) for new, old in ((states, warm.states), (controls, warm.controls)))
    return Plan(t, states, controls, warm.gains)


def _finite_plan(new: Plan, old: Plan) -> Plan:
    """The new plan if all of it is finite, else the old one."""
    finite = jnp.all(jnp.array([jnp.all(jnp.isfinite(leaf)) for leaf in jax.tree.leaves(new)]))
    return jax.tree.map(lambda a, b: jnp.where(finite, a, b), new, old)


class Trajectory(eqx.Module):
    """Closed-loop states (steps+1, nx), controls (steps, nu), times (steps,) and what each step reported."""

    states: Float[Array, "steps+1 nx"]
    controls: Float[Array, "steps nu"]
    times: Float[Array, " steps"]
    info: Any


def simulate(
    controller: Any,
    x0: Float[ArrayLike, " nx"],
    steps: int,
    *,
    dynamics: Callable | None = None,
    dt: ArrayLike | None = None,
    t0: ArrayLike = 0.0,
) -> Trajectory:
    """Run a controller in closed loop for `steps` steps, as one scan.

    `controller` has `init(x0, t0=...)` and `step(state, x, t) -> u, state, info`. The plant is `dynamics(x, u, t)`, by
    default the controller's own model; `dt` is the time between steps, by default the problem's.
    """
    require(steps >= 1, f"steps is {steps}; pass at least 1")
    plant = controller.problem.dynamics if dynamics is None else dynamics
    x0 = as_floating("x0", x0)
    dt = controller.problem.dt if dt is None else dt
    times = jnp.asarray(t0, x0.dtype) + jnp.asarray(dt, x0.dtype) * jnp.arange(steps, dtype=x0.dtype)

    def step(carry, t):
        x, state = carry
        u, state, info = controller.step(state, x, t)
        new = jnp.asarray(plant(x, u, t), x.dtype)
        return (new, state), (new, u, info)

    start = controller.init(x0, t0=t0)
    _, (states, controls, info) = jax.lax.scan(step, (x0, start), times)
    return Trajectory(jnp.concatenate([x0[None], states]), controls, times, info)
