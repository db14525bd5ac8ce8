"""Differential dynamic programming with control limits."""

import functools
from typing import ClassVar, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array

from costogo.core.errors import CostogoError, known
from costogo.core.status import Status
from costogo.lqr import Limits, LQModel, Sweep, backward, cholesky, costates, forward, interior_point
from costogo.problem import AffineFeedback, OptimalControlProblem, defects, expand, open_loop, rollout, total_cost
from costogo.problem.expansion import HESSIANS
from costogo.solvers.forward_pass import (
    FORWARD_PASSES,
    Candidate,
    Direction,
    Knots,
    LineSearch,
    search,
)
from costogo.solvers.iteration import (
    REGULARISATION_MAX,
    check_iteration,
    cost_to_go,
    default_tolerance,
    empty_sweep,
    schedule,
)
from costogo.solvers.solution import Multipliers, QuadraticValue, Solution, SolveStats

SUBPROBLEMS = ("clamped", "interior_point")
SUFFICIENT_DECREASE = 1e-4
NEGLIGIBLE_REGULARISATION = 1e-5


class IterationState(NamedTuple):
    """Carry of the iteration: trajectory, last sweep, regularisation and its growth rate, counters, status."""

    at: Candidate
    sweep: Sweep
    stationarity: Array
    regularisation: Array
    growth: Array
    iteration: Array
    rejected: Array
    status: Array


