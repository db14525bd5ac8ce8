"""Double integrator."""

from typing import ClassVar

import equinox as eqx
import jax
import jax.numpy as jnp
from jax.typing import ArrayLike
from jaxtyping import Array

from costogo.problem import OptimalControlProblem, QuadraticCost, QuadraticTerminalCost


class DoubleIntegrator(eqx.Module):
    """Point mass on a line, exact discretisation with the force held.

    State `(position m, velocity m/s)`, control force in N, limited to +-`force_limit`:
    `p+ = p + dt v + dt^2/2 u/m`, `v+ = v + dt u/m`.
    """

    mass: ArrayLike = 1.0
    dt: float = eqx.field(static=True, default=0.1)
    force_limit: float = eqx.field(static=True, default=1.0)

    nx: ClassVar[int] = 2
    nu: ClassVar[int] = 1
    state_names: ClassVar[tuple[str, ...]] = ("position [m]", "velocity [m/s]")
    control_names: ClassVar[tuple[str, ...]] = ("force [N]",)
    parameter_names: ClassVar[tuple[str, ...]] = ("mass",)

    def __call__(self, x: Array, u: Array, t: Array) -> Array:
        """Next state."""
        acceleration = u[0] / self.mass
        return jnp.stack([x[0] + self.dt * x[1] + 0.5 * self.dt**2 * acceleration, x[1] + self.dt * acceleration])

    def control_bounds(self) -> tuple[Array, Array]:
        """Force limits (N)."""
        limit = jnp.full(self.nu, self.force_limit)
        return -limit, limit

    def cost(self) -> QuadraticCost:
        """Regulation to the origin: weights (1, 0.1), force weight 0.1."""
        return QuadraticCost(Q=jnp.array([1.0, 0.1]), R=jnp.array([0.1]))

    def initial_state(self, key: Array) -> Array:
        """Position uniform in +-2 m, velocity in +-1 m/s."""
        return jax.random.uniform(key, (2,), minval=-1.0, maxval=1.0) * jnp.array([2.0, 1.0])

    def problem(self, horizon: int = 50) -> OptimalControlProblem:
        """Reach the origin and stop."""
        terminal = QuadraticTerminalCost(Q=jnp.array([10.0, 1.0]))
        return OptimalControlProblem(
            self, self.cost(), terminal, horizon=horizon, control_bounds=self.control_bounds(), dt=self.dt
        )
