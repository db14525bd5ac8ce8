"""Sequential linear-quadratic solver with equality constraints and relaxed barriers."""

from typing import ClassVar, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array

from costogo.core.errors import CostogoError
from costogo.core.status import Status
from costogo.core.validate import require
from costogo.lqr import EqualityRows, LQModel, Sweep, backward
from costogo.problem import (
    AffineFeedback,
    OptimalControlProblem,
    RelaxedBarrier,
    barrier_cost,
    equality_rows,
    equality_values,
    expand,
    open_loop,
    rollout,
    total_cost,
    with_barrier,
)
from costogo.solvers.forward_pass import Candidate, LineSearch, search
from costogo.solvers.iteration import (
    REGULARISATION_MAX,
    check_iteration,
    cost_to_go,
    default_tolerance,
    empty_sweep,
    schedule,
)
from costogo.solvers.solution import Multipliers, QuadraticValue, Solution, SolveStats

SUFFICIENT_DECREASE = 1e-4
# The penalty grows while the squared violation is above a target that tightens with it, down to this floor.
VIOLATION_FLOOR = 5e-3
PENALTY_MAX = 1e8
# Gaps of a rollout, evaluated by another program, in units of rounding.
GAP_ROUNDING = 1e3


class IterationState(NamedTuple):
    """Carry of the iteration.

    `at` is the trajectory, `about` the one that the last sweep was made for; `gap` is the largest by which `at` misses
    the dynamics, infinite until the first expansion has measured it.
    """

    at: Candidate
    about: Candidate
    gap: Array
    sweep: Sweep
    stationarity: Array
    regularisation: Array
    growth: Array
    penalty: Array
    target: Array
    iteration: Array
    rejected: Array
    status: Array


