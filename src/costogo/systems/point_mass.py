"""Point mass in the plane that has to pass a disc."""

from collections.abc import Callable
from typing import ClassVar

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike
from jaxtyping import Array, Bool

from costogo.problem import DiscretisedCost, OptimalControlProblem, QuadraticCost, QuadraticTerminalCost, discretise


class PointMass(eqx.Module):
    """Point mass with a disc between start and goal (spec mpc_net 8.7, T2): it can pass on either side.

    State (4): position (m), velocity (m/s); control (2): acceleration (m/s2). The goal is (2, 0), starts are around
    (-2, 0).
    """

    radius: ArrayLike = 0.5
    dt: float = eqx.field(static=True, default=0.1)

    nx: ClassVar[int] = 4
    nu: ClassVar[int] = 2
    goal: ClassVar[tuple[float, float]] = (2.0, 0.0)

    def velocity(self, x: Array, u: Array, t: Array) -> Array:
        """Time derivative of the state."""
        return jnp.concatenate([x[2:], u])

    def clearance(self, x: Array) -> Array:
        """Distance from the disc (m), negative inside."""
        # The distance itself has no derivative at the centre.
        return jnp.sqrt(jnp.sum(x[:2] ** 2) + 1e-9) - self.radius

    def margin(self, x: Array) -> Array:
        """`1 - (radius / distance)^2`: positive outside the disc, and flat far away, so that the barrier of a distance
        does not push the mass off its goal."""
        return 1.0 - self.radius**2 / (jnp.sum(x[:2] ** 2) + 1e-3 * self.radius**2)

    def problem(self, horizon: int = 20) -> OptimalControlProblem:
        """Go to the goal and around the disc: `Q = diag(1, 1, .1, .1), R = 0.1 I` per second, and ten times Q at the
        end."""
        Q, goal = jnp.array([1.0, 1.0, 0.1, 0.1]), jnp.array([*self.goal, 0.0, 0.0])
        cost = QuadraticCost(Q=Q, R=jnp.full(2, 0.1), x_ref=goal)
        return OptimalControlProblem(
            discretise(self.velocity, self.dt, "rk4"),
            DiscretisedCost(cost, self.dt),
            QuadraticTerminalCost(Q=10.0 * Q, x_ref=goal),
            horizon=horizon,
            nu=self.nu,
            dt=self.dt,
            inequality=lambda x, u, t: self.margin(x)[None],
        )

    def guess(self, x: Array, ts: Array) -> tuple[Array, Array]:
        """Straight ahead at constant speed, past the disc on the side of the start."""
        share = jnp.linspace(0.0, 1.0, len(ts), dtype=x.dtype)[:, None]
        goal = jnp.array([*self.goal, 0.0, 0.0], x.dtype)
        side = jnp.where(x[1] >= 0, 1.0, -1.0) * 2.0 * self.radius * jnp.sin(jnp.pi * share[:, 0])
        states = ((1.0 - share) * x + share * goal).at[:, 1].add(side)
        return states, jnp.zeros((len(ts) - 1, self.nu), x.dtype)

    def plant(self) -> Callable:
        """The model as the robot to be controlled, over one interval."""
        return discretise(self.velocity, self.dt, "rk4")

    @property
    def observation_size(self) -> int:
        """Number of entries of an observation."""
        return self.nx

    def observe(self, x: Array, t: Array) -> Array:
        """The state."""
        return x

    def start(self, key: Array) -> tuple[Array, Array]:
        """At rest around (-2, 0), at time zero."""
        draw = jax.random.uniform(key, (4,), jnp.result_type(float), -1.0, 1.0)
        return jnp.array([-2.0, 0.0, 0.0, 0.0]) + jnp.array([0.3, 0.3, 0.0, 0.0]) * draw, jnp.zeros(())

    def valid(self, x: Array) -> Bool[Array, ""]:
        """Outside the disc, and not lost."""
        return (self.clearance(x) > 0.0) & (jnp.max(jnp.abs(x[:2])) < 5.0)

    def neighbour_spread(self) -> np.ndarray:
        """Standard deviations of samples around a visited state."""
        return np.array([0.05, 0.05, 0.1, 0.1])
