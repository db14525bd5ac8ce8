"""Methods and sizes side by side on one system: what G1 and G2 have in common."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from costogo.experiments.claims import write_rows
from costogo.experiments.constrained_gps.presets import GPSConfig
from costogo.experiments.constrained_gps.results import draw_learning, draw_motion, references, summary
from costogo.experiments.constrained_gps.runs import RUNS
from costogo.experiments.registry import ExperimentConfig
from costogo.experiments.training_runs import Run

METHODS = ("constrained", "variational")
SIZES = (5, 10)
QUICK_ITERATIONS = 2


class Comparison:
    """Runs of all methods and sizes on one system: `summary` has a row per run and group of starts, `curves` a row per
    iteration of a run, `references` the costs to compare with."""

    def __init__(self, system: str, seeds: Mapping[str, int]):
        self.system, self.seeds = system, dict(seeds)
        self.runs: list[Run] = []
        self.summary: list[dict[str, Any]] = []

    def train(self, config: ExperimentConfig, folder: Path) -> "Comparison":
        """Train all runs; what is trained already is only tested again."""
        base = GPSConfig(system=self.system)
        if config.quick:
            base = replace(base, iterations=QUICK_ITERATIONS, fit_iterations=10, samples=4)
        for method, seeds in self.seeds.items():
            for hidden in SIZES:
                for seed in range(config.seed_count(seeds)):
                    setting = replace(base, method=method, hidden=hidden, seed=seed)
                    self._add(RUNS.trained(setting, folder.parent / "runs"))
        self.references = references(base)
        return self

    def _add(self, run: Run) -> None:
        label = {"method": run.setting.method, "hidden": run.setting.hidden, "seed": run.setting.seed}
        self.runs.append(run)
        self.summary += [label | row for row in summary(run.setting, run.state.policy)]

    def of(self, column: str, *, starts: str = "training", **label: Any) -> np.ndarray:
        """A column of the summary, one number per seed."""
        chosen = label | {"starts": starts}
        return np.array([row[column] for row in self.summary if all(row[k] == v for k, v in chosen.items())], float)

    def write(self, folder: Path) -> list[Path]:
        """`summary.csv`, `curves.csv`, learning curves, and traces of the first seed of each method and size."""
        write_rows(folder / "summary.csv", self.summary)
        write_rows(folder / "curves.csv", [row for run in self.runs for row in run.curves])
        media = [draw_learning(self.runs, folder / "learning.png", self.references)]
        first = [run for run in self.runs if run.setting.seed == 0]
        for run in first:
            name = f"motion_{run.setting.method}_{run.setting.hidden}.png"
            media.append(draw_motion(run, folder / name))
        return media
