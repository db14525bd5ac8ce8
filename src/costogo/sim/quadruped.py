"""The quadruped in MuJoCo: torques in, kinodynamic state and its estimate out."""

# mujoco is compiled and has no stubs.
# pyright: reportAttributeAccessIssue=false

import dataclasses

import mujoco
import numpy as np

from costogo.core.validate import require
from costogo.sim.anymal import LEGS, STANDING_HEIGHT, TORQUE_LIMIT, anymal_model, standing_state
from costogo.sim.estimation import Estimate, EstimateNoise, Estimator
from costogo.sim.kinematics import JOINTS, check_state, check_vector, from_mujoco, to_mujoco
from costogo.sim.rendering import quadruped_positions, render

MAX_TILT = np.deg2rad(30.0)
MAX_HEIGHT_ERROR = 0.2


@dataclasses.dataclass(frozen=True)
class Push:
    """External force on the base's centre of mass: `impulse` (3,) N s in the world, from `time` s for `duration` s."""

    time: float
    impulse: tuple[float, float, float]
    duration: float = 0.1

    def __post_init__(self):
        require(self.duration > 0.0, f"duration is {self.duration}; pass positive seconds")
        require(len(self.impulse) == 3, f"impulse is {self.impulse}; pass three numbers in N s")

    def force(self, time: float, timestep: float) -> np.ndarray:
        """Mean force (3,) N over the step that begins at `time`, so that the steps add up to the impulse."""
        overlap = min(time + timestep, self.time + self.duration) - max(time, self.time)
        return np.asarray(self.impulse, float) * max(overlap, 0.0) / (self.duration * timestep)


@dataclasses.dataclass(frozen=True)
class SimulationOptions:
    """What the robot meets: `noise` and `latency` (steps) of the estimate, `pushes`, `mass_scale` and `friction`.

    All masses are multiplied by `mass_scale`, which the whole-body controller does not know. The defaults are a perfect
    estimate, no push, the right masses and a friction coefficient of 0.7.
    """

    noise: EstimateNoise = EstimateNoise()
    latency: int = 0
    pushes: tuple[Push, ...] = ()
    mass_scale: float = 1.0
    friction: float = 0.7

    def __post_init__(self):
        require(self.latency >= 0, f"latency is {self.latency}; pass a number of steps, zero or more")
        require(self.mass_scale > 0.0, f"mass_scale is {self.mass_scale}; pass a positive number")
        require(self.friction > 0.0, f"friction is {self.friction}; pass a positive number")


class QuadrupedSimulation:
    """ANYmal C in MuJoCo, moved by joint torques alone.

    Nothing else acts on the base but gravity, contact and the pushes of the options. `height` (m) is the base height
    that `fallen` compares with. After a step, contact forces are those of that step.
    """

    def __init__(self, options: SimulationOptions | None = None, *, height: float = STANDING_HEIGHT):
        self.options = SimulationOptions() if options is None else options
        self.height = height
        self.model = anymal_model(friction=self.options.friction, mass_scale=self.options.mass_scale)
        self.data = mujoco.MjData(self.model)
        self._base = self.model.body("base").id
        self._trunk = self.model.geom("base").id
        self._feet = {self.model.geom(f"{leg}_FOOT").id: i for i, leg in enumerate(LEGS)}
        self.reset()

    @property
    def timestep(self) -> float:
        """Seconds per step."""
        return float(self.model.opt.timestep)

    @property
    def time(self) -> float:
        """Seconds since the reset."""
        return float(self.data.time)

    def reset(self, x: np.ndarray | None = None, seed: int = 0, joint_velocities: np.ndarray | None = None) -> Estimate:
        """Start from a state (24,), default standing, and joint velocities (12,), default zero; the first estimate."""
        x = check_state("x", standing_state(self.height) if x is None else x)
        rates = np.zeros(JOINTS) if joint_velocities is None else joint_velocities
        rates = check_vector("joint_velocities", rates, JOINTS, "pass the 12 joint velocities in rad/s")
        mujoco.mj_resetData(self.model, self.data)
        self.data.qpos[:], self.data.qvel[:] = to_mujoco(x, rates)
        mujoco.mj_forward(self.model, self.data)
        options = self.options
        self._estimator = Estimator(options.noise, options.latency, self.timestep, self._truth(), seed)
        return self.estimate()

    def step(self, torques: np.ndarray) -> None:
        """One step with joint torques (12,) in N m, cut off at the limit of the motors."""
        torques = check_vector("torques", torques, JOINTS, "pass the 12 joint torques in N m")
        self.data.ctrl[:] = np.clip(torques, -TORQUE_LIMIT, TORQUE_LIMIT)
        forces = [push.force(self.time, self.timestep) for push in self.options.pushes]
        self.data.xfrc_applied[self._base, :3] = np.sum(forces, axis=0) if forces else 0.0
        mujoco.mj_step(self.model, self.data)
        self._estimator.advance(self._truth())

    def state(self) -> np.ndarray:
        """True kinodynamic state (24,)."""
        return self._truth().x

    def joint_velocities(self) -> np.ndarray:
        """True joint velocities (12,) in rad/s."""
        return self._truth().joint_velocities

    def estimate(self) -> Estimate:
        """Noisy and delayed state and joint velocities."""
        return self._estimator.estimate()

    def contact_forces(self) -> np.ndarray:
        """Forces (4, 3) of the floor on the feet in the world (N)."""
        forces, wrench = np.zeros((len(LEGS), 3)), np.zeros(6)
        contacts = self.data.contact
        for i, (first, second) in enumerate(contacts.geom):
            foot = self._feet.get(second, self._feet.get(first))
            if foot is None:
                continue
            mujoco.mj_contactForce(self.model, self.data, i, wrench)
            # The rows of the frame are its axes, and the force is that on the second geom.
            force = contacts.frame[i].reshape(3, 3).T @ wrench[:3]
            forces[foot] += force if second in self._feet else -force
        return forces

    def fallen(self) -> bool:
        """Tilt beyond 30 degrees, height off by more than 0.2 m, base on the floor, or a state that is not finite."""
        x = self.state()
        tilted = bool(np.any(np.abs(x[:2]) > MAX_TILT))
        touching = bool(np.any(self.data.contact.geom == self._trunk))  # the base collides with nothing but the floor
        off = abs(x[5] - self.height) > MAX_HEIGHT_ERROR
        return bool(tilted or off or touching or not np.all(np.isfinite(x)))

    def render(self, states: np.ndarray, *, width: int = 640, height: int = 480, camera: str = "side") -> np.ndarray:
        """RGB frames (n, height, width, 3) of states (n, 24), as of `costogo.sim.render`; changes nothing here."""
        positions = quadruped_positions(states)
        return np.stack([*render(self.model, positions, width=width, height=height, camera=camera)])

    def _truth(self) -> Estimate:
        return Estimate(*from_mujoco(self.data.qpos, self.data.qvel))
