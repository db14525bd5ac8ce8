"""Training runs that experiments share: named by their settings, trained once, resumed after an interrupt."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import jax

from costogo.io import RunFolder, train
from costogo.io.runs import read_rows


@dataclass(frozen=True)
class Run:
    """A finished training run. `label` stands in each row of its curves."""

    setting: Any
    learner: Any
    state: Any
    folder: RunFolder
    label: Mapping[str, Any]

    @property
    def curves(self) -> list[dict[str, Any]]:
        """A row of metrics per epoch, with the label."""
        return [dict(self.label) | row for row in read_rows(self.folder.metrics)]


@dataclass(frozen=True)
class Recipe:
    """How the settings of one learner are trained. A setting is a dataclass with defaults and a `seed`.

    `build` makes a setting's learner, `told` the words its runs are named by (those that are empty are left out),
    `options` what `costogo.io.train` is told of its epochs, given setting and learner; the fields `shown` label curves.
    """

    learner: str
    build: Callable[[Any], Any]
    told: Callable[[Any], Mapping[str, str]]
    options: Callable[[Any, Any], Mapping[str, Any]]
    shown: tuple[str, ...] = ("seed",)

    def name_of(self, setting: Any) -> str:
        """Name of a run: what is told, what else is not the default, seed."""
        plain, told = type(setting)(), self.told(setting)
        odd = [
            f"{field.name}={'x'.join(map(str, value)) if isinstance(value, tuple) else value}"
            for field in fields(setting)
            if field.name not in (*told, "seed")
            and (value := getattr(setting, field.name)) != getattr(plain, field.name)
        ]
        return "-".join(part for part in (*told.values(), *odd, f"seed{setting.seed}") if part)

    def start(self, setting: Any, learner: Any, place: RunFolder, **how: Any) -> Run:
        """Train the learner of a setting in a run folder, or go on, or read what is there."""
        key = jax.random.PRNGKey(setting.seed)
        state = train(learner, key, place, **self.options(setting, learner), **how)
        return Run(setting, learner, state, place, {name: getattr(setting, name) for name in self.shown})

    def trained(self, setting: Any, folder: Path) -> Run:
        """As `start`, in a folder under `folder` that is named after the setting."""
        learner, name = self.build(setting), self.name_of(setting)  # what cannot be built leaves no folder
        place = RunFolder.create(folder / name, {"learner": self.learner, **vars(setting)}, resume=True)
        return self.start(setting, learner, place, label=name)
