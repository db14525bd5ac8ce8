"""Stochlite trots over slopes (spec dmd_mpc 9.3), as a Gymnasium environment."""

# mujoco is compiled and has no stubs.
# pyright: reportAttributeAccessIssue=false

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import gymnasium
import mujoco
import numpy as np

from costogo.core.validate import require
from costogo.sim.models.stochlite import FRICTION, WALKING_HEIGHT, alter, slope_quaternion, stochlite_model
from costogo.sim.stochlite import (
    ACTION,
    FOOT_BELOW,
    OBSERVATION,
    Gait,
    Motion,
    Trot,
    fallen,
    leg_angles,
    modulation,
    sense,
    servo_torques,
    walking_reward,
)
from costogo.sim.tasks.episode_state import (
    check_state,
    described,
    generator_state,
    physics_state,
    set_generator_state,
    set_physics_state,
)

DT = 0.01  # s between actions
TIME_LIMIT = 1000  # steps
PITCHES = (math.radians(5.0), math.radians(13.0))  # magnitudes of the slope's pitch
MAX_SLOPE_ROLL = math.radians(13.0)
COMMAND = (0.25, 0.0, 0.0)  # m/s, m/s, rad/s


@dataclass(frozen=True)
class StochliteOptions:
    """The robot as it is built, and the ground.

    `mass_factor` multiplies the mass and inertia of all links; `friction` is that of all contacts; joint targets reach
    the servos `delay` control steps of 10 ms late; `angle_noise` (rad) and `rate_noise` (rad/s) are standard deviations
    of white noise on the observed roll and pitch and angular rates. The noise of a step is drawn by a counter-based
    generator from `noise_seed`, a number of the episode and the number of the step.
    """

    mass_factor: float = 1.0
    friction: float = FRICTION
    delay: int = 0
    angle_noise: float = 0.0
    rate_noise: float = 0.0
    noise_seed: int = 0

    def __post_init__(self):
        for name in ("delay", "noise_seed"):
            value = getattr(self, name)
            whole = isinstance(value, int | np.integer) and not isinstance(value, bool)
            require(whole and 0 <= value < 2**63, f"{name} is {value!r}; pass an integer, zero or more")
        require(self.mass_factor > 0.0, f"mass_factor is {self.mass_factor}; pass a positive factor")
        for name in ("friction", "angle_noise", "rate_noise"):
            require(getattr(self, name) >= 0.0, f"{name} is {getattr(self, name)}; pass zero or more")


def perturbed_stochlite(seed: int) -> StochliteOptions:
    """A robot other than the one that was trained on, for trials of frozen policies; the same for the same seed.

    Uniform draws: masses +-20 %, friction 0.4 to 0.9, delay 10 or 20 ms; noise 0.02 rad and 0.1 rad/s.
    """
    draw = np.random.default_rng(seed)
    return StochliteOptions(
        mass_factor=float(draw.uniform(0.8, 1.2)),
        friction=float(draw.uniform(0.4, 0.9)),
        delay=int(draw.integers(1, 3)),
        angle_noise=0.02,
        rate_noise=0.1,
        noise_seed=seed,
    )


