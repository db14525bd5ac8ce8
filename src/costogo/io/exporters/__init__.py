"""Policies as files that run without JAX: ONNX, NumPy, C."""

from costogo.io.exporters.api import FORMATS, export
from costogo.io.exporters.description import Description, Operation, describe
from costogo.io.exporters.numpy_runner import NumpyPolicy, load_numpy
from costogo.io.exporters.parity import ExportReport

__all__ = ["FORMATS", "Description", "ExportReport", "NumpyPolicy", "Operation", "describe", "export", "load_numpy"]
