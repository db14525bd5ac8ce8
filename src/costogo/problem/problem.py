"""The optimal control problem: plain functions, a horizon and bounds."""

from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike
from jaxtyping import Array

from costogo.core.errors import CostogoError
from costogo.core.validate import as_floating, is_concrete, require, require_no_nan


class OptimalControlProblem(eqx.Module):
    """Discrete-time optimal control problem over `N = horizon` intervals.

        min  sum_{k<N} l(x_k, u_k, t_k) + phi(x_N)
        s.t. x_{k+1} = f(x_k, u_k, t_k),  u_min <= u_k <= u_max,  g(x_k, u_k, t_k) = 0,  h(x_k, u_k, t_k) >= 0,

    with `t_k = t0 + k dt`. Plain callables: `dynamics(x, u, t) -> (nx,)`, `stage_cost(x, u, t) -> ()`,
    `terminal_cost(x) -> ()` or None for zero, `equality(x, u, t) -> (ng,)`, `inequality(x, u, t) -> (nh,)`. The stage
    cost is per step: nothing multiplies it by `dt`. `dynamics` may also be an object with batched `step` and
    `linearise` (see `costogo.problem.SimulatorDynamics`), for simulators outside JAX.

    Constraints that come and go with time, such as contacts, keep their shape: `equality_mask(t) -> (ng,)` and
    `inequality_mask(t) -> (nh,)` say by 0 and 1 which rows hold over the interval that starts at `t` (default: all).

    `control_bounds` is `(u_min, u_max)`, each a scalar, (nu,) or (N, nu); infinities mean no bound. `nu` is the number
    of controls, taken from the bounds where they are vectors. The problem is a pytree: every array or float reachable
    from it, and every array its functions close over, is a parameter that gradients reach.

    Raises `CostogoError` for a horizon below 1, NaN or crossed bounds, or a missing `nu`.
    """

    dynamics: Callable | Any
    stage_cost: Callable
    terminal_cost: Callable | None
    control_bounds: tuple[ArrayLike, ArrayLike] | None
    equality: Callable | None
    inequality: Callable | None
    equality_mask: Callable | None
    inequality_mask: Callable | None
    dt: ArrayLike
    horizon: int = eqx.field(static=True)
    nu: int = eqx.field(static=True)

    def __init__(
        self,
        dynamics: Callable | Any,
        stage_cost: Callable,
        terminal_cost: Callable | None = None,
        *,
        horizon: int,
        control_bounds: tuple[ArrayLike, ArrayLike] | None = None,
        equality: Callable | None = None,
        inequality: Callable | None = None,
        equality_mask: Callable | None = None,
        inequality_mask: Callable | None = None,
        nu: int | None = None,
        dt: ArrayLike = 1.0,
    ):
        _check_functions(dynamics, stage_cost, terminal_cost)
        _check_constraint("equality", equality, equality_mask)
        _check_constraint("inequality", inequality, inequality_mask)
        require(
            isinstance(horizon, int | np.integer) and not isinstance(horizon, bool) and horizon >= 1,
            f"horizon is {horizon!r}; pass the number of intervals, an integer of at least 1",
        )
        self.dynamics = dynamics
        self.stage_cost = stage_cost
        self.terminal_cost = terminal_cost
        self.equality = equality
        self.inequality = inequality
        self.equality_mask = equality_mask
        self.inequality_mask = inequality_mask
        self.dt = dt
        self.horizon = int(horizon)
        control_bounds = _bound_pair(control_bounds)
        self.nu = _control_dimension(nu, control_bounds)
        self.control_bounds = _checked_bounds(control_bounds, self.horizon, self.nu)

    def bounds(self, dtype: Any) -> tuple[Array, Array]:
        """Bounds as two arrays (N, nu), infinite where there is none."""
        shape = (self.horizon, self.nu)
        lower, upper = (-jnp.inf, jnp.inf) if self.control_bounds is None else self.control_bounds
        return jnp.broadcast_to(jnp.asarray(lower, dtype), shape), jnp.broadcast_to(jnp.asarray(upper, dtype), shape)

    def times(self, t0: ArrayLike, dtype: Any) -> Array:
        """Times of the N+1 knots, `t0 + k dt`."""
        return jnp.asarray(t0, dtype) + jnp.asarray(self.dt, dtype) * jnp.arange(self.horizon + 1, dtype=dtype)


def _check_functions(dynamics, stage_cost, terminal_cost) -> None:
    require(
        callable(dynamics) or (hasattr(dynamics, "step") and hasattr(dynamics, "linearise")),
        f"dynamics is {dynamics!r}; pass a function f(x, u, t), or an object with batched step and linearise",
    )
    require(callable(stage_cost), f"stage_cost is {stage_cost!r}; pass a function l(x, u, t)")
    _check_optional("terminal_cost", terminal_cost)


def _check_constraint(name: str, function: Any, mask: Any) -> None:
    _check_optional(name, function)
    _check_optional(f"{name}_mask", mask)
    require(mask is None or function is not None, f"{name}_mask is given without {name}; pass both, or neither")


def _check_optional(name: str, function: Any) -> None:
    require(function is None or callable(function), f"{name} is {function!r}; pass a function, or None")


def _bound_pair(control_bounds: Any) -> tuple[ArrayLike, ArrayLike] | None:
    if control_bounds is None:
        return None
    require(
        isinstance(control_bounds, tuple | list) and len(control_bounds) == 2,
        f"control_bounds is {control_bounds!r}; pass a pair (u_min, u_max)",
    )
    lower, upper = (
        bound
        if hasattr(bound, "shape") or isinstance(bound, int | float)
        else as_floating(f"{name} in control_bounds", bound)
        for name, bound in zip(("u_min", "u_max"), control_bounds, strict=True)
    )
    return lower, upper


def _control_dimension(nu: int | None, control_bounds: tuple[ArrayLike, ArrayLike] | None) -> int:
    sizes = set()
    if control_bounds is not None:
        sizes = {jnp.shape(bound)[-1] for bound in control_bounds if jnp.ndim(bound) > 0}
    if nu is not None:
        sizes.add(nu)
    if not sizes:
        raise CostogoError(
            "the number of controls is not known; pass nu=..., or control_bounds as vectors of length nu"
        )
    require(len(sizes) == 1, f"control_bounds and nu disagree on the number of controls: {sorted(sizes)}")
    size = sizes.pop()
    require(isinstance(size, int | np.integer) and size >= 1, f"nu is {size!r}; pass an integer of at least 1")
    return int(size)


def _checked_bounds(control_bounds: Any, horizon: int, nu: int) -> tuple[ArrayLike, ArrayLike] | None:
    if control_bounds is None:
        return None
    for name, bound in zip(("u_min", "u_max"), control_bounds, strict=True):
        shape = jnp.shape(bound)
        require(
            shape in ((), (1,), (nu,), (horizon, nu)),
            f"{name} in control_bounds has shape {shape}; pass a scalar, ({nu},) or ({horizon}, {nu})",
        )
        require_no_nan(f"{name} in control_bounds", bound, "use -inf or inf where there is no bound")
    lower, upper = control_bounds
    if is_concrete(lower) and is_concrete(upper):
        low, high = jax.device_get((lower, upper))
        crossed = np.argwhere(np.atleast_1d(np.asarray(low) > np.asarray(high)))
        if crossed.size:
            raise CostogoError(
                f"control_bounds cross at index {tuple(int(i) for i in crossed[0])}: "
                f"u_min = {low} exceeds u_max = {high}; swap or widen them"
            )
    return (lower, upper)
