"""`costogo render`: videos of closed loops."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import equinox as eqx
import jax
import numpy as np
from jax.typing import ArrayLike
from jaxtyping import Array
from tyro.conf import OmitArgPrefixes

from costogo.cli.console import say
from costogo.cli.evaluate import seed_metrics
from costogo.cli.trained import TrainedRun
from costogo.core.errors import CostogoError
from costogo.core.validate import require
from costogo.experiments.diff_mpc.imitation import learner_problem
from costogo.experiments.mpc_net.conditions import Conditions
from costogo.mpc import RecedingHorizon, simulate
from costogo.solvers import BoxDDP
from costogo.systems import get

Frames = tuple[Iterable[np.ndarray], float]  # pictures, and how many make a second


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
    """Make a video of a system under MPC, or of what a run has learned beside its expert.

    Examples: "costogo render --system cartpole --out swing_up.mp4", "costogo render --run-folder
    runs/diff_mpc-pendulum-mpc.dx --out learned.gif", "costogo render --run-folder runs/mpc_net-anymal-trot --physics",
    "costogo render --run-folder runs/constrained_gps-walker-constrained --steps 400".
    """

    system: str = "cartpole"
    """pendulum, cartpole or double_integrator (with --run-folder: the run's)"""
    run_folder: Path | None = None
    """folder that `costogo train` wrote; the expert is shown beside it"""
    horizon: int = 20
    """intervals that the expert's MPC looks ahead (a run keeps its own)"""
    steps: int = 80
    """closed-loop steps"""
    seed: int = 0
    """seed of the initial state (constrained_gps: which unseen start), and with --physics of the noise"""
    physics: bool = False
    """an anymal run in MuJoCo with noisy estimates instead of its model, for `steps` knots"""
    conditions: OmitArgPrefixes[Conditions] = field(default_factory=Conditions)
    out: Path = Path("runs/mpc.mp4")
    """.mp4 or .gif"""

    def run(self) -> None:
        """Simulate and write the video."""
        from costogo.viz import write_video

        require(self.steps >= 1, f"steps is {self.steps}; pass at least 1")
        trained = None if self.run_folder is None else TrainedRun.load(self.run_folder)
        self.conditions.require_use(self.physics)
        if self.physics and (trained is None or getattr(trained.config, "system", "") != "anymal"):
            raise CostogoError("physics needs an anymal run; pass --run-folder, or leave out --physics")
        frames, fps = _expert(self, self.system) if trained is None else FRAMES[trained.kind](self, trained)
        say(f"wrote {write_video(frames, self.out, fps=fps)}")


def _expert(options: Render, name: str, controllers: Mapping[str, Any] | None = None) -> Frames:
    """A benchmark system under its expert, and beside it under other controllers."""
    from costogo.viz import Recording, film

    system = get(name)
    expert = RecedingHorizon(system.problem(options.horizon), solver=BoxDDP(subproblem="clamped"))
    x0 = system.initial_state(jax.random.PRNGKey(options.seed))
    recordings = []
    for title, controller in {"expert": expert, **(controllers or {})}.items():
        path = eqx.filter_jit(lambda c, x: simulate(c, x, options.steps, dynamics=system, dt=system.dt))(controller, x0)
        recordings.append(Recording(title, np.asarray(path.states), np.asarray(path.controls)))
    return film(system, recordings), 1.0 / system.dt


def _imitated(options: Render, trained: TrainedRun) -> Frames:
    """A diff_mpc run beside its expert."""
    return _expert(options, *_learned(trained))


def _distilled(options: Render, trained: TrainedRun) -> Frames:
    """An mpc_net run beside its teacher, or in MuJoCo."""
    from costogo.experiments.mpc_net import videos

    config, policy, steps = trained.config, trained.state.policy, options.steps
    if options.physics:
        return videos.physics_frames(config, policy, options.seed, steps, options.conditions)
    return videos.model_frames(config, trained.learner, policy, options.seed, steps)


def _searched(options: Render, trained: TrainedRun) -> Frames:
    """The policy of a constrained_gps run."""
    from costogo.experiments.constrained_gps.videos import motion_frames  # needs mujoco

    return motion_frames(trained.config, trained.state.policy, options.seed, options.steps)


def _reinforced(options: Render, trained: TrainedRun) -> Frames:
    """The policy of a dmd_mpc run."""
    from costogo.experiments.dmd_mpc.results import motion_frames  # needs mujoco

    return motion_frames(trained.config, trained.learner.policy(trained.state), options.seed, options.steps)


FRAMES = {"diff_mpc": _imitated, "mpc_net": _distilled, "constrained_gps": _searched, "dmd_mpc": _reinforced}


def _learned(trained: TrainedRun) -> tuple[str, dict[str, Any]]:
    """System of a run and the controller of its best seed."""
    best = int(np.nanargmin(seed_metrics(trained)["validation_loss"]))
    state = jax.tree.map(lambda a: a[best] if eqx.is_array(a) else a, trained.state)
    system = get(trained.config.system)
    if trained.config.mode == "nn":
        return trained.config.system, {"learner (network)": NetworkController(trained.learner.learner.policy(state))}
    problem = learner_problem(system, state.parameters)
    controller = RecedingHorizon(problem, solver=BoxDDP(subproblem="clamped"))
    return trained.config.system, {f"learner ({trained.config.mode})": controller}
