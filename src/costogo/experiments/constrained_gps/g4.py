"""G4: recovering from pushes, trained on one push or on four (spec constrained_gps section 10; check 15)."""

from pathlib import Path

from costogo.experiments.constrained_gps.generalising import compare
from costogo.experiments.registry import ExperimentConfig

COUNTS = (1, 4)


def run(config: ExperimentConfig, folder: Path) -> None:
    """Train ours and three baselines on one and on four pushes; test on four others."""
    compare("push", COUNTS, config, folder)
