"""Trained runs, read back from their folders."""

from collections.abc import Callable
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, NamedTuple

import jax

from costogo.core.errors import CostogoError, known
from costogo.experiments.constrained_gps import presets as gps
from costogo.experiments.diff_mpc import imitation
from costogo.experiments.dmd_mpc import presets as dmd
from costogo.experiments.mpc_net import presets
from costogo.io import CheckpointFolder, RunFolder, load_state
from costogo.learn import Seeds


class Kind(NamedTuple):
    """What a learner is built from."""

    config: type
    build: Callable[[Any], Any]


KINDS = {
    "diff_mpc": Kind(imitation.ImitationConfig, lambda config: Seeds(imitation.build(config), config.seeds)),
    "mpc_net": Kind(presets.MPCNetConfig, presets.build),
    "constrained_gps": Kind(gps.GPSConfig, gps.build),
    "dmd_mpc": Kind(dmd.DMDConfig, dmd.build),
}


@dataclass(frozen=True)
class TrainedRun:
    """Folder, name of the learner, configuration, learner and newest state of a run."""

    folder: RunFolder
    kind: str
    config: Any
    learner: Any
    state: Any

    @staticmethod
    def load(path: Path) -> "TrainedRun":
        """Rebuild the learner from `config.yaml` and read the newest checkpoint."""
        run = RunFolder.open(path)
        settings = run.read_config()
        name = known("learner", settings.pop("learner", "none"), KINDS)
        kind = KINDS[name]
        expected = {field.name for field in fields(kind.config)}
        if set(settings) != expected:
            odd = ", ".join(sorted(set(settings) ^ expected))
            raise CostogoError(f"{run.config} does not fit this version of costogo (settings: {odd})")
        config = kind.config(**settings)
        learner = kind.build(config)
        state = load_state(learner, jax.random.PRNGKey(config.seed), CheckpointFolder(run.checkpoints))
        if state is None:
            raise CostogoError(f"{path} has no checkpoint yet; train it longer")
        return TrainedRun(run, name, config, learner, state)

    def require_kind(self, name: str, purpose: str) -> None:
        """Raise unless the run is of the given learner."""
        if self.kind != name:
            raise CostogoError(f"{self.folder.path} is a {self.kind} run; {purpose} takes a {name} run")
