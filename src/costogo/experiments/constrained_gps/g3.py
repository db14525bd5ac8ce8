"""G3: walking on uneven ground, trained on one ground or on three (spec constrained_gps section 10; check 15)."""

from pathlib import Path

from costogo.experiments.constrained_gps.generalising import compare
from costogo.experiments.registry import ExperimentConfig

COUNTS = (1, 3)


def run(config: ExperimentConfig, folder: Path) -> None:
    """Train ours and three baselines on one and on three grounds; test on four others."""
    compare("terrain", COUNTS, config, folder)
