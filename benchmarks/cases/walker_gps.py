"""One iteration of constrained guided policy search on the walker, and where it goes: T = 200, 4 trajectories, 3
trajectory iterations. The limit is 10 s on 2 cores.

The parts are programs of their own on the data of that iteration. A trajectory iteration has one linearisation, one or
more rollouts, one sweep of the mean pass and those of the covariance pass.
"""

import time

import equinox as eqx
import jax
import jax.numpy as jnp

from benchmarks.cases.common import Case, Settings, timing_fields
from benchmarks.harness import interleave
from benchmarks.ours import Compiled, compiled
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
    start = time.perf_counter()
    programs = _programs(learner, state)
    compile_s = time.perf_counter() - start
    if not bool(jnp.isfinite(programs[0].result[1]["trajectory_cost"])):
        raise RuntimeError("the iteration did not end well: its trajectories cost NaN")
    timings = interleave([program.contender for program in programs], settings.effort)
    rows: list[Row] = []
    for name, timing in timings.items():
        fields = timing_fields(timing, "ms")
        rows.append({"problem": f"{hidden} units", "work": name, **fields, "s": fields["ms"] / 1e3})
    whole = rows[0]["ms"]
    for row in rows:
        row["share"] = 100 * row["ms"] / whole
    rows[0] |= {"limit": LIMIT, "compile_s": compile_s}
    return rows


def _programs(learner: GuidedPolicySearch, state: GPSState) -> list[Compiled]:
    """The iteration, first, and its parts."""
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

    key = jax.random.PRNGKey(1)
    model = compiled(f"linearisation of 4 x {STEPS} knots", linearised, state.q)
    return [
        compiled(ITERATION, learner.step, state),
        model,
        compiled("rollout of 4 trajectories", rolled, state.q),
        compiled("backward sweep of 4 trajectories", jax.vmap(backward), model.result),
        compiled("fit of the policy", lambda s: learner._fitted(s.policy, s.q, s.weights, key), state),
        compiled("judging the policy (8 walks of 4 s)", lambda s: task.evaluate(s.policy), state),
    ]


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
