"""What a training run writes while it runs, as callbacks of `fit`; and `train`, which ties them together."""

import csv
import io
from pathlib import Path
from typing import Any

import jax
import numpy as np

from costogo.core.errors import CostogoError, MissingExtraError
from costogo.core.progress import ProgressMeter
from costogo.core.validate import require
from costogo.io.checkpoints import CheckpointFolder, write_atomically
from costogo.io.runs import RunFolder
from costogo.learn.fit import Callback, Learner, epochs_done, fit


def flatten(metrics: dict[str, Any]) -> dict[str, float]:
    """Metrics as scalars: an array of per-seed values becomes `name[0]`, `name[1]`, ..."""
    flat = {}
    for name, value in metrics.items():
        array = np.asarray(value)
        for index in np.ndindex(array.shape):
            flat[name + (f"[{','.join(map(str, index))}]" if index else "")] = float(array[index])
    return flat


class Progress(Callback):
    """Shows rate, time left and one metric (its mean over seeds)."""

    def __init__(self, metric: str = "loss", label: str = ""):
        self.metric, self.label = metric, label

    def on_start(self, learner: Learner, state: Any, epoch: int, epochs: int) -> None:
        """Start the clock."""
        self.meter = ProgressMeter(epochs, "epoch")

    def on_epoch(self, epoch: int, state: Any, metrics: dict[str, np.ndarray]) -> None:
        """Report."""
        value = metrics.get(self.metric)
        shown = "" if value is None else f"{self.metric} {np.mean(value):.4g}"
        self.meter.update(epoch, f"{self.label} {shown}".strip())


class CsvLog(Callback):
    """Appends one row per epoch; on resume, rows after the resumed epoch are dropped first, so that a run that was
    killed and resumed ends with the file of an uninterrupted one."""

    def __init__(self, path: Path | str):
        self.path = Path(path)

    def on_start(self, learner: Learner, state: Any, epoch: int, epochs: int) -> None:
        """Keep the rows up to the epoch from which training goes on."""
        self.rows = []
        if epoch > 0 and self.path.exists():
            with self.path.open(newline="") as file:
                # A row that was being written when the run was killed lacks columns.
                complete = [row for row in csv.DictReader(file) if None not in row.values()]
            self.rows = [row for row in complete if int(row["epoch"]) <= epoch]
        self.columns = ["epoch"]
        self._rewrite()

    def on_epoch(self, epoch: int, state: Any, metrics: dict[str, np.ndarray]) -> None:
        """Write the row; a metric seen for the first time adds a column."""
        row = {"epoch": epoch} | {name: repr(value) for name, value in flatten(metrics).items()}
        self.rows.append(row)
        if not set(row) <= set(self.columns):
            self._rewrite()
            return
        try:
            with self.path.open("a", newline="") as file:
                csv.DictWriter(file, self.columns).writerow(row)
        except OSError as error:
            raise CostogoError(f"could not write {self.path}: {error}; the last checkpoint is intact") from error

    def _rewrite(self) -> None:
        for row in self.rows:
            self.columns += [name for name in row if name not in self.columns]
        text = io.StringIO(newline="")
        writer = csv.DictWriter(text, self.columns)
        writer.writeheader()
        writer.writerows(self.rows)
        try:
            write_atomically(self.path, text.getvalue().encode())
        except OSError as error:
            raise CostogoError(f"could not write {self.path}: {error}; the last checkpoint is intact") from error


class Checkpoints(Callback):
    """Saves the whole training state every `every` epochs and at the end."""

    def __init__(self, folder: CheckpointFolder, every: int = 10):
        require(every >= 1, f"checkpoint_every is {every}; pass at least 1")
        self.folder, self.every = folder, every
        self.unsaved: tuple[int, Any] | None = None

    def on_start(self, learner: Learner, state: Any, epoch: int, epochs: int) -> None:
        """Remember when the last epoch is."""
        self.last = epochs

    def on_epoch(self, epoch: int, state: Any, metrics: dict[str, np.ndarray]) -> None:
        """Save if it is time."""
        self.unsaved = (epoch, state)
        if epoch % self.every == 0 or epoch == self.last:
            self.save()

    def save(self) -> None:
        """Save the newest state unless that is done."""
        if self.unsaved is not None:
            epoch, state = self.unsaved
            self.folder.save(epoch, state, {"epoch": epoch})
            self.unsaved = None


class TensorBoard(Callback):
    """Writes the metrics as TensorBoard events; needs `tensorboardX`."""

    def __init__(self, folder: Path | str):
        try:
            from tensorboardX import SummaryWriter  # pyright: ignore[reportMissingImports]
        except ImportError as error:
            raise MissingExtraError(
                "TensorBoard logging needs tensorboardX: pip install 'costogo[tensorboard]'"
            ) from error
        self.writer = SummaryWriter(str(folder))

    def on_epoch(self, epoch: int, state: Any, metrics: dict[str, np.ndarray]) -> None:
        """Write every scalar."""
        for name, value in flatten(metrics).items():
            self.writer.add_scalar(name, value, epoch)

    def on_end(self, state: Any) -> None:
        """Close the file."""
        self.writer.close()


def load_state(learner: Learner, key: jax.Array, folder: CheckpointFolder) -> Any:
    """Newest state in a folder, or None if there is none. A learner whose `init` is costly has `blank`: a state of the
    same shapes to read into."""
    found = folder.load_latest(getattr(learner, "blank", learner.init)(key))
    return None if found is None else found[0]


def train(
    learner: Learner,
    key: jax.Array,
    run: RunFolder,
    *,
    epochs: int,
    evaluate_every: int = 1,
    checkpoint_every: int = 10,
    metric: str = "loss",
    label: str = "",
    tensorboard: bool = False,
) -> Any:
    """Train in a run folder: progress, CSV and checkpoints; resumes from the newest checkpoint if there is one.

    A run that is killed and started again ends with bit-identical parameters and metrics; one that is interrupted
    from the keyboard saves its newest epoch first.
    """
    folder = CheckpointFolder(run.checkpoints)
    state = load_state(learner, key, folder) if folder.paths() else learner.init(key)
    if epochs_done(learner, state) >= epochs:
        return state
    checkpoints = Checkpoints(folder, checkpoint_every)
    callbacks: list[Callback] = [CsvLog(run.metrics), checkpoints, Progress(metric, label)]
    if tensorboard:
        callbacks.append(TensorBoard(run.path / "tensorboard"))
    try:
        return fit(learner, state, epochs=epochs, evaluate_every=evaluate_every, callbacks=callbacks)
    except KeyboardInterrupt:
        checkpoints.save()
        raise
