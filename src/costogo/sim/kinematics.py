"""Conversions between the kinodynamic state of a legged robot and MuJoCo's coordinates, and quantities of its feet.

The kinodynamic state is `x = (rpy[3], p[3], omega[3], v[3], q[12])`: ZYX Euler angles with
`R = Rz(yaw) Ry(pitch) Rx(roll)` from base to world (rad), position in the world (m), angular and linear velocity in the
base frame (rad/s, m/s), and joint angles (rad). MuJoCo has a quaternion, the linear velocity in the world and the
angular velocity in the base frame.
"""

# mujoco is compiled and has no stubs.
# pyright: reportAttributeAccessIssue=false

from typing import NamedTuple

import mujoco
import numpy as np

from costogo.core.errors import CostogoError
from costogo.core.validate import require_shape
from costogo.sim.anymal import LEGS

STATES = 24
JOINTS = 12
VELOCITIES = 18


class RobotTerms(NamedTuple):
    """Terms of `M qdd + h = S' tau + J' F` and of the feet; velocities `(v_world[3], omega_base[3], qdot[12])`.

    `mass` (18, 18), `bias` (18,) with gravity, `base` position (3,), `rotation` (3, 3) from base to world, `velocity`
    (18,), and for the feet in the world `positions` (4, 3), `velocities` (4, 3), `jacobian` (12, 18) and `drift` (12,),
    which is `Jdot` times the velocity.
    """

    mass: np.ndarray
    bias: np.ndarray
    base: np.ndarray
    rotation: np.ndarray
    velocity: np.ndarray
    positions: np.ndarray
    velocities: np.ndarray
    jacobian: np.ndarray
    drift: np.ndarray


class RobotModel:
    """Dynamics terms and foot kinematics of a model, at any state; contacts and motors play no part."""

    def __init__(self, model: mujoco.MjModel):
        self.model, self._data = model, mujoco.MjData(model)
        self._base = model.body("base").id
        self._sites = [model.site(f"{leg}_FOOT").id for leg in LEGS]
        self._bodies = [int(model.site_bodyid[site]) for site in self._sites]

    def terms(self, x: np.ndarray, joint_velocities: np.ndarray) -> RobotTerms:
        """All terms at a state (24,) with joint velocities (12,)."""
        m, d = self.model, self._data
        d.qpos[:], d.qvel[:] = to_mujoco(x, joint_velocities)
        mujoco.mj_kinematics(m, d)
        mujoco.mj_comPos(m, d)
        mujoco.mj_crb(m, d)
        mujoco.mj_comVel(m, d)
        mass, bias = np.empty((VELOCITIES, VELOCITIES)), np.empty(VELOCITIES)
        mujoco.mj_fullM(m, d, mass)
        mujoco.mj_rne(m, d, 0, bias)
        jacobian, drift = self._feet()
        velocity = d.qvel.copy()
        return RobotTerms(
            mass=mass,
            bias=bias,
            base=d.qpos[:3].copy(),
            rotation=d.xmat[self._base].reshape(3, 3).copy(),
            velocity=velocity,
            positions=d.site_xpos[self._sites],
            velocities=(jacobian @ velocity).reshape(-1, 3),
            jacobian=jacobian,
            drift=drift @ velocity,
        )

    def _feet(self) -> tuple[np.ndarray, np.ndarray]:
        """Jacobian of the foot positions and its rate, each (12, 18)."""
        jacobian, rate = np.empty((3 * len(LEGS), VELOCITIES)), np.empty((3 * len(LEGS), VELOCITIES))
        for i, (site, body) in enumerate(zip(self._sites, self._bodies, strict=True)):
            rows = slice(3 * i, 3 * i + 3)
            mujoco.mj_jacSite(self.model, self._data, jacobian[rows], None, site)
            mujoco.mj_jacDot(self.model, self._data, rate[rows], None, self._data.site_xpos[site], body)
        return jacobian, rate


def to_mujoco(x: np.ndarray, joint_velocities: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """`(qpos (19,), qvel (18,))` of a state (24,) with joint velocities (12,)."""
    rotation = euler_rotation(x[:3])
    qpos = np.concatenate([x[3:6], euler_quaternion(x[:3]), x[12:]])
    return qpos, np.concatenate([rotation @ x[9:12], x[6:9], joint_velocities])


def from_mujoco(qpos: np.ndarray, qvel: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """State (24,) and joint velocities (12,) of `(qpos, qvel)`; roll and yaw in (-pi, pi]."""
    rotation = np.empty(9)
    mujoco.mju_quat2Mat(rotation, qpos[3:7])
    rotation = rotation.reshape(3, 3)
    x = np.concatenate([rotation_euler(rotation), qpos[:3], qvel[3:6], rotation.T @ qvel[:3], qpos[7:]])
    return x, qvel[6:].copy()


def euler_rotation(rpy: np.ndarray) -> np.ndarray:
    """Rotation (3, 3) from base to world, `Rz(yaw) Ry(pitch) Rx(roll)`."""
    (cr, cp, cy), (sr, sp, sy) = np.cos(rpy), np.sin(rpy)
    return np.array(
        [
            [cy * cp, cy * sp * sr - sy * cr, cy * sp * cr + sy * sr],
            [sy * cp, sy * sp * sr + cy * cr, sy * sp * cr - cy * sr],
            [-sp, cp * sr, cp * cr],
        ]
    )


def euler_quaternion(rpy: np.ndarray) -> np.ndarray:
    """Quaternion `(w, x, y, z)` of `Rz(yaw) Ry(pitch) Rx(roll)`."""
    half = 0.5 * np.asarray(rpy, float)
    (cr, cp, cy), (sr, sp, sy) = np.cos(half), np.sin(half)
    return np.array(
        [
            cr * cp * cy + sr * sp * sy,
            sr * cp * cy - cr * sp * sy,
            cr * sp * cy + sr * cp * sy,
            cr * cp * sy - sr * sp * cy,
        ]
    )


def rotation_euler(rotation: np.ndarray) -> np.ndarray:
    """`(roll, pitch, yaw)` of a rotation from base to world; pitch in [-pi/2, pi/2]."""
    pitch = np.arcsin(np.clip(-rotation[2, 0], -1.0, 1.0))
    return np.array([np.arctan2(rotation[2, 1], rotation[2, 2]), pitch, np.arctan2(rotation[1, 0], rotation[0, 0])])


def rotation_vector(rotation: np.ndarray) -> np.ndarray:
    """Axis times angle (3,) of a rotation, angle in [0, pi]."""
    quaternion, vector = np.empty(4), np.empty(3)
    mujoco.mju_mat2Quat(quaternion, rotation.ravel())
    mujoco.mju_quat2Vel(vector, quaternion, 1.0)
    return vector


def check_state(name: str, x: np.ndarray) -> np.ndarray:
    """The state as a float array; raises unless it is (24,) and finite."""
    return check_vector(name, x, STATES, "pass (rpy, position, angular velocity, velocity, 12 joint angles)")


def check_vector(name: str, value: np.ndarray, size: int, fix: str) -> np.ndarray:
    """The value as a float array; raises unless it is (size,) and finite."""
    value = np.asarray(value, dtype=float)
    require_shape(name, value.shape, (size,), fix)
    if not np.isfinite(
        value
    ).all():  # not `require`: printing an array at every control step takes longer than the step
        raise CostogoError(f"{name} is {value}, not finite; pass finite numbers")
    return value
