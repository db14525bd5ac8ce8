"""The demonstration: a network learns from an MPC to balance a robot on a ball, and is compared with its teacher."""

import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import equinox as eqx
import jax
import numpy as np

from costogo.core.validate import require
from costogo.experiments.claims import write_rows
from costogo.experiments.mpc_net.presets import MPCNetConfig, build
from costogo.experiments.mpc_net.results import TEST_KEY, compare, draw_learning
from costogo.experiments.mpc_net.videos import recordings
from costogo.experiments.reporting import write_report
from costogo.io import CheckpointFolder, RunFolder, export, train
from costogo.io.runs import read_rows
from costogo.learn.mpc_net import MPCNet
from costogo.systems import Ballbot

STEPS = 60  # of the video: 6 s


@dataclass(frozen=True)
class DemoConfig:
    """Sizes of the demonstration; the defaults take about a minute on two cores."""

    rounds: int | None = None
    """rounds of rollouts and updates, if not the ballbot's"""
    starts: int = 40
    """unseen starts of the comparison"""
    seed: int = 0

    def __post_init__(self):
        require(self.rounds is None or self.rounds >= 1, f"rounds is {self.rounds}; pass at least 1")
        require(self.starts >= 1, f"starts is {self.starts}; pass at least 1")


def run(config: DemoConfig, folder: Path) -> Path:
    """Run the demonstration in a folder (resumed if it was interrupted); returns the report."""
    setting = MPCNetConfig(system="ballbot", seed=config.seed, rounds=config.rounds)
    learner, key = build(setting), jax.random.PRNGKey(config.seed)
    settings, defaults = {"learner": "mpc_net", **vars(setting)}, vars(MPCNetConfig())
    place = RunFolder.create(folder / "run", settings, resume=True, defaults=defaults)
    resumed = bool(CheckpointFolder(place.checkpoints).paths())
    began = time.monotonic()
    if not resumed:
        learner.init(key)  # what JAX compiles for it, the training finds
    compiled = time.monotonic() - began
    state = train(
        learner, key, place, epochs=learner.rounds, evaluate_every=4, metric="rollout_survived", label="ballbot"
    )
    trained = time.monotonic() - began
    rows = compare(learner, state, config.starts, learner.test_steps)
    for row, microseconds in zip(rows, step_times(learner, state.policy, folder), strict=False):
        row["microseconds per step"] = microseconds
    write_rows(folder / "comparison.csv", rows)
    took = f"{trained:.0f} s, of which {compiled:.0f} s for compilation and the first rollouts"
    facts = {
        "training": "resumed, so not timed" if resumed else took,
        "data": f"{learner.robot_minutes:.0f} minutes of robot time under the MPC",
        "starts": f"{config.starts}, unseen, {learner.test_steps * float(learner.task.controller.problem.dt):g} s each",
    }
    media = [draw_learning(read_rows(place.metrics), folder / "learning.png"), film(learner, state.policy, folder)]
    return write_report(folder, "costogo demo: a network balances a robot on a ball", rows, media, facts)


def step_times(learner: MPCNet, policy: Any, folder: Path) -> tuple[float, float]:
    """Microseconds of one call of the MPC, in JAX, and of the network, as the NumPy file that is written here."""
    task = learner.task
    x, t = task.start(jax.random.PRNGKey(TEST_KEY))
    step, memory = eqx.filter_jit(task.controller.step), task.controller.init(x, t0=t)
    _, memory, _ = step(memory, x, t)
    times = []
    for _ in range(50):
        began = time.perf_counter()
        jax.block_until_ready(step(memory, x, t))
        times.append(time.perf_counter() - began)
    report = export(policy, folder / "policy.npz")
    return round(1e6 * float(np.median(times)), 1), round(float(report.latency or np.nan), 1)


def film(learner: MPCNet, policy: Any, folder: Path) -> Path:
    """MPC and network side by side from one unseen start."""
    from costogo.viz import film as frames
    from costogo.viz import write_video

    ballbot = Ballbot()
    shown = recordings(learner, policy, seed=0, steps=STEPS)
    return write_video(frames(ballbot, shown), folder / "ballbot.gif", fps=1.0 / ballbot.dt)
