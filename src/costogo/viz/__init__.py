"""Plots, videos and reports."""

from costogo.core.errors import MissingExtraError

try:
    import matplotlib  # noqa: F401
except ImportError as error:
    raise MissingExtraError("plots, videos and reports need matplotlib: pip install 'costogo[viz]'") from error

from costogo.viz.animate import write_video
from costogo.viz.drawings import DRAWINGS, Recording, film
from costogo.viz.plots import COLOURS, draw_seeds, draw_trajectory, figure, save
from costogo.viz.report import Report

__all__ = [
    "COLOURS",
    "DRAWINGS",
    "Recording",
    "Report",
    "draw_seeds",
    "draw_trajectory",
    "figure",
    "film",
    "save",
    "write_video",
]
