"""E-4: mixture of experts or one network (spec mpc_net section 10; paper Fig. 6)."""

from pathlib import Path

import numpy as np

from costogo.experiments.claims import Claim, judge, write_claims
from costogo.experiments.mpc_net.arms import Comparison, write_comparisons
from costogo.experiments.mpc_net.presets import PAPER_GAITS, plain_quadruped
from costogo.experiments.registry import ExperimentConfig
from costogo.experiments.reporting import write_report

WIDTH = plain_quadruped("trot").latent[0]
ARMS = {
    "8 experts": {},
    "one network": {"experts": 1},
    "one, twice as wide": {"experts": 1, "latent": (2 * WIDTH,)},
    "one, twice as deep": {"experts": 1, "latent": (WIDTH, WIDTH)},
    "8 experts, softmax": {"gating": "softmax"},
}
PUBLISHED = {"trot": 3, "static_walk": 4}


def run(config: ExperimentConfig, folder: Path) -> None:
    """Train all arms on both gaits; write curves, experts in use and claims."""
    seeds = config.seed_count(3)
    found = [Comparison(plain_quadruped(g), ARMS).train(config, folder, seeds) for g in PAPER_GAITS]
    media = write_comparisons(folder, found)
    rows = write_claims(folder, [claim for comparison in found for claim in _claims(comparison, seeds)])
    table = [row for comparison in found for row in comparison.summary]
    write_report(folder, "E-4: experts or one network", rows + table, media, {"seeds": seeds})


def _claims(found: Comparison, seeds: int) -> list[Claim]:
    """The paper's sentences."""
    survived = {arm: found.of(arm, "survived 3 s").mean() for arm in ARMS}
    violation = {arm: found.of(arm, "violation").mean() for arm in ARMS}
    single = [arm for arm in ARMS if arm.startswith("one")]
    lower = [violation["8 experts"] < violation[arm] for arm in single]
    used = {arm: found.of(arm, "experts in use") for arm in ARMS if arm.startswith("8")}
    gait = found.place.gait
    return [
        Claim(
            f"{found.title}: one network is as stable as the mixture", "similar",
            f"survived 3 s: {found.says('survived 3 s')}", judge(survived["8 experts"] - survived[single[0]] <= 0.1),
            seeds,
        ),
        Claim(
            f"{found.title}: the mixture violates constraints less", "clearly lower",
            f"mean |g|: {found.says('violation')}", judge(all(lower), lower[0]), seeds,
        ),
        Claim(
            f"{found.title}: experts in use (mean weight above 0.05)", str(PUBLISHED[gait]),
            "; ".join(f"{arm}: {', '.join(f'{n:.0f}' for n in values)}" for arm, values in used.items()),
            judge(bool(np.all(used["8 experts"] == PUBLISHED[gait])),
                  bool(np.all(np.abs(used["8 experts"] - PUBLISHED[gait]) <= 2))),
            seeds,
        ),
    ]  # fmt: skip