class StochliteEnvironment(gymnasium.Env):
    """Walk over an inclined plane by modulating a trot (spec 9.3); an action lasts 10 ms.

    Action (15) in [-1, 1]: x-, y- and z-shifts of FL, FR, BL, BR and velocities (`costogo.sim.stochlite.modulation`).
    Observation (8): height, roll, pitch, three angular rates, roll and pitch of the slope, in m, rad, rad/s (`sense`).
    Reward: `walking_reward` for `command` (vx, vy, wz) in m/s and rad/s, which is not observed and thus the same in all
    episodes. The episode terminates when the robot has `fallen`, and is truncated after 1000 steps; both steps are
    rewarded with 0 (spec). `info` has `velocity` (2) in the plane, m/s, and `power`, W.

    An episode starts at rest, with all feet on the ground and the torso parallel to it. With `slope` (roll, pitch) in
    rad the ground is always that one; otherwise each episode draws a pitch of 5 to 13 degrees, up or down, and a roll
    within 13 degrees. Deviations: the episodes' command is 0.25 m/s forward, which spec and paper leave open; see also
    `costogo.sim.stochlite` and `costogo.sim.models.stochlite`. `save_state` and `load_state` continue to the bit.
    """

    metadata: dict[str, Any] = {"render_modes": []}
    dt = DT

    def __init__(
        self,
        *,
        slope: tuple[float, float] | None = None,
        command: tuple[float, float, float] = COMMAND,
        options: StochliteOptions = StochliteOptions(),
    ):
        require(isinstance(options, StochliteOptions), f"options is a {type(options).__name__}; pass StochliteOptions")
        finite = len(command) == 3 and all(math.isfinite(value) for value in command)
        require(finite, f"command is {command}; pass (vx, vy, wz) in m/s and rad/s")
        self.options, self.command, self._fixed = options, tuple(float(value) for value in command), slope
        plane = None if slope is None else tuple(float(angle) for angle in slope)
        self.identity = f"StochliteEnvironment(slope={plane}, command={self.command}, {described(options)})"
        self.model = stochlite_model(slope=(0.0, 0.0) if slope is None else slope)
        self.data = mujoco.MjData(self.model)
        self.trot = Trot(dt=DT)
        self.action_space = gymnasium.spaces.Box(-1.0, 1.0, (ACTION,), np.float32)
        high = np.array([100.0, np.pi, np.pi, 1e4, 1e4, 1e4, np.pi, np.pi], np.float32)
        self.observation_space = gymnasium.spaces.Box(-high, high, (OBSERVATION,), np.float32)
        self._substeps = round(DT / self.model.opt.timestep)
        self._steps, self._number = 0, 0
        self._begin((0.0, 0.0) if slope is None else slope)

    @property
    def slope(self) -> tuple[float, float]:
        """Roll and pitch of the ground in this episode, rad."""
        return self._slope

    def reset(self, *, seed: int | None = None, options: dict | None = None) -> tuple[np.ndarray, dict[str, Any]]:
        """Begin an episode, on a new slope unless that is fixed."""
        super().reset(seed=seed)
        self._steps, self._number = 0, int(self.np_random.integers(2**62))
        pitch = self.np_random.choice([-1.0, 1.0]) * self.np_random.uniform(*PITCHES)
        roll = self.np_random.uniform(-MAX_SLOPE_ROLL, MAX_SLOPE_ROLL)
        self._begin((float(roll), float(pitch)) if self._fixed is None else self._fixed)
        motion = self._motion()
        return self._observation(motion), {"velocity": motion.velocity, "power": 0.0}

    def step(self, action: np.ndarray) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]:
        """One control interval of 10 ms."""
        self._gait, feet = self.trot.advance(self._gait, modulation(action))
        self._pending = np.vstack([self._pending[1:], leg_angles(feet).reshape(1, 12)])
        self.data.ctrl[:] = self._pending[0]
        mujoco.mj_step(self.model, self.data, nstep=self._substeps)
        self._steps += 1
        motion, power = self._motion(), self._power()
        terminated = bool(fallen(motion.roll, motion.pitch, motion.height))
        truncated = not terminated and self._steps >= TIME_LIMIT
        reward = 0.0 if terminated or truncated else walking_reward(motion, power, self.command)
        return self._observation(motion), reward, terminated, truncated, {"velocity": motion.velocity, "power": power}

    def save_state(self) -> dict[str, np.ndarray]:
        """MuJoCo's state, gait, joint targets on their way, slope, step, the episode's number and the generator."""
        return {
            "physics": physics_state(self.model, self.data),
            "tick": np.array(self._gait.tick, np.int64),
            "feet": self._gait.feet.copy(),
            "pending": self._pending.copy(),
            "slope": np.array(self._slope, float),
            "steps": np.array(self._steps, np.int64),
            "number": np.array(self._number, np.int64),
            "generator": generator_state(self.np_random),
        }

    def load_state(self, state: Mapping[str, np.ndarray]) -> None:
        """Put back what `save_state` of an environment with the same arguments took."""
        check_state(state, self.save_state())
        roll, pitch = (float(angle) for angle in state["slope"])
        self._begin((roll, pitch))
        set_physics_state(self.model, self.data, state["physics"])
        self._gait = Gait(int(state["tick"]), np.array(state["feet"], float))
        self._pending = np.array(state["pending"], float)
        self._steps, self._number = int(state["steps"]), int(state["number"])
        set_generator_state(self.np_random, state["generator"])

    def _begin(self, slope: tuple[float, float]) -> None:
        """Stand at rest on a slope."""
        self._slope = slope
        alter(self.model, slope=slope, friction=self.options.friction, mass_factor=self.options.mass_factor)
        self._gait = self.trot.start()
        joints = leg_angles(np.column_stack([self._gait.feet, np.full(4, -FOOT_BELOW)])).ravel()
        self._pending = np.tile(joints, (self.options.delay + 1, 1))  # of this step first, then those on their way
        mujoco.mj_resetData(self.model, self.data)
        attitude, above = slope_quaternion(slope), np.zeros(3)
        mujoco.mju_rotVecQuat(above, np.array([0.0, 0.0, WALKING_HEIGHT]), attitude)
        self.data.qpos[:] = np.concatenate([above, attitude, joints])
        self.data.ctrl[:] = joints

    def _motion(self) -> Motion:
        return sense(self.data.qpos, self.data.qvel, self._slope)

    def _power(self) -> float:
        """Sum of |torque times rate| over the joints, W, from the servos' law in the state reached."""
        rates = self.data.qvel[6:]
        return float(np.sum(np.abs(servo_torques(self._pending[0], self.data.qpos[7:], rates) * rates)))

    def _observation(self, motion: Motion) -> np.ndarray:
        observation, options = motion.observation(), self.options
        if options.angle_noise or options.rate_noise:
            # The counter leaves the lowest word to the draws of one step.
            bits = np.random.Philox(key=[options.noise_seed, self._number], counter=[0, self._steps, 0, 0])
            noise = np.random.Generator(bits).standard_normal(5)
            observation[1:3] += options.angle_noise * noise[:2]
            observation[3:6] += options.rate_noise * noise[2:]
        return observation.astype(np.float32)
