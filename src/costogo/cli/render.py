"""`costogo render`: videos of closed loops."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import equinox as eqx
import jax
import numpy as np
from jax.typing import ArrayLike
from jaxtyping import Array

from costogo.cli.console import say
from costogo.core.validate import require
from costogo.experiments.diff_mpc.imitation import learner_problem
from costogo.mpc import RecedingHorizon, simulate
from costogo.solvers import BoxDDP
from costogo.systems import get


class NetworkController(eqx.Module):
    """Applies the first control of a policy that maps a state to controls (N, nu), anew at every step."""

    policy: Any

    def init(self, x0: Array, *, t0: ArrayLike = 0.0) -> tuple[()]:
        """No state."""
        return ()

    def step(self, state: tuple[()], x: Array, t: Array) -> tuple[Array, tuple[()], tuple[()]]:
        """Control for state `x`."""
        return self.policy(x.astype("float32"))[0].astype(x.dtype), (), ()


@dataclass(frozen=True)
class Render:
    """Make a video of a system under MPC, or of what a run has learned beside the expert.

    Examples: "costogo render --system cartpole --out swing_up.mp4",
    "costogo render --run-folder runs/diff_mpc-pendulum-mpc.dx --out learned.gif".
    """

    system: str = "cartpole"
    """pendulum, cartpole or double_integrator (with --run-folder: the run's)"""
    run_folder: Path | None = None
    """folder that `costogo train` wrote; its best seed is shown beside the expert"""
    horizon: int = 20
    """intervals that the expert's MPC looks ahead (a run keeps its own)"""
    steps: int = 80
    """closed-loop steps"""
    seed: int = 0
    """seed of the initial state"""
    out: Path = Path("runs/mpc.mp4")
    """.mp4 or .gif"""

    def run(self) -> None:
        """Simulate and write the video."""
        from costogo.viz import Recording, film, write_video

        require(self.steps >= 1, f"steps is {self.steps}; pass at least 1")
        name, controllers = self.system, {}
        if self.run_folder is not None:
            name, controllers = _learned(self.run_folder)
        system = get(name)
        solver = BoxDDP(subproblem="clamped")
        controllers = {"expert": RecedingHorizon(system.problem(self.horizon), solver=solver), **controllers}
        x0 = system.initial_state(jax.random.PRNGKey(self.seed))
        recordings = []
        for title, controller in controllers.items():
            path = eqx.filter_jit(lambda c, x: simulate(c, x, self.steps, dynamics=system, dt=system.dt))(
                controller, x0
            )
            recordings.append(Recording(title, np.asarray(path.states), np.asarray(path.controls)))
        say(f"wrote {write_video(film(system, recordings), self.out, fps=1.0 / system.dt)}")


def _learned(folder: Path) -> tuple[str, dict[str, Any]]:
    """System of a run and the controller of its best seed."""
    from costogo.cli.train import TrainedRun

    trained = TrainedRun.load(folder)
    best = int(np.nanargmin(trained.metrics()["validation_loss"]))
    state = jax.tree.map(lambda a: a[best] if eqx.is_array(a) else a, trained.state)
    system = get(trained.config.system)
    if trained.config.mode == "nn":
        return trained.config.system, {"learner (network)": NetworkController(trained.learner.learner.policy(state))}
    problem = learner_problem(system, state.parameters)
    controller = RecedingHorizon(problem, solver=BoxDDP(subproblem="clamped"))
    return trained.config.system, {f"learner ({trained.config.mode})": controller}
