"""Derivatives of a solution: implicitly, by one adjoint LQR at the fixed point, or by unrolling the iterations."""

from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
from jax.custom_derivatives import SymbolicZero
from jaxtyping import Array

from costogo.core.errors import DerivativeError, known
from costogo.core.status import Status
from costogo.core.validate import require
from costogo.lqr import LQAdjoint, LQModel, costates, solve_adjoint
from costogo.problem import OptimalControlProblem, expand, total_cost, with_dynamics_curvature
from costogo.solvers.solution import Solution

ADJOINT_HESSIANS = ("lagrangian", "gauss_newton")


class ImplicitAdjoint(eqx.Module):
    """Exact gradients at the fixed point, at the cost of one masked LQR (Amos et al. 2018; spec section 6).

    The active set of the solution is frozen, and the adjoint LQR is solved with the Hessian of the Lagrangian
    ("lagrangian", exact for nonlinear dynamics) or of the cost ("gauss_newton", the paper's). Where the Lagrangian
    Hessian is not positive definite on the free controls, that problem falls back to Gauss-Newton;
    `adjoint_system` tells which ones did. `drop_jacobian_derivative=True` leaves out the derivative of the dynamics'
    Jacobian, as the paper's public code does; it is wrong, and here for comparison only.

    Gradients reach cost, dynamics, bounds, `x0` and `t0`; the initial controls get zero, which is the derivative of a
    fixed point. A problem that did not converge contributes exactly zero, and its status says so. At a control that
    touches its bound with a zero multiplier the solution is not differentiable: the derivative of the solver's active
    set is taken. Derivatives of gains, value or multipliers raise.
    """

    hessian: str = eqx.field(static=True, default="lagrangian")
    drop_jacobian_derivative: bool = eqx.field(static=True, default=False)

    def __check_init__(self):
        known("adjoint hessian", self.hessian, ADJOINT_HESSIANS)

    def solve(self, solver: Any, problem: OptimalControlProblem, x0: Array, controls: Array, t0: Array) -> Solution:
        """Run the solver on a hoisted problem, with the derivative rule attached."""
        parameters, rest = eqx.partition(problem, eqx.is_inexact_array)
        # Integers, booleans and keys have no derivative but may be traced: the rule must not close over them.
        others, static = eqx.partition(rest, eqx.is_array)

        @jax.custom_vjp
        def fixed_point(parameters, others, x0, controls, t0):
            return solver.run(eqx.combine(parameters, others, static), x0, controls, t0)

        def fixed_point_forward(*primals):
            primals = jax.tree.map(lambda p: p.value, primals, is_leaf=_is_primal)
            parameters, others, _, _, t0 = primals
            solution = fixed_point(*primals)
            return solution, (parameters, others, t0, solution)

        def fixed_point_backward(residuals, cotangent):
            parameters, others, t0, solution = residuals
            _refuse_others(cotangent)
            rest = eqx.combine(others, static)
            pulled = self._pull_back(parameters, rest, t0, solution, cotangent)
            return pulled[0], None, pulled[1], jnp.zeros_like(solution.controls), pulled[2]

        fixed_point.defvjp(fixed_point_forward, fixed_point_backward, symbolic_zeros=True)
        return fixed_point(parameters, others, x0, controls, t0)

    def _pull_back(self, parameters, rest, t0, solution: Solution, cotangent: Solution):
        """Cotangents of parameters, x0 and t0 (spec 6.3); zero for a problem that did not converge."""
        problem = eqx.combine(parameters, rest)
        good = solution.status == Status.CONVERGED
        # A failed lane may hold NaN; its arithmetic must stay finite, because zero times NaN is NaN.
        states, controls = (jnp.where(good, a, 0.0) for a in (solution.states, solution.controls))
        state_cotangent = _instantiate(cotangent.states, states, good)
        control_cotangent = _instantiate(cotangent.controls, controls, good)
        cost_cotangent = _instantiate(cotangent.cost, solution.cost, good)
        ts = problem.times(t0, controls.dtype)
        slope = jax.grad(lambda x, u: total_cost(problem, x, u, ts), argnums=(0, 1))(states, controls)
        state_cotangent, control_cotangent = (
            state_cotangent + cost_cotangent * slope[0],
            control_cotangent + cost_cotangent * slope[1],
        )
        system = adjoint_system(problem, states, controls, ~solution.active, t0, self.hessian,
                                state_cotangent, control_cotangent)  # fmt: skip
        adjoint, costate = system.adjoint, system.costates
        # The nearer bound: a rollout reaches its bound only up to rounding.
        lower, upper = problem.bounds(controls.dtype)
        at_upper = upper - controls < controls - lower

        def contraction(parameters, t0):
            problem = eqx.combine(parameters, rest)
            ts = problem.times(t0, controls.dtype)
            direction = (adjoint.states, adjoint.controls)

            def cost(x, u):
                return total_cost(problem, x, u, ts)

            def weighted_dynamics(weights):
                return lambda x, u: jnp.sum(weights * jax.vmap(problem.dynamics)(x[:-1], u, ts[:-1]))

            value, change = jax.jvp(cost, (states, controls), direction)
            value = cost_cotangent * value + change
            value += weighted_dynamics(adjoint.costates[1:])(states, controls)
            if not self.drop_jacobian_derivative:
                value += jax.jvp(weighted_dynamics(costate[1:]), (states, controls), direction)[1]
            return value + _bound_term(problem, adjoint.fixed, solution.active, at_upper)

        gradient = jax.grad(contraction, argnums=(0, 1))(parameters, t0)
        pulled = (gradient[0], adjoint.costates[0], gradient[1])
        return jax.tree.map(lambda g: jnp.where(good, g, 0.0), pulled)


