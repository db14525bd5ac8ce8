"""G4: recovering from pushes, trained on one push or on four (spec constrained_gps section 10; check 15)."""

from pathlib import Path
from typing import Any

import numpy as np

from costogo.experiments.claims import write_rows
from costogo.experiments.constrained_gps.arms import Comparison
from costogo.experiments.constrained_gps.disturbed import PUSHES, UNSEEN_PUSHES
from costogo.experiments.constrained_gps.generalising import OURS, compare
from costogo.experiments.constrained_gps.presets import setting_of
from costogo.experiments.constrained_gps.results import motions, up_for
from costogo.experiments.registry import ExperimentConfig
from costogo.experiments.training_runs import Run

COUNTS = (1, 4)
FORCES = (-300.0, -275.0, -250.0, 250.0, 275.0, 300.0)  # N
PHASES = 25  # of a stride


def run(config: ExperimentConfig, folder: Path) -> None:
    """Train ours and three baselines on one and on four pushes; test on four others, and look where policies hold."""
    compare("push", COUNTS, config, folder, draw_where)


def withstood(run: Run) -> list[dict[str, Any]]:
    """Seconds that the policy of a run stays up, for pushes of `FORCES` at `PHASES` phases. Found once, then read."""
    pushes = tuple((force, phase / PHASES) for force in FORCES for phase in range(PHASES))

    def seconds() -> list[dict[str, Any]]:
        task = setting_of(run.setting, unseen=pushes).task
        dt = task.problem_of(tuple(leaf[0] for leaf in task.conditions)).dt
        up = up_for(motions(task, run.state.policy)["unseen"]) * dt
        return [
            {"force [N]": force, "phase": phase, "seconds": float(time)}
            for (force, phase), time in zip(pushes, up, strict=True)
        ]

    return run.kept("withstood", seconds, forces=list(FORCES), phases=PHASES)


def draw_where(found: Comparison, folder: Path) -> list[Path]:
    """How long our policies stay up against force and phase of a push, a panel per seed; circles are training pushes,
    with dots where the legs are exchanged, crosses the unseen ones. Writes `withstood.csv` too."""
    from costogo.viz import figure, save

    runs = [r for r in found.runs if (r.setting.method, r.setting.conditions) == (OURS, COUNTS[-1])]
    rows = [dict(run.label) | row for run in runs for row in withstood(run)]
    write_rows(folder / "withstood.csv", rows)
    seconds = np.array([row["seconds"] for row in rows]).reshape(len(runs), len(FORCES), PHASES)
    fig, axes = figure(len(runs), 1, size=(6.4, 1.7), sharex=True)
    for ax, run, of_run in zip(axes[:, 0], runs, seconds, strict=True):
        shown = ax.imshow(of_run, origin="lower", aspect="auto", cmap="Greys_r", vmin=0.0, vmax=4.0)
        for pushes, mark in ((PUSHES, "o"), ([(f, (p + 0.5) % 1.0) for f, p in PUSHES], "."), (UNSEEN_PUSHES, "x")):
            places = [(phase * PHASES, FORCES.index(force)) for force, phase in pushes]
            ax.plot(*zip(*places, strict=True), mark, color="C3", fillstyle="none", linestyle="none")
        ax.set_yticks(range(len(FORCES)), [f"{force:+g}" for force in FORCES])
        ax.set(title=f"seed {run.setting.seed}: seconds up", ylabel="force [N]")
        ax.grid(visible=False)
        fig.colorbar(shown, ax=ax)
    axes[-1, 0].set_xticks(np.arange(0, PHASES, 5), [f"{k / PHASES:g}" for k in range(0, PHASES, 5)])
    axes[-1, 0].set_xlabel("phase of the stride at which the push comes")
    return [save(fig, folder / "withstood.png")]
