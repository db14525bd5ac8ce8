"""What every method was given for tuning: one number of its own, three values, one seed (spec constrained_gps 7)."""

from pathlib import Path
from typing import Any

from costogo.experiments.claims import Claim, write_claims, write_rows
from costogo.experiments.constrained_gps.arms import shrunk, tested
from costogo.experiments.constrained_gps.presets import METHODS, GPSConfig, build
from costogo.experiments.constrained_gps.results import draw_learning, references
from costogo.experiments.constrained_gps.runs import RUNS
from costogo.experiments.registry import ExperimentConfig
from costogo.experiments.reporting import write_report
from costogo.experiments.training_runs import Run

TASKS = {"swimmer": 100, "walker": 40}  # and iterations
ASKABLE = tuple(TASKS)
# The number and its values. None is the default: with as many iterations, that run is the experiments' own.
TRIED: dict[str, tuple[str, tuple[float | None, ...]]] = {
    "constrained": ("rate", (0.02, None, 0.3)),
    "variational": ("first_scale", (0.03, None, 0.3)),
    "importance": ("first_scale", (0.1, 0.3, None)),
    "adapted": ("adapt_scale", (0.3, None, 3.0)),
    "regression": ("share", (0.03, None, 0.3)),
    "dagger": ("first_scale", (0.1, 0.3, None)),
}


def run(config: ExperimentConfig, folder: Path) -> None:
    """Tune every method on the tasks, or on the one asked for; each has a folder of its own."""
    for system in [config.task] if config.task else TASKS:
        base = GPSConfig(system=system, iterations=TASKS[system])
        tune(shrunk(base) if config.quick else base, folder / system, folder.parent / "runs")


def tune(base: GPSConfig, folder: Path, place: Path) -> None:
    """Train every method with three values of its number on one task; write costs, curves and the table."""
    folder.mkdir(parents=True, exist_ok=True)
    runs = RUNS.all([setting for method in METHODS for setting in variants(base, method)], place, tested)
    rows, lines = [row_of(run) for run in runs], references(base)
    write_rows(folder / "summary.csv", rows)
    media = [
        draw_learning([run for run in runs if run.setting.method == method], folder / f"{method}.png", lines)
        for method in METHODS
    ]
    made = write_claims(folder, [claim(base.system, method, rows) for method in METHODS])
    write_report(folder, f"Tuning: {base.system}", made + rows, media, {"iterations": base.iterations, **lines})


def variants(base: GPSConfig, method: str) -> list[GPSConfig]:
    """The three settings of a method."""
    option, values = TRIED[method]
    return [GPSConfig(**{**vars(base), "method": method, option: value}) for value in values]


def row_of(run: Run) -> dict[str, Any]:
    """Which value a run had, and how its policy did from the training starts."""
    method = run.setting.method
    option, _ = TRIED[method]
    found = next(row for row in tested(run) if row["starts"] == "training")
    value = float(getattr(build(run.setting).learner, option))
    return {"task": run.setting.system, "method": method, "option": option, "value": value} | found


def claim(system: str, method: str, rows: list[dict[str, Any]]) -> Claim:
    """The costs of a method's three settings."""
    own = [row for row in rows if row["method"] == method]
    costs = ", ".join(f"{row['cost']:.4g} with {row['value']:g}" for row in own)
    return Claim(f"{system}: {method}, {own[0]['option']}", "not told", f"cost {costs}", "no claim", 1)
