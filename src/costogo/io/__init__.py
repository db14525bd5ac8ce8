"""Run folders, checkpoints, the callbacks that write them, and export of trained policies."""

from costogo.io.callbacks import Checkpoints, CsvLog, Progress, TensorBoard, load_state, train
from costogo.io.checkpoints import CheckpointFolder, load_checkpoint, save_checkpoint
from costogo.io.exporters import ExportReport, export, load_numpy
from costogo.io.runs import RunFolder

__all__ = [
    "CheckpointFolder",
    "Checkpoints",
    "CsvLog",
    "ExportReport",
    "Progress",
    "RunFolder",
    "TensorBoard",
    "export",
    "load_checkpoint",
    "load_numpy",
    "load_state",
    "save_checkpoint",
    "train",
]
