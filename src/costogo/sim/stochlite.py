"""Stochlite's trot, the kinematics of its legs, and what a walk on a slope is rewarded for (spec dmd_mpc 9.3).

Feet (4, 3) are centres of the feet FL, FR, BL, BR, each from its leg's axis of abduction, along the axes of the torso
(x forward, y left, z up), in m. Deviations from the released environment, where the spec says nothing or too little:
1. The nominal foot is as far below as puts the torso's origin, not the hips, `WALKING_HEIGHT` above the ground: with
   the release's choice the nominal gait would forfeit nearly nine tenths of the reward for height.
2. Feet are lifted and set down by one cubic each, `c u^2 (3 - 2 u)`, at rest at both ends and at the top.
3. All that is sensed refers to the slope: height along its normal, velocity in its plane and in the robot's heading,
   roll and pitch of the slope in that heading; angular rates are those of the torso's own axes, as an IMU has them.
   The release uses the world's axes, in which height grows with the way walked, and heading matters but is not seen.
"""

import math
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from costogo.core.errors import CostogoError
from costogo.core.validate import require, require_shape
from costogo.sim.models.stochlite import (
    ABDUCTION,
    FOOT_RADIUS,
    HIP,
    KD,
    KP,
    LEGS,
    OFFSET,
    SHANK,
    THIGH,
    TORQUE_LIMIT,
    WALKING_HEIGHT,
)

ACTION, OBSERVATION = 15, 8
SHIFT = 0.1  # m to one unit of action
SPEEDS = np.array([0.5, 0.25, 2.0])  # m/s, m/s and rad/s to one unit of action
OUTWARD = 0.05  # m, of every foot at zero shift
MAX_ROLL, MAX_PITCH, MAX_HEIGHT = math.radians(30.0), math.radians(35.0), 0.7

SIDE = np.array([1.0 if leg[1] == "L" else -1.0 for leg in LEGS])
FRONT = np.array([1.0 if leg[0] == "F" else -1.0 for leg in LEGS])
HIPS = np.stack([FRONT * HIP[0], SIDE * HIP[1], np.full(4, HIP[2])], axis=1)  # (4, 3), in the torso
FOOT_BELOW = WALKING_HEIGHT + HIP[2] - FOOT_RADIUS  # m, below the axis of abduction
SWING_PHASES = np.array([0.0, 0.5, 0.5, 0.0])  # of a cycle: FL and BR together, FR and BL half a cycle later
KNEE_RANGE = (-2.6, -0.3)  # rad, of targets


class Modulation(NamedTuple):
    """An action in SI units: shifts (4, 3) of the feet, m, and velocity (vx, vy, wz), m/s and rad/s."""

    shifts: np.ndarray
    velocity: np.ndarray


class Gait(NamedTuple):
    """State of the trot: control intervals since its start, and where the feet are across the torso (4, 2), m."""

    tick: int
    feet: np.ndarray


class Motion(NamedTuple):
    """What is sensed: roll and pitch of torso and slope (rad), height (m), velocity (2) in the slope's plane (m/s),
    angular rates (3) of the torso (rad/s). Those of the slope are as seen in the robot's heading, see `sense`."""

    height: float
    roll: float
    pitch: float
    rates: np.ndarray
    slope_roll: float
    slope_pitch: float
    velocity: np.ndarray

    def observation(self) -> np.ndarray:
        """Height, roll, pitch, three angular rates, roll and pitch of the slope (8)."""
        return np.array([self.height, self.roll, self.pitch, *self.rates, self.slope_roll, self.slope_pitch])


def modulation(action: np.ndarray) -> Modulation:
    """Action (15) in [-1, 1], cut off there, in SI units.

    It has x-, y- and z-shifts of FL, FR, BL, BR, 0.1 m to the unit, y-shifts about 0.05 m outwards, then velocities
    forward, to the left and of turning, 0.5 m/s, 0.25 m/s and 2 rad/s to the unit.
    """
    action = np.asarray(action, float)
    require_shape("action", action.shape, (ACTION,), "pass 12 shifts and 3 velocities in [-1, 1]")
    if not math.isfinite(action.dot(action)):  # the message would be a third of the cost of a step
        raise CostogoError(f"action is {action}; pass finite numbers in [-1, 1]")
    action = np.clip(action, -1.0, 1.0)
    shifts = SHIFT * action[:12].reshape(3, 4).T
    shifts[:, 1] += OUTWARD * SIDE
    return Modulation(shifts, SPEEDS * action[12:])


