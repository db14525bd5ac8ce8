"""Pendulum and cart-pole of the differentiable-MPC paper for any array library, and a NumPy referee for their costs.

Written apart from `costogo.systems`, so that a slip there does not go unnoticed here. `m` is the library that supplies
sin, cos and arctan2: numpy, torch or casadi.
"""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np

DT = 0.05


class Plant(NamedTuple):
    """`step(x, u, m)` maps the list of states and the control to the list of next states. Horizon N, bound on |u|,
    cost `sum_{k<N} 1/2 x'diag(weights)x + linear'x + 1/2 0.001 u^2`."""

    horizon: int
    limit: float
    weights: tuple[float, ...]
    linear: tuple[float, ...]
    step: Callable[[Sequence[Any], Any, Any], list[Any]]


CONTROL_WEIGHT = 0.001


def _pendulum(x: Sequence[Any], u: Any, m: Any) -> list[Any]:
    cos, sin, rate = x
    rate = rate + DT * (15.0 * sin + 3.0 * u)
    angle = m.arctan2(sin, cos) + DT * rate
    return [m.cos(angle), m.sin(angle), rate]


def _cartpole(x: Sequence[Any], u: Any, m: Any) -> list[Any]:
    gravity, cart, pole, length = 9.8, 1.0, 0.1, 0.5
    position, velocity, cos, sin, rate = x
    push = (u + pole * length * rate**2 * sin) / (cart + pole)
    angular = (gravity * sin - cos * push) / (length * (4.0 / 3.0 - pole * cos**2 / (cart + pole)))
    linear = push - pole * length * angular * cos / (cart + pole)
    angle = m.arctan2(sin, cos) + DT * rate
    return [position + DT * velocity, velocity + DT * linear, m.cos(angle), m.sin(angle), rate + DT * angular]


PLANTS = {
    "pendulum": Plant(20, 2.0, (1.0, 1.0, 0.1), (-1.0, 0.0, 0.0), _pendulum),
    "cartpole": Plant(25, 100.0, (0.1, 0.1, 1.0, 1.0, 0.1), (0.0, 0.0, -1.0, 0.0, 0.0), _cartpole),
}


def initial_states(name: str, number: int, seed: int = 0) -> np.ndarray:
    """Initial states (number, nx) from the paper's distributions."""
    draw = np.random.default_rng(seed).uniform(-1.0, 1.0, (number, 4))
    if name == "pendulum":
        angle, rate = np.pi / 2 * draw[:, 0], draw[:, 1]
        return np.stack([np.cos(angle), np.sin(angle), rate], axis=1)
    angle = np.pi * draw[:, 2]
    return np.stack([0.5 * draw[:, 0], 0.5 * draw[:, 1], np.cos(angle), np.sin(angle), draw[:, 3]], axis=1)


def rollout(plant: Plant, x0: np.ndarray, controls: np.ndarray) -> np.ndarray:
    """States (problems, N+1, nx) under controls (problems, N)."""
    states = [x0]
    for u in controls.T:
        states.append(np.stack(plant.step(list(states[-1].T), u, np), axis=1))
    return np.stack(states, axis=1)


def cost(plant: Plant, x0: np.ndarray, controls: np.ndarray) -> np.ndarray:
    """Cost of each problem; infinite where a control leaves its bounds by more than rounding."""
    x = rollout(plant, x0, controls)[:, :-1]
    value = (0.5 * x**2 @ np.array(plant.weights) + x @ np.array(plant.linear)).sum(axis=1)
    value += 0.5 * CONTROL_WEIGHT * (controls**2).sum(axis=1)
    inside = np.abs(controls).max(axis=1) <= plant.limit * (1 + 1e-6)
    return np.where(inside, value, np.inf)