class SLQ(eqx.Module):
    """Constrained iterative LQR, the teacher of MPC-Net (spec mpc_net sections 4.6 and 5).

    Accepts equality constraints `g(x, u, t) = 0` with masks, and inequalities `h(x, u, t) >= 0` as relaxed log barriers
    added to the cost; raises on control bounds (write them as inequalities). Each iteration expands the problem about
    the trajectory, solves the equality-constrained LQ problem by one backward sweep (a local policy that satisfies the
    linearised constraints for every state, and multipliers affine in the state), and rolls the nonlinear dynamics out
    under it with step sizes `line_search_decay**i`. The merit is `J + rho sqrt(sum_k dt |g_k|^2)`; the largest step
    size that lets it fall by 1e-4 of what the model predicts is taken. `rho` starts at `penalty` and doubles while the
    squared violation misses a target: `rho^-0.1`, divided by `rho^0.9` when met and by `rho^0.1` when not, never
    below 5e-3. Where that is too little for the step to be one of descent, it is raised at once.

    A start may be infeasible: with `solve(..., states=...)` the trajectory need not follow the dynamics. Its gaps enter
    the first sweep, and the first step is accepted whatever its merit, if it is finite.

    `tolerance`: stop when no control of the full step moves by more than `tolerance (1 + max|u|)`. With
    `max_iterations=1` from a good start this is the real-time iteration; the status is then `MAX_ITERATIONS`. A knot
    whose active rows depend on each other ends in `INDEFINITE`. Solutions have no derivative.

    Deviations from the spec: decrease is measured against the predicted one, not against `|k|^2`; a failed sweep or
    line search is repeated with more regularisation; the Hessian of the barrier is Gauss-Newton.
    """

    max_iterations: int | Array = 100
    tolerance: float | None = eqx.field(static=True, default=None)
    barrier: RelaxedBarrier = eqx.field(default_factory=RelaxedBarrier)
    penalty: float = eqx.field(static=True, default=20.0)
    line_search_decay: float = eqx.field(static=True, default=0.5)
    line_search_trials: int = eqx.field(static=True, default=8)
    line_search_block: int = eqx.field(static=True, default=1)

    differentiable: ClassVar[bool] = False

    def __check_init__(self):
        check_iteration(self)
        require(self.penalty > 0, f"penalty is {self.penalty}; pass a positive number")

    def check(self, problem: OptimalControlProblem) -> None:
        """Raise on what this solver does not handle."""
        if problem.control_bounds is not None:
            raise CostogoError(
                "SLQ does not handle control_bounds; pass nu=..., and inequality=lambda x, u, t: "
                "jnp.concatenate([u - u_min, u_max - u])"
            )

    def run(
        self, problem: OptimalControlProblem, x0: Array, controls: Array, t0: Array, states: Array | None = None
    ) -> Solution:
        """Iterate until every test is met; one problem, unbatched."""
        ts = problem.times(t0, x0.dtype)
        first = self._start(problem, ts, x0, controls, states)
        final = jax.lax.while_loop(lambda s: s.status == Status.RUNNING, lambda s: self._iterate(problem, ts, s), first)
        return self._finish(problem, ts, final)

    def _start(self, problem: OptimalControlProblem, ts, x0, controls, states) -> IterationState:
        zero = jnp.zeros((), x0.dtype)
        given = states is not None
        states = states.at[0].set(x0) if given else open_loop(problem, x0, controls, ts[0])
        at = self._candidate(problem, ts, states, controls)
        finite = jnp.all(jnp.isfinite(states)) & jnp.all(jnp.isfinite(controls))
        # What a guess with gaps costs does not matter.
        finite &= jnp.array(given) | jnp.isfinite(at.cost + at.violation)
        ng = 0 if problem.equality is None else jax.eval_shape(problem.equality, x0, controls[0], ts[0]).shape[-1]
        sweep = empty_sweep(problem.horizon, x0.shape[0], problem.nu, ng, x0.dtype)
        status = jnp.where(self.max_iterations > 0, Status.RUNNING, Status.MAX_ITERATIONS)
        status = jnp.where(finite, status, Status.NOT_FINITE).astype(jnp.int32)
        penalty, count = zero + self.penalty, jnp.array(0, jnp.int32)
        return IterationState(
            at=at, about=at, gap=zero + (jnp.inf if given else 0.0), sweep=sweep, stationarity=zero + jnp.inf,
            regularisation=zero, growth=zero + 1.0, penalty=penalty, target=penalty**-0.1, iteration=count,
            rejected=count, status=status,
        )  # fmt: skip

    def _candidate(self, problem: OptimalControlProblem, ts: Array, states: Array, controls: Array) -> Candidate:
        knots = (states[:-1], controls, ts[:-1])
        cost = total_cost(problem, states, controls, ts) + jnp.sum(barrier_cost(problem, self.barrier, *knots))
        return Candidate(states, controls, cost, _norm(problem, equality_values(problem, *knots)))

    def _expand(self, problem: OptimalControlProblem, ts: Array, at: Candidate) -> tuple[LQModel, EqualityRows | None]:
        model = expand(problem, at.states, at.controls, ts)
        rows = None if problem.equality is None else equality_rows(problem, at.states, at.controls, ts)
        return with_barrier(problem, self.barrier, model, at.states, at.controls, ts), rows

    def _iterate(self, problem: OptimalControlProblem, ts: Array, state: IterationState) -> IterationState:
        """One sweep and one line search."""
        at = state.at
        model, rows = self._expand(problem, ts, at)
        skip = state.status != Status.RUNNING
        sweep = backward(model, equality=rows, regularisation=state.regularisation, skip=skip)
        swept = sweep.status == Status.CONVERGED
        stationarity = jnp.max(jnp.abs(sweep.feedforward))
        tolerance = default_tolerance(self.tolerance, at.controls.dtype) * (1.0 + jnp.max(jnp.abs(at.controls)))
        gap = jnp.where(jnp.isinf(state.gap), jnp.max(jnp.abs(model.d)), state.gap)
        gapless = gap <= GAP_ROUNDING * jnp.finfo(gap.dtype).eps * (1.0 + jnp.max(jnp.abs(at.states)))
        converged = swept & gapless & (state.regularisation == 0) & (stationarity <= tolerance)

        moved, accepted, penalty = self._move(problem, ts, at, sweep, state.penalty, gapless)
        regularisation, growth = schedule(state.regularisation, state.growth, accepted)
        penalty, target = _penalty(penalty, state.target, moved.violation)
        return IterationState(
            at=moved,
            about=at,
            gap=jnp.where(accepted, 0.0, gap),
            sweep=sweep,
            stationarity=stationarity,
            regularisation=jnp.where(converged, state.regularisation, regularisation),
            growth=growth,
            penalty=penalty,
            target=target,
            iteration=state.iteration + 1,
            rejected=state.rejected + jnp.where(accepted, 0, 1).astype(jnp.int32),
            status=self._status(state, model, rows, swept, converged, regularisation),
        )

    def _move(
        self, problem: OptimalControlProblem, ts: Array, at: Candidate, sweep: Sweep, penalty: Array, gapless: Array
    ) -> tuple[Candidate, Array, Array]:
        """The line search along a sweep: where it leads (to `at` itself, unless accepted), whether it was accepted, and
        the penalty, raised as far as descent needs it."""

        def advance(alpha: Array) -> Candidate:
            law = AffineFeedback.unbounded(at.states[:-1], at.controls + alpha * sweep.feedforward, sweep.gains)
            return self._candidate(problem, ts, *rollout(problem.dynamics, at.states[0], law, ts[:-1]))

        swept = sweep.status == Status.CONVERGED
        # The step must be one of descent: the penalty outweighs what the cost pays for the constraints.
        paid = sweep.decrease[0] / jnp.where(at.violation > 0, at.violation, 1.0)
        needed = jnp.where(gapless & (at.violation > 0), jnp.clip(2.0 * paid, 0.0, PENALTY_MAX), 0.0)
        penalty = jnp.maximum(penalty, jnp.where(swept, needed, 0.0))
        slope = sweep.decrease[0] - jnp.where(gapless, penalty * at.violation, 0.0)
        rule = LineSearch(self.line_search_decay, self.line_search_trials, self.line_search_block)
        # Nothing is better than a trajectory with gaps: any finite step is.
        start = at._replace(cost=jnp.where(gapless, at.cost, jnp.inf))
        moved, _, accepted = search(advance, start, rule, SUFFICIENT_DECREASE * jnp.minimum(slope, 0.0), penalty)
        accepted &= swept
        return jax.tree.map(lambda new, old: jnp.where(accepted, new, old), moved, at), accepted, penalty

    def _status(self, state: IterationState, model, rows, swept, converged, regularisation) -> Array:
        status = jnp.where(state.iteration + 1 >= self.max_iterations, Status.MAX_ITERATIONS, Status.RUNNING)
        stuck = jnp.where(swept, Status.STALLED, Status.INDEFINITE)
        status = jnp.where(regularisation > REGULARISATION_MAX, stuck, status)
        status = jnp.where(converged, Status.CONVERGED, status)
        finite = [jnp.all(jnp.isfinite(leaf)) for leaf in jax.tree.leaves((model, rows))]
        return jnp.where(jnp.all(jnp.array(finite)), status, Status.NOT_FINITE).astype(jnp.int32)

    def _finish(self, problem: OptimalControlProblem, ts: Array, final: IterationState) -> Solution:
        """The trajectory, and what the last sweep knew, moved from the trajectory it was made for to this one."""
        at, about, sweep = final.at, final.about, final.sweep
        # Gains, value and multipliers are affine or quadratic in the state: moving them is exact.
        dx = at.states - about.states
        bent = jnp.einsum("kij,kj->ki", sweep.value_hessian, dx)
        moved = jnp.sum((sweep.value_gradient + 0.5 * bent) * dx, axis=-1)
        offset = sweep.multiplier_offset + jnp.einsum("kij,kj->ki", sweep.multiplier_slope, dx[:-1])
        constant = sweep.value_constant + moved + self._cost_to_go(problem, ts, about)
        return Solution(
            controls=at.controls,
            states=at.states,
            cost=at.cost,
            gains=sweep.gains,
            value=QuadraticValue(sweep.value_hessian, sweep.value_gradient + bent, constant),
            multipliers=Multipliers(offset, sweep.multiplier_slope),
            active=jnp.zeros(at.controls.shape, bool),
            defect=final.gap,
            status=final.status,
            iterations=final.iteration,
            stats=SolveStats(final.stationarity, final.regularisation, final.rejected, at.violation, final.penalty),
        )

    def _cost_to_go(self, problem: OptimalControlProblem, ts: Array, at: Candidate) -> Array:
        barrier = barrier_cost(problem, self.barrier, at.states[:-1], at.controls, ts[:-1])
        return cost_to_go(problem, at, ts) + jnp.append(jnp.cumsum(barrier[::-1])[::-1], 0.0)


def _norm(problem: OptimalControlProblem, values: Array) -> Array:
    """`sqrt(sum_k dt |g_k|^2)`."""
    return jnp.sqrt(problem.dt * jnp.sum(values**2))


def _penalty(penalty: Array, target: Array, violation: Array) -> tuple[Array, Array]:
    """Penalty and target of the squared violation after an iteration (spec mpc_net 4.6)."""
    met = violation**2 < target
    new_penalty = jnp.where(met, penalty, jnp.minimum(2.0 * penalty, PENALTY_MAX))
    new_target = jnp.maximum(target / jnp.where(met, penalty**0.9, new_penalty**0.1), VIOLATION_FLOOR)
    return new_penalty, new_target
