"""SIMBICON: a state machine of servos that makes the planar walker walk (spec constrained_gps 8.2 and section 15)."""

# mujoco is compiled and has no stubs.
# pyright: reportAttributeAccessIssue=false

from dataclasses import dataclass
from typing import NamedTuple

import equinox as eqx
import mujoco
import numpy as np

from costogo.core.validate import require, require_shape
from costogo.sim.models.walker import SIDES
from costogo.sim.mujoco_dynamics import MujocoDynamics

PITCH, FIRST = 2, 3  # of the positions: pitch of the torso, first joint of the right leg
START = (0.0, 1.24, 0.0, 0.2, -0.1, 0.0, -0.3, -0.1, 0.0)  # m and rad: right leg ahead


class Swing(NamedTuple):
    """Targets of the swing leg in one state, rad: hip in the world with its reaction to distance (rad/m) and velocity
    (rad s/m), and knee."""

    hip: float
    knee: float
    by_distance: float
    by_velocity: float


class Demonstration(NamedTuple):
    """States (N+1, 18), controls (N, 6), and which leg swings (0 right, 1 left) in each interval (N,)."""

    states: np.ndarray
    controls: np.ndarray
    swing: np.ndarray


@dataclass(frozen=True)
class Simbicon:
    """Walking controller with two states a step (Yin, Loken and van de Panne 2007; values: spec 15.1, found by random
    search on this walker).

    The swing leg first lifts, for `lift_time` s, then strikes until its foot touches, `strike_time` s at most; then
    the legs change roles. The swing hip is servoed in the world to `hip + by_distance d + by_velocity v`, with `d` the
    distance of the hips from the stance ankle and `v` the velocity of the hips; the torso is held upright by the
    stance hip, which also takes the reaction of the swing hip. All servos are `kp (target - q) - damping kp dq`.
    """

    lift: Swing = Swing(0.463, -1.65, 0.656, 0.311)
    strike: Swing = Swing(-0.627, -0.136, 0.569, 0.113)
    lift_time: float = 0.151
    strike_time: float = 0.6
    swing_ankle: float = 0.458
    stance_knee: float = -0.045
    stance_ankle: float = 0.166
    torso: float = 0.037
    kp_hip: float = 150.0
    kp_knee: float = 103.0
    kp_ankle: float = 115.0
    kp_torso: float = 180.0
    damping: float = 0.061
    speed: float = 0.585

    def demonstrate(
        self, dynamics: MujocoDynamics, steps: int, *, start: np.ndarray | None = None, warm_up: int = 0
    ) -> Demonstration:
        """Walk for `steps` control intervals after `warm_up` of them, from `start` (18,) with the right leg swinging.

        By default from a small stride at `speed` m/s. The states are those of `dynamics`, so the same controls give
        them again. A walker that falls goes on lying; raises `CostogoError` for another model than the walker.
        """
        require(steps >= 1 and warm_up >= 0, f"steps is {steps} and warm_up {warm_up}; pass at least 1 and 0")
        walker, step = _Walker(dynamics.model), eqx.filter_jit(dynamics.step)
        x = np.concatenate([START, [self.speed], np.zeros(8)]) if start is None else np.asarray(start, float)
        require_shape("start", x.shape, (dynamics.nx,), "pass one state of the walker")
        states, controls, swings = [], [], []
        swing, lifting, since = 0, True, 0.0
        for k in range(warm_up + steps):
            t = k * dynamics.dt
            walker.look(x)
            if lifting and t - since >= self.lift_time:
                lifting, since = False, t
            elif not lifting and (walker.touches(swing) or t - since > self.strike_time):
                swing, lifting, since = 1 - swing, True, t
            u = np.clip(self.torques(walker, x, swing, lifting), *dynamics.control_bounds())
            states.append(x)
            controls.append(u)
            swings.append(swing)
            x = np.asarray(step(x, u, t), float)
        parts = ([*states, x], controls, swings)
        return Demonstration(*(np.array(part[warm_up:]) for part in parts))

    def torques(self, walker: "_Walker", x: np.ndarray, swing: int, lifting: bool) -> np.ndarray:
        """Torques (6,) in a state of the machine, not yet limited."""
        q, dq = np.split(x, 2)
        leg = self.lift if lifting else self.strike
        stance = 1 - swing
        distance, velocity = walker.hips_from(stance), walker.hip_velocity(x)
        target = leg.hip + leg.by_distance * distance + leg.by_velocity * velocity

        def servo(kp: float, target: float, angle: float, rate: float) -> float:
            return kp * (target - angle) - self.damping * kp * rate

        def joint(side: int, number: int, kp: float, target: float) -> float:
            at = FIRST + 3 * side + number
            return servo(kp, target, q[at], dq[at])

        hip = FIRST + 3 * swing
        u = np.zeros(6)
        u[3 * swing] = servo(self.kp_hip, target, q[hip] - q[PITCH], dq[hip] - dq[PITCH])
        # Hips turn about -y and the pitch about +y, hence the sign of the torso's torque (spec 15.2).
        u[3 * stance] = servo(self.kp_torso, self.torso, q[PITCH], dq[PITCH]) - u[3 * swing]
        u[3 * swing + 1] = joint(swing, 1, self.kp_knee, leg.knee)
        u[3 * swing + 2] = joint(swing, 2, self.kp_ankle, self.swing_ankle)
        u[3 * stance + 1] = joint(stance, 1, self.kp_knee, self.stance_knee)
        u[3 * stance + 2] = joint(stance, 2, self.kp_ankle, self.stance_ankle)
        return u


class _Walker:
    """What the controller senses: where the hips and ankles are, and which feet touch something."""

    def __init__(self, model: mujoco.MjModel):
        require(
            model.nq == 9 and all(_has(model, f"{side}_{link}") for side in SIDES for link in ("thigh", "foot")),
            "dynamics is of another model than the planar walker; pass MujocoDynamics(walker_model())",
        )
        self.model, self.data = model, mujoco.MjData(model)
        self.feet = [model.geom(f"{side}_foot").id for side in SIDES]
        self.below_torso = -float(model.body(f"{SIDES[0]}_thigh").pos[2])

    def look(self, x: np.ndarray) -> None:
        """Take a state (18,) in."""
        self.data.qpos[:], self.data.qvel[:] = np.split(x, 2)
        mujoco.mj_fwdPosition(self.model, self.data)

    def touches(self, side: int) -> bool:
        """Whether a foot touches something."""
        return bool(np.any(self.data.contact.geom == self.feet[side]))

    def hips_from(self, side: int) -> float:
        """How far the hips are ahead of an ankle, m."""
        hips, ankle = (self.data.body(f"{SIDES[side]}_{link}").xpos[0] for link in ("thigh", "foot"))
        return float(hips - ankle)

    def hip_velocity(self, x: np.ndarray) -> float:
        """Velocity of the hips forward, m/s."""
        return float(x[9] - self.below_torso * np.cos(x[PITCH]) * x[9 + PITCH])


def _has(model: mujoco.MjModel, body: str) -> bool:
    """Whether a model has a body of that name."""
    return mujoco.mj_name2id(model, mujoco.mjtObj.mjOBJ_BODY, body) >= 0
