"""The two-link leg that follows an ellipse with its foot at 500 Hz (spec dmd_mpc 9.2), as a Gymnasium environment."""

# mujoco is compiled and has no stubs.
# pyright: reportAttributeAccessIssue=false

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import gymnasium
import mujoco
import numpy as np

from costogo.core.errors import known
from costogo.core.validate import require
from costogo.sim.tasks.episode_state import (
    check_state,
    described,
    generator_state,
    physics_state,
    set_generator_state,
    set_physics_state,
)
from costogo.sim.tasks.leg_model import (
    PATHS,
    PERIOD,
    TORQUE_LIMIT,
    foot_jacobian,
    foot_position,
    foot_target,
    joint_angles,
    leg_model,
)

DT = 0.002  # s between controls, 500 Hz
SUBSTEPS = 4
ENCODER_STEP = 2.0 * np.pi / (4096 * 6)  # rad at the joint: 4096 counts on the motor, a gear of 6:1
START_RANGE = 0.1  # rad, of the joints about the start of the path
REWARDS = {"scaled": (0.05, 0.5), "literal": (1.0, 1.0)}  # m and m/s at which the exponents are one


@dataclass(frozen=True)
class LegOptions:
    """The leg as it is built: masses, friction, delay and what is measured.

    `mass_factor` scales both links, `damping` is the joints' viscous and `dry_friction` their Coulomb friction
    (N m s/rad, N m); torques act `delay` control steps of 2 ms late; encoders round angles to `encoder_step` (rad; zero
    is exact), and rates are differences of what they read; `rate_noise` (rad/s) is the standard deviation of white
    noise on the rates. The defaults are those for training, which are the spec's leg but for delay and encoders.
    """

    mass_factor: float = 1.0
    damping: float = 0.05
    dry_friction: float = 0.0
    delay: int = 1
    encoder_step: float = ENCODER_STEP
    rate_noise: float = 0.0

    def __post_init__(self):
        whole = isinstance(self.delay, int | np.integer) and not isinstance(self.delay, bool)
        require(whole and self.delay >= 0, f"delay is {self.delay!r}; pass a number of control steps, zero or more")
        require(self.mass_factor > 0.0, f"mass_factor is {self.mass_factor}; pass a positive factor")
        for name in ("damping", "dry_friction", "encoder_step", "rate_noise"):
            require(getattr(self, name) >= 0.0, f"{name} is {getattr(self, name)}; pass zero or more")


def perturbed_leg(seed: int) -> LegOptions:
    """A leg other than the one that was trained on, for trials of frozen policies; the same for the same seed.

    Uniform draws: masses +-20 %, dry friction 0.4 to 0.9 N m, delay 10 to 20 ms; encoders as in training; noise on the
    rates 0.05 rad/s. Deviation: a leg in the air has no ground to rub on and no inertial unit, so friction is that of
    the joints and the noise is on their rates.
    """
    draw = np.random.default_rng(seed)
    return LegOptions(
        mass_factor=float(draw.uniform(0.8, 1.2)),
        dry_friction=float(draw.uniform(0.4, 0.9)),
        delay=int(draw.integers(5, 11)),
        rate_noise=0.05,
    )


def rms_tracking_error(errors: Sequence[float] | np.ndarray, skip: int = 0) -> float:
    """Root mean square (m) of distances between foot and target, (steps,), without the first `skip` steps."""
    values = np.asarray(errors, float)
    require(values.ndim == 1, f"errors has shape {values.shape}; pass one distance (m) for each step")
    require(0 <= skip < len(values), f"skip is {skip} of {len(values)} steps; leave at least one")
    return float(np.sqrt(np.mean(values[skip:] ** 2)))


