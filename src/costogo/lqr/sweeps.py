"""The contract of the Riccati layer: what every solver calls, whichever implementation runs.

On CPU the native kernels run where they were built; on other devices, and where COSTOGO_RICCATI=jax, pure JAX. Both
take any number of leading batch axes, under `jit`, `vmap` and in loops, and return the same statuses; the derivatives
of both are those of the pure-JAX functions.
"""

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, Int8

from costogo.core.status import Status
from costogo.lqr import interior_point as reference_interior_point
from costogo.lqr import riccati as reference
from costogo.lqr.model import EqualityRows, InequalityRows, LQModel, over_batch
from costogo.lqr.native import implementation, operations
from costogo.lqr.results import BoundedSolution, Limits, LQSolution, Sweep

# Active-set passes tried from a guess before the interior point takes over.
GUESS_PASSES = 12


class _TwoWays:
    """A function of a model and further arrays with a native and a pure implementation."""

    def __init__(self, native: Callable, pure: Callable):
        def either(*arguments: Any) -> Any:
            return jax.lax.platform_dependent(*arguments, cpu=native, default=pure)

        self.ways = {
            "native": jax.jit(_with_derivatives_of(pure, native)),
            "jax": jax.jit(pure),
            "auto": jax.jit(_with_derivatives_of(pure, either)),
        }

    def __call__(self, model: LQModel, *arguments: Any) -> Any:
        way = implementation() if operations.supported(model) else "jax"
        return self.ways[way](model, *arguments)


def _with_derivatives_of(pure: Callable, function: Callable) -> Callable:
    """The function, with the derivatives of its pure counterpart."""
    rule = jax.custom_jvp(function)

    def derivative(primals: tuple, tangents: tuple) -> tuple:
        return jax.tree.map(_batch_first, jax.jvp(pure, primals, tangents))

    rule.defjvp(derivative)
    return rule


def _batch_first(leaf: Array) -> Array:
    """The same array, with the axis that `vmap` adds in front.

    JAX takes it that the results of a derivative rule have their batch axes where those of the function have them.
    A kernel's are in front, and so are those of a reshape; those of a scan need not be.
    """
    if leaf.dtype == jax.dtypes.float0:
        return leaf
    return jax.lax.reshape(jax.lax.reshape(leaf, (1, *leaf.shape)), leaf.shape)


def _pure(function: Callable) -> Callable:
    """A function for one problem, over the batch axes of its model."""

    def batched(model: LQModel, *arguments: Any) -> Any:
        return over_batch(function, model.batch_ndim)(model, *arguments)

    return batched


def _pure_backward(model: LQModel, limits, equality, regularisation: Array, skip) -> Sweep:
    del skip  # lanes of one XLA program cannot leave early
    return over_batch(reference.backward, model.batch_ndim)(model, limits, equality, regularisation)


def _pure_solve(model: LQModel, x0: Array, free: Array | None, fixed: Array | None) -> tuple[LQSolution, Array]:
    limits = None if free is None else Limits.masked(free, fixed)
    sweep = _pure_backward(model, limits, None, _per_problem(model, 0.0), None)
    states, controls = _pure(reference.forward)(model, sweep.gains, sweep.feedforward, x0)
    status = jnp.where(jnp.all(jnp.isfinite(x0), axis=-1), sweep.status, Status.NOT_FINITE)
    return LQSolution(states, controls, _pure(reference.costates)(model, states, controls)), status


_backward = _TwoWays(operations.backward, _pure_backward)
_forward = _TwoWays(operations.forward, _pure(reference.forward))
_costates = _TwoWays(operations.costates, _pure(reference.costates))
_solve = _TwoWays(operations.solve, _pure_solve)


def _per_problem(model: LQModel, value: Array | float) -> Array:
    return jnp.broadcast_to(jnp.asarray(value, model.B.dtype), model.B.shape[: model.batch_ndim])


def backward(
    model: LQModel,
    *,
    limits: Limits | None = None,
    equality: EqualityRows | None = None,
    regularisation: Array | float = 0.0,
    skip: Bool[Array, "*batch"] | None = None,
) -> Sweep:
    """Backward Riccati sweep, from the last knot to the first.

    With `V' = V_{k+1}`, `v' = v_{k+1}` (spec differentiable_mpc section 4, mpc_net section 5):

        Quu = R + B'V'B,  Qux = P + B'V'A,  Qxx = Q + A'V'A,  qu = r + B'(v' + V'd),  qx = q + A'(v' + V'd)
        k, K from the masked, box- or equality-constrained stage problem with Quu + regularisation I
        V = Qxx + K'Qux + Qux'K + K'Quu K,  v = qx + K'(qu + Quu k) + Qux'k

    `limits` masks or bounds the controls, `equality` adds rows with 0/1 masks and affine multipliers; both together are
    allowed with a mask. A row that depends on the others at its knot is a failure. `skip` marks problems whose result
    nobody reads: an implementation may leave them out, with zeros for results. `status` is `INDEFINITE` where some
    `Quu` is not positive definite or a row is dependent, `NOT_FINITE` for NaN or infinity, else `CONVERGED`; the other
    problems of the batch are not affected, and the results of a problem that failed mean nothing.
    """
    return _backward(model, limits, equality, _per_problem(model, regularisation), skip)


