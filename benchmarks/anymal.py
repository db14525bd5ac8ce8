"""ANYmal's MPC as contenders: calls in closed loop, and the parts of one call as programs of their own."""

import time
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from benchmarks.harness import Contender, timed
from benchmarks.ours import Compiled, compiled, implementation
from costogo.lqr import EqualityRows, LQModel, Sweep, backward
from costogo.mpc import RecedingHorizon
from costogo.mpc.receding_horizon import _warm_start
from costogo.problem import OptimalControlProblem, equality_rows, expand, linearise
from costogo.problem import with_barrier as add_barrier
from costogo.solvers import SLQ
from costogo.solvers.forward_pass import Candidate
from costogo.systems.legged import WalkingTask

# Calls before timing starts: the first one takes more iterations, and the loop settles into its gait.
WARM_CALLS = 30


class Step(NamedTuple):
    """What a call gets: state of the controller, measured state, time."""

    state: Any
    x: jax.Array
    t: jax.Array


class Loop:
    """The MPC of a walking task in closed loop with its plant; `sample` goes on from where it stopped."""

    def __init__(self, task: WalkingTask, way: str = "auto"):
        self.task = task
        self.controller = RecedingHorizon(task.problem(), solver=SLQ(), iterations=1, guess=task.guess)
        x, t = task.start(jax.random.key(0))
        self.at = Step(self.controller.init(x, t0=t), x, jnp.asarray(t, x.dtype))
        with implementation(way):
            start = time.perf_counter()
            self.call = jax.jit(lambda *given: self.controller.step(*given)).lower(*self.at).compile()
            self.compile_s = time.perf_counter() - start
        plant = task.plant()
        self.plant = jax.jit(lambda x, u, t: (plant(x, u, t), t + task.dt))
        self.sample(WARM_CALLS)
        self.seconds: list[float] = []

    def contender(self, name: str) -> Contender:
        """Calls of the controller; the plant is outside of the time."""

        def sample(calls: int) -> float:
            seconds = self.sample(calls)
            self.seconds += seconds
            return sum(seconds) / calls

        return Contender(name, sample)

    def sample(self, calls: int) -> list[float]:
        """Seconds of each of the next calls."""
        return [self._advance() for _ in range(calls)]

    def _advance(self) -> float:
        start = time.perf_counter()
        u, state, _ = jax.block_until_ready(self.call(*self.at))
        seconds = time.perf_counter() - start
        self.at = Step(state, *jax.block_until_ready(self.plant(self.at.x, u, self.at.t)))
        return seconds

    def check(self) -> None:
        """Raise if the robot fell: the times of a failed loop mean nothing."""
        if not bool(self.task.robot.valid(self.at.x)):
            raise RuntimeError(f"ANYmal fell under its MPC, by t = {float(self.at.t):.2f} s")

    def again(self, name: str) -> Contender:
        """The call at the present state, over and over."""
        at = self.at
        return Contender(name, lambda calls: timed(lambda: jax.block_until_ready(self.call(*at)), calls))


class Parts(NamedTuple):
    """The programs that a call consists of, those that its expansion consists of, and the LQ problem of its sweep."""

    start: Compiled
    expansion: Compiled
    sweep: Compiled
    moved: Compiled
    of_expansion: list[Compiled]
    lq: tuple[LQModel, EqualityRows]

    @property
    def of_call(self) -> list[Compiled]:
        """The parts that add up to the call, but for the rest."""
        return [self.start, self.expansion, self.sweep, self.moved]

    def in_order(self) -> list[Compiled]:
        """All of them, as they are to be listed."""
        return [self.start, self.expansion, *self.of_expansion, self.sweep, self.moved]


def parts_of(loop: Loop) -> Parts:
    """Warm start, expansion, backward sweep and forward pass of the call at the present state of the loop.

    Raises where these programs, one after the other, do not give the plan that the call gives.
    """
    problem, solver = loop.controller.problem, loop.controller.solver
    ts = problem.times(loop.at.t, loop.at.x.dtype)
    start = compiled("warm start", lambda *at: _warm_start(problem, loop.controller.guess, *at), *loop.at)
    at = jax.jit(lambda *plan: solver._candidate(problem, *plan))(ts, start.result.states, start.result.controls)
    expansion = compiled("expansion", lambda *given: solver._expand(problem, *given), ts, at)
    sweep = compiled("backward sweep, 16 equality rows", constrained, *expansion.result)
    moved = compiled("forward pass and line search", _forward_pass(problem, solver), ts, at, sweep.result)
    _check_plan(moved.result, loop)
    of_expansion = _parts_of_expansion(problem, solver, ts, at)
    return Parts(start, expansion, sweep, moved, of_expansion, expansion.result)


def constrained(model: LQModel, rows: EqualityRows) -> Sweep:
    """Backward sweep with equality rows."""
    return backward(model, equality=rows)


def _parts_of_expansion(problem: OptimalControlProblem, solver: SLQ, ts: jax.Array, at: Candidate) -> list[Compiled]:
    # With dynamics that cost nothing, what is left of the expansion is that of the costs.
    idle = eqx.tree_at(lambda p: p.dynamics, problem, lambda x, u, t: x)

    def dynamics(ts, at):
        return linearise(problem, at.states[:-1], at.controls, ts[:-1])

    def constraints(ts, at):
        return equality_rows(problem, at.states, at.controls, ts)

    def costs(ts, at):
        model = expand(idle, at.states, at.controls, ts)
        return add_barrier(problem, solver.barrier, model, at.states, at.controls, ts)

    named = {"dynamics": dynamics, "equality rows": constraints, "costs and barriers": costs}
    return [compiled(f"of the expansion: {name}", part, ts, at) for name, part in named.items()]


def _forward_pass(problem: OptimalControlProblem, solver: SLQ):
    """The part of an iteration after the sweep, for a start without gaps."""

    def run(ts: jax.Array, at: Candidate, sweep: Sweep) -> Candidate:
        penalty = jnp.asarray(solver.penalty, at.cost.dtype)
        return solver._move(problem, ts, at, sweep, penalty, jnp.array(True))[0]

    return run


def _check_plan(moved: Candidate, loop: Loop) -> None:
    plan = loop.call(*loop.at)[1].plan
    apart = float(np.abs(np.asarray(moved.states - plan.states)).max())
    if not apart <= 1e-6:
        raise RuntimeError(f"the parts give a plan {apart:.1e} away from that of the call: they are not its parts")
