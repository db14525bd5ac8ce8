"""Trained runs, read back from their folders."""

import importlib
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, NamedTuple

import jax

from costogo.core.errors import CostogoError, known
from costogo.io import CheckpointFolder, RunFolder, load_state


class Kind(NamedTuple):
    """What a learner is built from: module, and in it the class of the configuration and the function that builds."""

    module: str
    config: str
    build: str


# Modules are imported only for a run of their learner: some need MuJoCo or Gymnasium.
KINDS = {
    "diff_mpc": Kind("diff_mpc.imitation", "ImitationConfig", "build_seeds"),
    "mpc_net": Kind("mpc_net.presets", "MPCNetConfig", "build"),
    "constrained_gps": Kind("constrained_gps.presets", "GPSConfig", "build"),
    "dmd_mpc": Kind("dmd_mpc.presets", "DMDConfig", "build"),
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
        module = importlib.import_module("costogo.experiments." + kind.module)
        config_type = getattr(module, kind.config)
        expected = {field.name for field in fields(config_type)}
        if not set(settings) <= expected:  # an option that a run does not know yet has its default
            odd = ", ".join(sorted(set(settings) - expected))
            raise CostogoError(f"{run.config} does not fit this version of costogo (settings: {odd})")
        config = config_type(**settings)
        learner = getattr(module, kind.build)(config)
        state = load_state(learner, jax.random.PRNGKey(config.seed), CheckpointFolder(run.checkpoints))
        if state is None:
            raise CostogoError(f"{path} has no checkpoint yet; train it longer")
        return TrainedRun(run, name, config, learner, state)

    def require_kind(self, name: str, purpose: str) -> None:
        """Raise unless the run is of the given learner."""
        if self.kind != name:
            raise CostogoError(f"{self.folder.path} is a {self.kind} run; {purpose} takes a {name} run")
