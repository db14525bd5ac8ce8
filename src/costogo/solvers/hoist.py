"""Turn everything a problem's functions close over into explicit parameters, once per solve."""

from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jax.core import eval_jaxpr
from jaxtyping import Array

from costogo.core.errors import CostogoError
from costogo.core.validate import require_shape
from costogo.problem import OptimalControlProblem


class Hoisted(eqx.Module):
    """A traced function whose closed-over arrays are leaves, so that derivatives and batch axes reach them."""

    constants: list[Array]
    jaxpr: Any = eqx.field(static=True)

    def __call__(self, *args: Array) -> Array:
        """Evaluate the function."""
        return eval_jaxpr(self.jaxpr, self.constants, *args)[0]


def hoist(problem: OptimalControlProblem, x0: Array) -> OptimalControlProblem:
    """Trace each function of the problem at the shapes of this solve, check what it returns, and lift its constants.

    Plain functions, modules and closures over tracers then look the same to the solver: a jaxpr and a list of arrays.
    `custom_vjp` cannot see a closed-over tracer, which is why this is done at all.
    """
    x, u = jnp.zeros_like(x0), jnp.zeros(problem.nu, x0.dtype)
    t = jnp.zeros((), x0.dtype)
    shapes = {"dynamics": x.shape, "stage_cost": (), "terminal_cost": ()}
    for name in ("dynamics", "stage_cost", "terminal_cost", "equality", "inequality"):
        function = getattr(problem, name)
        if function is None or hasattr(function, "step"):
            continue
        arguments = (x,) if name == "terminal_cost" else (x, u, t)
        hoisted = _trace(name, function, arguments, shapes.get(name), x0.dtype)
        problem = _replace(problem, name, hoisted)
    for name in ("equality_mask", "inequality_mask"):
        mask, constraint = getattr(problem, name), getattr(problem, name.removesuffix("_mask"))
        if mask is not None:
            rows = jax.eval_shape(constraint, x, u, t).shape
            problem = _replace(problem, name, _trace(name, mask, (t,), rows, x0.dtype, names="t"))
    return problem


def _replace(problem: OptimalControlProblem, name: str, function: Hoisted) -> OptimalControlProblem:
    old = getattr(problem, name)
    return eqx.tree_at(lambda p: getattr(p, name), problem, function, is_leaf=lambda leaf: leaf is old)


def _trace(
    name: str, function: Callable, arguments: tuple, shape: tuple | None, dtype: Any, names: str = "xut"
) -> Hoisted:
    described = ", ".join(f"{n}{tuple(a.shape)}" for n, a in zip(names, arguments, strict=False))
    try:
        closed, out = jax.make_jaxpr(lambda *args: _cast(function(*args), dtype), return_shape=True)(*arguments)
    except (TypeError, ValueError, IndexError) as error:
        raise CostogoError(
            f"{name} fails on {described}: {error}; check the shapes of x0 and nu, and the function's signature"
        ) from error
    if not hasattr(out, "shape"):
        raise CostogoError(f"{name} returns a {type(out).__name__}; return a single array")
    if shape is not None:
        require_shape(f"the result of {name}", out.shape, shape, f"it was called with {described}")
    return Hoisted(constants=[jnp.asarray(c) for c in closed.consts], jaxpr=closed.jaxpr)


def _cast(value: Any, dtype: Any) -> Any:
    """A Python float or another precision in the user's function must not change the precision of the solve."""
    return jnp.asarray(value, dtype) if jax.tree.structure(value) == jax.tree.structure(0) else value
