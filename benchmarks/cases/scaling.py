"""How one backward and forward sweep scales with batch, horizon and dimension: native kernels, pure JAX."""

from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks.cases.common import Case, Settings, timing_fields
from benchmarks.cases.riccati import FIELDS, Way, _one_call, random_model
from benchmarks.harness import Effort, interleave
from benchmarks.ours import compiled, implementation
from benchmarks.report import Row
from costogo.lqr import LQModel

ROOT = Path(__file__).parents[2]
PLOT = ROOT / "docs" / "assets" / "bench_scaling.png"
WAYS = (Way("native", _one_call, "auto"), Way("pure JAX", _one_call, "jax"))
# Axis: its name, and (nx, nu, N, batch) along it.
AXES = {
    "batch": [(4, 2, 25, 4**i) for i in range(7)],
    "horizon": [(8, 4, 10 * 2**i, 32) for i in range(6)],
    "dimension": [(2**i, 2 ** (i - 1), 25, 32) for i in range(2, 7)],
}
COORDINATE = {"batch": 3, "horizon": 2, "dimension": 0}


def run(settings: Settings) -> list[Row]:
    """All axes, one point after the other; a full run also draws the plot."""
    rows = []
    for axis, points in AXES.items():
        for point in points[:2] if settings.quick else points:
            rows += _point(axis, point, Effort(2, 0.0) if settings.quick else Effort(5, 0.03))
    if not settings.quick:
        _draw(rows)
    return rows


def _point(axis: str, point: tuple[int, int, int, int], effort: Effort) -> list[Row]:
    nx, nu, N, batch = point
    single = random_model(nx, nu, N)
    model = {key: np.stack([value] * batch) for key, value in single.items()}
    lq, x0 = LQModel(**{key: jnp.asarray(model[key]) for key in FIELDS}), jnp.asarray(model["x0"])
    platforms = ["cpu", *(["gpu"] if jax.default_backend() == "gpu" else [])]
    ways = [way for way in WAYS if platforms == ["cpu"] or way.implementation == "jax"]
    found = []
    for way in ways:
        with implementation(way.implementation):
            found.append(compiled(f"{way.name}, {platforms[-1].upper()}", way.function, lq, x0))
    timings = interleave([mine.contender for mine in found], effort)
    base = {"axis": axis, "nx": nx, "nu": nu, "N": N, "batch": batch}
    return [{**base, "solver": name, **timing_fields(timing, "us", batch)} for name, timing in timings.items()]


def _draw(rows: list[Row]) -> None:
    import matplotlib.pyplot as plt

    from costogo.viz import plots

    labels = {
        "batch": "batch at (4, 2, 25)",
        "horizon": "horizon at (8, 4, N), batch 32",
        "dimension": "nx (nu = nx / 2)",
    }
    figure, axes = plt.subplots(1, 3, figsize=(12, 3.6), constrained_layout=True)
    for panel, axis in zip(axes, AXES, strict=True):
        points = [point[COORDINATE[axis]] for point in AXES[axis]]
        for solver in dict.fromkeys(row["solver"] for row in rows):
            times = [row["us"] for row in rows if row["axis"] == axis and row["solver"] == solver]
            panel.loglog(points, times, "o-", label=solver)
        panel.set(xlabel=labels[axis], ylabel="us per problem")
        panel.set_xticks(points, [str(point) for point in points])
        panel.set_xticks([], minor=True)
        panel.grid(alpha=0.3)
    axes[0].legend()
    plots.save(figure, PLOT)
    plt.close(figure)


CASE = Case(
    "scaling",
    (
        ("axis", "along", 0),
        ("nx", "nx", 0),
        ("nu", "nu", 0),
        ("N", "N", 0),
        ("batch", "batch", 0),
        ("solver", "solver", 0),
        ("us", "us per problem", 3),
    ),
    run,
)
