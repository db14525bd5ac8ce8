"""Training runs that experiments share: named by their settings, trained once, by whichever process is free.

What a finished run leaves is small: its settings, its metrics and what was found out about it. Experiments read these;
only what needs the trained network itself asks for the checkpoint, and trains again where that is gone.
"""

import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, fields, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import jax

from costogo.core.errors import MissingExtraError
from costogo.io import CheckpointFolder, RunFolder, train
from costogo.io.checkpoints import write_atomically
from costogo.io.runs import read_rows


@dataclass(frozen=True)
class Run:
    """A training run. `label` stands in each row of its curves; `train` gives its final state, from `epochs` epochs."""

    setting: Any
    learner: Any
    folder: RunFolder
    label: Mapping[str, Any]
    epochs: int
    train: Callable[[], Any]

    @cached_property
    def state(self) -> Any:
        """State at the end: read from the checkpoint, or trained up to there."""
        return self.train()

    @property
    def finished(self) -> bool:
        """Whether the metrics go to the last epoch."""
        rows = read_rows(self.folder.metrics) if self.folder.metrics.exists() else []
        return bool(rows) and rows[-1]["epoch"] >= self.epochs

    @property
    def curves(self) -> list[dict[str, Any]]:
        """A row of metrics per epoch, with the label."""
        return [dict(self.label) | row for row in read_rows(self.folder.metrics)]

    def kept(self, name: str, work: Callable[[], Any], **conditions: Any) -> Any:
        """What `work()` returns, plain data; from `name.json` in the folder if it was found there under the same
        conditions before."""
        path, conditions = self.folder.path / f"{name}.json", conditions | {"epochs": self.epochs}
        if path.exists() and (known := json.loads(path.read_text()))["conditions"] == conditions:
            return known["found"]
        found = work()
        write_atomically(path, (json.dumps({"conditions": conditions, "found": found}, indent=1) + "\n").encode())
        return found


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

    def run(self, setting: Any, learner: Any, place: RunFolder, **how: Any) -> Run:
        """The run of a setting in a run folder."""
        key, options = jax.random.PRNGKey(setting.seed), self.options(setting, learner)
        label = {name: getattr(setting, name) for name in self.shown}
        return Run(
            setting, learner, place, label, options["epochs"], lambda: train(learner, key, place, **options, **how)
        )

    def trained(self, setting: Any, folder: Path, then: Callable[[Run], Any] | None = None) -> Run:
        """The finished run of a setting, in a folder under `folder` that is named after it. Trains it, goes on with
        it, waits for a process that is training it, or reads it; `then` is done with it before others may have it."""
        run, lock = self._shared(setting, folder)
        with lock:
            return _finish(run, then)

    def all(self, settings: Iterable[Any], folder: Path, then: Callable[[Run], Any] | None = None) -> list[Run]:
        """The finished runs of all settings. Processes that are given the same settings share the work: each takes
        what no other is at, then waits for the others."""
        from filelock import Timeout

        shared = [self._shared(setting, folder) for setting in settings]
        for run, lock in shared:
            try:
                with lock.acquire(timeout=0):
                    _finish(replace(run), then)  # a copy, so that not all states stay in memory
            except Timeout:
                continue
        for run, lock in shared:
            with lock:
                _finish(replace(run), then)
        return [run for run, _ in shared]

    def finished(self, settings: Iterable[Any], folder: Path) -> list[Run]:
        """Those of the runs that are finished: nothing is trained, and nobody waited for."""
        there = [setting for setting in settings if (folder / self.name_of(setting) / "metrics.csv").exists()]
        return [run for run, _ in (self._shared(setting, folder) for setting in there) if run.finished]

    def _shared(self, setting: Any, folder: Path) -> tuple[Run, Any]:
        """A run whose folder several processes use, and its lock."""
        try:
            from filelock import FileLock
        except ImportError as error:
            raise MissingExtraError("experiments need filelock: pip install 'costogo[cli]'") from error
        learner, name = self.build(setting), self.name_of(setting)  # what cannot be built leaves no folder
        place, config = RunFolder(folder / name), {"learner": self.learner, **vars(setting)}
        defaults = vars(type(setting)())  # a run from before there was an option had its default
        if place.config.exists():
            place.expect(config, defaults=defaults)
        folder.mkdir(parents=True, exist_ok=True)
        lock, run = FileLock(folder / f".{name}.lock"), self.run(setting, learner, place, label=name)

        def train_alone() -> Any:
            with lock:
                if not (run.finished and place.checkpoints.exists()):  # to read a state is not to go on with a run
                    RunFolder.create(place.path, config, resume=True, defaults=defaults)
                return run.train()

        return replace(run, train=train_alone), lock


def _finish(run: Run, then: Callable[[Run], Any] | None) -> Run:
    if not run.finished:
        _ = run.state
        CheckpointFolder(run.folder.checkpoints).thin(1)  # of dozens of runs with their replay, three each are too much
    if then is not None:
        then(run)
    return run
