"""Linear systems."""

from typing import ClassVar

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from costogo.problem import OptimalControlProblem, QuadraticCost


def random_matrices(key: Array, nx: int, nu: int) -> tuple[Array, Array]:
    """`A = I + 0.2 N(0, 1)` (nx, nx) and `B = N(0, 1)` (nx, nu), as in spec differentiable_mpc X2."""
    k1, k2 = jax.random.split(key)
    return jnp.eye(nx) + 0.2 * jax.random.normal(k1, (nx, nx)), jax.random.normal(k2, (nx, nu))


def _default_A() -> np.ndarray:
    return np.eye(3) + 0.1 * np.diag(np.ones(2), 1)


class LinearSystem(eqx.Module):
    """Discrete linear dynamics `x+ = A x + B u`, without units. Default: a chain of three states, one input each.

    The default cost is `1/2 |x|^2 + 1/2 |u|^2 + p'(x, u)` with `p = linear` (nx + nu) or zero, bounds +-1.
    """

    A: Array = eqx.field(default_factory=lambda: jnp.asarray(_default_A()))
    B: Array = eqx.field(default_factory=lambda: jnp.eye(3))
    linear: Array | None = None
    dt: float = eqx.field(static=True, default=1.0)
    control_limit: float = eqx.field(static=True, default=1.0)
    parameter_names: ClassVar[tuple[str, ...]] = ("A", "B")

    @property
    def nx(self) -> int:
        """Number of states."""
        return self.A.shape[0]

    @property
    def nu(self) -> int:
        """Number of controls."""
        return self.B.shape[1]

    @property
    def state_names(self) -> tuple[str, ...]:
        """Names of the states."""
        return tuple(f"x{i}" for i in range(self.nx))

    @property
    def control_names(self) -> tuple[str, ...]:
        """Names of the controls."""
        return tuple(f"u{i}" for i in range(self.nu))

    def __call__(self, x: Array, u: Array, t: Array) -> Array:
        """Next state."""
        return self.A @ x + self.B @ u

    def control_bounds(self) -> tuple[Array, Array]:
        """Symmetric limits."""
        limit = jnp.full(self.nu, self.control_limit)
        return -limit, limit

    def cost(self) -> QuadraticCost:
        """Identity cost with the linear term."""
        p = jnp.zeros(self.nx + self.nu) if self.linear is None else self.linear
        return QuadraticCost(Q=jnp.ones(self.nx), R=jnp.ones(self.nu), q=p[: self.nx], r=p[self.nx :])

    def initial_state(self, key: Array) -> Array:
        """Standard normal."""
        return jax.random.normal(key, (self.nx,))

    def problem(self, horizon: int = 20) -> OptimalControlProblem:
        """Regulation to the origin within the limits."""
        return OptimalControlProblem(
            self, self.cost(), horizon=horizon, control_bounds=self.control_bounds(), dt=self.dt
        )
