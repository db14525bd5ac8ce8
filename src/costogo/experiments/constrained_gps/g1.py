"""G1: swimming with policies of 5 and 10 units (spec constrained_gps section 10; checks 12 and 13)."""

from pathlib import Path

import numpy as np

from costogo.experiments.claims import Claim, judge, write_claims
from costogo.experiments.constrained_gps.arms import Comparison
from costogo.experiments.constrained_gps.presets import GPSConfig
from costogo.experiments.registry import ExperimentConfig
from costogo.experiments.reporting import write_report

SIZES = ({"hidden": 5}, {"hidden": 10})
SEEDS = {"constrained": 3, "variational": 3}
SUCCESS = 1.2  # times the unconstrained optimum


def run(config: ExperimentConfig, folder: Path) -> None:
    """Train every method and size with three seeds; write curves, traces and claims."""
    found = Comparison(GPSConfig(system="swimmer"), SIZES, SEEDS).train(config, folder)
    media = found.write(folder)
    rows = write_claims(folder, claims(found))
    write_report(folder, "G1: swimmer", rows + found.summary, media, found.references)


def claims(found: Comparison) -> list[Claim]:
    """Success of each method, and the fall of the divergence."""
    best = found.references["trajectory optimisation"]
    made = []
    for arm in found.arms:
        costs = found.of("cost", **arm)
        good = costs <= SUCCESS * best
        made.append(Claim(
            f"swimmer, {arm['hidden']} units: {arm['method']} guided policy search succeeds",
            f"succeeds; cost at most {SUCCESS} times the optimum (spec)",
            f"{', '.join(f'{c:.2f}' for c in costs)} against {best:.2f}",
            judge(bool(good.all()), bool(good.any())), len(costs),
        ))  # fmt: skip
    drops = [_drop(run.curves) for run in found.runs if run.setting.method == "constrained"]
    return [*made, Claim(
        "swimmer: trajectories and policy come to agree", "divergence falls 10 times from iteration 5 to 100 (spec)",
        f"{min(drops):.1f} to {max(drops):.1f} times", judge(min(drops) >= 10, float(np.median(drops)) >= 10),
        len(drops),
    )]  # fmt: skip


def _drop(curve: list[dict]) -> float:
    """How many times the divergence fell between iteration 5 (the last, of a shorter run) and the end."""
    at = {row["epoch"]: row["divergence"] for row in curve}
    return at[min(5, max(at))] / at[max(at)]
