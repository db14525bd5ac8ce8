"""The native kernels as JAX functions, each with the contract of its pure-JAX counterpart.

A call with any number of batch axes is one call of the kernel. An array that `vmap` does not batch keeps an extent of
one on that axis, so shared data is read once. Arguments that are absent travel as empty arrays.
"""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from costogo.lqr.model import EqualityRows, InequalityRows, LQModel
from costogo.lqr.results import BoundedSolution, Limits, LQSolution, Sweep


def supported(model: LQModel) -> bool:
    """Whether the kernels take this model: float32 or float64, and nothing of size zero inside a problem."""
    return model.B.dtype in (jnp.float32, jnp.float64) and min(model.horizon, model.nx, model.nu) > 0


def backward(
    model: LQModel, limits: Limits | None, equality: EqualityRows | None, regularisation: Array, skip: Array | None
) -> Sweep:
    """Backward sweep; see `costogo.lqr.backward`."""
    shape, dtype = model.B.shape[: model.batch_ndim], model.B.dtype
    none = _Absent(model)
    box = limits is not None and limits.box
    lower, upper, free = (none(1), none(1), none(1, bool))
    if limits is not None:
        lower, upper = limits.lower, limits.upper if box else upper
        free = free if box else limits.free
    rows = (none(3), none(3), none(1), none(1, bool))
    if equality is not None and equality.mask.shape[-1] > 0:
        rows = (equality.C, equality.D, equality.e, equality.mask)
    ng = rows[2].shape[-1]
    arguments = (*_arrays(model), regularisation, none(0, bool) if skip is None else skip, lower, upper, free, *rows)
    return Sweep(*_call("backward", _sweep_shapes(model, shape, ng, dtype), arguments, box=np.bool_(box)))


def forward(model: LQModel, gains: Array, feedforward: Array, x0: Array) -> tuple[Array, Array]:
    """Forward sweep; see `costogo.lqr.forward`."""
    arguments = (model.A, model.B, model.d, gains, feedforward, x0)
    return tuple(_call("forward", _trajectory_shapes(model), arguments))


def costates(model: LQModel, states: Array, controls: Array) -> Array:
    """Costates; see `costogo.lqr.costates`."""
    arguments = (model.A, model.Q, model.q, model.P, states, controls)
    return _call("costates", _trajectory_shapes(model)[:1], arguments)[0]


def solve(model: LQModel, x0: Array, free: Array | None, fixed: Array | None) -> tuple[LQSolution, Array]:
    """Masked LQR and its status: backward sweep, forward sweep and costates in one pass over each problem."""
    shapes = _trajectory_shapes(model)
    status = jax.ShapeDtypeStruct(model.B.shape[: model.batch_ndim], jnp.int32)
    none = _Absent(model)
    held = (none(1, bool), none(1)) if free is None else (free, fixed)
    arguments = (*_arrays(model), x0, *held, none(0, bool))
    states, controls, costates, status = _call("solve", (*shapes, shapes[0], status), arguments)
    return LQSolution(states, controls, costates), status


def interior_point(
    model: LQModel,
    x0: Array,
    lower: Array,
    upper: Array,
    inequality: InequalityRows | None,
    regularisation: Array,
    skip: Array | None,
    guess: Array | None,
    limits: tuple[int, int, int],
) -> BoundedSolution:
    """Interior point; `limits` are the numbers of iterations, of polishing passes and of passes from the guess."""
    shape, dtype, N = model.B.shape[: model.batch_ndim], model.B.dtype, model.horizon
    none = _Absent(model)
    rows = (none(3), none(3), none(1))
    if inequality is not None and inequality.e.shape[-1] > 0:
        rows = (inequality.E, inequality.F, inequality.e)
    integer = jax.ShapeDtypeStruct(shape, jnp.int32)
    shapes = (
        *_trajectory_shapes(model),
        jax.ShapeDtypeStruct((*shape, N, model.nu), bool),
        jax.ShapeDtypeStruct((*shape, N, rows[2].shape[-1]), dtype),
        integer,
        integer,
        *_sweep_shapes(model, shape, 0, dtype),
    )
    arguments = (*_arrays(model), x0, lower, upper, *rows, regularisation)
    arguments += (none(0, bool) if skip is None else skip, none(1, jnp.int8) if guess is None else guess)
    names = ("max_iterations", "polish_iterations", "guess_iterations")
    attributes = {name: np.int64(limit) for name, limit in zip(names, limits, strict=True)}
    states, controls, free, multipliers, status, count, *sweep = _call(
        "interior_point", shapes, arguments, **attributes
    )
    return BoundedSolution(states, controls, free, multipliers, Sweep(*sweep), status, count)


class _Absent:
    """Empty arrays with the batch axes of a model and a given number of axes of their own."""

    def __init__(self, model: LQModel):
        self.batch = (1,) * model.batch_ndim
        self.dtype = model.B.dtype

    def __call__(self, axes: int, dtype: Any = None) -> Array:
        # Without an axis of its own, only a batch axis can be empty: a trailing one is appended.
        return jnp.zeros((*self.batch, *(0,) * max(axes, 1)), self.dtype if dtype is None else dtype)


def _arrays(model: LQModel) -> tuple[Array, ...]:
    return tuple(getattr(model, field.name) for field in dataclasses.fields(model))


def _trajectory_shapes(model: LQModel) -> tuple[jax.ShapeDtypeStruct, jax.ShapeDtypeStruct]:
    shape, N = model.B.shape[: model.batch_ndim], model.horizon
    sizes = ((*shape, N + 1, model.nx), (*shape, N, model.nu))
    return tuple(jax.ShapeDtypeStruct(size, model.B.dtype) for size in sizes)


def _sweep_shapes(model: LQModel, batch: tuple[int, ...], ng: int, dtype: Any) -> tuple[jax.ShapeDtypeStruct, ...]:
    """Shapes of the fields of `Sweep`, in their order."""
    N, nx, nu = model.horizon, model.nx, model.nu
    sizes = [(N, nu, nx), (N, nu), (N + 1, nx, nx), (N + 1, nx), (N + 1,), (N, nu, nu), (N, nu, nx), (N, nu, nu)]
    sizes += [(N, nu), (N, ng), (N, ng, nx), (2,), ()]
    dtypes = [dtype] * 8 + [jnp.bool_] + [dtype] * 3 + [jnp.int32]
    return tuple(jax.ShapeDtypeStruct((*batch, *size), kind) for size, kind in zip(sizes, dtypes, strict=True))


def _call(name: str, shapes: tuple[jax.ShapeDtypeStruct, ...], arguments: tuple[Array, ...], **attributes: Any):
    return jax.ffi.ffi_call(f"costogo_{name}", shapes, vmap_method="expand_dims")(*arguments, **attributes)
