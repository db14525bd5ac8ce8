"""What a training run writes while it runs, as callbacks of `fit`; and `train`, which ties them together."""

import csv
from pathlib import Path
from typing import Any

import jax
import numpy as np

from costogo.core.errors import MissingExtraError
from costogo.core.progress import ProgressMeter
from costogo.io.checkpoints import CheckpointFolder
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
        self.meter = ProgressMeter(epochs, "epoch", start=epoch)

    def on_epoch(self, epoch: int, state: Any, metrics: dict[str, np.ndarray]) -> None:
        """Report."""
        value = metrics.get(self.metric)
        shown = "" if value is None else f"{self.metric} {np.mean(value):.4g}"
        self.meter.update(epoch, f"{self.label} {shown}".strip())


class CsvLog(Callback):
    """Appends one row per epoch; on resume, rows after the resumed epoch are dropped first."""

    def __init__(self, path: Path | str):
        self.path = Path(path)

    def on_start(self, learner: Learner, state: Any, epoch: int, epochs: int) -> None:
        """Keep the rows up to the epoch from which training goes on."""
        self.rows = []
        if epoch > 0 and self.path.exists():
            with self.path.open(newline="") as file:
                self.rows = [row for row in csv.DictReader(file) if int(row["epoch"]) <= epoch]
        self.columns = ["epoch"]
        self._rewrite()

    def on_epoch(self, epoch: int, state: Any, metrics: dict[str, np.ndarray]) -> None:
        """Write the row; a metric seen for the first time adds a column."""
        row = {"epoch": epoch} | {name: repr(value) for name, value in flatten(metrics).items()}
        self.rows.append(row)
        if set(row) <= set(self.columns):
            with self.path.open("a", newline="") as file:
                csv.DictWriter(file, self.columns).writerow(row)
        else:
            self._rewrite()

    def _rewrite(self) -> None:
        for row in self.rows:
            self.columns += [name for name in row if name not in self.columns]
        with self.path.open("w", newline="") as file:
            writer = csv.DictWriter(file, self.columns)
            writer.writeheader()
            writer.writerows(self.rows)


class Checkpoints(Callback):
    """Saves the whole training state every `every` epochs and at the end."""

    def __init__(self, folder: CheckpointFolder, every: int = 10):
        self.folder, self.every = folder, every

    def on_start(self, learner: Learner, state: Any, epoch: int, epochs: int) -> None:
        """Remember when the last epoch is."""
        self.last = epochs

    def on_epoch(self, epoch: int, state: Any, metrics: dict[str, np.ndarray]) -> None:
        """Save if it is time."""
        if epoch % self.every == 0 or epoch == self.last:
            self.folder.save(epoch, state, {"epoch": epoch})


class TensorBoard(Callback):
    """Writes the metrics as TensorBoard events; needs `tensorboardX`."""

    def __init__(self, folder: Path | str):
        try:
            from tensorboardX import SummaryWriter  # pyright: ignore[reportMissingImports]
        except ImportError as error:
            raise MissingExtraError("TensorBoard logging needs tensorboardX: pip install tensorboardX") from error
        self.writer = SummaryWriter(str(folder))

    def on_epoch(self, epoch: int, state: Any, metrics: dict[str, np.ndarray]) -> None:
        """Write every scalar."""
        for name, value in flatten(metrics).items():
            self.writer.add_scalar(name, value, epoch)

    def on_end(self, state: Any) -> None:
        """Close the file."""
        self.writer.close()


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

    A run that is killed and started again ends with bit-identical parameters and metrics.
    """
    folder = CheckpointFolder(run.checkpoints)
    state = learner.init(key)
    found = folder.load_latest(state)
    if found is not None:
        state = found[0]
    if epochs_done(learner, state) >= epochs:
        return state
    callbacks: list[Callback] = [CsvLog(run.metrics), Checkpoints(folder, checkpoint_every), Progress(metric, label)]
    if tensorboard:
        callbacks.append(TensorBoard(run.path / "tensorboard"))
    return fit(learner, state, epochs=epochs, evaluate_every=evaluate_every, callbacks=callbacks)
