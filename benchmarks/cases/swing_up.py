"""Pendulum and cart-pole MPC of the differentiable-MPC paper, from zero controls: box DDP, mpc.pytorch, fatrop."""

from contextlib import ExitStack

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks.cases.common import Case, Settings, missing, timing_fields
from benchmarks.harness import Unavailable, interleave
from benchmarks.ours import Compiled, compiled
from benchmarks.plants import PLANTS, cost, initial_states
from benchmarks.report import Row
from costogo import BoxDDP, Status, solve
from costogo.systems import get

ITERATIONS = 10
BATCHES, QUICK_BATCHES = (1, 32, 256), (1, 4)
FIXED, CONVERGED = f"{ITERATIONS} iterations", "to convergence"
OURS = {
    ("box DDP, single shooting", FIXED): BoxDDP(ITERATIONS, 0.0, "clamped", "single"),
    ("box DDP, multiple shooting", FIXED): BoxDDP(ITERATIONS, 0.0, "clamped", "multiple"),
    ("interior point, single shooting", FIXED): BoxDDP(ITERATIONS, 0.0, "interior_point", "single"),
    ("interior point, multiple shooting", FIXED): BoxDDP(ITERATIONS, 0.0, "interior_point", "multiple"),
    ("box DDP, single shooting", CONVERGED): BoxDDP(200, None, "clamped", "single"),
    ("box DDP, multiple shooting", CONVERGED): BoxDDP(200, None, "clamped", "multiple"),
    ("box DDP, exact Hessian", CONVERGED): BoxDDP(200, None, "clamped", "single", "exact"),
}
# Label, stopping rule, environment, script, options.
PEERS = (
    ("mpc.pytorch", FIXED, "mpc", "mpc_pytorch", {"iterations": ITERATIONS}),
    ("CasADi fatrop", FIXED, "casadi", "casadi_fatrop", {"iterations": ITERATIONS}),
    ("CasADi fatrop", CONVERGED, "casadi", "casadi_fatrop", {"iterations": 500}),
)


def run(settings: Settings) -> list[Row]:
    """All plants and batch sizes."""
    batches = QUICK_BATCHES if settings.quick else BATCHES
    return [row for name in PLANTS for batch in batches for row in _group(name, batch, settings)]


def _group(name: str, batch: int, settings: Settings) -> list[Row]:
    plant, x0 = PLANTS[name], initial_states(name, batch)
    base = {"problem": f"{name}, N={plant.horizon}", "batch": batch}
    rows: dict[str, Row] = {}
    contenders, absent = [], []
    for (label, stop), solver in OURS.items():
        key = f"costogo {label}, {stop}"
        mine = _ours(key, name, solver, x0)
        solution = mine.result
        contenders.append(mine.contender)
        rows[key] = {
            **base, "solver": f"costogo {label}", "stop": stop, "compile_s": mine.compile_s,
            "iterations": float(np.median(solution["iterations"])),
            "mean_cost": float(cost(plant, x0, np.asarray(solution["controls"])[..., 0]).mean()),
        }  # fmt: skip
        if stop == CONVERGED:
            rows[key]["solved"] = int(np.sum(solution["status"] == Status.CONVERGED))
    with ExitStack() as stack:
        for label, stop, environment, script, options in PEERS:
            key, row = f"{label}, {stop}", {**base, "solver": label, "stop": stop}
            try:
                peer = stack.enter_context(settings.peer(environment, script))
                found = peer.prepare({"x0": x0}, plant=name, **options)
            except Unavailable as reason:
                absent.append(missing(row, reason))
                continue
            contenders.append(peer.contender(key, "solve"))
            rows[key] = {**row, "mean_cost": float(cost(plant, x0, found.pop("controls")).mean()), **found}
        timings = interleave(contenders, settings.effort)
    for key, row in rows.items():
        row.update(timing_fields(timings[key], "ms"))
        if "ms" in row:
            row["solves_per_s"] = 1e3 * batch / row["ms"]
    return [*rows.values(), *absent]


def _ours(key: str, name: str, solver: BoxDDP, x0: np.ndarray) -> Compiled:
    problem = get(name).problem(PLANTS[name].horizon)

    def run(x0: jax.Array) -> dict[str, jax.Array]:
        solution = solve(problem, x0, solver=solver)
        return {"controls": solution.controls, "status": solution.status, "iterations": solution.iterations}

    return compiled(key, jax.vmap(run), jnp.asarray(x0))


CASE = Case(
    "swing_up",
    (
        ("problem", "problem", 0),
        ("batch", "batch", 0),
        ("solver", "solver", 0),
        ("stop", "stop", 0),
        ("ms", "ms per batch", 3),
        ("solves_per_s", "solves per s", 3),
        ("compile_s", "compile s", 2),
        ("iterations", "median iterations", 2),
        ("mean_cost", "mean cost", 7),
        ("solved", "solved", 0),
    ),
    run,
)
