"""Ballbot: a body balancing on a ball driven by three omniwheels, in three dimensions."""

from collections.abc import Callable
from typing import ClassVar

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike
from jaxtyping import Array, Bool, Float

from costogo.problem import DiscretisedCost, OptimalControlProblem, QuadraticCost, QuadraticTerminalCost, discretise
from costogo.systems.mechanics import acceleration
from costogo.systems.rotations import cross, rotation_x, rotation_y, rotation_z

GRAVITY = 9.81


class Ballbot(eqx.Module):
    """Ballbot in full 3-D (spec mpc_net 8.7, T3), from its Lagrangian.

    Coordinates `q = (x, y, yaw, pitch, roll)`: centre of the ball (m) and attitude of the body (rad), `R = Rz Ry Rx`;
    state (10): `q` and its rates. Control (3): torques of the wheels (N m).

    The ball rolls without slipping and does not turn about the vertical, so its angular velocity is `(-yd, xd, 0) /
    ball_radius`. The wheels touch the ball `wheel_angle` from its top, 120 degrees apart, and turn at `(ball_radius /
    wheel_radius) a_i . R'(omega_ball - omega_body)`, with `a_i` their axes in the body; they have no inertia of their
    own. Masses kg, lengths m. `body_inertia` is about the centre of the ball (kg m2), and includes `m l^2`.
    """

    ball_mass: ArrayLike = 2.65
    ball_radius: ArrayLike = 0.125
    body_mass: ArrayLike = 18.66
    body_height: ArrayLike = 0.1956
    body_inertia: tuple[float, float, float] = (1.80, 1.80, 0.167)
    wheel_radius: ArrayLike = 0.064
    wheel_angle: ArrayLike = np.pi / 4
    dt: float = eqx.field(static=True, default=0.1)

    nx: ClassVar[int] = 10
    nu: ClassVar[int] = 3
    state_names: ClassVar[tuple[str, ...]] = (
        "x [m]", "y [m]", "yaw [rad]", "pitch [rad]", "roll [rad]",
        "x rate [m/s]", "y rate [m/s]", "yaw rate [rad/s]", "pitch rate [rad/s]", "roll rate [rad/s]",
    )  # fmt: skip
    control_names: ClassVar[tuple[str, ...]] = ("wheel 1 [N m]", "wheel 2 [N m]", "wheel 3 [N m]")

    def _body_rates(self, q: Array) -> tuple[Float[Array, "3 3"], Float[Array, "3 3"]]:
        """Base to world, and the map from (yaw, pitch, roll) rates to the angular velocity in the body frame."""
        yaw, pitch, roll = q[2:]
        rolled = rotation_x(roll)
        tilted = rotation_y(pitch) @ rolled
        # Each angle turns about an axis that the ones after it have turned.
        rates = jnp.stack([tilted[2], rolled[1], jnp.eye(3, dtype=q.dtype)[0]], axis=1)
        return rotation_z(yaw) @ tilted, rates

    def _velocities(self, q: Float[Array, " 5"], qd: Float[Array, " 5"]) -> Float[Array, " 8"]:
        """Velocity of the ball (2, world), of the body's centre of mass (3, world), of turning (3, body)."""
        rotation, rates = self._body_rates(q)
        omega = rates @ qd[2:]
        arm = self.body_height * rotation @ cross(omega, jnp.asarray([0.0, 0.0, 1.0], q.dtype))
        return jnp.concatenate([qd[:2], arm + jnp.append(qd[:2], 0.0), omega])

    def _inertia(self) -> tuple[Array, Array]:
        """Inertia (8, 8) of `_velocities`, and that of the body about its centre of mass (3,)."""
        steiner = self.body_mass * self.body_height**2
        body = jnp.asarray(self.body_inertia) - steiner * jnp.array([1.0, 1.0, 0.0])
        # Solid ball: 2/5 m r^2 of rotation on top of its translation.
        ball = jnp.full(2, 1.4 * self.ball_mass)
        return jnp.diag(jnp.concatenate([ball, jnp.full(3, self.body_mass), body])), body

    def mass_matrix(self, q: Float[Array, " 5"]) -> Float[Array, "5 5"]:
        """Inertia of the coordinates."""
        J = jax.vmap(lambda e: self._velocities(q, e), out_axes=-1)(jnp.eye(5, dtype=q.dtype))
        return J.T @ self._inertia()[0] @ J

    def potential(self, q: Float[Array, " 5"]) -> Array:
        """Potential energy (J), zero with the body level with the ball's centre."""
        return self.body_mass * GRAVITY * self.body_height * jnp.cos(q[3]) * jnp.cos(q[4])

    def energy(self, x: Float[Array, " 10"]) -> Array:
        """Kinetic and potential energy (J)."""
        return 0.5 * x[5:] @ self.mass_matrix(x[:5]) @ x[5:] + self.potential(x[:5])

    def _wheel_jacobian(self, q: Array) -> Float[Array, "3 5"]:
        """Turning rates of the wheels per unit of coordinate rate."""
        rotation, rates = self._body_rates(q)
        azimuth = jnp.arange(3) * (2.0 * jnp.pi / 3.0)
        cos, sin = jnp.cos(self.wheel_angle), jnp.sin(self.wheel_angle)
        axes = jnp.stack([-cos * jnp.cos(azimuth), -cos * jnp.sin(azimuth), sin * jnp.ones(3)], axis=1).astype(q.dtype)
        ball = jnp.array([[0.0, -1.0], [1.0, 0.0], [0.0, 0.0]], q.dtype) / self.ball_radius
        relative = jnp.concatenate([rotation.T @ ball, -rates], axis=1)
        return self.ball_radius / self.wheel_radius * axes @ relative

    def velocity(self, x: Float[Array, " 10"], u: Float[Array, " 3"], t: Array) -> Float[Array, " 10"]:
        """Time derivative of the state."""
        q, qd = x[:5], x[5:]
        force = self._wheel_jacobian(q).T @ u
        inertia, body = (jnp.asarray(part, x.dtype) for part in self._inertia())

        def gyroscopic(w: Array) -> Array:
            return jnp.zeros_like(w).at[5:].set(cross(w[5:], body * w[5:]))

        turning = acceleration(self._velocities, inertia, gyroscopic, self.potential, q, qd, force)
        return jnp.concatenate([qd, turning])

    def problem(self, horizon: int = 20) -> OptimalControlProblem:
        """Return to the origin, upright: weights of the public ballbot example, per second."""
        Q = 10.0 * np.array([10.0, 10.0, 40.0, 0.0, 0.0, 4.0, 4.0, 4.0, 2.0, 2.0])
        cost = QuadraticCost(Q=jnp.asarray(Q), R=jnp.full(3, 2.0))
        return OptimalControlProblem(
            discretise(self.velocity, self.dt, "rk4"),
            DiscretisedCost(cost, self.dt),
            QuadraticTerminalCost(Q=jnp.asarray(Q)),
            horizon=horizon,
            nu=self.nu,
            dt=self.dt,
        )

    def guess(self, x: Array, ts: Array) -> tuple[Array, Array]:
        """Upright at the goal at every knot: rolled out without feedback, any control falls over."""
        return jnp.zeros((len(ts), self.nx), x.dtype), jnp.zeros((len(ts) - 1, self.nu), x.dtype)

    def plant(self) -> Callable:
        """The model as the robot to be controlled, over one interval."""
        return discretise(self.velocity, self.dt, "rk4", substeps=2)

    @property
    def observation_size(self) -> int:
        """Number of entries of an observation."""
        return self.nx

    def observe(self, x: Array, t: Array) -> Array:
        """State with the horizontal motion seen from the body's heading; the goal is the origin."""
        c, s = jnp.cos(x[2]), jnp.sin(x[2])
        turn = jnp.stack([c, s, -s, c]).reshape(2, 2)
        return x.at[:2].set(turn @ x[:2]).at[5:7].set(turn @ x[5:7])

    def start(self, key: Array) -> tuple[Array, Array]:
        """Displaced by up to 1 m and 30 degrees of yaw, tilted by up to 5 degrees, moving; at time zero."""
        spread = np.array([1.0, 1.0, np.pi / 6, 0.09, 0.09, 0.5, 0.5, 0.3, 0.3, 0.3])
        draw = jax.random.uniform(key, (10,), jnp.result_type(float), -1.0, 1.0)
        return jnp.asarray(spread) * draw, jnp.zeros(())

    def valid(self, x: Array) -> Bool[Array, ""]:
        """Tilted by less than 30 degrees."""
        return jnp.cos(x[3]) * jnp.cos(x[4]) > np.cos(np.pi / 6)

    def neighbour_spread(self) -> np.ndarray:
        """Standard deviations of samples around a visited state."""
        return np.array([0.05, 0.05, 0.05, 0.02, 0.02, 0.1, 0.1, 0.1, 0.1, 0.1])
