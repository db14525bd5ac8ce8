"""House style of figures, and the curves that every experiment draws. No global state of matplotlib is touched."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

# Okabe and Ito's palette: distinguishable for colour-blind readers.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")


def new_figure(rows: int = 1, columns: int = 1, *, width: float = 4.4, height: float = 3.0, **options: Any):
    """A figure and its axes (always a 2-D array), with light grids and without frames on top and right."""
    fig = Figure(figsize=(width * columns, height * rows), layout="constrained", dpi=130)
    FigureCanvasAgg(fig)
    axes = fig.subplots(rows, columns, squeeze=False, **options)
    for ax in axes.flat:
        ax.grid(alpha=0.25, linewidth=0.6)
        ax.spines[["top", "right"]].set_visible(False)
        ax.set_prop_cycle(color=COLOURS)
    return fig, axes


def save(fig: Figure, path: Path) -> Path:
    """Write the figure as PNG."""
    path.parent.mkdir(parents=True, exist_ok=True)
    fig.savefig(path)
    return path


def _table(rows: Iterable[dict[str, Any]], x: str, y: str) -> tuple[np.ndarray, np.ndarray]:
    """Values of `y` as (seeds, points), with the points of `x`."""
    by_seed: dict[int, dict[float, float]] = {}
    for row in rows:
        if row.get(y) is not None:
            by_seed.setdefault(row["seed"], {})[row[x]] = row[y]
    points = sorted(set.intersection(*(set(v) for v in by_seed.values()))) if by_seed else []
    return np.array(points), np.array([[values[p] for p in points] for values in by_seed.values()])


def mean_and_range(ax: Axes, rows: Iterable[dict[str, Any]], x: str, y: str, colour: str, label: str) -> None:
    """Mean over seeds as a line, smallest to largest as a band."""
    points, values = _table(rows, x, y)
    if values.size == 0:
        return
    ax.plot(points, values.mean(axis=0), color=colour, label=label, linewidth=1.6)
    ax.fill_between(points, values.min(axis=0), values.max(axis=0), color=colour, alpha=0.18, linewidth=0)


def by_seed(ax: Axes, rows: Iterable[dict[str, Any]], x: str, y: str) -> None:
    """One thin line per seed."""
    points, values = _table(rows, x, y)
    for i, line in enumerate(values):
        ax.plot(points, line, color=COLOURS[i % len(COLOURS)], linewidth=1.1, alpha=0.9)


def trajectory(
    times: np.ndarray,
    states: np.ndarray,
    controls: np.ndarray,
    state_names: tuple[str, ...],
    control_names: tuple[str, ...],
) -> Figure:
    """States above, controls below, against time."""
    fig, axes = new_figure(2, 1, width=7.0, height=2.6, sharex=True)
    for i, name in enumerate(state_names):
        axes[0, 0].plot(times, states[:, i], label=name)
    for i, name in enumerate(control_names):
        axes[1, 0].step(times[:-1], controls[:, i], where="post", label=name)
    for ax in axes[:, 0]:
        ax.legend(fontsize=8)
    axes[1, 0].set_xlabel("time [s]")
    return fig
