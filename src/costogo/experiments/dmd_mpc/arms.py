"""Comparisons of settings on one task: returns against real steps, final levels, steps to a threshold."""

from collections.abc import Mapping
from dataclasses import replace
from itertools import cycle
from pathlib import Path
from typing import Any

import numpy as np

from costogo.experiments.claims import write_rows
from costogo.experiments.dmd_mpc.presets import DMDConfig
from costogo.experiments.dmd_mpc.runs import RUNS
from costogo.experiments.registry import ExperimentConfig
from costogo.experiments.reporting import mean_and_interval, seed_table
from costogo.experiments.training_runs import Run

LAST = 0.2  # share of the evaluations that make the final level
LEVEL = 0.8  # of the way from the start to the common final level
SMOOTH = 3  # evaluations, of the mean that must pass the level
QUICK_EPOCHS = 2


class Comparison:
    """Runs of all arms on one task, with every seed."""

    def __init__(self, base: DMDConfig, arms: Mapping[str, Mapping[str, Any]]):
        self.base, self.arms = base, dict(arms)
        self.runs: dict[str, list[Run]] = {name: [] for name in arms}

    def train(self, config: ExperimentConfig, folder: Path, seeds: int) -> "Comparison":
        """Train all runs, seed by seed; what is trained already is read."""
        settings = self._settings(config, seeds)
        for (name, _), run in zip(settings, RUNS.all((s for _, s in settings), folder.parent / "runs"), strict=True):
            self.runs[name].append(run)
        return self

    def there(self, config: ExperimentConfig, folder: Path, seeds: int) -> bool:
        """Whether all runs are finished, so that `train` would only read them."""
        settings = [setting for _, setting in self._settings(config, seeds)]
        return len(RUNS.finished(settings, folder.parent / "runs")) == len(settings)

    def _settings(self, config: ExperimentConfig, seeds: int) -> list[tuple[str, DMDConfig]]:
        base = replace(self.base, steps=QUICK_EPOCHS * self.base.budget.epoch) if config.quick else self.base
        arms = [(name, seed) for seed in range(config.seed_count(seeds)) for name in self.arms]
        return [(name, replace(base, seed=seed, **self.arms[name])) for name, seed in arms]

    @property
    def curves(self) -> list[dict[str, Any]]:
        """A row per epoch of each run."""
        return [
            {"task": self.base.task, "arm": name, **row} for name, runs in self.runs.items() for run in runs
            for row in run.curves
        ]  # fmt: skip

    def returns(self, arm: str) -> tuple[np.ndarray, np.ndarray]:
        """Real steps (epochs,) and returns (seeds, epochs) of an arm."""
        return seed_table([row for run in self.runs[arm] for row in run.curves], "real_steps", "return")

    def final(self, arm: str) -> np.ndarray:
        """Mean return over the last fifth of the evaluations, of each seed."""
        _, values = self.returns(arm)
        return values[:, -max(1, round(LAST * values.shape[1])):].mean(axis=1)  # fmt: skip

    @property
    def first(self) -> float:
        """Mean first return of all arms."""
        return float(np.mean([self.returns(arm)[1][:, 0].mean() for arm in self.arms]))

    @property
    def best_gain(self) -> float:
        """From the mean first return of all arms to the best mean final return."""
        return max(float(self.final(arm).mean()) for arm in self.arms) - self.first

    @property
    def level(self) -> float:
        """The threshold: 80 % of the way from the mean first return of all arms to the best mean final return."""
        return self.first + LEVEL * self.best_gain

    def steps_to(self, arm: str, level: float | None = None) -> np.ndarray:
        """Real steps after which the mean of three evaluations passes the level, of each seed; infinite if never."""
        level = self.level if level is None else level
        steps, values = self.returns(arm)
        width = min(SMOOTH, values.shape[1])
        smooth = np.array([np.convolve(row, np.ones(width) / width, "valid") for row in values])
        passed = smooth >= level
        return np.where(passed.any(axis=1), steps[width - 1 :][passed.argmax(axis=1)], np.inf)

    @property
    def summary(self) -> list[dict[str, Any]]:
        """A row per arm and seed: final return, steps to the level, area under the curve, minutes."""
        rows = []
        for arm, runs in self.runs.items():
            finals, steps, (_, values) = self.final(arm), self.steps_to(arm), self.returns(arm)
            for i, run in enumerate(runs):
                rows.append({
                    "task": self.base.task, "arm": arm, "seed": run.setting.seed, "final return": round(finals[i], 2),
                    f"steps to {self.level:.4g}": steps[i], "mean return": round(values[i].mean(), 2),
                    "minutes": round(sum(row["seconds"] for row in run.curves) / 60, 1),
                })  # fmt: skip
        return rows

    def draw(self, path: Path) -> Path:
        """Return against real steps: mean and 95 % interval over seeds; the threshold as a thin line."""
        from costogo.viz import COLOURS, figure, save

        fig, axes = figure(1, 1, size=(5.4, 3.4))
        ax = axes[0, 0]
        for colour, (arm, runs) in zip(cycle(COLOURS), self.runs.items(), strict=False):
            mean_and_interval(ax, [row for run in runs for row in run.curves], "real_steps", "return", colour, arm)
        ax.axhline(self.level, color="0.4", linewidth=0.9, linestyle="--")
        low, high = (f([v for arm in self.arms for v in self.returns(arm)[1].ravel()]) for f in (min, max))
        ax.set_ylim(low - 0.08 * (high - low), high + 0.08 * (high - low))  # intervals of few seeds are wide
        seeds = len(next(iter(self.runs.values())))
        told = f"{self.base.scale} preset, {seeds} {'seed' if seeds == 1 else 'seeds'}"  # updates differ between arms
        ax.set(xlabel=f"real steps ({told})", title=f"{self.base.task}: return")
        ax.legend(fontsize=7)
        return save(fig, path)


def share_above(found: Comparison, arm: str, other: str, start: int) -> float:
    """Share of the evaluations from `start` real steps on (or the last one) in which an arm's mean return is higher."""
    steps, ours = found.returns(arm)
    late = steps >= min(start, steps[-1])
    return float(np.mean(ours.mean(axis=0)[late] > found.returns(other)[1].mean(axis=0)[late]))


def own_folder(config: ExperimentConfig, folder: Path) -> Path:
    """Where an experiment writes: a task that was asked for does not replace the report of the others."""
    place = folder / config.task if config.task else folder
    place.mkdir(parents=True, exist_ok=True)
    return place


def write_comparisons(folder: Path, comparisons: list[Comparison]) -> list[Path]:
    """`summary.csv`, `curves.csv` and a figure per task; returns the figures."""
    write_rows(folder / "summary.csv", [row for c in comparisons for row in c.summary])
    write_rows(folder / "curves.csv", [row for c in comparisons for row in c.curves])
    return [c.draw(folder / f"returns_{c.base.task}.png") for c in comparisons]
