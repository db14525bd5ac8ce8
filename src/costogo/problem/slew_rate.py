"""Cost on the change of the control, by carrying the previous control in the state."""

from collections.abc import Callable

import equinox as eqx
import jax.numpy as jnp
from jax.typing import ArrayLike
from jaxtyping import Array

from costogo.core.errors import CostogoError
from costogo.problem.costs import _quadratic_form
from costogo.problem.problem import OptimalControlProblem


class _Carried(eqx.Module):
    """A function of `(x, u, t)` on the augmented state `(x, u_previous)`."""

    function: Callable
    nu: int = eqx.field(static=True)

    def __call__(self, z: Array, u: Array, t: Array) -> Array:
        return self.function(z[: -self.nu], u, t)


class _CarryingDynamics(_Carried):
    def __call__(self, z: Array, u: Array, t: Array) -> Array:
        return jnp.concatenate([self.function(z[: -self.nu], u, t), u])


class _SlewCost(_Carried):
    weight: ArrayLike = 0.0

    def __call__(self, z: Array, u: Array, t: Array) -> Array:
        return self.function(z[: -self.nu], u, t) + _quadratic_form(self.weight, u - z[-self.nu :])


class _CarriedTerminal(eqx.Module):
    function: Callable
    nu: int = eqx.field(static=True)

    def __call__(self, z: Array) -> Array:
        return self.function(z[: -self.nu])


def with_slew_rate(problem: OptimalControlProblem, weight: ArrayLike) -> OptimalControlProblem:
    """The same problem with `1/2 (u_k - u_{k-1})' W (u_k - u_{k-1})` added to every stage, whatever its cost.

    The state becomes `(x, u_previous)`: pass `jnp.concatenate([x0, u_previous])` as the initial state. `weight` is a
    scalar, a diagonal (nu,) or a matrix (nu, nu).
    """
    if not callable(problem.dynamics):
        raise CostogoError("with_slew_rate needs JAX dynamics f(x, u, t); add the previous control in the simulator")
    nu = problem.nu

    def carried(function):
        return None if function is None else _Carried(function, nu)

    return OptimalControlProblem(
        dynamics=_CarryingDynamics(problem.dynamics, nu),
        stage_cost=_SlewCost(problem.stage_cost, nu, weight),
        terminal_cost=None if problem.terminal_cost is None else _CarriedTerminal(problem.terminal_cost, nu),
        horizon=problem.horizon,
        control_bounds=problem.control_bounds,
        equality=carried(problem.equality),
        inequality=carried(problem.inequality),
        nu=nu,
        dt=problem.dt,
    )