@dataclass(frozen=True)
class Trot:
    """Foot trajectories: half a cycle of swing, half of stance, two diagonal legs at a time.

    In stance a foot moves with `-v`, `v = (vx, vy) + wz x r`, `r` its place in the torso. In swing it moves on a
    straight line towards where stance shall begin, `s = v T_st / 2 + shift`, which it reaches whatever the actions on
    the way were; across it rises by the cubic to `clearance` and falls again. Shifts in z count at once.
    """

    frequency: float = 2.5  # Hz
    clearance: float = 0.08  # m
    dt: float = 0.01  # s, control interval

    def __post_init__(self):
        require(self.clearance >= 0.0, f"clearance is {self.clearance}; pass metres, zero or more")
        require(
            self.frequency > 0.0 and self.dt > 0.0 and self.cycle >= 4 and self.cycle % 2 == 0,
            f"frequency is {self.frequency} and dt {self.dt}; pass those of a cycle of an even number of intervals",
        )
        error = abs(self.cycle * self.frequency * self.dt - 1.0)
        require(error < 1e-9, f"dt is {self.dt}; pass one that divides half the cycle of {1.0 / self.frequency} s")

    @property
    def cycle(self) -> int:
        """Control intervals in a cycle."""
        return round(1.0 / (self.frequency * self.dt))

    def start(self) -> Gait:
        """Feet below their nominal places, before a swing of FL and BR."""
        return Gait(0, np.stack([np.zeros(4), OUTWARD * SIDE], axis=1))

    def phases(self, tick: int) -> np.ndarray:
        """Phases (4) of the legs in [0, 1): below one half a leg swings."""
        return ((tick + np.round(SWING_PHASES * self.cycle)) % self.cycle) / self.cycle

    def advance(self, gait: Gait, action: Modulation) -> tuple[Gait, np.ndarray]:
        """Gait a control interval later, and the feet (4, 3) that it asks for."""
        tick = gait.tick + 1
        phase = self.phases(tick)
        swinging = phase < 0.5
        (vx, vy, wz), r = action.velocity, HIPS[:, :2] + gait.feet
        v = np.stack([vx - wz * r[:, 1], vy + wz * r[:, 0]], axis=1)
        landing = 0.25 * v / self.frequency + action.shifts[:, :2]  # half of the stance of half a cycle
        left = np.round((0.5 - phase) * self.cycle)  # intervals until landing, this one included
        towards = (landing - gait.feet) / np.where(swinging, left, 1.0)[:, None]
        feet = gait.feet + np.where(swinging[:, None], towards, -self.dt * v)
        z = action.shifts[:, 2] - FOOT_BELOW + np.where(swinging, self.clearance * _rise(phase), 0.0)
        return Gait(tick, feet), np.column_stack([feet, z])


def _rise(phase: np.ndarray) -> np.ndarray:
    """From 0 at phase 0 to 1 at 1/4 and back to 0 at 1/2, by cubics with level ends."""
    u = 1.0 - np.abs(1.0 - 4.0 * phase)
    return u * u * (3.0 - 2.0 * u)


def leg_angles(feet: np.ndarray) -> np.ndarray:
    """Joint angles (4, 3), abduction, hip and knee, that put the feet at (4, 3).

    With `d` the distance of the leg's plane from the axis of abduction, to the left, and `L^2 = y^2 + z^2 - d^2`:
    `abduction = atan2(z, y) - atan2(-L, d)`; in the plane, with `rho^2 = x^2 + L^2`, the law of cosines gives the knee,
    `cos(knee) = (rho^2 - l1^2 - l2^2) / (2 l1 l2)`, negative, and `hip = atan2(-x, L) - atan2(l2 sin(knee),
    l1 + l2 cos(knee))`. Out of reach, the foot goes as far in its
    direction as a knee at the end of `KNEE_RANGE` puts it.
    """
    x, y, z = np.asarray(feet, float).T
    d = SIDE * (ABDUCTION + OFFSET)
    depth = np.sqrt(np.maximum(y * y + z * z - d * d, 0.03**2))  # m; a foot above the hip is out of reach
    abduction = np.arctan2(z, y) - np.arctan2(-depth, d)
    cosine = (x * x + depth * depth - THIGH**2 - SHANK**2) / (2.0 * THIGH * SHANK)
    knee = np.clip(-np.arccos(np.clip(cosine, -1.0, 1.0)), *KNEE_RANGE)
    hip = np.arctan2(-x, depth) - np.arctan2(SHANK * np.sin(knee), THIGH + SHANK * np.cos(knee))
    return np.stack([(abduction + np.pi) % (2.0 * np.pi) - np.pi, hip, knee], axis=1)


def servo_torques(targets: np.ndarray, angles: np.ndarray, rates: np.ndarray) -> np.ndarray:
    """Torques `clip(400 (target - q) - 10 dq)` of the servos, N m; all arguments (12) or (4, 3)."""
    return np.clip(KP * (targets - angles) - KD * rates, -TORQUE_LIMIT, TORQUE_LIMIT)


