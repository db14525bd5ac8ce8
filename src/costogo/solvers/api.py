"""`solve`: the one entry point for every solver."""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike
from jaxtyping import Array, Float

from costogo.core.compatibility import warn_if_affected
from costogo.core.errors import DerivativeError, SolveError
from costogo.core.status import Status
from costogo.core.validate import as_floating, is_concrete, require, require_shape
from costogo.problem import OptimalControlProblem
from costogo.solvers.adjoint import ImplicitAdjoint, UnrolledAdjoint
from costogo.solvers.box_ddp import BoxDDP
from costogo.solvers.hoist import hoist
from costogo.solvers.slq import SLQ
from costogo.solvers.solution import Solution


def solve(
    problem: OptimalControlProblem,
    x0: Float[ArrayLike, " nx"],
    controls: Float[ArrayLike, "N nu"] | None = None,
    *,
    states: Float[ArrayLike, "N+1 nx"] | None = None,
    solver: BoxDDP | SLQ | None = None,
    adjoint: ImplicitAdjoint | UnrolledAdjoint | None = None,
    t0: ArrayLike = 0.0,
    throw: bool = False,
) -> Solution:
    """Solve one optimal control problem from `x0` (nx,). Batch with `jax.vmap`; `jax.jit` and `jax.grad` work on it.

    `controls` (N, nu) is the initial guess (default: zero, clipped to the bounds). `states` (N+1, nx), for `SLQ`, is a
    guess that need not follow the dynamics, such as a standing pose at every knot. `solver` defaults to `BoxDDP()`,
    whose interior-point subproblem solves every convex problem with control bounds, and to `SLQ()` where the problem
    has equality or inequality constraints; `adjoint` to `ImplicitAdjoint()`.
    Precision follows `x0`: float64 needs `jax_enable_x64`.

    Failures are values: `solution.status` is a `costogo.Status` code for each problem, and the others of a batch keep
    their solutions and gradients. With `throw=True` a failure raises `SolveError` (inside `jit`: a runtime error).
    Misuse (shapes, bounds, unsupported constraints, simulator dynamics with gradients) raises `CostogoError` first.
    """
    warn_if_affected()
    if solver is None:
        constrained = getattr(problem, "equality", None) is not None or getattr(problem, "inequality", None) is not None
        solver = SLQ() if constrained else BoxDDP()
    adjoint = ImplicitAdjoint() if adjoint is None else adjoint
    x0, controls, t0 = _checked(problem, x0, controls, t0, solver, adjoint)
    states = _checked_states(problem, x0, states, solver)
    solution = _solve(problem, x0, controls, t0, states, solver, adjoint)
    return _thrown(solution) if throw else solution


@eqx.filter_jit
def _solve(problem, x0: Array, controls: Array, t0: Array, states: Array | None, solver, adjoint) -> Solution:
    # Floats of the problem that reach this point as numbers are constants; as tracers they are parameters.
    hoisted = hoist(problem, x0)
    hoisted = jax.tree.map(lambda leaf: jnp.asarray(leaf) if isinstance(leaf, float) else leaf, hoisted)
    if not solver.differentiable:
        reason = f"a solution of {type(solver).__name__} has no derivative; use BoxDDP"
    elif hasattr(problem.dynamics, "step"):
        reason = "a solution under simulator dynamics has no derivative; give JAX dynamics f(x, u, t)"
    else:
        return adjoint.solve(solver, hoisted, x0, controls, t0)
    return _without_derivative(solver, hoisted, (x0, controls, t0) + (() if states is None else (states,)), reason)


def _without_derivative(solver: Any, problem: OptimalControlProblem, arguments: tuple, reason: str) -> Solution:
    """Solve, refusing to be differentiated."""
    arrays, static = eqx.partition((solver, problem), eqx.is_array)

    @jax.custom_jvp
    def guarded(arrays, *arguments):
        solver, problem = eqx.combine(arrays, static)
        return solver.run(problem, *arguments)

    @guarded.defjvp
    def refuse(primals, tangents):
        raise DerivativeError(f"{reason}, or wrap the arguments in jax.lax.stop_gradient")

    return guarded(arrays, *arguments)


def _checked(problem, x0, controls, t0, solver, adjoint) -> tuple[Array, Array, Array]:
    require(isinstance(problem, OptimalControlProblem), f"problem is a {type(problem).__name__}; "
            "pass a costogo.OptimalControlProblem")  # fmt: skip
    # A class has the methods of its objects: `solver=BoxDDP` without the brackets is the usual slip.
    for name, value, method, fix in (
        ("solver", solver, "run", "a solver object such as costogo.BoxDDP()"),
        ("adjoint", adjoint, "solve", "ImplicitAdjoint() or UnrolledAdjoint()"),
    ):
        require(hasattr(value, method) and not isinstance(value, type), f"{name} is {value!r}; pass {fix}")
    x0 = as_floating("x0", x0)
    require(x0.ndim == 1 and x0.size > 0, f"x0 has shape {x0.shape}; pass one state (nx,), and jax.vmap for a batch")
    shape = (problem.horizon, problem.nu)
    controls = jnp.zeros(shape, x0.dtype) if controls is None else as_floating("controls", controls).astype(x0.dtype)
    require_shape("controls", controls.shape, shape, "pass one control for each interval, (N, nu), or None")
    solver.check(problem)
    return x0, controls, jnp.asarray(t0, x0.dtype)


def _checked_states(problem: OptimalControlProblem, x0: Array, states: Any, solver: Any) -> Array | None:
    if states is None:
        return None
    require(
        not solver.differentiable, f"{type(solver).__name__} starts from controls alone; leave out states, or use SLQ"
    )
    states = as_floating("states", states).astype(x0.dtype)
    shape = (problem.horizon + 1, x0.size)
    require_shape("states", states.shape, shape, "pass one state for each knot, (N+1, nx), or None")
    return states


def _thrown(solution: Solution) -> Solution:
    if not is_concrete(solution.status):
        failed = solution.status != Status.CONVERGED
        return eqx.error_if(solution, failed, "costogo.solve did not converge; see solution.status without throw=True")
    code = Status(int(np.asarray(solution.status)))
    if code != Status.CONVERGED:
        raise SolveError(f"solve ended with {code.name} after {int(solution.iterations)} iterations: {code.describe()}")
    return solution
