"""Checks that run before tracing. Values are looked at only where they are concrete; tracers pass."""

from typing import Any

import jax.numpy as jnp
import numpy as np
from jax.core import Tracer
from jax.typing import ArrayLike
from jaxtyping import Array

from costogo.core.errors import CostogoError


def is_concrete(value: object) -> bool:
    """True if the value can be looked at now, that is, it is not being traced."""
    return not isinstance(value, Tracer)


def require(condition: bool, message: str) -> None:
    """Raise `CostogoError(message)` unless the condition holds."""
    if not condition:
        raise CostogoError(message)


def require_no_nan(name: str, value: ArrayLike, fix: str) -> None:
    """Raise if a concrete array holds a NaN, naming the first place."""
    if not is_concrete(value):
        return
    bad = np.argwhere(np.isnan(np.asarray(value, dtype=float)))
    if bad.size:
        raise CostogoError(f"{name} is NaN at index {tuple(int(i) for i in bad[0])}; {fix}")


def require_shape(name: str, shape: tuple[int, ...], expected: tuple[int, ...], fix: str) -> None:
    """Raise unless the shapes are equal."""
    if tuple(shape) != tuple(expected):
        raise CostogoError(f"{name} has shape {tuple(shape)}, expected {tuple(expected)}; {fix}")


def as_floating(name: str, value: Any) -> Array:
    """The value as an array of real floating-point numbers; integers become the default float."""
    try:
        array = jnp.asarray(value)
    except (TypeError, ValueError) as error:
        raise CostogoError(f"{name} is {value!r}; pass an array of numbers") from error
    if jnp.issubdtype(array.dtype, jnp.complexfloating):
        raise CostogoError(f"{name} has dtype {array.dtype}; pass real numbers")
    return array if jnp.issubdtype(array.dtype, jnp.floating) else array.astype(float)
