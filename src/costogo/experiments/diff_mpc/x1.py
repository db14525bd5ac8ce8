"""X1: time and memory of solution and derivative against solver iterations (spec section 8; paper section 5.1)."""

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from costogo.core.progress import ProgressMeter
from costogo.experiments.claims import Claim, judge, write_claims, write_rows
from costogo.experiments.registry import ExperimentConfig
from costogo.experiments.reporting import write_report
from costogo.problem import OptimalControlProblem, QuadraticCost
from costogo.solvers import BoxDDP, ImplicitAdjoint, UnrolledAdjoint, solve
from costogo.systems import random_matrices
from costogo.viz import COLOURS, figure, save

NX = NU = 3
HORIZON, BATCH = 20, 32
ITERATIONS = (1, 2, 5, 10, 20, 50, 100)


def layer(kind: str, iterations: int) -> Callable:
    """Batched MPC layer with a fixed number of iterations: parameters and initial states to controls.

    The dynamics are weakly nonlinear, so that no iteration is the last one by accident; the tolerance is zero.
    """
    solver = BoxDDP(subproblem="clamped", max_iterations=iterations, tolerance=0.0)
    adjoint = UnrolledAdjoint(iterations) if kind == "unrolled" else ImplicitAdjoint("gauss_newton")

    def run(parameters, x0):
        A, B = parameters
        problem = OptimalControlProblem(
            lambda x, u, t: A @ x + B @ u + 0.05 * jnp.sin(x),
            QuadraticCost(Q=1.0, R=1.0),
            horizon=HORIZON,
            control_bounds=(-np.ones(NU), np.ones(NU)),
        )
        return jax.vmap(lambda x: solve(problem, x, solver=solver, adjoint=adjoint).controls)(x0)

    return run


def measure(kind: str, iterations: int, repeats: int) -> dict[str, Any]:
    """Compile, forward and backward seconds (medians), and the bytes kept for the backward pass."""
    parameters = random_matrices(jax.random.PRNGKey(0), NX, NU)
    x0 = jax.random.normal(jax.random.PRNGKey(1), (BATCH, NX))
    run = layer(kind, iterations)
    cotangent = jnp.ones((BATCH, HORIZON, NU))
    forward = jax.jit(run)
    with_rule = jax.jit(lambda p: jax.vjp(lambda p: run(p, x0), p))
    backward = jax.jit(lambda rule, ct: rule(ct))
    start = time.perf_counter()
    jax.block_until_ready(forward(parameters, x0))
    _, rule = jax.block_until_ready(with_rule(parameters))
    jax.block_until_ready(backward(rule, cotangent))
    compile_seconds = time.perf_counter() - start
    return {
        "adjoint": kind,
        "iterations": iterations,
        "forward_ms": 1e3 * _median(lambda: forward(parameters, x0), repeats),
        "backward_ms": 1e3 * _median(lambda: backward(rule, cotangent), repeats),
        "kept_bytes": sum(leaf.nbytes for leaf in jax.tree.leaves(rule)),
        "compile_s": compile_seconds,
    }


def _median(function: Callable, repeats: int) -> float:
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        jax.block_until_ready(function())
        times.append(time.perf_counter() - start)
    return float(np.median(times))


def run(config: ExperimentConfig, folder: Path) -> None:
    """Measure both adjoints at every iteration count; write CSV, figure and claims."""
    iterations = ITERATIONS[:3] if config.quick else ITERATIONS
    cases = [(kind, n) for n in iterations for kind in ("implicit", "unrolled")]
    meter, rows = ProgressMeter(len(cases), "case"), []
    for kind, n in cases:
        rows.append(measure(kind, n, repeats=3 if config.quick else 10))
        meter.update(len(rows), f"{kind}, {n} iterations: backward {rows[-1]['backward_ms']:.2f} ms")
    write_rows(folder / "timings.csv", rows)
    found = write_claims(folder, claims(rows, iterations[-1]))
    plot(rows, folder / "x1.png")
    facts = {"nx": NX, "nu": NU, "horizon": HORIZON, "batch": BATCH, "trials": 10, "precision": "float64"}
    write_report(folder, "X1: solver timing", found, [folder / "x1.png"], facts)


def claims(rows: list[dict[str, Any]], most: int) -> list[Claim]:
    """Spec acceptance check 10."""
    ratio = {
        (kind, key): _pick(rows, kind, most)[key] / _pick(rows, kind, 1)[key]
        for kind in ("implicit", "unrolled")
        for key in ("backward_ms", "kept_bytes", "forward_ms")
    }
    implicit, unrolled = ratio["implicit", "backward_ms"], ratio["unrolled", "backward_ms"]
    faster = _pick(rows, "implicit", most)["forward_ms"] <= _pick(rows, "unrolled", most)["forward_ms"]
    forward = [f"{_pick(rows, kind, most)['forward_ms']:.1f} ms" for kind in ("implicit", "unrolled")]
    return [
        Claim(f"implicit backward time does not grow with iterations ({most} against 1)", "flat; at most 1.3",
              f"{implicit:.2f}", judge(implicit <= 1.3)),
        Claim(f"unrolled backward time grows linearly ({most} against 1)", "linear; at least 20", f"{unrolled:.1f}",
              judge(unrolled >= 20, unrolled >= 5)),
        Claim("memory kept for the backward pass: implicit flat", "flat", f"{ratio['implicit', 'kept_bytes']:.2f}",
              judge(ratio["implicit", "kept_bytes"] <= 1.3)),
        Claim("memory kept for the backward pass: unrolled grows with the iterations", f"factor {most}",
              f"{ratio['unrolled', 'kept_bytes']:.1f}", judge(ratio["unrolled", "kept_bytes"] >= 20)),
        Claim(f"forward slightly faster than unrolled ({most} iterations)", "slightly faster",
              " against ".join(forward), judge(faster)),
    ]  # fmt: skip


def _pick(rows: list[dict[str, Any]], kind: str, iterations: int) -> dict[str, Any]:
    return next(row for row in rows if row["adjoint"] == kind and row["iterations"] == iterations)


def plot(rows: list[dict[str, Any]], path: Path) -> None:
    """Forward and backward time, and memory, against iterations."""
    fig, axes = figure(1, 3, size=(3.8, 3.0))
    shown = (
        ("forward_ms", "forward [ms]"),
        ("backward_ms", "backward [ms]"),
        ("kept_bytes", "kept for backward [bytes]"),
    )
    for ax, (key, label) in zip(axes.flat, shown, strict=True):
        for kind, colour in zip(("implicit", "unrolled"), COLOURS, strict=False):
            chosen = [row for row in rows if row["adjoint"] == kind]
            ax.plot([r["iterations"] for r in chosen], [r[key] for r in chosen], "o-", color=colour, label=kind)
        ax.set(xscale="log", yscale="log", xlabel="solver iterations", ylabel=label)
    axes[0, 0].legend()
    save(fig, path)
