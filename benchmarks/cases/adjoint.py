"""Derivative of the MPC layer, implicit against unrolled, over solver iterations (experiment X1): time and memory."""

from contextlib import ExitStack

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks.cases.common import Case, Settings, missing, timing_fields
from benchmarks.harness import Contender, Unavailable, interleave
from benchmarks.ours import Compiled, compiled
from benchmarks.report import Row
from costogo.experiments.diff_mpc.x1 import BATCH, HORIZON, ITERATIONS, NU, NX, layer
from costogo.systems import random_matrices

QUICK_ITERATIONS = (1, 5)
# mpc.pytorch needs seconds per solve: a few counts are enough to see the trend.
PEER_ITERATIONS = (1, 10, 100)


def run(settings: Settings) -> list[Row]:
    """All iteration counts."""
    counts = QUICK_ITERATIONS if settings.quick else ITERATIONS
    rows = [row for count in counts for row in _count(count, settings)]
    for row in rows:
        first = next(r for r in rows if r["solver"] == row["solver"])
        if "backward_ms" in row and "backward_ms" in first:
            row["growth"] = row["backward_ms"] / first["backward_ms"]
    return rows


def _count(iterations: int, settings: Settings) -> list[Row]:
    parameters = random_matrices(jax.random.PRNGKey(0), NX, NU)
    x0 = jax.random.normal(jax.random.PRNGKey(1), (BATCH, NX))
    rows: dict[str, Row] = {}
    contenders: list[Contender] = []
    absent = []
    for kind in ("implicit", "unrolled"):
        name = f"costogo {kind}"
        forward, backward, gradient, kept = _ours(name, kind, iterations, parameters, x0)
        contenders += [forward.contender, backward.contender]
        rows[name] = {
            "solver": name,
            "iterations": iterations,
            "compile_s": gradient.compile_s,
            "gradient_temp_MB": gradient.temp_bytes / 1e6,
            "kept_MB": kept / 1e6,
        }
    with ExitStack() as stack:
        if iterations in (QUICK_ITERATIONS if settings.quick else PEER_ITERATIONS):
            row = {"solver": "mpc.pytorch", "iterations": iterations}
            try:
                peer = stack.enter_context(settings.peer("mpc", "mpc_pytorch"))
                A, B = (np.asarray(M) for M in parameters)
                given = {"A": A, "B": B, "x0": np.asarray(x0), "horizon": np.array(HORIZON)}
                peer.prepare(given, plant="x1", iterations=iterations)
                contenders += [peer.contender(f"mpc.pytorch {w}", w) for w in ("forward", "backward")]
                rows["mpc.pytorch"] = row
            except Unavailable as reason:
                absent.append(missing(row, reason))
        timings = interleave(contenders, settings.effort)
    for name, row in rows.items():
        for part in ("forward", "backward"):
            timing = timing_fields(timings[f"{name} {part}"], "ms")
            row.update({f"{part}_{key}" if key != "missing" else key: value for key, value in timing.items()})
    return [*rows.values(), *absent]


def _ours(name: str, kind: str, iterations: int, parameters, x0) -> tuple[Compiled, Compiled, Compiled, int]:
    """Forward pass, backward pass alone (from kept residuals), both in one program; bytes of the residuals."""
    layer_of = layer(kind, iterations)
    cotangent = jnp.ones((BATCH, HORIZON, NU))
    forward = compiled(f"{name} forward", layer_of, parameters, x0)
    _, rule = jax.jit(lambda p: jax.vjp(lambda p: layer_of(p, x0), p))(parameters)
    backward = compiled(f"{name} backward", lambda rule, ct: rule(ct), rule, cotangent)
    gradient = compiled(f"{name} gradient", jax.grad(lambda p: jnp.sum(layer_of(p, x0))), parameters)
    return forward, backward, gradient, sum(leaf.nbytes for leaf in jax.tree.leaves(rule))


CASE = Case(
    "adjoint",
    (
        ("iterations", "iterations", 0),
        ("solver", "layer", 0),
        ("forward_ms", "forward ms", 3),
        ("backward_ms", "backward ms", 3),
        ("growth", "backward, relative to 1 iteration", 3),
        ("kept_MB", "kept for backward, MB", 3),
        ("gradient_temp_MB", "scratch of the gradient program, MB", 3),
        ("compile_s", "compile s", 2),
    ),
    run,
)