class LegEnvironment(gymnasium.Env):
    """Track a path with the foot by torques (spec 9.2); the spec's episodes have 1000 steps, 2 s (`TimeLimit`).

    Action (2): torques of hip and knee over 12 N m. Observation (12):

        (cos q, sin q, q' / 10, p - p_d, p' - p_d', sin phase, cos phase),

    from measured angles and rates. Reward `0.8 exp(-|p - p_d|^2 / a^2) + 0.2 exp(-|p' - p_d'|^2 / b^2)` of the true
    foot after the step: `reward="scaled"` has a = 0.05 m, b = 0.5 m/s, "literal" the paper's 1 m and 1 m/s, which is
    never below 0.7 near the path. `path` is "ellipse", or "semi" for its upper half (see `foot_target`).
    `info["tracking_error"]` is |p - p_d| in m.

    An episode starts at rest, the joints within 0.1 rad of the start of the path; none ends in a terminal state.
    Controls are held for 2 ms, four steps of MuJoCo. `save_state` and `load_state` continue to the bit.

    Deviations from the spec: delay and encoders are on by default (`LegOptions`); torques on their way are not
    observed.
    """

    metadata: dict[str, Any] = {"render_modes": []}
    dt = DT

    def __init__(self, *, path: str = "ellipse", reward: str = "scaled", options: LegOptions = LegOptions()):
        known("path", path, PATHS)
        known("reward", reward, REWARDS)
        require(isinstance(options, LegOptions), f"options is a {type(options).__name__}; pass a LegOptions")
        self.path, self.options = path, options
        self.identity = f"LegEnvironment(path={path!r}, reward={reward!r}, {described(options)})"
        self.model = leg_model(
            mass_factor=options.mass_factor,
            damping=options.damping,
            dry_friction=options.dry_friction,
            timestep=DT / SUBSTEPS,
        )
        self.data = mujoco.MjData(self.model)
        self.action_space = gymnasium.spaces.Box(-1.0, 1.0, (2,), np.float32)
        # Bounds that no motion reaches: the foot stays within 1.2 m of any target.
        high = np.array([1, 1, 1, 1, 100, 100, 2, 2, 1000, 1000, 1, 1], np.float32)
        self.observation_space = gymnasium.spaces.Box(-high, high, (12,), np.float32)
        self._scales = REWARDS[reward]
        self._steps = 0
        self._pending = np.zeros((options.delay, 2))  # torques on their way, the oldest first
        self._read, self._rate = np.zeros(2), np.zeros(2)  # what the encoders showed last
        self._targets = self._table()

    def reset(self, *, seed: int | None = None, options: dict | None = None) -> tuple[np.ndarray, dict[str, Any]]:
        """Begin an episode."""
        super().reset(seed=seed)
        mujoco.mj_resetData(self.model, self.data)
        start = joint_angles(foot_target(self.path, 0.0)[0])
        self.data.qpos[:] = start + self.np_random.uniform(-START_RANGE, START_RANGE, 2)
        mujoco.mj_forward(self.model, self.data)
        self._steps = 0
        self._pending[:] = 0.0
        self._read, self._rate = self._rounded(self.data.qpos), np.zeros(2)
        return self._observation(), {"tracking_error": self._foot_errors()[0]}

    def step(self, action: np.ndarray) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]:
        """One control interval of 2 ms."""
        torque = TORQUE_LIMIT * np.minimum(np.maximum(np.asarray(action, float), -1.0), 1.0)
        if self.options.delay:
            arriving = self._pending[0].copy()
            self._pending[:-1] = self._pending[1:]
            self._pending[-1] = torque
            torque = arriving
        self.data.ctrl[:] = torque
        mujoco.mj_step(self.model, self.data, nstep=SUBSTEPS)
        self._steps += 1
        self._measure()
        distance, speed = self._foot_errors()
        a, b = self._scales
        reward = 0.8 * np.exp(-((distance / a) ** 2)) + 0.2 * np.exp(-((speed / b) ** 2))
        return self._observation(), float(reward), False, False, {"tracking_error": distance}

    def target(self, ahead: float = 0.0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Position, velocity and acceleration of the target, `ahead` seconds from now."""
        return foot_target(self.path, 2.0 * np.pi * (self._steps * DT + ahead) / PERIOD)

    def save_state(self) -> dict[str, np.ndarray]:
        """MuJoCo's state, torques on their way, encoders, clock and random generator."""
        return {
            "physics": physics_state(self.model, self.data),
            "pending": self._pending.copy(),
            "read": self._read.copy(),
            "rate": self._rate.copy(),
            "steps": np.array(self._steps, np.int64),
            "generator": generator_state(self.np_random),
        }

    def load_state(self, state: Mapping[str, np.ndarray]) -> None:
        """Put back what `save_state` of an environment with the same arguments took."""
        check_state(state, self.save_state())
        set_physics_state(self.model, self.data, state["physics"])
        self._pending = np.array(state["pending"])
        self._read, self._rate = np.array(state["read"]), np.array(state["rate"])
        self._steps = int(state["steps"])
        set_generator_state(self.np_random, state["generator"])

    def _table(self) -> list[tuple[np.ndarray, np.ndarray, np.ndarray]]:
        """Target position, velocity, and (sin, cos) of the phase, for one period: the same each time round."""
        phases = 2.0 * np.pi * np.arange(round(PERIOD / DT)) * DT / PERIOD
        return [(*foot_target(self.path, phase)[:2], np.array([np.sin(phase), np.cos(phase)])) for phase in phases]

    def _measure(self) -> None:
        """Read the encoders: rates are exact only if the angles are."""
        read, noise = self._rounded(self.data.qpos), self.options.rate_noise
        self._rate = (read - self._read) / DT if self.options.encoder_step else self.data.qvel.copy()
        if noise:
            self._rate = self._rate + noise * self.np_random.standard_normal(2)
        self._read = read

    def _rounded(self, q: np.ndarray) -> np.ndarray:
        step = self.options.encoder_step
        return step * np.round(q / step) if step else q.copy()

    def _observation(self) -> np.ndarray:
        q, rate = self._read, self._rate
        target, velocity, phase = self._targets[self._steps % len(self._targets)]
        errors = (foot_position(q) - target, foot_jacobian(q) @ rate - velocity)
        return np.concatenate((np.cos(q), np.sin(q), 0.1 * rate, *errors, phase)).astype(np.float32)

    def _foot_errors(self) -> tuple[float, float]:
        """True distance (m) and speed (m/s) of the foot relative to its target."""
        target, velocity, _ = self._targets[self._steps % len(self._targets)]
        q = self.data.qpos
        e, de = foot_position(q) - target, foot_jacobian(q) @ self.data.qvel - velocity
        return float(np.sqrt(e @ e)), float(np.sqrt(de @ de))
