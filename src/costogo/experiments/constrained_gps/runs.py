"""Training runs that the experiments of guided policy search share: trained once, resumed after an interrupt."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax

from costogo.experiments.constrained_gps.presets import GPSConfig, build
from costogo.experiments.run_names import run_name
from costogo.io import RunFolder, train
from costogo.io.runs import read_rows
from costogo.learn.constrained_gps import Judged, JudgedState


@dataclass(frozen=True)
class Run:
    """A finished training run."""

    setting: GPSConfig
    learner: Judged
    state: JudgedState
    folder: RunFolder

    @property
    def curves(self) -> list[dict[str, Any]]:
        """Metrics of the iterations, with method, size and seed."""
        label = {"method": self.setting.method, "hidden": self.setting.hidden, "seed": self.setting.seed}
        return [label | row for row in read_rows(self.folder.metrics)]


def name_of(setting: GPSConfig) -> str:
    """Name of a run: system, method, size, what is not the default, seed."""
    told = {"system": setting.system, "method": setting.method, "hidden": f"{setting.hidden}units"}
    return run_name(setting, told)


def start(setting: GPSConfig, learner: Judged, place: RunFolder, **options: Any) -> Run:
    """Train the learner of a setting in a run folder, or go on, or read what is there."""
    state = train(
        learner, jax.random.PRNGKey(setting.seed), place, epochs=setting.iterations,
        evaluate_every=setting.iterations, checkpoint_every=5, metric="cost", **options,
    )  # fmt: skip
    return Run(setting, learner, state, place)


def trained(setting: GPSConfig, folder: Path) -> Run:
    """As `start`, in a folder under `folder` that is named after the setting."""
    learner, name = build(setting), name_of(setting)  # what cannot be built leaves no folder
    place = RunFolder.create(folder / name, {"learner": "constrained_gps", **vars(setting)}, resume=True)
    return start(setting, learner, place, label=name)