def forward(model: LQModel, gains: Array, feedforward: Array, x0: Array) -> tuple[Array, Array]:
    """Linear forward sweep `u = k + K x`, `x+ = A x + B u + d`; returns states (N+1, nx) and controls (N, nu)."""
    return _forward(model, gains, feedforward, x0)


def costates(model: LQModel, states: Array, controls: Array) -> Array:
    """Value gradients along a trajectory, shape (N+1, nx): spec differentiable_mpc eq. (7).

    `lambda_N = Q_N x_N + q_N`, `lambda_k = A_k' lambda_{k+1} + Q_k x_k + P_k' u_k + q_k`.
    """
    return _costates(model, states, controls)


def masked_solve(
    model: LQModel, x0: Array, free: Array | None, fixed: Array | None
) -> tuple[LQSolution, Int[Array, "*batch"]]:
    """Minimise the model from `x0` with the controls that are not `free` held at `fixed`; trajectory and status.

    The backward and the forward sweep in one; without `free` and `fixed`, all controls are free. The costates are the
    derivatives of the cost-to-go along the trajectory.
    """
    return _solve(model, x0, free, fixed)


def control_gradient(model: LQModel, states: Array, controls: Array, costate: Array) -> Array:
    """Derivative of the cost with respect to each control, `R u + P x + r + B' lambda_{k+1}`, shape (N, nu)."""
    return reference.control_gradient(model, states, controls, costate)


def interior_point(
    model: LQModel,
    x0: Float[Array, "*batch nx"],
    lower: Float[Array, "*batch N nu"],
    upper: Float[Array, "*batch N nu"],
    inequality: InequalityRows | None = None,
    *,
    regularisation: Array | float = 0.0,
    max_iterations: int = 50,
    polish_iterations: int = 20,
    skip: Bool[Array, "*batch"] | None = None,
    guess: Int8[Array, "*batch N nu"] | None = None,
) -> BoundedSolution:
    """Minimise the LQ model subject to `lower <= u <= upper` and linear inequalities (convex; infinite bounds allowed).

    Mehrotra's predictor-corrector with slacks. With `h(w) = Gw + e >= 0`, slack s, multiplier z, each iteration is one
    unconstrained Riccati sweep of the model with `G' diag(z/s) G` added to the Hessian and `G'(z/s e - z - c/s)` to the
    gradient, where `c = sigma mu - (ds dz)_affine`; the corrector repeats the linear half only. The dynamics hold at
    every iterate. Without general rows, a primal-dual active-set iteration on the masked sweep then makes the answer
    exact (multiplier signs and bounds are verified). An infinite `e` is a row that is not there. `CONVERGED` means:
    verified active set, or, with general rows, complementarity and residual below the precision's limit. `INFEASIBLE`:
    bounds cross or the residual does not fall.

    `guess` says where controls are expected: -1 at the lower, 1 at the upper bound, 0 between. A right guess saves the
    interior point, a wrong one costs a few sweeps; the solution is the same, and the pure-JAX path does not look at it.
    `skip` marks problems whose result nobody reads. `iterations` counts interior-point iterations and active-set passes
    after the first.
    """
    arguments = (x0, lower, upper, inequality, _per_problem(model, regularisation), skip, guess)
    return _interior_point(max_iterations, polish_iterations)(model, *arguments)


@functools.cache
def _interior_point(max_iterations: int, polish_iterations: int) -> _TwoWays:
    def native(*arguments: Any) -> BoundedSolution:
        return operations.interior_point(*arguments, limits=(max_iterations, polish_iterations, GUESS_PASSES))

    def pure(model: LQModel, x0, lower, upper, inequality, regularisation, skip, guess) -> BoundedSolution:
        del skip, guess
        if inequality is None:
            inequality = _no_rows(model)

        def one(*arguments: Array) -> BoundedSolution:
            return reference_interior_point.interior_point(*arguments, max_iterations, polish_iterations)

        return _pure(one)(model, x0, lower, upper, inequality, regularisation)

    return _TwoWays(native, pure)


def _no_rows(model: LQModel) -> InequalityRows:
    shape, dtype = model.r.shape[:-1], model.B.dtype
    return InequalityRows(
        E=jnp.zeros((*shape, 0, model.nx), dtype),
        F=jnp.zeros((*shape, 0, model.nu), dtype),
        e=jnp.zeros((*shape, 0), dtype),
    )