class BoxDDP(eqx.Module):
    """Box-constrained DDP (Tassa, Mansard and Todorov 2014; spec differentiable_mpc section 5).

    Accepts control bounds; raises on equality and inequality constraints. Each iteration expands the problem at all
    knots, sweeps backward for a direction, and tries step sizes `line_search_decay**i`, `line_search_block` of them in
    parallel (on a GPU, pass all: `line_search_block=line_search_trials`).

    - `subproblem`: "interior_point" solves the bounded LQ problem of the iteration exactly (default: solves every
      convex case, in one iteration where the problem is LQ); "clamped" is the paper's sweep, whose box QP sees one
      knot at a time.
    - `shooting`: "single" rolls the nonlinear dynamics out with feedback; "multiple" follows the linear sweep and
      evaluates all knots in parallel, with gaps that close as it converges. The solution is a fresh rollout.
    - `hessian`: "gauss_newton" drops the curvature of the dynamics (iLQR), "exact" keeps it.
    - `tolerance`: stop when no control of the full step moves by more than `tolerance (1 + max|u|)`; default 1e-8 in
      float64, 1e-4 in float32. With `max_iterations=n`, n steps are taken; gains and cost-to-go belong to the
      trajectory returned, to within the last step (below the tolerance) of a converged solve.

    A sweep with an indefinite `Quu`, or a line search without an acceptable step, is repeated with more
    regularisation (`Quu + mu I`, mu from 1e-6 to 1e10); that is part of the method and cannot be switched off.
    Deviations from the paper: deviation coordinates; the old trajectory is kept when every step size fails; Armijo
    decrease instead of any decrease.
    """

    max_iterations: int = eqx.field(static=True, default=100)
    tolerance: float | None = eqx.field(static=True, default=None)
    subproblem: str = eqx.field(static=True, default="interior_point")
    shooting: str = eqx.field(static=True, default="single")
    hessian: str = eqx.field(static=True, default="gauss_newton")
    line_search_decay: float = eqx.field(static=True, default=0.5)
    line_search_trials: int = eqx.field(static=True, default=10)
    line_search_block: int = eqx.field(static=True, default=2)

    differentiable: ClassVar[bool] = True

    def __check_init__(self):
        known("subproblem", self.subproblem, SUBPROBLEMS)
        known("shooting", self.shooting, FORWARD_PASSES)
        known("hessian", self.hessian, HESSIANS)
        check_iteration(self)

    def check(self, problem: OptimalControlProblem) -> None:
        """Raise on what this solver does not handle."""
        for name in ("equality", "inequality"):
            if getattr(problem, name) is not None:
                raise CostogoError(
                    f"BoxDDP does not handle {name} constraints, only control bounds; use SLQ, or put it in the cost"
                )

    def run(self, problem: OptimalControlProblem, x0: Array, controls: Array, t0: Array) -> Solution:
        """Iterate until every test is met; one problem, unbatched."""
        knots, first = self._start(problem, x0, controls, t0)
        final = jax.lax.while_loop(
            lambda s: s.status == Status.RUNNING, lambda s: self._iterate(problem, knots, s, False), first
        )
        return self._finish(problem, knots, final)

    def run_unrolled(
        self, problem: OptimalControlProblem, x0: Array, controls: Array, t0: Array, iterations: int
    ) -> Solution:
        """A fixed number of iterations that autodiff can follow; converged trajectories keep iterating, since their
        derivative lags behind."""
        knots, first = self._start(problem, x0, controls, t0)

        def body(state, _):
            new = self._iterate(problem, knots, state, True)
            return new._replace(status=jnp.full_like(new.status, Status.RUNNING)), new.status

        final, statuses = jax.lax.scan(body, first, None, length=iterations)
        bad = jnp.where(statuses[-1] == Status.RUNNING, Status.MAX_ITERATIONS, statuses[-1])
        return self._finish(problem, knots, final._replace(status=bad))

    def _start(self, problem: OptimalControlProblem, x0, controls, t0) -> tuple[Knots, IterationState]:
        lower, upper = problem.bounds(x0.dtype)
        ts = problem.times(t0, x0.dtype)
        controls = jnp.clip(controls, lower, upper)
        states = open_loop(problem, x0, controls, t0)
        zero = jnp.zeros((), x0.dtype)
        at = Candidate(states, controls, total_cost(problem, states, controls, ts), zero)
        finite = jnp.isfinite(at.cost) & jnp.all(jnp.isfinite(states)) & ~jnp.any(jnp.isnan(lower) | jnp.isnan(upper))
        status = jnp.where(finite, Status.RUNNING, Status.NOT_FINITE)
        status = jnp.where(jnp.any(lower > upper), Status.INFEASIBLE, status).astype(jnp.int32)
        count = jnp.array(0, jnp.int32)
        sweep = empty_sweep(problem.horizon, x0.shape[0], problem.nu, 0, x0.dtype)
        state = IterationState(at, sweep, jnp.full_like(zero, jnp.inf), zero, zero + 1.0, count, count, status)
        return Knots(lower, upper, ts), state

    def _iterate(
        self, problem: OptimalControlProblem, knots: Knots, state: IterationState, unrolled: bool
    ) -> IterationState:
        """One sweep and one line search; out of iterations the last pass only sweeps, so that gains match."""
        at = state.at
        model = expand(problem, at.states, at.controls, knots.ts, self.hessian)
        sweep, swept = self._direction(model, state, knots, unrolled)
        stationarity = self._stationarity(model, sweep, state.regularisation)
        tolerance = default_tolerance(self.tolerance, at.controls.dtype) * (1.0 + jnp.max(jnp.abs(at.controls)))
        stationary = swept & (stationarity <= tolerance)
        converged = stationary & _is_minimum(sweep, state.regularisation)
        saddle = stationary & ~converged
        out_of_iterations = state.iteration >= self.max_iterations
        stop = (stationary | out_of_iterations) & ~jnp.asarray(unrolled)

        direction = Direction(model, sweep.gains, sweep.feedforward)
        sufficient, penalty = self._expected(model, sweep, at)
        moved, accepted = self._move(problem, at, direction, knots, sufficient, penalty, unrolled)
        # The last step, smaller than the tolerance, is taken too: it squares the error that is left.
        accepted &= swept & (jnp.asarray(unrolled) | ~(out_of_iterations | saddle))
        regularisation, growth = schedule(state.regularisation, state.growth, accepted)
        exhausted = regularisation > REGULARISATION_MAX
        status = jnp.where(exhausted & ~stop, jnp.where(swept, Status.STALLED, Status.INDEFINITE), Status.RUNNING)
        status = jnp.where(out_of_iterations & ~jnp.asarray(unrolled), Status.MAX_ITERATIONS, status)
        status = jnp.where(converged, Status.CONVERGED, jnp.where(saddle, Status.INDEFINITE, status))
        # More regularisation cannot mend a derivative that is NaN.
        finite = jnp.all(jnp.array([jnp.all(jnp.isfinite(leaf)) for leaf in jax.tree.leaves(model)]))
        status = jnp.where(finite, status, Status.NOT_FINITE).astype(jnp.int32)
        return IterationState(
            at=jax.tree.map(lambda new, old: jnp.where(accepted, new, old), moved, at),
            sweep=sweep,
            stationarity=stationarity,
            regularisation=jnp.where(stop, state.regularisation, regularisation),
            growth=jnp.where(stop, state.growth, growth),
            iteration=state.iteration + jnp.where(stop, 0, 1).astype(jnp.int32),
            rejected=state.rejected + jnp.where(stop | accepted, 0, 1).astype(jnp.int32),
            status=status,
        )

    def _move(self, problem, at: Candidate, direction: Direction, knots: Knots, sufficient, penalty, unrolled: bool):
        """Next trajectory, and whether the line search accepted a step."""
        rule = LineSearch(self.line_search_decay, self.line_search_trials, self.line_search_block)
        arguments, merit = (problem, at, direction, knots), (sufficient, penalty)
        if not unrolled:
            moved, _, accepted = search(functools.partial(self._advance, *arguments), at, rule, *merit)
            return moved, accepted
        # The step size is a constant for autodiff; one more pass at it carries the derivative.
        stopped = jax.lax.stop_gradient(arguments)
        advance = functools.partial(self._advance, *stopped)
        _, alpha, accepted = search(advance, stopped[1], rule, *jax.lax.stop_gradient(merit))
        return self._advance(*arguments, alpha), accepted

    def _advance(self, problem, at: Candidate, direction: Direction, knots: Knots, alpha: Array) -> Candidate:
        return FORWARD_PASSES[self.shooting](problem, at, direction, alpha, knots)

    def _direction(self, model: LQModel, state: IterationState, knots: Knots, unrolled: bool) -> tuple[Sweep, Array]:
        """Feedback and feedforward of this iteration, and whether the sweep succeeded."""
        at, regularisation = state.at, state.regularisation
        lower, upper = knots.lower - at.controls, knots.upper - at.controls
        # Under vmap the loop runs until the last problem stops: nobody reads the sweeps of the others.
        skip = state.status != Status.RUNNING
        if self.subproblem == "clamped":
            limits = Limits.boxed(lower, upper)
            sweep = backward(model, limits=limits, regularisation=regularisation, skip=skip)
            return sweep, sweep.status == Status.CONVERGED
        problem = (model, jnp.zeros_like(at.states[0]), lower, upper)
        # The active set of the last iteration is mostly still the right one.
        expected = jnp.where(state.sweep.free, 0, jnp.where(upper < -lower, 1, -1)).astype(jnp.int8)
        solution = interior_point(
            *jax.lax.stop_gradient(problem),
            regularisation=jax.lax.stop_gradient(regularisation),
            skip=skip,
            guess=expected,
        )
        swept = solution.status == Status.CONVERGED
        if not unrolled:
            added = regularisation * jnp.eye(model.nu, dtype=model.R.dtype)
            return eqx.tree_at(lambda s: s.Quu, solution.sweep, solution.sweep.Quu - added), swept
        # The loop above cannot be differentiated; the masked sweep on the set it found can.
        held = jnp.where(solution.controls >= upper, upper, lower)
        limits = Limits.masked(solution.free, jnp.where(solution.free, 0.0, held))
        return backward(model, limits=limits, regularisation=regularisation), swept

    def _stationarity(self, model: LQModel, sweep: Sweep, regularisation: Array) -> Array:
        """Largest move of a full step: the feedforward and, with multiple shooting, the gaps it would close.

        Regularisation shortens the feedforward, so the gradient that it came from counts too, in units of control:
        `|(Quu + mu I) k|_i / |Quu|_ii`. (An indefinite `Quu` at active bounds needs mu for ever, also at a minimum.)
        """
        k = sweep.feedforward
        gradient = jnp.einsum("kij,kj->ki", sweep.Quu, k) + regularisation * k
        curvature = jnp.abs(jnp.diagonal(sweep.Quu, axis1=-2, axis2=-1))
        scaled = jnp.where(sweep.free, gradient / jnp.maximum(curvature, 1e-12), 0.0)
        moves = jnp.max(jnp.maximum(jnp.abs(k), jnp.abs(scaled)))
        return jnp.maximum(moves, jnp.max(jnp.abs(model.d))) if self.shooting == "multiple" else moves

    def _expected(self, model: LQModel, sweep: Sweep, at: Candidate) -> tuple[Array, Array]:
        """Required change of merit per unit step, and the penalty on gaps."""
        if self.shooting == "single":
            return SUFFICIENT_DECREASE * (sweep.decrease[0] + 0.5 * sweep.decrease[1]), jnp.zeros_like(at.cost)
        dx, du = forward(model, sweep.gains, sweep.feedforward, jnp.zeros_like(at.states[0]))
        costate = costates(model, dx, du)
        penalty = 1.0 + 1.5 * jnp.max(jnp.abs(costate))
        slope = jnp.sum(model.q * dx) + jnp.sum(model.r * du) - penalty * at.violation
        return SUFFICIENT_DECREASE * jnp.minimum(slope, 0.0), penalty

    def _finish(self, problem: OptimalControlProblem, knots: Knots, final: IterationState) -> Solution:
        at, sweep = final.at, final.sweep
        states, controls, cost = at.states, at.controls, at.cost
        if self.shooting == "multiple":
            law = AffineFeedback(states[:-1], controls, sweep.gains, knots.lower, knots.upper)
            states, controls = rollout(problem.dynamics, states[0], law, knots.ts[:-1])
            cost = total_cost(problem, states, controls, knots.ts)
        gap = jnp.max(jnp.abs(defects(problem, states, controls, knots.ts)))
        return Solution(
            controls=controls,
            states=states,
            cost=cost,
            gains=sweep.gains,
            value=QuadraticValue(
                sweep.value_hessian, sweep.value_gradient, sweep.value_constant + cost_to_go(problem, at, knots.ts)
            ),
            multipliers=Multipliers(sweep.multiplier_offset, sweep.multiplier_slope),
            active=~sweep.free,
            defect=gap,
            status=final.status,
            iterations=final.iteration,
            stats=SolveStats(
                final.stationarity, final.regularisation, final.rejected, jnp.zeros_like(cost), jnp.zeros_like(cost)
            ),
        )


def _is_minimum(sweep: Sweep, regularisation: Array) -> Array:
    """Whether `Quu` is positive definite on the free controls without the regularisation: a stationary point where it
    is not is a saddle or a maximum. A negligible part stays, for costs that leave some control without curvature."""
    pairs = sweep.free[:, :, None] & sweep.free[:, None, :]
    eye = jnp.eye(sweep.Quu.shape[-1], dtype=sweep.Quu.dtype)
    kept = jnp.minimum(regularisation, NEGLIGIBLE_REGULARISATION)
    return jnp.all(jax.vmap(cholesky)(jnp.where(pairs, sweep.Quu + kept * eye, eye))[1])
