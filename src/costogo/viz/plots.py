"""House style of figures: matplotlib's object interface on the Agg canvas, no global state."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
from cycler import cycler
from jax.typing import ArrayLike
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from costogo.core.errors import CostogoError

# Okabe and Ito (2008), distinguishable with every common kind of colour blindness, and two more.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000", "#F0E442", "#882255", "#999999")
INK, GREY = "#222222", "#8a8a8a"
STYLE: dict[str, Any] = {
    "axes.edgecolor": GREY,
    "axes.grid": True,
    "axes.labelcolor": INK,
    "axes.labelsize": 9,
    "axes.prop_cycle": cycler(color=COLOURS),
    "axes.spines.right": False,
    "axes.spines.top": False,
    "font.size": 9,
    "grid.alpha": 0.25,
    "grid.color": GREY,
    "lines.linewidth": 1.6,
    "xtick.color": GREY,
    "xtick.labelcolor": INK,
    "ytick.color": GREY,
    "ytick.labelcolor": INK,
}


def figure(
    rows: int = 1, columns: int = 1, *, size: tuple[float, float] = (4.2, 3.0), **subplots: Any
) -> tuple[Figure, np.ndarray]:
    """A figure and its axes (rows, columns) in the house style; `size` is that of one panel, in inches.

    `subplots` are options of `Figure.subplots`, such as `sharex=True`.
    """
    with matplotlib.rc_context(STYLE):
        fig = Figure(figsize=(size[0] * columns, size[1] * rows), layout="constrained")
        FigureCanvasAgg(fig)
        return fig, fig.subplots(rows, columns, squeeze=False, **subplots)


def save(fig: Figure, path: Path | str, dpi: int = 150) -> Path:
    """Write the figure, in the format of the file name's ending; makes its folder."""
    path = Path(path)
    for ax in fig.axes:
        _finish(ax)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with matplotlib.rc_context(STYLE):
            fig.savefig(path, dpi=dpi, facecolor="white")
    except OSError as error:
        raise CostogoError(f"could not write {path}: {error}; choose another folder with --out") from error
    return path


def _finish(ax: Axes) -> None:
    """Titles and legends are made after the style has been left: bring them in line."""
    if ax.get_title():
        ax.set_title(ax.get_title(), loc="left", fontsize=10, color=INK)
        ax.set_title("", loc="center")
    legend = ax.get_legend()
    if legend is not None:
        legend.set_frame_on(False)
        for text in legend.get_texts():
            text.set_fontsize(8)


def draw_seeds(
    ax: Axes, x: ArrayLike, values: ArrayLike, label: str | None = None, colour: str | None = None, **line: Any
) -> None:
    """Mean over seeds as a line, lowest to highest seed as a band.

    `x` (points,), `values` (seeds, points) or (points,). Values that are not finite are left out.
    """
    values = np.atleast_2d(np.asarray(values, float))
    values = np.where(np.isfinite(values), values, np.nan)
    kept = np.isfinite(values).any(axis=0)
    x, values = np.asarray(x)[kept], values[:, kept]
    (mean,) = ax.plot(x, np.nanmean(values, axis=0), label=label, color=colour, **line)
    if len(values) > 1:
        low, high = np.nanmin(values, axis=0), np.nanmax(values, axis=0)
        ax.fill_between(x, low, high, color=mean.get_color(), alpha=0.18, linewidth=0)


def draw_trajectory(
    times: np.ndarray,
    states: np.ndarray,
    controls: np.ndarray,
    state_names: Sequence[str],
    control_names: Sequence[str],
    bounds: tuple[np.ndarray, np.ndarray] | None = None,
) -> Figure:
    """States (N+1, nx) above, held controls (N, nu) and their bounds below, against times (N+1,)."""
    fig, axes = figure(2, 1, size=(7.0, 2.4), sharex=True)
    above, below = axes[:, 0]
    for i, name in enumerate(state_names):
        above.plot(times, states[:, i], label=name)
    for i, name in enumerate(control_names):
        (line,) = below.step(times, np.append(controls[:, i], controls[-1, i]), where="post", label=name)
        for limit in () if bounds is None else (bounds[0][i], bounds[1][i]):
            if np.isfinite(limit):
                below.axhline(limit, color=line.get_color(), linewidth=0.8, linestyle=":")
    for ax in (above, below):
        ax.legend(loc="center left", bbox_to_anchor=(1.0, 0.5))
    below.set_xlabel("time [s]")
    return fig
