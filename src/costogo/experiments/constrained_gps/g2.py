"""G2: walking with policies of 5 and 10 units (spec constrained_gps section 10; check 14)."""

from pathlib import Path

from costogo.experiments.claims import Claim, judge, write_claims
from costogo.experiments.constrained_gps.arms import Comparison
from costogo.experiments.constrained_gps.presets import GPSConfig
from costogo.experiments.registry import ExperimentConfig
from costogo.experiments.reporting import write_report

SPEED = 1.5  # m/s, of a walk that counts
SIZES = ({"hidden": 5}, {"hidden": 10})
SEEDS = {"constrained": 3, "variational": 1}


def run(config: ExperimentConfig, folder: Path) -> None:
    """Train every method and size; write curves, traces and claims."""
    found = Comparison(GPSConfig(system="walker"), SIZES, SEEDS).train(config, folder)
    media = found.write(folder)
    rows = write_claims(folder, claims(found))
    write_report(folder, "G2: walker", rows + found.summary, media, found.references)


def claims(found: Comparison) -> list[Claim]:
    """A seed succeeds if no training start fell within 4 s and the mean speed is high enough."""
    made = []
    for arm in found.arms:
        failed, speed, up = (found.of(column, **arm) for column in ("failed", "speed", "seconds"))
        good = (failed == 0) & (speed >= SPEED)
        made.append(Claim(
            f"walker, {arm['hidden']} units: {arm['method']} guided policy search walks",
            f"4 s without a fall, {SPEED} m/s (spec)",
            f"{int(good.sum())} of {len(good)} seeds; mean seconds {', '.join(f'{s:.2f}' for s in up)}, "
            f"speed {', '.join(f'{v:.2f}' for v in speed)} m/s",
            judge(bool(good.sum() * 3 >= 2 * len(good)), bool(good.any())), len(good),
        ))  # fmt: skip
    return made
