"""Methods side by side on variants of one setting: what the experiments have in common."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from costogo.experiments.claims import Claim, judge, write_rows
from costogo.experiments.constrained_gps.presets import GPSConfig, setting_of
from costogo.experiments.constrained_gps.results import draw_learning, draw_motion, references, summary
from costogo.experiments.constrained_gps.runs import RUNS
from costogo.experiments.registry import ExperimentConfig
from costogo.experiments.training_runs import Run


def shrunk(setting: GPSConfig) -> GPSConfig:
    """The setting of a smoke test."""
    return replace(setting, iterations=2, fit_iterations=10, samples=4)


def tested(run: Run) -> list[dict[str, Any]]:
    """What the policy of a run does, per group of starts. Found out once, then read."""
    return run.kept("tested", lambda: summary(setting_of(run.setting).task, run.state.policy))


class Comparison:
    """Runs of methods, with their numbers of seeds, on variants of one setting: `summary` has what `test` finds of each
    run, a row per group of starts, `references` the costs to compare with."""

    def __init__(
        self,
        base: GPSConfig,
        variants: Sequence[Mapping[str, Any]],
        seeds: Mapping[str, int],
        test: Callable[[Run], list[dict[str, Any]]] = tested,
    ):
        self.base, self.variants, self.seeds = base, [dict(variant) for variant in variants], dict(seeds)
        self.test = test
        self.runs: list[Run] = []
        self.summary: list[dict[str, Any]] = []

    def train(self, config: ExperimentConfig, folder: Path) -> "Comparison":
        """Train and test all runs that are not there yet."""
        base = shrunk(self.base) if config.quick else self.base
        settings = [
            replace(base, method=method, seed=seed, **variant)
            for method, seeds in self.seeds.items() for variant in self.variants
            for seed in range(config.seed_count(seeds))
        ]  # fmt: skip
        self.runs = RUNS.all(settings, folder.parent / "runs", self.test)
        self.summary = [dict(run.label) | row for run in self.runs for row in self.test(run)]
        self.references = references(base)
        return self

    @property
    def arms(self) -> list[dict[str, Any]]:
        """What tells one arm from the others: the method and the variant."""
        return [{"method": method, **variant} for method in self.seeds for variant in self.variants]

    def of(self, column: str, *, starts: str = "training", **label: Any) -> np.ndarray:
        """A column of the summary, one number per seed."""
        chosen = label | {"starts": starts}
        return np.array([row[column] for row in self.summary if all(row[k] == v for k, v in chosen.items())], float)

    def write(self, folder: Path) -> list[Path]:
        """`summary.csv`, `curves.csv`, learning curves, and traces of the first seed of each arm."""
        write_rows(folder / "summary.csv", self.summary)
        write_rows(folder / "curves.csv", [row for run in self.runs for row in run.curves])
        media = [draw_learning(self.runs, folder / "learning.png", self.references)]
        for run in self.runs:
            if run.setting.seed == 0:
                setting = run.setting
                size = setting.hidden if setting.conditions is None else setting.conditions
                media.append(draw_motion(run, folder / f"motion_{setting.method}_{size}.png"))
        return media


def outcome(
    task: str, arm: Mapping[str, Any], good: np.ndarray, told: str, *, fails: bool | None, enough: float
) -> Claim:
    """A method that, as published, `fails` or succeeds (None: not told) on a task; `good` tells the seeds that did
    succeed, of which a share of `enough` is a success."""
    share = float(good.mean())
    published = {True: "fails", False: "succeeds", None: "not told"}[fails]
    verdict = judge(share >= enough, share > 0) if fails is False else judge(share == 0, share < enough)
    said = f"{int(good.sum())} of {len(good)} {'seed succeeds' if len(good) == 1 else 'seeds succeed'}: {told}"
    return Claim(
        f"{task}, {arm['hidden']} units: {arm['method']}", published, said,
        "no claim" if fails is None else verdict, len(good),
    )  # fmt: skip
