"""Training runs that the experiments share: trained once, resumed after an interrupt."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax

from costogo.experiments.dmd_mpc.presets import DMDConfig, build
from costogo.experiments.run_names import run_name
from costogo.io import RunFolder, train
from costogo.io.runs import read_rows
from costogo.learn.dmd_mpc import MDeMoRL, MDeMoRLState


@dataclass(frozen=True)
class Run:
    """A finished training run."""

    setting: DMDConfig
    learner: MDeMoRL
    state: MDeMoRLState
    folder: RunFolder

    @property
    def curves(self) -> list[dict[str, Any]]:
        """Metrics of the epochs, with the seed."""
        return [{"seed": self.setting.seed, **row} for row in read_rows(self.folder.metrics)]


def name_of(setting: DMDConfig) -> str:
    """Name of a run: task, method, what is not the default, seed."""
    return run_name(setting, {"task": setting.task, "method": setting.method})


def start(setting: DMDConfig, learner: MDeMoRL, place: RunFolder, **options: Any) -> Run:
    """Train the learner of a setting in a run folder, or go on, or read what is there."""
    state = train(
        learner, jax.random.PRNGKey(setting.seed), place, epochs=setting.epochs, checkpoint_every=1, metric="return",
        **options,
    )  # fmt: skip
    return Run(setting, learner, state, place)


def trained(setting: DMDConfig, folder: Path) -> Run:
    """As `start`, in a folder under `folder` that is named after the setting."""
    learner, name = build(setting), name_of(setting)  # what cannot be built leaves no folder
    config = {"learner": "dmd_mpc", **vars(setting)}
    place = RunFolder.create(folder / name, config, resume=True)
    return start(setting, learner, place, label=name)
