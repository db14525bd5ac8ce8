"""Discretisation of continuous dynamics, and the interface of simulators that are not JAX."""

from collections.abc import Callable

import equinox as eqx
import jax
import jax.numpy as jnp
from jax.typing import ArrayLike
from jaxtyping import Array

from costogo.core.errors import known
from costogo.core.validate import require


class SimulatorDynamics(eqx.Module):
    """Dynamics of a simulator outside JAX: everything is batched, so that one call covers all knots and problems.

    A subclass gives `step(xs, us, ts)` and `linearise(xs, us, ts)` with any leading axes: `xs (*batch, nx)`,
    `us (*batch, nu)`, `ts (*batch,)`. `step` returns the next states, `linearise` next states and Jacobians
    `A (*batch, nx, nx)`, `B (*batch, nx, nu)`. It may also give `rollout(x0, feedback, ts)`, which returns states and
    controls of a whole trajectory under an `AffineFeedback`, in one call instead of one per step.
    Such dynamics have no second derivatives and no parameter gradients: solvers use Gauss-Newton Hessians, and
    asking for a gradient through a solution raises.
    """

    def step(self, xs: Array, us: Array, ts: Array) -> Array:
        """Next states."""
        raise NotImplementedError

    def linearise(self, xs: Array, us: Array, ts: Array) -> tuple[Array, Array, Array]:
        """Next states and Jacobians."""
        raise NotImplementedError


def _euler(f: Callable, x: Array, u: Array, t: Array, dt: ArrayLike) -> Array:
    return x + dt * f(x, u, t)


def _semi_implicit_euler(f: Callable, x: Array, u: Array, t: Array, dt: ArrayLike) -> Array:
    """States are (positions, velocities): velocities first, then positions with the new velocities."""
    half = x.shape[-1] // 2
    velocity = x[half:] + dt * f(x, u, t)[half:]
    moved = x.at[half:].set(velocity)
    return moved.at[:half].set(x[:half] + dt * f(moved, u, t)[:half])


def _midpoint(f: Callable, x: Array, u: Array, t: Array, dt: ArrayLike) -> Array:
    return x + dt * f(x + 0.5 * dt * f(x, u, t), u, t + 0.5 * dt)


def _rk4(f: Callable, x: Array, u: Array, t: Array, dt: ArrayLike) -> Array:
    # A loop over the stages: written out, the dynamics and their derivatives are compiled four times over.
    def stage(carry, weights):
        slope, total = carry
        ahead, share = weights
        slope = f(x + ahead * dt * slope, u, t + ahead * dt)
        return (slope, total + share * slope), None

    zero = jnp.zeros_like(x)
    ahead, share = jnp.array([0.0, 0.5, 0.5, 1.0], x.dtype), jnp.array([1.0, 2.0, 2.0, 1.0], x.dtype) / 6.0
    (_, total), _ = jax.lax.scan(stage, (zero, zero), (ahead, share))
    return x + dt * total


METHODS = {"euler": _euler, "semi_implicit_euler": _semi_implicit_euler, "midpoint": _midpoint, "rk4": _rk4}


class Discretised(eqx.Module):
    """Discrete dynamics `x_{k+1} = x_k + integral of f over dt`, with the control held. Built by `discretise`."""

    f: Callable
    dt: ArrayLike
    method: str = eqx.field(static=True)
    substeps: int = eqx.field(static=True)

    def __call__(self, x: Array, u: Array, t: Array) -> Array:
        """Next state."""
        step, h = METHODS[self.method], self.dt / self.substeps
        if self.substeps == 1:
            return step(self.f, x, u, t, h)
        return jax.lax.fori_loop(0, self.substeps, lambda i, x: step(self.f, x, u, t + i * h, h), x)


def discretise(f: Callable, dt: ArrayLike, method: str = "rk4", substeps: int = 1) -> Discretised:
    """Discretise `dx/dt = f(x, u, t)` with the control held over `dt`.

    `method`: "euler" (order 1), "semi_implicit_euler" (order 1, symplectic; the state is (positions, velocities) in
    equal halves), "midpoint" (order 2) or "rk4" (order 4), each with `substeps` equal steps inside `dt`.
    """
    known("integration method", method, METHODS)
    require(substeps >= 1, f"substeps is {substeps!r}; pass at least 1")
    return Discretised(f=f, dt=dt, method=method, substeps=int(substeps))


class DiscretisedCost(eqx.Module):
    """Stage cost `dt * l(x, u, t)` of a running cost `l` per unit of time (rectangle rule)."""

    running_cost: Callable
    dt: ArrayLike

    def __call__(self, x: Array, u: Array, t: Array) -> Array:
        """Cost of one step."""
        return self.dt * self.running_cost(x, u, t)
