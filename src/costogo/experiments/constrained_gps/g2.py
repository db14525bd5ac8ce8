"""G2: walking with policies of 5 and 10 units (spec constrained_gps section 10; check 14)."""

from pathlib import Path

from costogo.experiments.claims import Claim, write_claims
from costogo.experiments.constrained_gps.arms import Comparison, outcome
from costogo.experiments.constrained_gps.presets import METHODS, GPSConfig
from costogo.experiments.registry import ExperimentConfig
from costogo.experiments.reporting import write_report

SPEED = 1.5  # m/s, of a walk that counts
ENOUGH = 2 / 3  # of the seeds
WALK = ("constrained", "variational")  # as published, with 5 and 10 units
FAIL = {5: ("importance", "adapted", "regression", "dagger"), 10: ("regression", "dagger")}
BASE = GPSConfig(system="walker", iterations=40)
SIZES = ({"hidden": 5}, {"hidden": 10})
SEEDS = dict.fromkeys(METHODS, 1) | {"constrained": 3}


def run(config: ExperimentConfig, folder: Path) -> None:
    """Train every method and size; write curves, traces and claims."""
    found = Comparison(BASE, SIZES, SEEDS).train(config, folder)
    media = found.write(folder)
    rows = write_claims(folder, claims(found))
    write_report(folder, "G2: walker", rows + found.summary, media, found.references)


def claims(found: Comparison) -> list[Claim]:
    """A seed succeeds if no training start fell within 4 s and the mean speed is high enough (spec)."""
    made = []
    for arm in found.arms:
        failed, speed, up = (found.of(column, **arm) for column in ("failed", "speed", "seconds"))
        told = f"{', '.join(f'{s:.2f}' for s in up)} s up, {', '.join(f'{v:.2f}' for v in speed)} m/s"
        fails = arm["method"] in FAIL[arm["hidden"]] or (False if arm["method"] in WALK else None)
        made.append(outcome("walker", arm, (failed == 0) & (speed >= SPEED), told, fails=fails, enough=ENOUGH))
    return made
