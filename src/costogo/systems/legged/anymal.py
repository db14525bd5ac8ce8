"""ANYmal C: kinodynamic model with 24 states and 24 controls."""

from typing import ClassVar

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float

from costogo.systems.legged.gait import Gait
from costogo.systems.legged.kinodynamic import LeggedRobot, numpy_weights
from costogo.systems.legged.rigid_body import body_acceleration, body_inertia
from costogo.systems.rotations import euler_rates, euler_rotation, rotation_x, rotation_y, rotation_z

LEGS = ("LF", "RF", "LH", "RH")  # front is +x, left is +y
FRONT = np.array([1.0, 1.0, -1.0, -1.0])
LEFT = np.array([1.0, -1.0, 1.0, -1.0])

# Offset of each joint, and of the foot, from the joint before; x is mirrored for hind legs and y for right legs (m).
HIP_OFFSET = (0.2999, 0.104, 0.0)
THIGH_OFFSET = (0.0599, 0.08381, 0.0)
SHANK_OFFSET = (0.0, 0.1003, -0.285)
FOOT_OFFSET = (0.08795, 0.01305, -0.33797)

MASS = 52.135  # kg; published link masses
CENTRE = (-0.0071, 0.0, -0.0645)  # m, in the base frame
INERTIA = (1.632, 4.841, 4.720)  # kg m2, about the centre of mass, in the standing pose
HEIGHT = 0.573  # m, base above the feet's contact points in the standing pose

_INERTIA = body_inertia(MASS, CENTRE, INERTIA)
_INVERSE = np.linalg.inv(_INERTIA)


def standing_joints() -> np.ndarray:
    """Joint angles of the standing pose, HAA, HFE, KFE of each leg (rad)."""
    return np.stack([-0.25 * LEFT, 0.6 * FRONT, -0.85 * FRONT], axis=1).reshape(-1)


def feet_in_base(q: Float[Array, " 12"]) -> Float[Array, "4 3"]:
    """Feet in the base frame (m), closed form of the kinematic chain (spec mpc_net 8.1)."""

    def foot(front, left, q):
        mirror = jnp.stack([front, left, jnp.ones_like(left)])
        offsets = (HIP_OFFSET, THIGH_OFFSET, SHANK_OFFSET, FOOT_OFFSET)
        hip, thigh, shank, tip = (mirror * jnp.asarray(offset, q.dtype) for offset in offsets)
        return hip + rotation_x(q[0]) @ (thigh + rotation_y(q[1]) @ (shank + rotation_y(q[2]) @ tip))

    return jax.vmap(foot)(jnp.asarray(FRONT, q.dtype), jnp.asarray(LEFT, q.dtype), q.reshape(4, 3))


class Anymal(LeggedRobot):
    """ANYmal C as one rigid body with massless legs (spec mpc_net 8.1).

    State (24): roll, pitch, yaw (`R = Rz Ry Rx`), position in the world, angular and linear velocity in the base frame,
    joint angles (LF, RF, LH, RH; HAA, HFE, KFE). Control (24): contact forces in the base frame (N), joint velocities.
    """

    nx: ClassVar[int] = 24
    nu: ClassVar[int] = 24
    rotation_dimension: ClassVar[int] = 3
    foot_names: ClassVar[tuple[str, ...]] = LEGS
    mass: ClassVar[float] = MASS

    def rotation(self, x: Array) -> Float[Array, "3 3"]:
        """Base to world."""
        return euler_rotation(x[:3])

    def forces(self, u: Array) -> Float[Array, "4 3"]:
        """Contact forces in the base frame."""
        return u[:12].reshape(4, 3)

    def feet(self, x: Array) -> Float[Array, "4 3"]:
        """Contact points in the world frame (m)."""
        return x[3:6] + feet_in_base(x[12:]) @ self.rotation(x).T

    def velocity(self, x: Array, u: Array, t: Array) -> Array:
        """Time derivative of the state."""
        rotation, omega, velocity = self.rotation(x), x[6:9], x[9:12]
        acceleration = body_acceleration(
            jnp.asarray(_INERTIA, x.dtype), jnp.asarray(_INVERSE, x.dtype), rotation, omega, velocity,
            feet_in_base(x[12:]), self.forces(u),
        )  # fmt: skip
        return jnp.concatenate([euler_rates(x[:3], omega), rotation @ velocity, acceleration, u[12:]])

    def standing(self) -> np.ndarray:
        """Standing pose at the origin, at rest."""
        x = np.zeros(24)
        x[5] = HEIGHT
        x[12:] = standing_joints()
        return x

    def weights(self) -> tuple[np.ndarray, np.ndarray]:
        """Diagonals of Q and R per second (public ANYmal controller; joint weights times ten, spec 15.8)."""
        legs = 10.0 * np.tile([2.0, 2.0, 1.0], 4)
        Q = numpy_weights([[100, 300, 300], [1000, 1000, 1500], [10, 30, 30], [15, 15, 30], legs])
        return Q, numpy_weights([np.full(12, 1e-3), np.full(12, 5.0)])

    def relative(self, x: Array) -> Array:
        """State relative to the standing pose at the origin, horizontal position as seen from the robot's heading."""
        dx = x - jnp.asarray(self.standing(), x.dtype)
        return dx.at[3:6].set(rotation_z(x[2]).T @ dx[3:6])

    def random_state(self, key: Array) -> Array:
        """Start of a rollout (spec 8.6): displaced by up to 0.3 m and 30 degrees, moving."""
        spread = np.zeros(24)
        spread[2], spread[3:5] = np.deg2rad(30), (0.3, 0.15)
        spread[6:9], spread[9:12] = np.deg2rad((60, 60, 35)), (0.5, 0.25, 0.1875)
        centre = self.standing()
        centre[11] = -0.0625  # vertical velocity from -0.25 to 0.125 m/s
        draw = jax.random.uniform(key, (24,), jnp.result_type(float), -1.0, 1.0)
        return jnp.asarray(centre) + jnp.asarray(spread) * draw

    def valid(self, x: Array) -> Bool[Array, ""]:
        """Roll and pitch within 30 degrees, height within 0.2 m of standing."""
        return (jnp.max(jnp.abs(x[:2])) <= np.deg2rad(30)) & (jnp.abs(x[5] - HEIGHT) <= 0.2)

    def neighbour_spread(self) -> np.ndarray:
        """Standard deviations of samples around a visited state (spec 8.6)."""
        spread = np.full(24, np.deg2rad(0.5))
        spread[3:6], spread[6:9], spread[9:12] = 0.01, np.deg2rad(2.5), 0.05
        return spread


GAITS = {
    "trot": Gait((0.35, 0.35), ((True, False, False, True), (False, True, True, False))),
    "standing_trot": Gait(
        (0.3, 0.05, 0.3, 0.05),
        ((True, False, False, True), (True,) * 4, (False, True, True, False), (True,) * 4),
    ),
    "static_walk": Gait(
        (0.3,) * 4,
        ((True, True, False, True), (False, True, True, True), (True, True, True, False), (True, False, True, True)),
    ),
    "stance": Gait((1.0,), ((True,) * 4,)),
}
