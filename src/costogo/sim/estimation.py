"""State estimates with autocorrelated noise and latency, as a legged robot's estimator delivers them."""

import dataclasses
from collections import deque
from typing import NamedTuple

import numpy as np

from costogo.core.validate import require
from costogo.sim.kinematics import JOINTS, STATES


class Estimate(NamedTuple):
    """Kinodynamic state (24,) and joint velocities (12,) in rad/s."""

    x: np.ndarray
    joint_velocities: np.ndarray


@dataclasses.dataclass(frozen=True)
class EstimateNoise:
    """Standard deviations of the estimate: rad, m, rad/s, m/s, rad, rad/s.

    `correlation` (s) is the time constant of a first-order Gauss-Markov process, `e' = a e + sqrt(1 - a^2) sigma n`
    with `a = exp(-dt / correlation)`; zero is white noise. The noise is added to Euler angles, not composed with the
    rotation: the two agree for a base near level.
    """

    orientation: float = 0.0
    position: float = 0.0
    angular_velocity: float = 0.0
    linear_velocity: float = 0.0
    joint_position: float = 0.0
    joint_velocity: float = 0.0
    correlation: float = 0.0

    def __post_init__(self):
        for field in dataclasses.fields(self):
            value = getattr(self, field.name)
            require(np.isfinite(value) and value >= 0.0, f"{field.name} is {value}; pass a finite number, zero or more")

    @classmethod
    def typical(cls) -> "EstimateNoise":
        """About what a fused inertial and leg-odometry estimate of a walking robot has."""
        return cls(
            orientation=0.005,
            position=0.005,
            angular_velocity=0.02,
            linear_velocity=0.03,
            joint_position=0.001,
            joint_velocity=0.05,
            correlation=0.02,
        )

    def deviations(self) -> np.ndarray:
        """Standard deviations (36,) of the state and the joint velocities."""
        base = (self.orientation, self.position, self.angular_velocity, self.linear_velocity)
        return np.concatenate(
            [np.repeat(base, 3), np.full(JOINTS, self.joint_position), np.full(JOINTS, self.joint_velocity)]
        )


class Estimator:
    """Delays the truth by `latency` steps and adds noise; `seed` makes it repeatable."""

    def __init__(self, noise: EstimateNoise, latency: int, timestep: float, truth: Estimate, seed: int):
        self._deviations = noise.deviations()
        self._keep = float(np.exp(-timestep / noise.correlation)) if noise.correlation > 0.0 else 0.0
        self._random = np.random.default_rng(seed)
        self._error = self._deviations * self._random.standard_normal(STATES + JOINTS)
        first = np.concatenate(truth)
        self._past = deque([first] * (latency + 1), maxlen=latency + 1)

    def advance(self, truth: Estimate) -> None:
        """Take in the truth of the next step."""
        self._past.append(np.concatenate(truth))
        fresh = self._deviations * self._random.standard_normal(STATES + JOINTS)
        self._error = self._keep * self._error + np.sqrt(1.0 - self._keep**2) * fresh

    def estimate(self) -> Estimate:
        """The estimate of this step; the same however often it is asked for."""
        noisy = self._past[0] + self._error
        return Estimate(noisy[:STATES], noisy[STATES:])
