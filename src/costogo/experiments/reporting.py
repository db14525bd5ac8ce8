"""How experiments show their rows: curves over seeds, and one report per experiment."""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from scipy.stats import t as student_t

from costogo.viz import COLOURS, Report, draw_seeds


def seed_table(rows: Iterable[dict[str, Any]], x: str, y: str) -> tuple[np.ndarray, np.ndarray]:
    """Column `y` as (seeds, points) against column `x` (points,), over the points that every seed has."""
    seeds: dict[int, dict[float, float]] = {}
    for row in rows:
        if row.get(y) is not None:
            seeds.setdefault(row["seed"], {})[row[x]] = row[y]
    points = sorted(set.intersection(*(set(values) for values in seeds.values()))) if seeds else []
    return np.array(points), np.array([[values[p] for p in points] for values in seeds.values()])


def mean_and_range(ax: Axes, rows: Iterable[dict[str, Any]], x: str, y: str, colour: str, label: str) -> None:
    """Mean over seeds as a line, smallest to largest as a band."""
    points, values = seed_table(rows, x, y)
    if values.size:
        draw_seeds(ax, points, values, label, colour)


def mean_and_interval(
    ax: Axes, rows: Iterable[dict[str, Any]], x: str, y: str, colour: str, label: str, *, band: bool = True
) -> None:
    """Mean over seeds as a line, its 95 % interval (Student's t) as a `band`; one seed has none."""
    points, values = seed_table(rows, x, y)
    if not values.size:
        return
    mean, n = values.mean(axis=0), len(values)
    ax.plot(points, mean, color=colour, label=label)
    if band and n > 1:
        half = student_t.ppf(0.975, n - 1) * values.std(axis=0, ddof=1) / np.sqrt(n)
        ax.fill_between(points, mean - half, mean + half, color=colour, alpha=0.18, linewidth=0)


def single_seeds(ax: Axes, rows: Iterable[dict[str, Any]], x: str, y: str) -> None:
    """One line per seed."""
    points, values = seed_table(rows, x, y)
    for i, line in enumerate(values):
        ax.plot(points, line, color=COLOURS[i % len(COLOURS)], linewidth=1.1)


def write_report(
    folder: Path, title: str, rows: Sequence[dict[str, Any]], media: Sequence[Path], facts: dict[str, Any]
) -> Path:
    """`report.html` of an experiment: facts, a table (claims or results), figures and videos."""
    report = Report(title).settings(facts).table(rows)
    for path in media:
        report.media(path, path.stem)
    return report.write(folder / "report.html")
