"""Videos of policies in MuJoCo."""

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import equinox as eqx
import jax
import numpy as np

from costogo.experiments.constrained_gps.presets import GPSConfig, setting_of
from costogo.experiments.constrained_gps.results import up_for
from costogo.sim import render

FRAMES_PER_SECOND = 50


def motion_frames(
    config: GPSConfig, policy: Any, seed: int, steps: int, *, width: int = 640, height: int = 360
) -> tuple[Iterator[np.ndarray], float]:
    """Frames of a policy from an unseen start, up to a failure, and how many of them make a second."""
    task = replace(setting_of(config).task, test_steps=steps)
    assert task.unseen is not None
    conditions, starts = task.unseen
    chosen = seed % len(starts)
    condition, start = jax.tree.map(lambda leaf: leaf[chosen : chosen + 1], (conditions, starts))
    rolled = eqx.filter_jit(task.roll_out)(policy, condition, start, steps=steps)
    dynamics = task.problem_of(jax.tree.map(lambda leaf: leaf[0], condition)).dynamics
    every = max(1, round(1.0 / (FRAMES_PER_SECOND * dynamics.dt)))
    kept = int(up_for(rolled)[0]) + 1
    positions = np.asarray(rolled.states[0, :kept:every, : dynamics.model.nq])
    return render(dynamics.model, positions, width=width, height=height), 1.0 / (every * dynamics.dt)
