"""One backward and one forward Riccati sweep on random LQ models, derivatives given, against Crocoddyl's DDP."""

from contextlib import ExitStack
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks.cases.common import Case, Settings, missing, timing_fields
from benchmarks.harness import Unavailable, interleave
from benchmarks.ours import Compiled, compiled
from benchmarks.report import Row
from costogo.lqr import LQModel, backward, forward

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


def run(settings: Settings) -> list[Row]:
    """All sizes."""
    rows = []
    for size, batch in SIZES:
        rows += _size(size, QUICK_BATCH if settings.quick else batch, settings)
    return rows


def _size(size: tuple[int, int, int], batch: int, settings: Settings) -> list[Row]:
    model = random_model(*size)
    base = {"problem": str(size)}
    single, many = _ours("costogo, one problem", model), _ours(f"costogo, batch {batch}", model, batch)
    rows: dict[str, Row] = {
        single.contender.name: {**base, "batch": 1, "compile_s": single.compile_s},
        many.contender.name: {**base, "batch": batch, "compile_s": many.compile_s},
    }
    contenders, absent = [single.contender, many.contender], []
    with ExitStack() as stack:
        try:
            peer = stack.enter_context(settings.peer("crocoddyl", "crocoddyl_sweep"))
            found = peer.prepare(model)
            for name, work in (("Crocoddyl DDP", "sweep"), ("Crocoddyl, derivatives", "derivatives")):
                contenders.append(peer.contender(name, work))
                rows[name] = {**base, "batch": 1}
            rows[single.contender.name]["difference"] = _difference(single.result[1], found["controls"])
        except Unavailable as reason:
            absent.append(missing({**base, "solver": "Crocoddyl DDP"}, reason))
        timings = interleave(contenders, settings.effort)
    for name, row in rows.items():
        row.update(solver=name, **timing_fields(timings[name], "us", row["batch"]))
        if "us" in row:
            row["relative"] = row["us"] / rows[single.contender.name]["us"]
    return [*rows.values(), *absent]


def _ours(name: str, model: dict[str, np.ndarray], batch: int | None = None) -> Compiled:
    arrays: dict[str, Any] = model if batch is None else {k: np.stack([v] * batch) for k, v in model.items()}
    lq = LQModel(**{key: jnp.asarray(arrays[key]) for key in FIELDS})

    def sweep(lq: LQModel, x0: jax.Array) -> tuple[jax.Array, jax.Array]:
        policy = backward(lq)
        return forward(lq, policy.gains, policy.feedforward, x0)

    return compiled(name, sweep, lq, jnp.asarray(arrays["x0"]))


def _difference(ours: jax.Array, theirs: np.ndarray) -> float:
    return float(np.abs(np.asarray(ours) - theirs).max() / (1.0 + np.abs(theirs).max()))


CASE = Case(
    "riccati",
    (
        ("problem", "(nx, nu, N)", 0),
        ("solver", "one backward and forward sweep", 0),
        ("us", "us per problem", 3),
        ("relative", "relative to costogo, one problem", 2),
        ("compile_s", "compile s", 2),
        ("difference", "controls, difference to Crocoddyl", 2),
    ),
    run,
)
