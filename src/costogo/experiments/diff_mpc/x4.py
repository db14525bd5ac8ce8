"""X4: an expert outside the model class (spec differentiable_mpc section 8; paper section 5.4, figure 5)."""

import time
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from costogo.experiments.claims import Claim, judge, write_claims, write_rows
from costogo.experiments.diff_mpc.imitation import (
    expert_data,
    initial_states,
    learner_problem,
    mpc_learner,
    sysid_learner,
)
from costogo.experiments.diff_mpc.series import Observed, run_series
from costogo.experiments.registry import ExperimentConfig
from costogo.experiments.reporting import mean_and_range, write_report
from costogo.learn import ImitationData
from costogo.learn.baselines import next_state_errors
from costogo.systems import Pendulum
from costogo.viz import COLOURS, figure, save

VARIANTS = {"public code (-d th)": "angle", "paper (-d thdot)": "rate"}
METHODS = ("sysid", "mpc.dx")


def start(key: Array) -> dict[str, Array]:
    """Simple pendulum, `(5, 1, 1) + (3, 1, 1) * U(-1/2, 1/2)`."""
    values = jnp.array([5.0, 1.0, 1.0]) + jnp.array([3.0, 1.0, 1.0]) * jax.random.uniform(
        key, (3,), minval=-0.5, maxval=0.5
    )
    return dict(zip(("gravity", "mass", "length"), values, strict=True))


def learners(damping_acts_on: str) -> dict[str, Any]:
    """Both methods on the same data; each reports imitation and next-state loss."""
    expert = Pendulum(damping=1.0, bias=0.1, damping_acts_on=damping_acts_on)
    data = expert_data(expert, initial_states(expert, seed=0))
    imitator = mpc_learner("pendulum", Pendulum(), "mpc.dx", start, data)

    def observe(parameters: dict[str, Any]) -> dict[str, Array]:
        metrics = imitator.evaluate_parameters(parameters)
        return {**metrics, "next_state_loss": _next_state_loss(parameters, data)}

    methods = {"sysid": sysid_learner(Pendulum(), start, data), "mpc.dx": imitator}
    return {name: Observed(learner, observe) for name, learner in methods.items()}


def _next_state_loss(parameters: dict[str, Any], data: ImitationData) -> Array:
    dynamics = learner_problem(Pendulum(), parameters).dynamics
    return jnp.mean(next_state_errors(dynamics, data.test))


def run(config: ExperimentConfig, folder: Path) -> None:
    """Train both methods on both experts; write curves, summary, figure and claims."""
    seeds = config.seed_count(8, quick=2)
    epochs = 10 if config.quick else 250
    curves: list[dict[str, Any]] = []
    for variant, damping_acts_on in VARIANTS.items():
        for method, learner in learners(damping_acts_on).items():
            began = time.monotonic()
            rows = run_series(
                learner, folder / "runs" / f"{method}-{damping_acts_on}", {"variant": variant, "method": method},
                epochs=epochs, seeds=seeds, evaluate_every=5, label=f"x4 {method} {damping_acts_on}",
            )  # fmt: skip
            curves += [{**row, "seconds": time.monotonic() - began} for row in rows]
    summary = [row for row in curves if row["epoch"] == epochs]
    write_rows(folder / "curves.csv", curves)
    write_rows(folder / "summary.csv", summary)
    rows = write_claims(folder, claims(summary, seeds))
    plot(curves, folder / "x4.png")
    write_report(
        folder, "X4: non-realisable expert", rows, [folder / "x4.png"], {"seeds": seeds, "epochs": epochs, "train": 100}
    )


def claims(summary: list[dict[str, Any]], seeds: int) -> list[Claim]:
    """Spec acceptance check 15: each method wins on its own loss."""
    found = []
    for variant in VARIANTS:
        median = {
            (method, metric): float(np.median(
                [r[metric] for r in summary if r["variant"] == variant and r["method"] == method]
            ))
            for method in METHODS
            for metric in ("test_loss", "next_state_loss")
        }  # fmt: skip
        for metric, winner, loser in (("test_loss", "mpc.dx", "sysid"), ("next_state_loss", "sysid", "mpc.dx")):
            ours, other = median[winner, metric], median[loser, metric]
            label = "imitation loss" if metric == "test_loss" else "next-state loss"
            found.append(
                Claim(f"{variant}: {label} lower for {winner} than for {loser} (medians)", "lower",
                      f"{ours:.3g} against {other:.3g}", judge(ours < other), seeds)
            )  # fmt: skip
    return found


def plot(curves: list[dict[str, Any]], path: Path) -> None:
    """Both losses of both methods against epochs, mean and range over seeds."""
    fig, axes = figure(2, 2, sharex=True)
    for row, variant in zip(axes, VARIANTS, strict=True):
        for ax, metric, label in zip(
            row, ("test_loss", "next_state_loss"), ("imitation loss", "next-state loss"), strict=True
        ):
            for method, colour in zip(METHODS, COLOURS, strict=False):
                rows = [r for r in curves if r["variant"] == variant and r["method"] == method]
                mean_and_range(ax, rows, "epoch", metric, colour, method)
            ax.set(yscale="log", ylabel=label, title=variant)
            ax.legend()
    for ax in axes[-1]:
        ax.set_xlabel("epoch")
    save(fig, path)
