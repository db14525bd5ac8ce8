"""What reinforcement learning asks of an environment: steps on the host, and a state that can be saved."""

from collections.abc import Mapping
from typing import Protocol

import numpy as np


class Environment(Protocol):
    """An environment that is stepped on the host, one step at a time, and whose whole state is an array dictionary.

    Observations are float32 (no,), actions are in [-1, 1]^nu whatever the range of the actuators. Episodes are numbered
    from zero; the start of each is drawn from the seed and its number, so no random generator is part of the state.
    `save` after any step, and `load` into a new object of the same task, continue to the bit.
    """

    name: str
    no: int
    nu: int

    def start(self, seed: int) -> np.ndarray:
        """Begin episode 0 of a seed; returns the first observation."""
        ...

    def step(self, u: np.ndarray) -> tuple[np.ndarray, float, bool, bool]:
        """Observation, reward, whether the episode ended in a terminal state, whether it was cut at its time limit."""
        ...

    def restart(self) -> np.ndarray:
        """Begin the next episode; returns its first observation."""
        ...

    def terminated(self, x: np.ndarray, u: np.ndarray, new: np.ndarray) -> np.ndarray:
        """Whether the transition (x, u, x') ends in a terminal state, as a JAX function of observations: (no,), (nu,),
        (no,) to a Boolean. Model-based methods end imagined trajectories with it."""
        ...

    def save(self) -> Mapping[str, np.ndarray]:
        """The state of the simulator and of the episode, as arrays of fixed shapes and types."""
        ...

    def load(self, state: Mapping[str, np.ndarray]) -> np.ndarray:
        """Continue from a saved state; returns its observation."""
        ...
