"""Training series of the imitation experiments: resumable runs, and their curves and end points as rows."""

import csv
from collections.abc import Callable
from pathlib import Path
from typing import Any

import equinox as eqx
import jax
import numpy as np
from jaxtyping import Array

from costogo.io import RunFolder, train
from costogo.learn import Seeds


class Observed(eqx.Module):
    """A learner whose evaluation also reports what `observe(parameters)` measures."""

    learner: Any
    observe: Callable[[Any], dict[str, Array]]

    @property
    def steps_per_epoch(self) -> int:
        """As for the learner."""
        return self.learner.steps_per_epoch

    def init(self, key: Array) -> Any:
        """As for the learner."""
        return self.learner.init(key)

    def step(self, state: Any) -> tuple[Any, dict[str, Array]]:
        """As for the learner."""
        return self.learner.step(state)

    def evaluate(self, state: Any) -> dict[str, Array]:
        """Metrics of the learner and of the observer; the observer's win."""
        return self.learner.evaluate(state) | self.observe(state.parameters)


def run_series(
    learner: Any, folder: Path, config: dict[str, Any], *, epochs: int, seeds: int, evaluate_every: int, label: str
) -> list[dict[str, Any]]:
    """Train `seeds` seeds together in a run folder (resumed if it exists) and return its curves, one row per seed and
    evaluated epoch, with the configuration in each row."""
    settings = {**config, "epochs": epochs, "seeds": seeds, "evaluate_every": evaluate_every}
    run = RunFolder.create(folder, settings, resume=True)
    train(
        Seeds(learner, seeds),
        jax.random.PRNGKey(config.get("seed", 0)),
        run,
        epochs=epochs,
        evaluate_every=evaluate_every,
        checkpoint_every=50,
        label=label,
    )
    return read_curves(run.metrics, config, seeds)


def read_curves(path: Path, config: dict[str, Any], seeds: int) -> list[dict[str, Any]]:
    """Rows (seed, epoch, metrics) of the evaluated epochs of a metrics file with per-seed columns."""
    with path.open(newline="") as file:
        rows = [row for row in csv.DictReader(file) if row["test_loss[0]"]]
    curves = []
    for row in rows:
        for seed in range(seeds):
            metrics = {
                name.removesuffix(f"[{seed}]").removeprefix("parameter"): float(value)
                for name, value in row.items()
                if name.endswith(f"[{seed}]") and value
            } | _vector_metrics(row, seed)
            curves.append({**config, "seed": seed, "epoch": int(row["epoch"]), **metrics})
    return curves


def _vector_metrics(row: dict[str, str], seed: int) -> dict[str, float]:
    """Vector parameters, stored as `name[seed,index]`."""
    metrics = {}
    for name, value in row.items():
        stem, _, index = name.rpartition("[")
        if value and index.startswith(f"{seed},"):
            metrics[stem.removeprefix("parameter") + "[" + index.split(",", 1)[1]] = float(value)
    return metrics


def end_points(curves: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """For each seed the row with the lowest validation loss, and the last row's counts of failures."""
    best = []
    for seed in sorted({row["seed"] for row in curves}):
        rows = [row for row in curves if row["seed"] == seed]
        chosen = min(rows, key=lambda row: (not np.isfinite(row["validation_loss"]), row["validation_loss"]))
        counts = {"mean_unconverged": float(np.mean([row.get("unconverged", 0.0) for row in rows]))}
        best.append(
            {**chosen, **counts, "first_test_loss": rows[0]["test_loss"], "last_test_loss": rows[-1]["test_loss"]}
        )
    return best
