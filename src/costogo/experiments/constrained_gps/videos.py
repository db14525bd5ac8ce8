"""Videos of policies in MuJoCo."""

from collections.abc import Iterator
from typing import Any

import jax
import numpy as np

from costogo.experiments.constrained_gps.presets import GPSConfig, setting_of
from costogo.experiments.constrained_gps.results import roll_out, up_for
from costogo.sim import frame_stride, render

FRAMES_PER_SECOND = 50


def motion_frames(
    config: GPSConfig, policy: Any, seed: int, steps: int, *, width: int = 640, height: int = 360
) -> tuple[Iterator[np.ndarray], float]:
    """Frames of a policy from an unseen start (a training start, if the task has no other), up to a failure, and how
    many of them make a second."""
    task = setting_of(config).task
    conditions, starts = task.unseen or (task.conditions, task.starts)
    chosen = seed % len(starts)
    condition, start = jax.tree.map(lambda leaf: leaf[chosen : chosen + 1], (conditions, starts))
    rolled = roll_out(task, policy, condition, start, steps=steps)
    dynamics = task.problem_of(jax.tree.map(lambda leaf: leaf[0], condition)).dynamics
    every, fps = frame_stride(dynamics.dt, FRAMES_PER_SECOND)
    kept = int(up_for(rolled)[0]) + 1
    positions = np.asarray(rolled.states[0, :kept:every, : dynamics.model.nq])
    return render(dynamics.model, positions, width=width, height=height), fps
