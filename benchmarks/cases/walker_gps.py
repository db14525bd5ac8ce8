"""One iteration of constrained guided policy search on the walker, and where it goes: T = 200, 4 trajectories, 3
trajectory iterations. The limit is 10 s on 2 cores.

The parts are programs of their own on the data of that iteration. A trajectory iteration has one linearisation, one or
more rollouts, one sweep of the mean pass and those of the covariance pass.
"""

import time
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from benchmarks.cases.common import Case, Settings, timing_fields
from benchmarks.harness import Contender, interleave, timed
from benchmarks.report import Row
from costogo.experiments.constrained_gps.presets import GPSConfig, build
from costogo.experiments.constrained_gps.tasks import STEPS
from costogo.learn.constrained_gps import GPSState, GuidedPolicySearch
from costogo.lqr import backward
from costogo.problem import AffineFeedback, expand, rollout
from costogo.solvers import GaussianTrajectory

LIMIT = 10.0  # s
ITERATION = "one iteration"
SIZES = (10, 50)


def run(settings: Settings) -> list[Row]:
    """The iteration and its parts for both sizes of the policy; a quick run takes the smaller one."""
    return [row for hidden in SIZES[: 1 if settings.quick else None] for row in _rows(hidden, settings)]


def _rows(hidden: int, settings: Settings) -> list[Row]:
    learner: GuidedPolicySearch = build(GPSConfig(system="walker", hidden=hidden)).learner
    state = eqx.filter_jit(learner.init)(jax.random.PRNGKey(0))
    programs = _programs(learner, state)
    start = time.perf_counter()
    found = {name: program() for name, program in programs.items()}
    compile_s = time.perf_counter() - start
    if not bool(jnp.isfinite(found[ITERATION][1]["trajectory_cost"])):
        raise RuntimeError("the iteration did not end well: its trajectories cost NaN")
    timings = interleave([_contender(name, program) for name, program in programs.items()], settings.effort)
    rows: list[Row] = []
    for name in programs:
        fields = timing_fields(timings[name], "ms")
        rows.append({"problem": f"{hidden} units", "work": name, **fields, "s": fields["ms"] / 1e3})
    whole = rows[0]["ms"]
    for row in rows:
        row["share"] = 100 * row["ms"] / whole
    rows[0] |= {"limit": LIMIT, "compile_s": compile_s}
    return rows


def _contender(name: str, program: Any) -> Contender:
    return Contender(name, lambda calls: timed(lambda: jax.block_until_ready(program()), calls))


def _programs(learner: GuidedPolicySearch, state: GPSState) -> dict[str, Any]:
    """The iteration and its parts, each a call without arguments."""
    task, conditions = learner.task, learner.task.conditions

    def problem(condition):
        return task.problem_of(condition)

    def times(condition):
        return problem(condition).times(0.0, float)

    def linearised(q: GaussianTrajectory):
        return jax.vmap(lambda c, q: expand(problem(c), q.states, q.controls, times(c)))(conditions, q)

    def rolled(q: GaussianTrajectory):
        infinite = jnp.full_like(q.controls, jnp.inf)

        def one(c, q, limit):
            law = AffineFeedback(q.states[:-1], q.controls, q.gains, -limit, limit)
            return rollout(problem(c).dynamics, q.states[0], law, times(c)[:-1])

        return jax.vmap(one)(conditions, q, infinite)

    model = eqx.filter_jit(linearised)(state.q)
    key = jax.random.PRNGKey(1)
    parts = {
        ITERATION: (lambda s: learner.step(s), state),
        f"linearisation of 4 x {STEPS} knots": (linearised, state.q),
        "rollout of 4 trajectories": (rolled, state.q),
        "backward sweep of 4 trajectories": (lambda m: jax.vmap(backward)(m), model),
        "fit of the policy": (lambda s: learner._fitted(s.policy, s.q, s.weights, key), state),
        "judging the policy (8 walks of 4 s)": (lambda s: task.evaluate(s.policy), state),
    }
    return {name: _call(*part) for name, part in parts.items()}


def _call(function: Any, data: Any) -> Any:
    """The function jitted, of data that are its argument: nothing is folded at compile time."""
    jitted = eqx.filter_jit(function)
    data = jax.tree.map(lambda a: jnp.asarray(a) if isinstance(a, np.ndarray) else a, data)
    return lambda: jitted(data)


CASE = Case(
    "walker_gps",
    (
        ("problem", "policy", 0),
        ("work", "work", 0),
        ("s", "s", 3),
        ("share", "% of the iteration", 2),
        ("limit", "limit, s", 2),
        ("compile_s", "s to compile and run all once", 2),
    ),
    run,
)
