"""The demonstration: recover a cart-pole's physics by watching an expert's controls, then swing up."""

import csv
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from costogo.core.validate import require
from costogo.experiments.diff_mpc.imitation import (
    STARTS,
    expert_data,
    initial_states,
    learner_problem,
    learner_solver,
    mpc_learner,
)
from costogo.experiments.reporting import write_report
from costogo.io import RunFolder, train
from costogo.learn.baselines import LSTMImitation
from costogo.mpc import RecedingHorizon, Trajectory, simulate
from costogo.problem import OptimalControlProblem
from costogo.systems import CartPole
from costogo.viz import COLOURS, Recording, figure, film, save, write_video

SWING_UP_HORIZON = 40  # steps; over 20 the expert itself sees no way up from hanging
TRUTH = {"gravity": 9.8, "cart_mass": 1.0, "pole_mass": 0.1, "length": 0.5}


@dataclass(frozen=True)
class DemoConfig:
    """Sizes of the demonstration; the defaults take about two minutes on two cores."""

    epochs: int = 150
    """training epochs of the MPC; the LSTM gets as many"""
    train_size: int = 50
    """expert trajectories of which only the controls are seen"""
    steps: int = 60
    """closed-loop steps of the swing-up"""
    seed: int = 0

    def __post_init__(self):
        require(self.epochs >= 1, f"epochs is {self.epochs}; pass at least 1")
        require(1 <= self.train_size <= 100, f"train_size is {self.train_size}; pass 1 to 100")
        require(self.steps >= 1, f"steps is {self.steps}; pass at least 1")


def run(config: DemoConfig, folder: Path) -> Path:
    """Run the demonstration in a folder (resumed if it was interrupted); returns the report."""
    began = time.monotonic()
    expert = CartPole()
    data = expert_data(expert, initial_states(expert, config.seed)).with_train_size(config.train_size)
    learner = mpc_learner("cartpole", expert, "mpc.dx", STARTS["cartpole"], data)
    key = jax.random.PRNGKey(config.seed)
    mpc_run = RunFolder.create(folder / "mpc", config, resume=True)
    state = train(learner, key, mpc_run, epochs=config.epochs, evaluate_every=5, label="MPC ")
    lstm_run = RunFolder.create(folder / "lstm", config, resume=True)
    train(LSTMImitation(data), key, lstm_run, epochs=config.epochs, evaluate_every=5, label="LSTM")

    before = learner_problem(expert, learner.parameters, SWING_UP_HORIZON)
    after = learner_problem(expert, state.parameters, SWING_UP_HORIZON)
    trajectories = {
        "expert": swing_up(expert.problem(SWING_UP_HORIZON), config.steps),
        "learner before": swing_up(before, config.steps),
        "learner after": swing_up(after, config.steps),
    }
    video = animate(trajectories, folder / "swing_up.gif")
    curves = plot(read(mpc_run.metrics), read(lstm_run.metrics), folder / "learning.png")
    rows = table({name: float(value) for name, value in state.parameters["dynamics"].items()})
    facts = {
        "wall time": f"{time.monotonic() - began:.0f} s",
        "expert trajectories": config.train_size,
        "epochs": config.epochs,
        "imitation loss of the MPC": read(mpc_run.metrics)[-1]["test_loss"],
        "of the LSTM": read(lstm_run.metrics)[-1]["test_loss"],
    }
    return write_report(
        folder, "costogo demo: learning a cart-pole's physics through its MPC", rows, [curves, video], facts
    )


def swing_up(problem: OptimalControlProblem, steps: int) -> Trajectory:
    """Closed loop on the true cart-pole, hanging at the start, under the MPC of `problem`."""
    controller = RecedingHorizon(problem, solver=learner_solver("cartpole"))
    hanging = jnp.array([0.0, 0.0, np.cos(3.0), np.sin(3.0), 0.0])
    return jax.jit(lambda x0: simulate(controller, x0, steps, dynamics=CartPole()))(hanging)


def animate(trajectories: dict[str, Trajectory], path: Path) -> Path:
    """Expert and learner side by side."""
    recordings = [Recording(name, t.states, t.controls) for name, t in trajectories.items()]
    return write_video(film(CartPole(), recordings), path, fps=1.0 / CartPole().dt)


def read(path: Path) -> list[dict[str, float]]:
    """Rows of a metrics file, evaluated epochs only."""
    with path.open(newline="") as file:
        return [{k: float(v) for k, v in row.items() if v} for row in csv.DictReader(file) if row["test_loss"]]


def table(learned: dict[str, float]) -> list[dict[str, Any]]:
    """Truth, start and result of every parameter."""
    start = STARTS["cartpole"]
    return [
        {
            "parameter": name,
            "expert": TRUTH[name],
            "learner before": start[name],
            "learner after": f"{learned[name]:.4g}",
            "error": f"{100 * abs(learned[name] / TRUTH[name] - 1):.2g} %",
        }
        for name in TRUTH
    ]


def plot(mpc: list[dict[str, float]], lstm: list[dict[str, float]], path: Path) -> Path:
    """Imitation losses, and parameters relative to the expert's."""
    fig, axes = figure(1, 2, size=(5.0, 3.0))
    for rows, name, colour in ((mpc, "differentiable MPC", COLOURS[0]), (lstm, "LSTM", COLOURS[1])):
        axes[0, 0].plot([r["epoch"] for r in rows], [r["test_loss"] for r in rows], color=colour, label=name)
    axes[0, 0].set(yscale="log", xlabel="epoch", ylabel="imitation loss (test)")
    for name, colour in zip(TRUTH, COLOURS, strict=False):
        values = [r[f"parameter['dynamics']['{name}']"] / TRUTH[name] for r in mpc]
        axes[0, 1].plot([r["epoch"] for r in mpc], values, color=colour, label=name)
    axes[0, 1].axhline(1.0, color="0.3", linewidth=0.8, linestyle=":")
    axes[0, 1].set(xlabel="epoch", ylabel="learner / expert", title="learned physics")
    for ax in axes.flat:
        ax.legend(fontsize=8)
    return save(fig, path)
