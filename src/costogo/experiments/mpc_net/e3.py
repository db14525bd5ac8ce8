"""E-3: samples around each visited state, or none (spec mpc_net section 10; paper Fig. 5)."""

from pathlib import Path

import numpy as np

from costogo.experiments.claims import Claim, judge, write_claims
from costogo.experiments.mpc_net import physics
from costogo.experiments.mpc_net.arms import Comparison, write_comparisons
from costogo.experiments.mpc_net.presets import plain_quadruped
from costogo.experiments.registry import ExperimentConfig
from costogo.experiments.reporting import write_report

ARMS = {"two neighbours": {}, "no neighbours": {"neighbours": 0}}


def run(config: ExperimentConfig, folder: Path) -> None:
    """Train both arms on the walk, test them under noise on the model and in full physics; write curves and claims."""
    seeds = config.seed_count(3)
    found = Comparison(plain_quadruped("static_walk"), ARMS).train(config, folder, seeds)
    media = write_comparisons(folder, [found])
    shaken = physics.compare(config, folder, [found])
    rows = write_claims(folder, _claims(found, shaken, seeds))
    write_report(folder, "E-3: sampling around visited states", rows + found.summary, media, {"seeds": seeds})


def _rise(found: Comparison, arm: str) -> float:
    """Survival (s), mean over all evaluations during training: larger where it rises earlier."""
    return float(np.mean([row["survival"] for row in found.curves if row["arm"] == arm and "survival" in row]))


def _claims(found: Comparison, shaken: list[dict], seeds: int) -> list[Claim]:
    """The paper's sentences."""
    rise = {arm: _rise(found, arm) for arm in ARMS}
    noisy = {arm: found.of(arm, "cost, noise").mean() / found.of(arm, "cost").mean() for arm in ARMS}
    column = "torque change [N m]"
    shake = {arm: np.mean([row[column] for row in shaken if row["arm"] == arm]) for arm in ARMS}
    fallen = {arm: [row["fallen"] for row in shaken if row["arm"] == arm] for arm in ARMS}
    with_, without = ARMS
    return [
        Claim(
            "survival rises earlier with sampling", "earlier and more consistent",
            "survival, mean over the training: " + ", ".join(f"{arm} {v:.3g} s" for arm, v in rise.items()),
            judge(rise[with_] > rise[without]), seeds,
        ),
        Claim(
            "without sampling the policy is too aggressive under noise on the model", "oscillates",
            "cost under noise, relative: " + ", ".join(f"{arm} {v:.3g}" for arm, v in noisy.items())
            + f"; survived 3 s under noise: {found.says('survived 3 s, noise')}",
            judge(noisy[without] > noisy[with_]), seeds,
        ),
        Claim(
            "without sampling the policy is shakier in full physics", "oscillates",
            f"{column}: " + ", ".join(f"{arm} {v:.3g}" for arm, v in shake.items()) + "; fell: "
            + ", ".join(f"{arm} {sum(v):.0f} of {len(v)}" for arm, v in fallen.items()),
            judge(shake[without] > shake[with_]), seeds,
        ),
    ]  # fmt: skip
