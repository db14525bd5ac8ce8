"""Linear-quadratic expansion of a problem about a trajectory, all knots at once."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jaxtyping import Array

from costogo.core.errors import DerivativeError
from costogo.lqr import LQModel, costates
from costogo.problem.problem import OptimalControlProblem

HESSIANS = ("gauss_newton", "exact")


def expand(
    problem: OptimalControlProblem, states: Array, controls: Array, ts: Array, hessian: str = "gauss_newton"
) -> LQModel:
    """LQ model in deviations from `(states, controls)`.

    `A, B` are the Jacobians and `d_k = f(x_k, u_k) - x_{k+1}` the gap of the dynamics; `q, r` are the gradients of the
    cost. With "gauss_newton" the Hessian is that of the cost; with "exact" the second derivatives of the dynamics are
    added, contracted with the costates: `grad^2 [l + lambda_{k+1}' f]` (spec differentiable_mpc 6.3).
    """
    f_next, A, B = linearise(problem, states[:-1], controls, ts[:-1])
    nx = states.shape[-1]
    z = jnp.concatenate([states[:-1], controls], axis=-1)
    stage = _on_pair(problem.stage_cost, nx, states.dtype)
    gradient, H = jax.vmap(_gradient_and_hessian(stage))(z, ts[:-1])
    q_N, Q_N = _terminal(problem, states[-1])
    model = LQModel(
        A=A,
        B=B,
        d=f_next - states[1:],
        Q=jnp.concatenate([H[:, :nx, :nx], Q_N[None]]),
        q=jnp.concatenate([gradient[:, :nx], q_N[None]]),
        R=H[:, nx:, nx:],
        r=gradient[:, nx:],
        P=H[:, nx:, :nx],
    )
    return with_dynamics_curvature(problem, model, states, controls, ts) if hessian == "exact" else model


def linearise(problem: OptimalControlProblem, xs: Array, us: Array, ts: Array) -> tuple[Array, Array, Array]:
    """Next states and Jacobians `A, B` at every knot."""
    if hasattr(problem.dynamics, "linearise"):
        return problem.dynamics.linearise(xs, us, ts)
    return value_and_jacobians(problem.dynamics, xs, us, ts)


def value_and_jacobians(function: Callable, xs: Array, us: Array, ts: Array) -> tuple[Array, Array, Array]:
    """Value of `function(x, u, t)` and its Jacobians with respect to `x` and `u` at every knot."""
    nx = xs.shape[-1]
    f = _on_pair(function, nx, xs.dtype)

    def one(z, t):
        # Not `linearize`: of a loop inside `f`, that is several times slower to trace and to compile.
        J, value = jax.jacfwd(lambda z: (f(z, t),) * 2, has_aux=True)(z)
        return value, J

    value, J = jax.vmap(one)(jnp.concatenate([xs, us], axis=-1), ts)
    return value, J[..., :nx], J[..., nx:]


def with_dynamics_curvature(
    problem: OptimalControlProblem, model: LQModel, states: Array, controls: Array, ts: Array
) -> LQModel:
    """Add `sum_j lambda_{k+1,j} grad^2 f_j` to the Hessian of the expansion; `model` is in deviations."""
    if hasattr(problem.dynamics, "linearise"):
        raise DerivativeError("simulator dynamics have no second derivatives; use hessian='gauss_newton'")
    nx = states.shape[-1]
    costate = costates(model, jnp.zeros_like(states), jnp.zeros_like(controls))[1:]
    f = _on_pair(problem.dynamics, nx, states.dtype)
    z = jnp.concatenate([states[:-1], controls], axis=-1)
    curvature = jax.vmap(lambda z, t, lam: jax.hessian(lambda z: lam @ f(z, t))(z))(z, ts[:-1], costate)
    return LQModel(
        A=model.A,
        B=model.B,
        d=model.d,
        Q=model.Q.at[:-1].add(curvature[:, :nx, :nx]),
        q=model.q,
        R=model.R + curvature[:, nx:, nx:],
        r=model.r,
        P=model.P + curvature[:, nx:, :nx],
    )


def _on_pair(function: Callable, nx: int, dtype) -> Callable:
    """The function of `(x, u, t)` as one of the stacked vector `z = (x, u)`."""
    return lambda z, t: jnp.asarray(function(z[:nx], z[nx:], t), dtype)


def _gradient_and_hessian(function: Callable) -> Callable:
    def both(z, t):
        gradient, push = jax.linearize(jax.grad(lambda z: function(z, t)), z)
        return gradient, jax.vmap(push)(jnp.eye(len(z), dtype=z.dtype))

    return both


def _terminal(problem: OptimalControlProblem, x: Array) -> tuple[Array, Array]:
    cost = problem.terminal_cost
    if cost is None:
        return jnp.zeros_like(x), jnp.zeros((len(x), len(x)), x.dtype)
    return _gradient_and_hessian(lambda x, _: jnp.asarray(cost(x), x.dtype))(x, None)
