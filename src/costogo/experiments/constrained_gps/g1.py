"""G1: swimming with policies of 5 and 10 units (spec constrained_gps section 10; checks 12 and 13)."""

from pathlib import Path

import numpy as np

from costogo.experiments.claims import Claim, judge, write_claims
from costogo.experiments.constrained_gps.arms import Comparison, outcome
from costogo.experiments.constrained_gps.presets import METHODS, GPSConfig
from costogo.experiments.registry import ExperimentConfig
from costogo.experiments.reporting import write_report

SIZES = ({"hidden": 5}, {"hidden": 10})
SEEDS = dict.fromkeys(METHODS, 3)
SUCCESS = 1.2  # times the unconstrained optimum
OURS = "constrained"
SOONER = (OURS, "importance", "adapted")
UNTOLD = ("dagger", "regression")  # regression learned one of the two settings, not said which


def run(config: ExperimentConfig, folder: Path) -> None:
    """Train every method and size with three seeds; write curves, traces and claims."""
    found = Comparison(GPSConfig(system="swimmer"), SIZES, SEEDS).train(config, folder)
    media = found.write(folder)
    rows = write_claims(folder, claims(found))
    write_report(folder, "G1: swimmer", rows + found.summary, media, found.references)


def claims(found: Comparison) -> list[Claim]:
    """Success of each method (spec: cost at most 1.2 times the optimum), and the fall of the divergence."""
    best = found.references["trajectory optimisation"]
    made = []
    for arm in found.arms:
        costs = found.of("cost", **arm)
        told = f"cost {', '.join(f'{c:.2f}' for c in costs)}, optimum {best:.2f}"
        fails = None if arm["method"] in UNTOLD else False
        made.append(outcome("swimmer", arm, costs <= SUCCESS * best, told, fails=fails, enough=1.0))
    return [*made, _sooner(found, SUCCESS * best), _agreement(found)]


def _sooner(found: Comparison, level: float) -> Claim:
    """Iterations until the policy first costs no more than a success."""
    first: dict[str, list[float]] = {method: [] for method in SOONER if method in found.seeds}
    for run in found.runs:
        if (method := run.setting.method) in first:
            reached = [row["epoch"] for row in run.curves if row["cost"] <= level]
            first[method].append(float(min(reached, default=np.inf)))
    medians = {method: float(np.median(epochs)) for method, epochs in first.items()}
    slowest = max((epochs for method, epochs in medians.items() if method != OURS), default=np.nan)
    return Claim(
        "swimmer: importance sampling converges sooner than constrained search", "sooner",
        "median iterations to a success: " + ", ".join(f"{method} {epochs:g}" for method, epochs in medians.items()),
        judge(slowest < medians[OURS]) if len(medians) == len(SOONER) else "not run", len(first[OURS]),
    )  # fmt: skip


def _agreement(found: Comparison) -> Claim:
    drops = [_drop(run.curves) for run in found.runs if run.setting.method == OURS]
    return Claim(
        "swimmer: trajectories and policy come to agree", "divergence falls 10 times from iteration 5 to 100 (spec)",
        f"{min(drops):.1f} to {max(drops):.1f} times", judge(min(drops) >= 10, float(np.median(drops)) >= 10),
        len(drops),
    )  # fmt: skip


def _drop(curve: list[dict]) -> float:
    """How many times the divergence fell between iteration 5 (the last, of a shorter run) and the end."""
    at = {row["epoch"]: row["divergence"] for row in curve}
    return at[min(5, max(at))] / at[max(at)]
