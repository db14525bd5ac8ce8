"""Model predictive control: a solver, applied again at every step from a shifted plan."""

import dataclasses
from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jax.typing import ArrayLike
from jaxtyping import Array, Float, Int

from costogo.core.validate import as_floating, require
from costogo.problem import OptimalControlProblem
from costogo.solvers import BoxDDP, ImplicitAdjoint, solve


def repeat_last(controls: Array) -> Array:
    """Shift operator: drop the first control, hold the last."""
    return jnp.concatenate([controls[1:], controls[-1:]])


class ControllerState(eqx.Module):
    """State of the controller: the plan (N, nu) from which the next solve starts."""

    controls: Float[Array, "N nu"]


class StepInfo(eqx.Module):
    """What one control step reports: predicted cost, status code, iterations."""

    cost: Float[Array, ""]
    status: Int[Array, ""]
    iterations: Int[Array, ""]


class RecedingHorizon(eqx.Module):
    """Receding-horizon controller.

    At each step the problem is solved from the measured state, starting from the last plan moved on by one interval;
    the first control is applied. `iterations=None` solves to convergence; `iterations=n` takes at most n iterations
    per step (n=1: real-time iteration), and then `MAX_ITERATIONS` is the normal status. `shift` maps the last plan to
    the next guess. All state is explicit: `u, state, info = controller.step(state, x, t)`.
    """

    problem: OptimalControlProblem
    solver: Any = eqx.field(default_factory=BoxDDP)
    adjoint: Any = eqx.field(default_factory=ImplicitAdjoint)
    iterations: int | None = eqx.field(static=True, default=None)
    shift: Callable = eqx.field(static=True, default=repeat_last)

    def __check_init__(self):
        require(
            self.iterations is None or self.iterations >= 1,
            f"iterations is {self.iterations}; pass at least 1, or None to solve to convergence",
        )

    def init(self, x0: Float[ArrayLike, " nx"], controls: Float[ArrayLike, "N nu"] | None = None) -> ControllerState:
        """Controller state before the first step; `controls` is the first guess (default zero)."""
        dtype = as_floating("x0", x0).dtype
        shape = (self.problem.horizon, self.problem.nu)
        return ControllerState(jnp.zeros(shape, dtype) if controls is None else jnp.asarray(controls, dtype))

    def step(
        self, state: ControllerState, x: Float[ArrayLike, " nx"], t: ArrayLike = 0.0
    ) -> tuple[Float[Array, " nu"], ControllerState, StepInfo]:
        """Control for state `x` at time `t`. A failed solve leaves a finite plan where there was one before."""
        solver = self.solver
        if self.iterations is not None:
            solver = dataclasses.replace(solver, max_iterations=self.iterations)
        solution = solve(self.problem, x, state.controls, solver=solver, adjoint=self.adjoint, t0=t)
        finite = jnp.all(jnp.isfinite(solution.controls))
        plan = jnp.where(finite, solution.controls, state.controls)
        info = StepInfo(solution.cost, solution.status, solution.iterations)
        return plan[0], ControllerState(self.shift(plan)), info


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

    `controller` has `init(x0)` and `step(state, x, t) -> u, state, info`. The plant is `dynamics(x, u, t)`, by default
    the controller's own model; `dt` is the time between steps, by default the problem's.
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

    _, (states, controls, info) = jax.lax.scan(step, (x0, controller.init(x0)), times)
    return Trajectory(jnp.concatenate([x0[None], states]), controls, times, info)
