"""One backward and one forward Riccati sweep on random LQ models, derivatives given, on one core.

Ours as one call (`solve_lqr`), as two (`backward`, whose result has all that a solver may ask for, and `forward`), and
in pure JAX; against a DDP iteration of Crocoddyl and a factorisation and solve of HPIPM on BLASFEO.
"""

from collections.abc import Callable
from contextlib import ExitStack
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks.cases.common import Case, Settings, missing, timing_fields
from benchmarks.harness import Unavailable, interleave
from benchmarks.ours import Compiled, compiled, implementation
from benchmarks.report import Row
from costogo.lqr import LQModel, backward, forward, set_threads, solve_lqr

# (nx, nu, N) and the size of the batch; the last is smaller to bound the memory.
SIZES = (((4, 1, 25), 256), ((8, 4, 100), 256), ((24, 24, 100), 64))
QUICK_BATCH = 4
FIELDS = ("A", "B", "d", "Q", "q", "R", "r", "P")


def random_model(nx: int, nu: int, N: int, seed: int = 0) -> dict[str, np.ndarray]:
    """Positive definite stage Hessians with cross terms; A scaled to spectral radius about 0.9."""
    rng = np.random.default_rng(seed)
    M = rng.standard_normal((N + 1, nx + nu, nx + nu))
    H = M @ np.swapaxes(M, -1, -2) / (nx + nu) + 0.1 * np.eye(nx + nu)
    return {
        "A": 0.9 / np.sqrt(nx) * rng.standard_normal((N, nx, nx)),
        "B": rng.standard_normal((N, nx, nu)),
        "d": rng.standard_normal((N, nx)),
        "Q": np.ascontiguousarray(H[:, :nx, :nx]),
        "q": rng.standard_normal((N + 1, nx)),
        "R": np.ascontiguousarray(H[:-1, nx:, nx:]),
        "r": rng.standard_normal((N, nu)),
        "P": np.ascontiguousarray(H[:-1, nx:, :nx]),
        "x0": rng.standard_normal(nx),
    }


class Way(NamedTuple):
    """One of our own contenders: its name, what it computes, and which implementation runs."""

    name: str
    function: Callable
    implementation: str = "auto"


def _one_call(lq: LQModel, x0: jax.Array) -> tuple[jax.Array, jax.Array]:
    solution = solve_lqr(lq, x0)
    return solution.states, solution.controls


def _two_calls(lq: LQModel, x0: jax.Array) -> tuple[jax.Array, jax.Array]:
    policy = backward(lq)
    return forward(lq, policy.gains, policy.feedforward, x0)


WAYS = (Way("solve_lqr", _one_call), Way("backward, forward", _two_calls), Way("pure JAX", _two_calls, "jax"))
# Name, environment, script, kinds of work timed. The acados wheel carries BLASFEO for AVX2, CasADi's a generic one.
PEERS = (
    ("Crocoddyl DDP", "crocoddyl", "crocoddyl_sweep", ("sweep", "derivatives")),
    ("HPIPM, BLASFEO for AVX2", "acados", "hpipm_sweep", ("sweep",)),
    ("HPIPM, generic BLASFEO", "casadi", "hpipm_sweep", ("sweep",)),
)


def run(settings: Settings) -> list[Row]:
    """All sizes, on one thread."""
    rows = []
    set_threads(1)
    for size, batch in SIZES:
        rows += _size(size, QUICK_BATCH if settings.quick else batch, settings)
    set_threads(None)
    return rows


def _size(size: tuple[int, int, int], batch: int, settings: Settings) -> list[Row]:
    model = random_model(*size)
    base = {"problem": str(size)}
    rows: dict[str, Row] = {}
    contenders, absent, ours = [], [], []
    for way in WAYS:
        for count in (1, batch):
            mine = _ours(way, model, count)
            ours.append(mine)
            rows[mine.contender.name] = {**base, "batch": count, "compile_s": mine.compile_s}
    contenders += [mine.contender for mine in ours]
    with ExitStack() as stack:
        for name, environment, script, works in PEERS:
            try:
                peer = stack.enter_context(settings.peer(environment, script))
                found = peer.prepare(model)
            except Unavailable as reason:
                absent.append(missing({**base, "solver": name}, reason))
                continue
            for work in works:
                label = name if work == "sweep" else f"{name}, {work}"
                contenders.append(peer.contender(label, work))
                rows[label] = {**base, "batch": 1}
            rows[name]["difference"] = max(_difference(mine.result[1], found["controls"]) for mine in ours)
        timings = interleave(contenders, settings.effort)
    for name, row in rows.items():
        row.update(solver=name, **timing_fields(timings[name], "us", row["batch"]))
    _compare(rows, batch)
    return [*rows.values(), *absent]


def _compare(rows: dict[str, Row], batch: int) -> None:
    """How many times as long the peers, and the scan in the same batch, take."""
    for key, name in (("crocoddyl", PEERS[0][0]), ("hpipm", PEERS[1][0]), ("scan", f"costogo pure JAX, batch {batch}")):
        reference = rows.get(name, {}).get("us")
        for row in rows.values():
            if reference and "us" in row:
                row[key] = reference / row["us"]


def _ours(way: Way, model: dict[str, np.ndarray], batch: int) -> Compiled:
    arrays: dict[str, Any] = model if batch == 1 else {k: np.stack([v] * batch) for k, v in model.items()}
    lq = LQModel(**{key: jnp.asarray(arrays[key]) for key in FIELDS})
    name = f"costogo {way.name}, {'one problem' if batch == 1 else f'batch {batch}'}"
    with implementation(way.implementation):
        return compiled(name, way.function, lq, jnp.asarray(arrays["x0"]))


def _difference(ours: jax.Array, theirs: np.ndarray) -> float:
    return float(np.abs(np.asarray(ours) - theirs).max() / (1.0 + np.abs(theirs).max()))


CASE = Case(
    "riccati",
    (
        ("problem", "(nx, nu, N)", 0),
        ("solver", "one backward and forward sweep", 0),
        ("us", "us per problem", 3),
        ("crocoddyl", "times faster than Crocoddyl", 3),
        ("hpipm", "than HPIPM (AVX2)", 3),
        ("scan", "than lax.scan, same batch", 3),
        ("difference", "largest difference of controls to ours", 2),
    ),
    run,
)
