"""E-2: the Hamiltonian against behavioural cloning, squared and as printed (spec mpc_net section 10; paper Fig. 4).

Without barriers squared cloning and the Hamiltonian have the same minimiser and the same metric (spec 4.8): little
difference is to be expected of it, and none would be a fault.
"""

from pathlib import Path

import numpy as np

from costogo.experiments.claims import Claim, judge, write_claims
from costogo.experiments.mpc_net import physics
from costogo.experiments.mpc_net.arms import Comparison, write_comparisons
from costogo.experiments.mpc_net.presets import PAPER_GAITS, plain_quadruped
from costogo.experiments.registry import ExperimentConfig
from costogo.experiments.reporting import write_report

ARMS = {
    "Hamiltonian": {},
    "cloning, squared": {"loss": "cloning"},
    "cloning, as printed": {"loss": "cloning_norm"},
}


def run(config: ExperimentConfig, folder: Path) -> None:
    """Train all arms on both gaits, test them on the model and in full physics; write curves and claims."""
    seeds = config.seed_count(3)
    found = [Comparison(plain_quadruped(g), ARMS).train(config, folder, seeds) for g in PAPER_GAITS]
    media = write_comparisons(folder, found)
    fallen = physics.compare(config, folder, found)
    claims = [claim for comparison in found for claim in _claims(comparison, fallen, seeds)]
    rows = write_claims(folder, claims)
    table = [row for comparison in found for row in comparison.summary]
    write_report(folder, "E-2: Hamiltonian or cloning", rows + table, media, {"seeds": seeds})


def _claims(found: Comparison, fallen: list[dict], seeds: int) -> list[Claim]:
    """The paper's three sentences."""
    violation = {arm: found.of(arm, "violation").mean() for arm in ARMS}
    survived = {arm: found.of(arm, "survived 3 s").mean() for arm in ARMS}
    lower = [violation["Hamiltonian"] < violation[arm] for arm in list(ARMS)[1:]]
    rows = [row for row in fallen if row["system"] == found.title]
    time = {arm: np.mean([row["survived"] for row in rows if row["arm"] == arm]) for arm in ARMS}
    sooner = [time[arm] < 0.9 * time["Hamiltonian"] for arm in list(ARMS)[1:]]
    return [
        Claim(
            f"{found.title}: cloning converges to a stable gait like the Hamiltonian", "similar",
            f"survived 3 s: {found.says('survived 3 s')}",
            judge(max(survived.values()) - min(survived.values()) <= 0.1), seeds,
        ),
        Claim(
            f"{found.title}: lower constraint violation with the Hamiltonian", "always lower",
            f"mean |g|: {found.says('violation')}", judge(all(lower), any(lower)), seeds,
        ),
        Claim(
            f"{found.title}: in full simulation the cloned policy falls sooner", "after a few steps",
            "seconds up: " + ", ".join(f"{arm} {time[arm]:.3g}" for arm in ARMS),
            judge(all(sooner), any(sooner)), seeds,
        ),
    ]  # fmt: skip
