"""What a solver returns: not only the trajectory but everything it knows about it."""

import equinox as eqx
from jaxtyping import Array, Bool, Float, Int


class QuadraticValue(eqx.Module):
    """Quadratic cost-to-go about the states of the solution, at each of the N+1 knots.

    `V_k(x) = 1/2 dx' hessian_k dx + gradient_k' dx + constant_k` with `dx = x - states[k]`.
    """

    hessian: Float[Array, "N+1 nx nx"]
    gradient: Float[Array, "N+1 nx"]
    constant: Float[Array, " N+1"]


class Multipliers(eqx.Module):
    """Multipliers of equality constraints, affine in the state: `offset_k + slope_k dx`."""

    offset: Float[Array, "N ng"]
    slope: Float[Array, "N ng nx"]


class SolveStats(eqx.Module):
    """How the solve went.

    `stationarity` is the largest feedforward of the last sweep (control units), `regularisation` what was added to
    `Quu`, `rejected` the number of sweeps or line searches that had to be repeated with more of it. `violation` is
    `sqrt(sum_k dt |g_k|^2)` of the equality constraints, and `penalty` its weight in the merit (zero without any).
    """

    stationarity: Float[Array, ""]
    regularisation: Float[Array, ""]
    rejected: Int[Array, ""]
    violation: Float[Array, ""]
    penalty: Float[Array, ""]


class Solution(eqx.Module):
    """Solution of an optimal control problem. Only `states`, `controls` and `cost` carry derivatives; asking for
    another raises.

    `controls` (N, nu), `states` (N+1, nx) and `cost` are consistent: the states are a rollout of the controls, up to
    `defect`, the largest gap left. `gains` (N, nu, nx) are the feedback about the trajectory: `u = controls[k] +
    gains[k] (x - states[k])`, zero rows where `active` says that the control is held at a bound. `status` is a
    `costogo.Status` code.
    """

    controls: Float[Array, "N nu"]
    states: Float[Array, "N+1 nx"]
    cost: Float[Array, ""]
    gains: Float[Array, "N nu nx"]
    value: QuadraticValue
    multipliers: Multipliers
    active: Bool[Array, "N nu"]
    defect: Float[Array, ""]
    status: Int[Array, ""]
    iterations: Int[Array, ""]
    stats: SolveStats
