"""What the iterations of all DDP-like solvers share: tolerances, regularisation, cost-to-go."""

from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array

from costogo.core.validate import require
from costogo.lqr import Sweep
from costogo.problem import OptimalControlProblem
from costogo.solvers.forward_pass import Candidate

REGULARISATION_MIN, REGULARISATION_MAX, REGULARISATION_FACTOR = 1e-6, 1e10, 2.0


def check_iteration(solver: Any) -> None:
    """Raise on limits of iteration, tolerance or line search that make no sense."""
    limit = solver.max_iterations
    require(isinstance(limit, jax.Array) or limit >= 0, f"max_iterations is {limit}; pass 0 or more")
    require(solver.line_search_trials >= 1, f"line_search_trials is {solver.line_search_trials}; pass at least 1")
    require(solver.line_search_block >= 1, f"line_search_block is {solver.line_search_block}; pass at least 1")
    require(
        0 < solver.line_search_decay < 1, f"line_search_decay is {solver.line_search_decay}; pass a number in (0, 1)"
    )
    require(
        solver.tolerance is None or solver.tolerance >= 0, f"tolerance is {solver.tolerance}; pass 0 or more, or None"
    )


def default_tolerance(tolerance: float | None, dtype) -> float:
    """The tolerance given, or the default of the precision."""
    if tolerance is not None:
        return tolerance
    return 1e-8 if jnp.finfo(dtype).bits == 64 else 1e-4


def schedule(regularisation: Array, growth: Array, success: Array) -> tuple[Array, Array]:
    """Quadratic schedule of Tassa et al. (2012): grows faster after each failure, falls faster after each success."""
    factor = REGULARISATION_FACTOR
    grown = jnp.maximum(factor, growth * factor)
    shrunk = jnp.minimum(1.0 / factor, growth / factor)
    more = jnp.maximum(REGULARISATION_MIN, regularisation * grown)
    less = regularisation * shrunk
    less = jnp.where(less >= REGULARISATION_MIN, less, 0.0)
    return jnp.where(success, less, more), jnp.where(success, shrunk, grown)


def cost_to_go(problem: OptimalControlProblem, at: Candidate, ts: Array) -> Array:
    """Cost of the rest of the trajectory from each knot, shape (N+1,)."""
    stages = jax.vmap(problem.stage_cost)(at.states[:-1], at.controls, ts[:-1])
    terminal = jnp.zeros((), stages.dtype) if problem.terminal_cost is None else problem.terminal_cost(at.states[-1])
    return jnp.cumsum(jnp.append(stages, terminal)[::-1])[::-1]


def empty_sweep(N: int, nx: int, nu: int, ng: int, dtype) -> Sweep:
    """A sweep of zeros, with which an iteration starts."""

    def zeros(*shape):
        return jnp.zeros(shape, dtype)

    return Sweep(
        gains=zeros(N, nu, nx),
        feedforward=zeros(N, nu),
        value_hessian=zeros(N + 1, nx, nx),
        value_gradient=zeros(N + 1, nx),
        value_constant=zeros(N + 1),
        Quu=zeros(N, nu, nu),
        Qux=zeros(N, nu, nx),
        factor=zeros(N, nu, nu),
        free=jnp.ones((N, nu), bool),
        multiplier_offset=zeros(N, ng),
        multiplier_slope=zeros(N, ng, nx),
        decrease=zeros(2),
        status=jnp.array(0, jnp.int32),
    )
