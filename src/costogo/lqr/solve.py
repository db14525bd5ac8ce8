"""Masked LQR with an exact derivative rule: one more LQR with the same matrices."""

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from costogo.lqr.model import LQModel, over_batch
from costogo.lqr.results import LQAdjoint, LQSolution
from costogo.lqr.sweeps import control_gradient, costates, masked_solve


def solve_lqr(
    model: LQModel,
    x0: Float[Array, "*batch nx"],
    free: Bool[Array, "*batch N nu"] | None = None,
    fixed: Float[Array, "*batch N nu"] | None = None,
) -> LQSolution:
    """Minimise the LQ model from `x0`, holding controls that are not `free` at `fixed` (default zero).

    Reverse-mode derivatives with respect to every array of the model, `x0` and `fixed` are exact (Amos et al. 2018,
    eq. 8 with the indices corrected as in spec differentiable_mpc 6.1 and 6.2; the clamped *columns* of B are removed
    and `d_u = 0` on them). Cost: one more sweep, whatever was done forward.
    """
    if free is not None and fixed is None:
        fixed = jnp.zeros_like(model.r)
    states, controls = _trajectory(model, x0, free, fixed)
    return LQSolution(states=states, controls=controls, costates=costates(model, states, controls))


@jax.custom_vjp
def _trajectory(model: LQModel, x0, free, fixed):
    solution, _ = masked_solve(model, x0, free, fixed)
    return solution.states, solution.controls


def _trajectory_forward(model, x0, free, fixed):
    solution, _ = masked_solve(model, x0, free, fixed)
    return (solution.states, solution.controls), (model, free, solution)


def _trajectory_backward(residuals, cotangents):
    model, free, solution = residuals
    adjoint = solve_adjoint(model, free, *cotangents)
    gradient = over_batch(_model_gradient, model.batch_ndim)(solution, adjoint)
    return gradient, adjoint.costates[..., 0, :], None, None if free is None else adjoint.fixed


_trajectory.defvjp(_trajectory_forward, _trajectory_backward)


def solve_adjoint(model: LQModel, free: Array | None, state_cotangent: Array, control_cotangent: Array) -> LQAdjoint:
    """Adjoint LQR (spec differentiable_mpc 6.1, 6.2): minimise with linear terms set to the cotangents.

    `d = LQR(x_0 = 0; Q, R, P, A, B, q := state_cotangent, r := control_cotangent, d := 0)` with `d_u = 0` on clamped
    controls. `fixed` is the cotangent of the values at which clamped controls are held,
    `(r + H d + B' d_lambda)_u`, zero elsewhere.
    """
    system = eqx.tree_at(
        lambda m: (m.d, m.q, m.r), model, (jnp.zeros_like(model.d), state_cotangent, control_cotangent)
    )
    start = jnp.zeros_like(state_cotangent[..., 0, :])
    zero = jnp.zeros_like(control_cotangent)
    solution, status = masked_solve(system, start, free, None if free is None else zero)
    states, controls, costate = solution.states, solution.controls, solution.costates
    fixed = zero if free is None else jnp.where(free, 0.0, control_gradient(system, states, controls, costate))
    return LQAdjoint(states=states, controls=controls, costates=costate, fixed=fixed, status=status)


def _model_gradient(solution: LQSolution, adjoint: LQAdjoint) -> LQModel:
    """Gradient with respect to each array of the model, from the trajectory, its costates and the adjoint."""
    x, dx = solution.states[:-1], adjoint.states[:-1]
    u, du = solution.controls, adjoint.controls
    lam, dlam = solution.costates[1:], adjoint.costates[1:]

    def outer(a, b):
        return a[..., :, None] * b[..., None, :]

    return LQModel(
        A=outer(dlam, x) + outer(lam, dx),
        B=outer(dlam, u) + outer(lam, du),
        d=dlam,
        Q=0.5 * (outer(adjoint.states, solution.states) + outer(solution.states, adjoint.states)),
        q=adjoint.states,
        R=0.5 * (outer(du, u) + outer(u, du)),
        r=du,
        P=outer(du, x) + outer(u, dx),
    )
