"""Cart-pole."""

from typing import ClassVar

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike
from jaxtyping import Array

from costogo.problem import OptimalControlProblem, QuadraticCost
from costogo.systems.common import goal_weights, saturate


class CartPole(eqx.Module):
    """Cart with a free pole, a force on the cart (spec differentiable_mpc X3), angle zero upright, explicit Euler.

    State `(x, xdot, cos th, sin th, thdot)` in m, m/s, rad/s; control: force in N, limited to +-`force_limit`.

        a      = (u + m_p l thdot^2 sin th) / (m_c + m_p)
        thdd   = (g sin th - cos th a) / (l (4/3 - m_p cos^2 th / (m_c + m_p)))
        xdd    = a - m_p l thdd cos th / (m_c + m_p)

    `gravity` m/s^2, masses kg, `length` (half the pole) m.
    """

    gravity: ArrayLike = 9.8
    cart_mass: ArrayLike = 1.0
    pole_mass: ArrayLike = 0.1
    length: ArrayLike = 0.5
    dt: float = eqx.field(static=True, default=0.05)
    force_limit: float = eqx.field(static=True, default=100.0)

    nx: ClassVar[int] = 5
    nu: ClassVar[int] = 1
    state_names: ClassVar[tuple[str, ...]] = (
        "position [m]",
        "velocity [m/s]",
        "cos(angle)",
        "sin(angle)",
        "rate [rad/s]",
    )
    control_names: ClassVar[tuple[str, ...]] = ("force [N]",)
    parameter_names: ClassVar[tuple[str, ...]] = ("gravity", "cart_mass", "pole_mass", "length")

    def __call__(self, x: Array, u: Array, t: Array) -> Array:
        """Next state."""
        position, velocity, cos, sin, rate = x
        angle = jnp.arctan2(sin, cos)
        force = saturate(u[0], self.force_limit)
        total = self.cart_mass + self.pole_mass
        moment = self.pole_mass * self.length
        a = (force + moment * rate**2 * sin) / total
        angular = (self.gravity * sin - cos * a) / (self.length * (4.0 / 3.0 - self.pole_mass * cos**2 / total))
        linear = a - moment * angular * cos / total
        angle = angle + self.dt * rate
        return jnp.stack(
            [
                position + self.dt * velocity,
                velocity + self.dt * linear,
                jnp.cos(angle),
                jnp.sin(angle),
                rate + self.dt * angular,
            ]
        )

    def control_bounds(self) -> tuple[Array, Array]:
        """Force limits (N)."""
        limit = jnp.full(self.nu, self.force_limit)
        return -limit, limit

    def cost(self) -> QuadraticCost:
        """Goal (0, 0, 1, 0, 0) with weights (.1, .1, 1, 1, .1), force weight 0.001."""
        q, p = goal_weights((0.1, 0.1, 1.0, 1.0, 0.1), (0.0, 0.0, 1.0, 0.0, 0.0))
        return QuadraticCost(Q=q, R=jnp.array([0.001]), q=p)

    def initial_state(self, key: Array) -> Array:
        """Position and velocity uniform in +-0.5, angle in +-pi, rate in +-1."""
        scale = jnp.array([0.5, 0.5, np.pi, 1.0])
        position, velocity, angle, rate = jax.random.uniform(key, (4,), minval=-1.0, maxval=1.0) * scale
        return jnp.stack([position, velocity, jnp.cos(angle), jnp.sin(angle), rate])

    def problem(self, horizon: int = 20) -> OptimalControlProblem:
        """Swing up and balance over `horizon` steps of `dt`."""
        return OptimalControlProblem(
            self, self.cost(), horizon=horizon, control_bounds=self.control_bounds(), dt=self.dt
        )
