"""Checks that run before tracing. Values are looked at only where they are concrete; tracers pass."""

import numpy as np
from jax.core import Tracer
from jax.typing import ArrayLike

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
