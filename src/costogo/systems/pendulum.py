"""Torque-limited pendulum."""

from typing import ClassVar

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike
from jaxtyping import Array

from costogo.core.errors import known
from costogo.problem import OptimalControlProblem, QuadraticCost
from costogo.systems.common import goal_weights, saturate


class Pendulum(eqx.Module):
    """Pendulum on a torque-limited joint (spec differentiable_mpc X3), angle zero upright, semi-implicit Euler.

    State `(cos th, sin th, thdot)`, thdot in rad/s; control: torque in N m, limited to +-`torque_limit`.

        thdot+ = thdot + dt (3 g / (2 l) sin(th + bias) + 3 u / (m l^2) - damping * s),   th+ = th + dt thdot+

    with `s = th` for `damping_acts_on="angle"` (what the paper's public code does) or `s = thdot` for "rate" (what the
    paper says); both extra terms are zero by default. `gravity` m/s^2, `mass` kg, `length` m. The equations see
    gravity, mass and length only through `gravity/length` and `mass length^2`.
    """

    gravity: ArrayLike = 10.0
    mass: ArrayLike = 1.0
    length: ArrayLike = 1.0
    damping: ArrayLike = 0.0
    bias: ArrayLike = 0.0
    dt: float = eqx.field(static=True, default=0.05)
    torque_limit: float = eqx.field(static=True, default=2.0)
    damping_acts_on: str = eqx.field(static=True, default="angle")

    nx: ClassVar[int] = 3
    nu: ClassVar[int] = 1
    state_names: ClassVar[tuple[str, ...]] = ("cos(angle)", "sin(angle)", "rate [rad/s]")
    control_names: ClassVar[tuple[str, ...]] = ("torque [N m]",)
    parameter_names: ClassVar[tuple[str, ...]] = ("gravity", "mass", "length")

    def __check_init__(self):
        known("damping_acts_on", self.damping_acts_on, ("angle", "rate"))

    def __call__(self, x: Array, u: Array, t: Array) -> Array:
        """Next state."""
        cos, sin, rate = x
        angle = jnp.arctan2(sin, cos)
        torque = saturate(u[0], self.torque_limit)
        damped = angle if self.damping_acts_on == "angle" else rate
        gravity = 1.5 * self.gravity / self.length * jnp.sin(angle + self.bias)
        rate = rate + self.dt * (gravity + 3.0 * torque / (self.mass * self.length**2) - self.damping * damped)
        angle = angle + self.dt * rate
        return jnp.stack([jnp.cos(angle), jnp.sin(angle), rate])

    def control_bounds(self) -> tuple[Array, Array]:
        """Torque limits (N m)."""
        limit = jnp.full(self.nu, self.torque_limit)
        return -limit, limit

    def cost(self) -> QuadraticCost:
        """Goal (1, 0, 0) with weights (1, 1, 0.1), torque weight 0.001."""
        q, p = goal_weights((1.0, 1.0, 0.1), (1.0, 0.0, 0.0))
        return QuadraticCost(Q=q, R=jnp.array([0.001]), q=p)

    def initial_state(self, key: Array, angle_range: float = np.pi / 2) -> Array:
        """Angle uniform in +-`angle_range`, rate uniform in +-1 rad/s. With +-0.6 fewer controls saturate."""
        angle, rate = jax.random.uniform(key, (2,), minval=-1.0, maxval=1.0) * jnp.array([angle_range, 1.0])
        return jnp.stack([jnp.cos(angle), jnp.sin(angle), rate])

    def problem(self, horizon: int = 20) -> OptimalControlProblem:
        """Swing up and balance over `horizon` steps of `dt`."""
        return OptimalControlProblem(
            self, self.cost(), horizon=horizon, control_bounds=self.control_bounds(), dt=self.dt
        )
