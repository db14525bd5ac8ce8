"""Equality rows and relaxed barriers of a problem, evaluated and expanded at all knots at once."""

from collections.abc import Callable

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from costogo.core.validate import require
from costogo.lqr import EqualityRows, LQModel
from costogo.problem.expansion import value_and_jacobians
from costogo.problem.problem import OptimalControlProblem


class RelaxedBarrier(eqx.Module):
    """Penalty of an inequality `h >= 0`, finite everywhere (spec mpc_net 4.1).

        b(h) = -mu ln h                                          for h > delta
        b(h) = mu [1/2 (((h - 2 delta) / delta)^2 - 1) - ln delta]   else, which joins it with two derivatives.

    `weight` is mu, in the unit of the cost; `delta` in the unit of `h`. A larger weight keeps farther from the limit, a
    smaller one lets the relaxed part be reached, that is, the constraint be violated.
    """

    weight: float = 5.0
    delta: float = 5.0

    def __check_init__(self):
        for name in ("weight", "delta"):
            value = getattr(self, name)
            require(not isinstance(value, int | float) or value > 0, f"{name} is {value}; pass a positive number")

    def __call__(self, h: Array) -> Array:
        """Penalty, elementwise."""
        mu, delta = self.weight, self.delta
        far = h > delta
        # The branch that is not taken must not produce NaN: its derivative would be NaN too.
        logarithm = -jnp.log(jnp.where(far, h, delta))
        quadratic = 0.5 * (((h - 2.0 * delta) / delta) ** 2 - 1.0) - jnp.log(delta)
        return mu * jnp.where(far, logarithm, quadratic)

    def derivatives(self, h: Array) -> tuple[Array, Array]:
        """First and second derivative, elementwise: `-mu / h, mu / h^2`, or `mu (h - 2 delta) / delta^2, mu /
        delta^2`."""
        mu, delta = self.weight, self.delta
        far = h > delta
        safe = jnp.where(far, h, delta)
        first = jnp.where(far, -1.0 / safe, (h - 2.0 * delta) / delta**2)
        return mu * first, mu / safe**2


def equality_rows(problem: OptimalControlProblem, states: Array, controls: Array, ts: Array) -> EqualityRows:
    """Values `e = g(x, u, t)`, Jacobians and masks at the N knots: the rows `e + C dx + D du = 0`, zero where masked
    out."""
    require(problem.equality is not None, "the problem has no equality constraints; pass equality=g")
    e, C, D = value_and_jacobians(problem.equality, states[:-1], controls, ts[:-1])
    mask = _mask(problem.equality_mask, ts[:-1], e.shape)
    # A row that does not hold may be undefined there.
    C, D = (jnp.where(mask[..., None], J, 0.0) for J in (C, D))
    return EqualityRows(C=C, D=D, e=jnp.where(mask, e, 0.0), mask=mask)


def equality_values(
    problem: OptimalControlProblem, xs: Float[Array, "n nx"], us: Float[Array, "n nu"], ts: Float[Array, " n"]
) -> Float[Array, "n ng"]:
    """Constraint values at the given points, zero where a row is masked out; (n, 0) without constraints."""
    return _values(problem.equality, problem.equality_mask, (xs, us, ts), 0.0)


def inequality_values(
    problem: OptimalControlProblem, xs: Float[Array, "n nx"], us: Float[Array, "n nu"], ts: Float[Array, " n"]
) -> Float[Array, "n nh"]:
    """Values of `h` at the given points, infinite where a row is masked out; (n, 0) without constraints."""
    return _values(problem.inequality, problem.inequality_mask, (xs, us, ts), jnp.inf)


def barrier_cost(
    problem: OptimalControlProblem, barrier: RelaxedBarrier, xs: Array, us: Array, ts: Array
) -> Float[Array, " n"]:
    """`dt sum_i b(h_i)` at the given points. (The stage cost is per step, the barrier per unit of time.)"""
    values = inequality_values(problem, xs, us, ts)
    here = values != jnp.inf
    return problem.dt * jnp.sum(jnp.where(here, barrier(jnp.where(here, values, barrier.delta)), 0.0), axis=-1)


def with_barrier(
    problem: OptimalControlProblem, barrier: RelaxedBarrier, model: LQModel, states: Array, controls: Array, ts: Array
) -> LQModel:
    """Add the barrier to an expansion, with the Gauss-Newton Hessian `b'' grad h grad h'`, which is never
    indefinite."""
    if problem.inequality is None:
        return model
    h, E, F = value_and_jacobians(problem.inequality, states[:-1], controls, ts[:-1])
    mask = _mask(problem.inequality_mask, ts[:-1], h.shape)
    first, second = (
        problem.dt * jnp.where(mask, b, 0.0) for b in barrier.derivatives(jnp.where(mask, h, barrier.delta))
    )
    E, F = (jnp.where(mask[..., None], J, 0.0) for J in (E, F))
    return LQModel(
        A=model.A,
        B=model.B,
        d=model.d,
        Q=model.Q.at[:-1].add(jnp.einsum("kh,khi,khj->kij", second, E, E)),
        q=model.q.at[:-1].add(jnp.einsum("kh,khi->ki", first, E)),
        R=model.R + jnp.einsum("kh,khi,khj->kij", second, F, F),
        r=model.r + jnp.einsum("kh,khi->ki", first, F),
        P=model.P + jnp.einsum("kh,khi,khj->kij", second, F, E),
    )


def _values(function: Callable | None, mask: Callable | None, points: tuple, absent: float) -> Array:
    """Rows of a constraint at all points, `absent` where they are masked out."""
    dtype = points[1].dtype
    if function is None:
        return jnp.zeros((len(points[1]), 0), dtype)
    values = jnp.asarray(jax.vmap(function)(*points), dtype)
    return jnp.where(_mask(mask, points[2], values.shape), values, absent)


def _mask(mask: Callable | None, ts: Array, shape: tuple[int, ...]) -> Array:
    if mask is None:
        return jnp.ones(shape, bool)
    return jnp.broadcast_to(jax.vmap(mask)(ts), shape) > 0
