"""Planar walker: a body on two two-joint legs, the smallest robot with the quadruped's constraints."""

from typing import ClassVar

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float

from costogo.systems.legged.gait import Gait
from costogo.systems.legged.kinodynamic import LeggedRobot, numpy_weights
from costogo.systems.legged.rigid_body import body_acceleration, body_inertia
from costogo.systems.rotations import rotation_y

MASS = 26.0  # kg
PITCH_INERTIA = 2.4  # kg m2, about the centre of mass
CENTRE = (0.0, 0.0, 0.05)  # m, in the base frame; the hips are at its origin
THIGH, SHANK = 0.285, 0.338  # m
JOINTS = (0.5, -0.9)  # standing pose: hip, knee (rad)
HEIGHT = float(THIGH * np.cos(JOINTS[0]) + SHANK * np.cos(JOINTS[0] + JOINTS[1]))

_INERTIA = body_inertia(MASS, CENTRE, (PITCH_INERTIA,) * 3)
_INVERSE = np.linalg.inv(_INERTIA)


class PlanarWalker(LeggedRobot):
    """Body in the x-z plane with a left and a right leg, hips at the base origin, point feet.

    State (10): pitch, position x, z (world), pitch rate, velocity x, z (base frame), joint angles (left hip, knee,
    right hip, knee). Control (8): contact forces x, z of both feet in the base frame (N), joint velocities (rad/s).
    """

    nx: ClassVar[int] = 10
    nu: ClassVar[int] = 8
    rotation_dimension: ClassVar[int] = 2
    foot_names: ClassVar[tuple[str, ...]] = ("left", "right")
    mass: ClassVar[float] = MASS

    def rotation(self, x: Array) -> Float[Array, "2 2"]:
        """Base to world."""
        return rotation_y(x[0])[::2, ::2]

    def forces(self, u: Array) -> Float[Array, "2 2"]:
        """Contact forces in the base frame."""
        return u[:4].reshape(2, 2)

    def _feet_in_base(self, q: Array) -> Float[Array, "2 2"]:
        angles = jnp.cumsum(q.reshape(2, 2), axis=1)
        lengths = jnp.array([THIGH, SHANK], q.dtype)
        return -jnp.stack([jnp.sin(angles) @ lengths, jnp.cos(angles) @ lengths], axis=1)

    def feet(self, x: Array) -> Float[Array, "2 2"]:
        """Contact points in the world frame (m)."""
        return x[1:3] + self._feet_in_base(x[6:]) @ self.rotation(x).T

    def velocity(self, x: Array, u: Array, t: Array) -> Array:
        """Time derivative of the state: the three-dimensional body, held in its plane."""

        def lift(v):
            return jnp.stack([v[..., 0], jnp.zeros_like(v[..., 0]), v[..., 1]], axis=-1)

        spin = jnp.zeros(3, x.dtype).at[1].set(x[3])
        acceleration = body_acceleration(
            jnp.asarray(_INERTIA, x.dtype), jnp.asarray(_INVERSE, x.dtype), rotation_y(x[0]), spin, lift(x[4:6]),
            lift(self._feet_in_base(x[6:])), lift(self.forces(u)),
        )  # fmt: skip
        return jnp.concatenate([x[3:4], self.rotation(x) @ x[4:6], acceleration[jnp.array([1, 3, 5])], u[4:]])

    def standing(self) -> np.ndarray:
        """Standing pose at the origin, at rest."""
        return np.array([0.0, 0.0, HEIGHT, 0.0, 0.0, 0.0, *JOINTS, *JOINTS])

    def weights(self) -> tuple[np.ndarray, np.ndarray]:
        """Diagonals of Q and R per second."""
        Q = numpy_weights([[300], [1000, 1500], [30], [15, 30], np.tile([20.0, 10.0], 2)])
        return Q, numpy_weights([np.full(4, 1e-3), np.full(4, 5.0)])

    def relative(self, x: Array) -> Array:
        """State relative to the standing pose at the origin."""
        return x - jnp.asarray(self.standing(), x.dtype)

    def random_state(self, key: Array) -> Array:
        """Start of a rollout: displaced by up to 0.2 m and pitched by up to 10 degrees, moving."""
        spread = np.zeros(10)
        spread[:6] = np.deg2rad(10), 0.2, 0.0, np.deg2rad(60), 0.4, 0.1
        draw = jax.random.uniform(key, (10,), jnp.result_type(float), -1.0, 1.0)
        return jnp.asarray(self.standing()) + jnp.asarray(spread) * draw

    def valid(self, x: Array) -> Bool[Array, ""]:
        """Pitch within 30 degrees, height within 0.2 m of standing."""
        return (jnp.abs(x[0]) <= np.deg2rad(30)) & (jnp.abs(x[2] - HEIGHT) <= 0.2)

    def neighbour_spread(self) -> np.ndarray:
        """Standard deviations of samples around a visited state."""
        spread = np.full(10, np.deg2rad(0.5))
        spread[1:3], spread[3], spread[4:6] = 0.01, np.deg2rad(2.5), 0.05
        return spread


PLANAR_GAITS = {
    "walk": Gait((0.25, 0.25), ((True, False), (False, True))),
    "slow_walk": Gait((0.25, 0.15, 0.25, 0.15), ((True, False), (True, True), (False, True), (True, True))),
}
