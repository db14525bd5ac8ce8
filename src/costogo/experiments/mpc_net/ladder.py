"""The ladder of small systems (spec mpc_net 8.7): every setting and ablation with five seeds, in minutes."""

from pathlib import Path

from costogo.experiments.claims import Claim, judge, write_claims
from costogo.experiments.mpc_net.arms import Comparison, write_comparisons
from costogo.experiments.mpc_net.presets import MPCNetConfig
from costogo.experiments.registry import ExperimentConfig
from costogo.experiments.reporting import write_report

WIDTH = MPCNetConfig().latent[0]
ARMS = {
    "Hamiltonian, 8 experts": {},
    "cloning, squared": {"loss": "cloning"},
    "cloning, as printed": {"loss": "cloning_norm"},
    "no neighbours": {"neighbours": 0},
    "teacher's data only": {"alpha": 1.0},
    "student's data only": {"alpha": 0.0},
    "one network": {"experts": 1},
    "one, twice as wide": {"experts": 1, "latent": (2 * WIDTH,)},
    "one, twice as deep": {"experts": 1, "latent": (WIDTH, WIDTH)},
    "softmax": {"gating": "softmax"},
    "blended": {"loss": "blended_hamiltonian"},
    "violation weighed": {"violation_weight": 3.0},
}
SYSTEMS = ("ballbot", "planar")


def run(config: ExperimentConfig, folder: Path) -> None:
    """Train all arms on ballbot and planar walker; write curves, table and claims."""
    seeds = config.seed_count(5)
    found = [Comparison(MPCNetConfig(system=name), ARMS).train(config, folder, seeds) for name in SYSTEMS]
    media = write_comparisons(folder, found)
    rows = write_claims(folder, [claim for comparison in found for claim in _claims(comparison, seeds)])
    table = [row for comparison in found for row in comparison.summary]
    write_report(folder, "The ladder: ablations on small systems", rows + table, media, {"seeds": seeds})


def _claims(found: Comparison, seeds: int) -> list[Claim]:
    """Acceptance 12, and the orderings that the paper states for the quadruped."""
    base, column = "Hamiltonian, 8 experts", "survived 3 s, noise"
    survived, ratio = found.of(base, "survived 3 s"), found.of(base, "cost") / found.of(base, "teacher's cost")
    short, violation = f"{found.title}: ", {arm: found.of(arm, "violation").mean() for arm in ARMS}
    claims = [
        Claim(
            short + "survives like its teacher, at most 1.3 times the cost", "95 % of starts",
            f"{100 * survived.mean():.1f} % over 3 s, cost {ratio.mean():.3f} times the MPC's",
            judge(survived.min() >= 0.95 and ratio.max() <= 1.3, survived.mean() >= 0.95), seeds,
        ),
        Claim(
            short + "fewer survive under noise without neighbours", "too aggressive", found.says(column),
            judge(found.of("no neighbours", column).mean() < found.of(base, column).mean()), seeds,
        ),
    ]  # fmt: skip
    if max(violation.values()) > 0:
        ordered = [
            violation[base] < violation[arm] for arm in ("cloning, squared", "cloning, as printed", "one network")
        ]
        claims.append(Claim(
            short + "lower violation than cloning and than one network", "lower",
            f"mean |g|: {found.says('violation')}", judge(all(ordered), any(ordered)), seeds,
        ))  # fmt: skip
    return claims
