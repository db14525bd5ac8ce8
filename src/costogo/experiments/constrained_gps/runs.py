"""Training runs that the experiments of guided policy search share: trained once, resumed after an interrupt."""

from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import jax

from costogo.experiments.constrained_gps.presets import GPSConfig, build
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
    told = ("system", "method", "hidden", "seed")
    plain = GPSConfig()
    odd = [
        f"{field.name}={getattr(setting, field.name)}"
        for field in fields(setting)
        if field.name not in told and getattr(setting, field.name) != getattr(plain, field.name)
    ]
    return "-".join([setting.system, setting.method, f"{setting.hidden}units", *odd, f"seed{setting.seed}"])


def start(setting: GPSConfig, place: RunFolder, **options: Any) -> Run:
    """Train in a run folder, or go on, or read what is there."""
    learner = build(setting)
    state = train(
        learner, jax.random.PRNGKey(setting.seed), place, epochs=setting.iterations,
        evaluate_every=setting.iterations, checkpoint_every=5, metric="cost", **options,
    )  # fmt: skip
    return Run(setting, learner, state, place)


def trained(setting: GPSConfig, folder: Path) -> Run:
    """As `start`, in a folder under `folder` that is named after the setting."""
    name = name_of(setting)
    place = RunFolder.create(folder / name, {"learner": "constrained_gps", **vars(setting)}, resume=True)
    return start(setting, place, label=name)
