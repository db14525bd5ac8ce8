"""Run folders, checkpoints, and the callbacks that write them."""

from costogo.io.callbacks import Checkpoints, CsvLog, Progress, TensorBoard, train
from costogo.io.checkpoints import CheckpointFolder, load_checkpoint, save_checkpoint
from costogo.io.runs import RunFolder

__all__ = [
    "CheckpointFolder",
    "Checkpoints",
    "CsvLog",
    "Progress",
    "RunFolder",
    "TensorBoard",
    "load_checkpoint",
    "save_checkpoint",
    "train",
]