class UnrolledAdjoint(eqx.Module):
    """Plain autodiff through a fixed number of iterations: time and memory grow with it. For comparison, and for
    derivatives of solutions that are not fixed points."""

    iterations: int = eqx.field(static=True, default=50)

    def __check_init__(self):
        require(self.iterations >= 1, f"iterations is {self.iterations}; pass at least 1")

    def solve(self, solver: Any, problem: OptimalControlProblem, x0: Array, controls: Array, t0: Array) -> Solution:
        """Run a fixed number of iterations of the solver."""
        return solver.run_unrolled(problem, x0, controls, t0, self.iterations)


class AdjointSystem(NamedTuple):
    """Adjoint solution, costates of the trajectory, and whether the requested Hessian was positive definite."""

    adjoint: LQAdjoint
    costates: Array
    positive_definite: Array


def adjoint_system(
    problem: OptimalControlProblem,
    states: Array,
    controls: Array,
    free: Array,
    t0: Array | float,
    hessian: str,
    state_cotangent: Array,
    control_cotangent: Array,
) -> AdjointSystem:
    """Solve the adjoint LQR at a trajectory, by Gauss-Newton where the Lagrangian Hessian is not positive definite."""
    ts = problem.times(t0, controls.dtype)
    gauss_newton = expand(problem, states, controls, ts)
    gauss_newton = eqx.tree_at(lambda m: m.d, gauss_newton, jnp.zeros_like(gauss_newton.d))
    costate = costates(gauss_newton, jnp.zeros_like(states), jnp.zeros_like(controls))
    if hessian == "gauss_newton":
        adjoint = solve_adjoint(gauss_newton, free, state_cotangent, control_cotangent)
        return AdjointSystem(adjoint, costate, adjoint.status == Status.CONVERGED)
    lagrangian = with_dynamics_curvature(problem, gauss_newton, states, controls, ts)

    def attempt(carry):
        count, _ = carry
        model: LQModel = jax.tree.map(lambda a, b: jnp.where(count == 0, a, b), lagrangian, gauss_newton)
        return count + 1, solve_adjoint(model, free, state_cotangent, control_cotangent)

    def again(carry):
        count, adjoint = carry
        return (count == 0) | ((count == 1) & (adjoint.status != Status.CONVERGED))

    # A loop rather than a conditional: under vmap the second pass runs only if some problem needs it.
    empty = LQAdjoint(
        states=jnp.zeros_like(states),
        controls=jnp.zeros_like(controls),
        costates=jnp.zeros_like(states),
        fixed=jnp.zeros_like(controls),
        status=jnp.array(0, jnp.int32),
    )
    count, adjoint = jax.lax.while_loop(again, attempt, (jnp.array(0, jnp.int32), empty))
    return AdjointSystem(adjoint, costate, count == 1)


def _bound_term(problem: OptimalControlProblem, fixed: Array, active: Array, at_upper: Array) -> Array:
    """Value whose gradient is the cotangent of the bounds at active controls (spec 6.2)."""
    if problem.control_bounds is None:
        return jnp.zeros((), fixed.dtype)
    lower, upper = problem.bounds(fixed.dtype)
    low, high = active & ~at_upper, active & at_upper
    return jnp.sum(jnp.where(low, fixed * jnp.where(low, lower, 0.0), 0.0)) + jnp.sum(
        jnp.where(high, fixed * jnp.where(high, upper, 0.0), 0.0)
    )


def _is_primal(leaf: Any) -> bool:
    return isinstance(leaf, jax.custom_derivatives.CustomVJPPrimal)


def _instantiate(cotangent: Any, like: Array, good: Array) -> Array:
    return jnp.zeros_like(like) if isinstance(cotangent, SymbolicZero) else jnp.where(good, cotangent, 0.0)


def _refuse_others(cotangent: Solution) -> None:
    """Only the trajectory has a derivative rule; a silent zero for anything else would be a wrong answer."""
    for name in ("gains", "value", "multipliers", "defect", "stats"):
        leaves = jax.tree.leaves(getattr(cotangent, name), is_leaf=lambda c: isinstance(c, SymbolicZero))
        if not all(isinstance(leaf, SymbolicZero) or jnp.size(leaf) == 0 for leaf in leaves):
            raise DerivativeError(
                f"solution.{name} has no derivative under ImplicitAdjoint; differentiate states, controls or cost, "
                f"apply jax.lax.stop_gradient to solution.{name}, or use UnrolledAdjoint"
            )
