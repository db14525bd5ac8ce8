"""Comparisons of settings: every arm trained with the same seeds, its curves side by side, its end in a table."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from costogo.experiments.claims import write_rows
from costogo.experiments.mpc_net.presets import MPCNetConfig
from costogo.experiments.mpc_net.runs import all_runs, tested
from costogo.experiments.registry import ExperimentConfig
from costogo.experiments.reporting import mean_and_interval
from costogo.experiments.training_runs import Run

STARTS = 40
FEW = 6  # arms whose intervals can be told apart
CURVES = (
    ("survival", "survival of the student [s]"),
    ("cost", "cost per second, no barrier"),
    ("violation", "mean constraint violation"),
    ("loss", "training loss"),
)


class Comparison:
    """Runs of all arms on one system and gait: `summary` has a row per run, `curves` a row per round of a run."""

    def __init__(self, place: MPCNetConfig, arms: Mapping[str, Mapping[str, Any]]):
        self.place, self.arms = place, dict(arms)
        self.runs: dict[str, list[Run]] = {name: [] for name in arms}
        self.summary: list[dict[str, Any]] = []
        self.curves: list[dict[str, Any]] = []

    @property
    def title(self) -> str:
        """System and gait."""
        return " ".join(part for part in (self.place.system, self.place.gait) if part)

    def train(self, config: ExperimentConfig, folder: Path, seeds: int) -> "Comparison":
        """Train and test all runs that are not there yet."""
        settings = [replace(self.place, **change) for change in self.arms.values()]
        names, starts = list(self.arms), 4 if config.quick else STARTS
        for number, run in all_runs(config, folder, settings, seeds, starts):
            label = {"system": self.title, "arm": names[number]}
            self.runs[names[number]].append(run)
            self.summary.append(label | {"seed": run.setting.seed, **tested(run, starts)})
            self.curves += [label | row for row in run.curves]
        return self

    def of(self, arm: str, column: str) -> np.ndarray:
        """One column of the summary over the seeds of an arm."""
        return np.array([row[column] for row in self.summary if row["arm"] == arm], float)

    def says(self, column: str, scale: float = 1.0, unit: str = "") -> str:
        """Mean over seeds of a column for every arm, in words."""
        parts = [f"{name} {scale * np.mean(self.of(name, column)):.3g}" for name in self.arms]
        return f"{', '.join(parts)}{unit and ' ' + unit}"

    def draw(self, path: Path) -> Path:
        """Survival, cost, violation and loss against rounds: mean over seeds, and of a few arms its 95 % interval."""
        from costogo.viz import COLOURS, figure, save

        shown = [(column, title) for column, title in CURVES if any(row.get(column) for row in self.curves)]
        few = len(self.arms) <= FEW
        fig, axes = figure(1, len(shown), size=(3.4, 2.8))
        for ax, (column, title) in zip(axes.flat, shown, strict=True):
            for number, arm in enumerate(self.arms):
                rows, colour = [row for row in self.curves if row["arm"] == arm], COLOURS[number % len(COLOURS)]
                mean_and_interval(ax, rows, "epoch", column, colour, arm, band=few)
                ax.lines[-1].set_linestyle(("-", "--")[number // len(COLOURS) % 2])
            ax.set(xlabel="round", title=title)
            if column in ("cost", "violation"):  # intervals of few seeds go below zero
                values = [row[column] for row in self.curves if row.get(column)]
                ax.set(yscale="log", ylim=(min(values) / 1.5, max(values) * 1.5))
        if few:
            axes.flat[0].legend(fontsize=7)
        else:
            axes.flat[-1].legend(fontsize=7, loc="center left", bbox_to_anchor=(1.02, 0.5))
        return save(fig, path)


def write_comparisons(folder: Path, comparisons: Sequence[Comparison]) -> list[Path]:
    """`summary.csv`, `curves.csv` and a figure per comparison; returns the figures."""
    write_rows(folder / "summary.csv", [row for c in comparisons for row in c.summary])
    write_rows(folder / "curves.csv", [row for c in comparisons for row in c.curves])
    return [c.draw(folder / f"curves_{c.title.replace(' ', '_')}.png") for c in comparisons]
