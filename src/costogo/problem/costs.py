"""Cost terms as modules: quadratic, tracking, sums, slew rate. Every array field is a differentiable parameter."""

from collections.abc import Callable

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike
from jaxtyping import Array

from costogo.core.validate import is_concrete, require


def _quadratic_form(weight: ArrayLike, z: Array) -> Array:
    """1/2 z'Wz, where W is a scalar, a diagonal (n,) or a matrix (n, n)."""
    weight = jnp.asarray(weight)
    return 0.5 * (z @ (weight @ z) if weight.ndim == 2 else jnp.sum(weight * z * z))


class AbstractCost(eqx.Module):
    """A stage cost `l(x, u, t)`, a scalar per step. Costs add up with `+` and scale with `*`."""

    def __call__(self, x: Array, u: Array, t: Array) -> Array:
        """Cost of one step."""
        raise NotImplementedError

    def __add__(self, other: Callable) -> "SumCost":
        return SumCost((self, other))

    def __mul__(self, factor: ArrayLike) -> "ScaledCost":
        return ScaledCost(self, factor)

    __rmul__ = __mul__


class SumCost(AbstractCost):
    """Sum of stage costs, `l = l_1 + l_2 + ...`."""

    terms: tuple[Callable, ...]

    def __call__(self, x: Array, u: Array, t: Array) -> Array:
        """Cost of one step."""
        return sum((term(x, u, t) for term in self.terms), jnp.zeros((), x.dtype))


class ScaledCost(AbstractCost):
    """A stage cost times a factor."""

    cost: Callable
    factor: ArrayLike

    def __call__(self, x: Array, u: Array, t: Array) -> Array:
        """Cost of one step."""
        return self.factor * self.cost(x, u, t)


class QuadraticCost(AbstractCost):
    """Quadratic stage cost.

    `l = 1/2 (x - x_ref)' Q (x - x_ref) + q'x + 1/2 (u - u_ref)' R (u - u_ref) + r'u`.

    `Q` is a scalar, a diagonal (nx,) or a matrix (nx, nx), and `R` the same in nu; linear terms and references are
    scalars or vectors. Cost is in the user's unit, per step. Weights may be zero; `R` should be positive definite,
    which the solver needs and which is not checked here because a traced value cannot be looked at.
    """

    Q: ArrayLike
    R: ArrayLike
    q: ArrayLike = 0.0
    r: ArrayLike = 0.0
    x_ref: ArrayLike = 0.0
    u_ref: ArrayLike = 0.0

    def __check_init__(self):
        for name in ("Q", "R"):
            shape = np.shape(getattr(self, name))
            square = len(shape) < 2 or (len(shape) == 2 and shape[0] == shape[1])
            require(square, f"{name} has shape {shape}; pass a scalar, a diagonal (n,) or a square matrix (n, n)")

    def __call__(self, x: Array, u: Array, t: Array) -> Array:
        """Cost of one step."""
        linear = jnp.sum(jnp.asarray(self.q) * x) + jnp.sum(jnp.asarray(self.r) * u)
        return _quadratic_form(self.Q, x - self.x_ref) + _quadratic_form(self.R, u - self.u_ref) + linear


class QuadraticTerminalCost(eqx.Module):
    """Terminal cost `phi = 1/2 (x - x_ref)' Q (x - x_ref) + q'x`."""

    Q: ArrayLike
    q: ArrayLike = 0.0
    x_ref: ArrayLike = 0.0

    def __call__(self, x: Array) -> Array:
        """Cost of the last state."""
        return _quadratic_form(self.Q, x - self.x_ref) + jnp.sum(jnp.asarray(self.q) * x)


class TrackingCost(AbstractCost):
    """Quadratic tracking of a time-varying reference, held constant between its knots.

    `l = 1/2 (x - x_ref(t))' Q (x - x_ref(t)) + 1/2 (u - u_ref(t))' R (u - u_ref(t))`, with
    `x_ref(t) = x_refs[floor(t / dt)]`; beyond the last knot the last reference holds.
    `x_refs` has shape (n, nx), `u_refs` (n, nu) or None for zero.
    """

    Q: ArrayLike
    R: ArrayLike
    x_refs: Array
    u_refs: Array | None = None
    dt: float = 1.0

    def __check_init__(self):
        require(not is_concrete(self.dt) or self.dt > 0, f"dt is {self.dt}; pass the seconds between knots")
        states, controls = len(self.x_refs), len(self.x_refs if self.u_refs is None else self.u_refs)
        require(
            states - controls in (0, 1),
            f"x_refs has {states} knots and u_refs {controls}; pass as many of both, or one more state",
        )

    def __call__(self, x: Array, u: Array, t: Array) -> Array:
        """Cost of one step."""
        # Half a thousandth of a step absorbs the rounding of t0 + k dt.
        k = jnp.clip(jnp.floor(t / self.dt + 5e-4).astype(int), 0, len(self.x_refs) - 1)
        u_ref = 0.0 if self.u_refs is None else self.u_refs[k]
        return _quadratic_form(self.Q, x - self.x_refs[k]) + _quadratic_form(self.R, u - u_ref)
