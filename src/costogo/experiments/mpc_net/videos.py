"""Videos of a student beside its teacher, on the model and in full physics."""

from collections.abc import Iterable, Iterator
from typing import Any

import equinox as eqx
import jax
import numpy as np

from costogo.experiments.mpc_net.conditions import Conditions
from costogo.experiments.mpc_net.presets import MPCNetConfig, system_of, walking_task
from costogo.experiments.mpc_net.results import TEST_KEY, student_rollout
from costogo.learn.mpc_net import MPCNet
from costogo.mpc import simulate


def recordings(learner: MPCNet, policy: Any, seed: int, steps: int) -> list[Any]:
    """Teacher and student from one unseen start, as `costogo.viz.Recording`s."""
    from costogo.viz import Recording

    task = learner.task
    x0, t0 = task.start(jax.random.fold_in(jax.random.PRNGKey(TEST_KEY), seed))
    mpc = eqx.filter_jit(lambda x, t: simulate(task.controller, x, steps, dynamics=task.plant, t0=t))(x0, t0)
    learned = student_rollout(learner, policy, x0, t0, steps)
    return [
        Recording("MPC", np.asarray(mpc.states), np.asarray(mpc.controls)),
        Recording("network", np.asarray(learned.states), np.asarray(learned.controls)),
    ]


def model_frames(
    config: MPCNetConfig, learner: MPCNet, policy: Any, seed: int, steps: int
) -> tuple[Iterable[np.ndarray], float]:
    """Frames of teacher and student side by side on the model, and how many of them make a second."""
    from costogo.viz import film

    shown, dt = recordings(learner, policy, seed, steps), float(learner.task.controller.problem.dt)
    if config.system == "anymal":
        return _anymal_frames(config, [np.asarray(r.states) for r in shown]), 1.0 / dt
    system = system_of(config)
    return film(getattr(system, "robot", system), shown, dt=dt), 1.0 / dt


def _anymal_frames(config: MPCNetConfig, tracks: list[np.ndarray]) -> Iterator[np.ndarray]:
    from costogo.experiments.mpc_net import trials
    from costogo.sim import anymal_model, quadruped_positions, render

    lift = np.zeros(24)
    lift[5] = trials.floor_lift(config)
    model = anymal_model()
    films = [
        render(model, quadruped_positions(states + lift), width=trials.WIDTH, height=trials.HEIGHT) for states in tracks
    ]
    return (np.concatenate(images, axis=1) for images in zip(*films, strict=True))


def physics_frames(
    config: MPCNetConfig, policy: Any, seed: int, steps: int, conditions: Conditions
) -> tuple[Iterable[np.ndarray], float]:
    """Frames of the student in MuJoCo under the conditions, and how many of them make a second."""
    from costogo.experiments.mpc_net import trials

    make, seconds = trials.student_of(config, policy), steps * walking_task(config).dt
    return trials.frames(trials.simulate(config, make(), seed, seconds, conditions)), trials.FRAMES_PER_SECOND
