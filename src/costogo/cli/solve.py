"""`costogo solve`: one optimal control problem, from a given or a drawn state."""

import csv
from dataclasses import dataclass
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from costogo.cli.console import say, say_table
from costogo.core.errors import writable
from costogo.core.status import Status
from costogo.core.validate import require
from costogo.solvers import BoxDDP, Solution, solve
from costogo.systems import get


@dataclass(frozen=True)
class Solve:
    """Solve one optimal control problem; prints a summary, writes trajectory.csv and trajectory.png.

    Examples: "costogo solve --system cartpole --horizon 40 --seed 3 --video" or
    "costogo solve --system pendulum --x0 -1 0 0 --horizon 60 --subproblem clamped".
    """

    system: str = "pendulum"
    """pendulum, cartpole, double_integrator or linear"""
    horizon: int = 20
    """number of intervals"""
    x0: tuple[float, ...] = ()
    """initial state, one number per state; by default drawn from the system's distribution"""
    seed: int = 0
    """seed of that draw"""
    subproblem: str = "interior_point"
    """treatment of control bounds: interior_point or clamped"""
    shooting: str = "single"
    """forward pass: single or multiple shooting"""
    hessian: str = "gauss_newton"
    """curvature of the dynamics: gauss_newton drops it, exact keeps it"""
    max_iterations: int = 100
    """iteration limit"""
    video: bool = False
    """also write trajectory.gif (pendulum, cartpole, double_integrator)"""
    out: Path = Path("runs/solve")
    """output folder"""

    def run(self) -> None:
        """Solve and write."""
        system = get(self.system)
        solver = BoxDDP(
            subproblem=self.subproblem,
            shooting=self.shooting,
            hessian=self.hessian,
            max_iterations=self.max_iterations,
        )
        problem = system.problem(self.horizon)
        x0 = self._initial_state(system)
        folder = writable(self.out)
        solution = solve(problem, x0, solver=solver)
        self._summarise(system, x0, solution)
        times = np.asarray(system.dt) * np.arange(self.horizon + 1)
        _write_csv(folder / "trajectory.csv", system, times, solution)
        for path in _pictures(folder, system, times, solution, self.video):
            say(f"  wrote {path}")

    def _initial_state(self, system) -> Array:
        if not self.x0:
            return system.initial_state(jax.random.PRNGKey(self.seed))
        require(
            len(self.x0) == system.nx,
            f"x0 has {len(self.x0)} numbers; {self.system} has {system.nx} states: {', '.join(system.state_names)}",
        )
        return jnp.asarray(self.x0, float)

    def _summarise(self, system, x0: Array, solution: Solution) -> None:
        status = Status(int(solution.status))
        say(f"{self.system}, {self.horizon} intervals of {system.dt:g}: {status.name} ({status.describe()})")
        held = int(np.sum(solution.active))
        say_table(
            [
                ["initial state", " ".join(f"{v:.4g}" for v in x0)],
                ["final state", " ".join(f"{v:.4g}" for v in solution.states[-1])],
                ["cost", float(solution.cost)],
                ["iterations", int(solution.iterations)],
                ["stationarity", float(solution.stats.stationarity)],
                ["controls at a bound", f"{held} of {solution.active.size}"],
            ]
        )


def _write_csv(path: Path, system, times: np.ndarray, solution: Solution) -> None:
    """One row per knot; the last one has no control."""
    states, controls = np.asarray(solution.states), np.asarray(solution.controls)
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["time", *system.state_names, *system.control_names])
        for k, (t, x) in enumerate(zip(times.tolist(), states.tolist(), strict=True)):
            writer.writerow([t, *x, *(controls[k].tolist() if k < len(controls) else [""] * system.nu)])


def _pictures(folder: Path, system, times: np.ndarray, solution: Solution, video: bool) -> list[Path]:
    from costogo.viz import Recording, draw_trajectory, film, save, write_video

    states, controls = np.asarray(solution.states), np.asarray(solution.controls)
    bounds = tuple(np.asarray(bound) for bound in system.control_bounds())
    fig = draw_trajectory(times, states, controls, system.state_names, system.control_names, bounds)
    paths = [folder / "trajectory.csv", save(fig, folder / "trajectory.png")]
    if video:
        frames = film(system, [Recording("solution", states, controls)])
        paths.append(write_video(frames, folder / "trajectory.gif", fps=1.0 / system.dt))
    return paths
