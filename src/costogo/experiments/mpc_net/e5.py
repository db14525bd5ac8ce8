"""E-5: how many minutes of MPC data a stable policy takes (spec mpc_net section 10). The runs are those of E-1."""

from pathlib import Path
from typing import Any

import numpy as np

from costogo.experiments.claims import Claim, judge, write_claims, write_rows
from costogo.experiments.mpc_net.presets import PAPER_GAITS, MPCNetConfig
from costogo.experiments.mpc_net.runs import all_runs
from costogo.experiments.registry import ExperimentConfig
from costogo.experiments.reporting import mean_and_interval, write_report
from costogo.experiments.training_runs import Run

STABLE = 0.9  # of the starts of the evaluation survive


def run(config: ExperimentConfig, folder: Path) -> None:
    """Survival against minutes of data for every gait; write curves, figure and claims."""
    seeds = config.seed_count(3)
    settings = [MPCNetConfig(system="anymal", gait=gait) for gait in PAPER_GAITS]
    rows = [
        {"gait": PAPER_GAITS[number], **row}
        for number, run in all_runs(config, folder, settings, seeds)
        for row in against_minutes(run)
    ]
    write_rows(folder / "survival.csv", rows)
    table = write_claims(folder, [_claim(gait, [r for r in rows if r["gait"] == gait], seeds) for gait in PAPER_GAITS])
    write_report(folder, "E-5: minutes of data", table, [draw(rows, folder / "survival.png")], {"seeds": seeds})


def against_minutes(run: Run) -> list[dict[str, Any]]:
    """Survival of the student and robot time spent so far, at every evaluation."""
    learner = run.learner
    most = learner.rollouts * learner.steps * float(learner.task.controller.problem.dt)
    rows, seconds = [], most
    for row in run.curves:
        seconds += row["rollout_survival"] * learner.rollouts
        if "survived" in row:
            keys = ("seed", "epoch", "alpha", "survived", "survival")
            full = round(most * (row["epoch"] + 1) / 60, 3)
            rows.append({"minutes": round(seconds / 60, 3), "minutes, at most": full, **{k: row[k] for k in keys}})
    return rows


def _claim(gait: str, rows: list[dict[str, Any]], seeds: int) -> Claim:
    minutes = []
    for seed in sorted({row["seed"] for row in rows}):
        own = [row for row in rows if row["seed"] == seed]
        bad = [i for i, row in enumerate(own) if row["survived"] < STABLE]
        first = bad[-1] + 1 if bad else 0
        minutes.append(own[first]["minutes"] if first < len(own) else np.inf)
    return Claim(
        f"{gait}: stable, and stable from then on, after this much MPC data", "about 8 min",
        ", ".join(f"{m:.1f} min" for m in minutes), judge(max(minutes) <= 8.5, np.median(minutes) <= 10), seeds,
    )  # fmt: skip


def draw(rows: list[dict[str, Any]], path: Path) -> Path:
    """Share of the starts survived against the data spent, had no rollout ended early: so all seeds share an axis."""
    from costogo.viz import COLOURS, figure, save

    fig, axes = figure(1, 1, size=(5.0, 3.0))
    for gait, colour in zip(PAPER_GAITS, COLOURS, strict=False):
        own = [row for row in rows if row["gait"] == gait]
        mean_and_interval(axes[0, 0], own, "minutes, at most", "survived", colour, gait)
    axes[0, 0].set(xlabel="minutes of MPC data, at most", ylabel="share of starts survived for 3 s", ylim=(-0.02, 1.02))
    axes[0, 0].legend()
    return save(fig, path)