def sense(qpos: np.ndarray, qvel: np.ndarray, slope: tuple[float, float]) -> Motion:
    """What is sensed in a state (19,), (18,) of MuJoCo on a plane of (roll, pitch) `slope` through the origin.

    With the torso's attitude `Rz(yaw) Ry(pitch) Rx(roll)` and the normal `n` of the slope: height `n . p`; the slope in
    the robot's heading is the roll and pitch with `Ry(pitch) Rx(roll) e_z = Rz(-yaw) n`, that is those of a torso that
    is parallel to it; velocity along the x- and y-axis of such a torso.
    """
    x, y, z, w, i, j, k = (float(q) for q in qpos[:7])
    roll = math.atan2(2.0 * (w * i + j * k), 1.0 - 2.0 * (i * i + j * j))
    pitch = math.asin(max(-1.0, min(1.0, 2.0 * (w * j - k * i))))
    yaw = math.atan2(2.0 * (w * k + i * j), 1.0 - 2.0 * (j * j + k * k))
    nx, ny, nz = _normal(*slope)
    cos, sin = math.cos(yaw), math.sin(yaw)
    ahead, left = cos * nx + sin * ny, -sin * nx + cos * ny
    slope_roll, slope_pitch = -math.asin(left), math.atan2(ahead, nz)
    vx, vy, vz = float(qvel[0]), float(qvel[1]), float(qvel[2])
    forward, across = cos * vx + sin * vy, -sin * vx + cos * vy
    cp, sp, cr, sr = math.cos(slope_pitch), math.sin(slope_pitch), math.cos(slope_roll), math.sin(slope_roll)
    velocity = np.array([cp * forward - sp * vz, sp * sr * forward + cr * across + cp * sr * vz])
    height = nx * x + ny * y + nz * z
    return Motion(height, roll, pitch, np.array(qvel[3:6]), slope_roll, slope_pitch, velocity)


def _normal(roll: float, pitch: float) -> tuple[float, float, float]:
    return math.sin(pitch) * math.cos(roll), -math.sin(roll), math.cos(pitch) * math.cos(roll)


def walking_reward(motion: Motion, power: float, command: tuple[float, float, float]) -> float:
    """Reward of spec 9.3 for a step that did not end the episode.

    `e^{-45 (roll - roll_sp)^2} + e^{-45 (pitch - pitch_sp)^2} + 20 e^{-100 |z - z_d|} + 15 e^{-5 |v - v_cmd|^2}
    + 10 e^{-(wz - wz_cmd)^2} + 3 e^{-100 wx^2} + 3 e^{-100 wy^2} - power / 20`

    The setpoints of roll and pitch are those of the slope, a torso parallel to it, as in the release: only then does
    the nominal gait, whose foot trajectories go with the torso, follow the ground. `z` is along the slope's normal and
    `z_d` is `WALKING_HEIGHT`; `power` (W) is the sum of |torque times rate| over the joints at the end of the step.
    """
    wx, wy, wz = (float(rate) for rate in motion.rates)
    vx, vy = float(motion.velocity[0]) - command[0], float(motion.velocity[1]) - command[1]
    return (
        math.exp(-45.0 * (motion.roll - motion.slope_roll) ** 2)
        + math.exp(-45.0 * (motion.pitch - motion.slope_pitch) ** 2)
        + 20.0 * math.exp(-100.0 * abs(motion.height - WALKING_HEIGHT))
        + 15.0 * math.exp(-5.0 * (vx * vx + vy * vy))
        + 10.0 * math.exp(-((wz - command[2]) ** 2))
        + 3.0 * math.exp(-100.0 * wx * wx)
        + 3.0 * math.exp(-100.0 * wy * wy)
        - power / 20.0
    )


def fallen(roll: Any, pitch: Any, height: Any) -> Any:
    """Whether a walk ends: `|roll|` above 30 or `|pitch|` above 35 degrees, or a height above 0.7 m. Takes numbers and
    arrays of NumPy and JAX."""
    return (abs(roll) > MAX_ROLL) | (abs(pitch) > MAX_PITCH) | (height > MAX_HEIGHT)


def slope_action(
    observation: np.ndarray, *, forward: float = 0.55, gain: float = 1.0, back: float = 0.03
) -> np.ndarray:
    """Hand-tuned action (15): feet shifted down the slope so that the torso's weight stays between them.

    A torso parallel to the slope has gravity along `(sin(pitch), -sin(roll))` across itself, so all feet are shifted by
    `gain WALKING_HEIGHT (tan(pitch), -tan(roll))` of the slope, and by `back` m to the rear, where the thighs, behind
    the hips, put the centre of mass. All else is constant, the speed `forward` in units of 0.5 m/s.
    """
    roll, pitch = float(observation[6]), float(observation[7])
    h = gain * WALKING_HEIGHT
    shifts = [h * math.tan(pitch) - back] * 4 + [-h * math.tan(roll)] * 4 + [0.0] * 4
    return np.clip([*(shift / SHIFT for shift in shifts), forward, 0.0, 0.0], -1.0, 1.0)
