"""128 bounded LQ problems in one call: solutions and gradients, judged by the referee of `bounded_lq`."""

from contextlib import ExitStack

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks.bounded_lq import (
    HORIZON,
    NU,
    NX,
    BoundedLQ,
    generate,
    gradient_x0,
    kkt_residual,
    polished_reference,
)  # fmt: skip
from benchmarks.cases.common import Case, Settings, missing, timing_fields
from benchmarks.harness import Unavailable, interleave
from benchmarks.ours import Compiled, compiled
from benchmarks.report import Row
from costogo import BoxDDP, OptimalControlProblem, Status, solve
from costogo.lqr import LQModel, interior_point

SETS = tuple((random, limit) for random in (False, True) for limit in (1.0, 1e4))
SOLVED = 1e-8  # projected KKT residual
# Label, environment, script, options, kind of work. HPIPM's complementarity tolerance is the loosest with which the
# referee accepts all problems; at its default of 1e-8 he accepts about 100.
PEERS = (
    ("OSQP, 1e-6", "qp", "qp_solvers", {"solver": "osqp"}, "solve"),
    ("Clarabel", "qp", "qp_solvers", {"solver": "clarabel"}, "solve"),
    ("HPIPM (AVX2), 2 threads", "acados", "hpipm_bounded", {}, "solve_2_threads"),
)


def run(settings: Settings) -> list[Row]:
    """Both sets, with bounds that bind and bounds that do not."""
    return [row for random, limit in (SETS[:1] if settings.quick else SETS) for row in _set(random, limit, settings)]


def _set(random: bool, limit: float, settings: Settings) -> list[Row]:
    problems = generate(42, limit, random)
    reference = polished_reference(problems)
    weights = np.random.RandomState(1).randn(*reference.shape)
    base = {"problem": f"{'random PSD Hessians' if random else 'Q = R = I'}, u_max = {limit:g}"}
    rows: dict[str, Row] = {}
    contenders, absent = [], []

    def enter(name: str, controls, states, compile_s: float | str = "", status: int | None = None) -> None:
        residual = kkt_residual(problems, np.asarray(controls), np.asarray(states))
        rows[name] = {
            **base, "solver": name, "compile_s": compile_s,
            "solved": int(np.sum(residual <= SOLVED)), "residual": float(residual.max()),
            "error": float(np.abs(np.asarray(controls) - reference).max()),
        }  # fmt: skip
        if status is not None:
            rows[name]["reported_solved"] = status

    for mine in _ours(problems):
        states, controls, status = mine.result
        contenders.append(mine.contender)
        converged = int(np.sum(np.asarray(status) == Status.CONVERGED))
        enter(mine.contender.name, controls, states, mine.compile_s, converged)
    gradient = _gradient(problems, weights)
    contenders.append(gradient.contender)
    exact = gradient_x0(problems, reference, weights)
    rows[gradient.contender.name] = {
        **base, "solver": gradient.contender.name, "compile_s": gradient.compile_s,
        "error": float(np.abs(np.asarray(gradient.result[-1]) - exact).max()),
    }  # fmt: skip
    with ExitStack() as stack:
        for label, environment, script, options, work in PEERS:
            extra = {"tol_comp": 1e-12 * limit} if environment == "acados" else {}
            try:
                peer = stack.enter_context(settings.peer(environment, script))
                found = peer.prepare(problems._asdict(), **options, **extra)
            except Unavailable as reason:
                absent.append(missing({**base, "solver": label}, reason))
                continue
            enter(label, found["controls"], found["states"], status=found["solved"])
            contenders.append(peer.contender(label, work))
        timings = interleave(contenders, settings.effort)
    for name, row in rows.items():
        row.update(timing_fields(timings[name], "ms"))
    return [*rows.values(), *absent]


def _ours(problems: BoundedLQ) -> list[Compiled]:
    """The sweep-level interior point, and `solve` with either subproblem."""
    parameters, x0 = _parameters(problems), jnp.asarray(problems.x0)
    found = [compiled("costogo lqr.interior_point", _sweep_level, parameters, x0)]
    for label, subproblem in (("solve", "interior_point"), ("solve, clamped sweep", "clamped")):

        def run(parameters, x0, solver=BoxDDP(300, None, subproblem)):  # noqa: B008
            solution = solve(_problem(parameters), x0, solver=solver)
            return solution.states, solution.controls, solution.status

        found.append(compiled(f"costogo {label}", jax.vmap(run, (None, 0)), parameters, x0))
    return found


def _gradient(problems: BoundedLQ, weights: np.ndarray) -> Compiled:
    """Solutions and the gradient of a random linear loss in dynamics, Hessians, bound and initial states."""

    def loss(parameters, x0):
        controls = jax.vmap(lambda x: solve(_problem(parameters), x).controls)(x0)
        return jnp.sum(weights * controls)

    return compiled(
        "costogo solve and gradient", jax.grad(loss, (0, 1)), _parameters(problems), jnp.asarray(problems.x0)
    )


def _parameters(problems: BoundedLQ) -> tuple[jax.Array, ...]:
    parts = (*problems[:3], problems.stage, problems.terminal, problems.u_max)
    return tuple(jnp.asarray(part) for part in parts)


def _problem(parameters: tuple[jax.Array, ...]) -> OptimalControlProblem:
    A, B, b, stage, terminal, limit = parameters

    def stage_cost(x, u, t):
        z = jnp.concatenate([x, u])
        return 0.5 * z @ stage[t.astype(int)] @ z

    bound = jnp.full(NU, limit)
    return OptimalControlProblem(
        lambda x, u, t: A @ x + B @ u + b,
        stage_cost,
        lambda x: 0.5 * x @ terminal @ x,
        horizon=HORIZON,
        control_bounds=(-bound, bound),
    )


def _sweep_level(parameters: tuple[jax.Array, ...], x0: jax.Array) -> tuple[jax.Array, jax.Array, jax.Array]:
    A, B, b, stage, terminal, limit = parameters

    def knots(matrix):
        return jnp.broadcast_to(matrix, (len(x0), HORIZON, *matrix.shape[-2:]))

    Q = jnp.concatenate([stage[:, :NX, :NX], terminal[None]])
    zeros = jnp.zeros((len(x0), HORIZON, NU))
    model = LQModel(
        A=knots(A), B=knots(B), d=jnp.broadcast_to(b, (len(x0), HORIZON, NX)),
        Q=jnp.broadcast_to(Q, (len(x0), *Q.shape)), q=jnp.zeros((len(x0), HORIZON + 1, NX)),
        R=knots(stage[:, NX:, NX:]), r=zeros, P=knots(stage[:, NX:, :NX]),
    )  # fmt: skip
    solution = interior_point(model, x0, zeros - limit, zeros + limit)
    return solution.states, solution.controls, solution.status


CASE = Case(
    "bounded_lq",
    (
        ("problem", "set of 128", 0),
        ("solver", "solver", 0),
        ("ms", "ms for all 128", 3),
        ("compile_s", "compile s", 2),
        ("solved", "solved to 1e-8", 0),
        ("residual", "worst KKT residual", 2),
        ("error", "worst error of controls (of the gradient)", 2),
    ),
    run,
)
