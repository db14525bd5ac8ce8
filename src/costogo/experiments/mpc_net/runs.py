"""Training runs that the experiments of MPC-Net share, and the tests that follow them."""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import jax
import numpy as np

from costogo.experiments.mpc_net.presets import MPCNetConfig, build
from costogo.experiments.mpc_net.results import TEST_KEY, foot_quality, student_rollout
from costogo.experiments.registry import ExperimentConfig
from costogo.experiments.training_runs import Recipe, Run
from costogo.io import export

FEET_STARTS = 10  # unseen starts over which feet are looked at
LEGGED = ("anymal", "planar")


RUNS = Recipe(
    "mpc_net",
    build,
    told=lambda setting: {"system": setting.system, "gait": setting.gait},
    options=lambda setting, learner: {
        "epochs": learner.rounds, "evaluate_every": 4, "checkpoint_every": 10, "metric": "rollout_survived",
    },
)  # fmt: skip


def all_runs(
    config: ExperimentConfig, folder: Path, settings: Sequence[MPCNetConfig], seeds: int, starts: int | None = None
) -> Iterator[tuple[int, Run]]:
    """Runs of every setting and seed, with the number of the setting, tested if `starts` are given. `folder` is the
    experiment's."""
    rounds = {"rounds": 2} if config.quick else {}
    every = [replace(setting, seed=seed, **rounds) for setting in settings for seed in range(seeds)]
    then = None if starts is None else partial(tested, starts=starts)
    runs = RUNS.all(every, folder.parent / "runs", then)
    return ((number // seeds, run) for number, run in enumerate(runs))


def tested(run: Run, starts: int) -> dict[str, Any]:
    """The student from unseen starts: survival over one and two test lengths and under observation noise, cost beside
    the teacher's, violation, experts in use, and of walkers the feet. Found out once, then read."""
    return run.kept("tested", lambda: _tests(run, starts), starts=starts)


def _tests(run: Run, starts: int) -> dict[str, Any]:
    learner, key = run.learner, jax.random.PRNGKey(TEST_KEY)
    steps, dt = learner.test_steps, float(learner.task.controller.problem.dt)
    short, long = (learner.test(run.state.policy, key, starts=starts, steps=n) for n in (steps, 2 * steps))
    noisy = learner.test(run.state.policy, key, starts=starts, steps=steps, noise=1.0)
    teacher = _teacher_cost(run, starts)
    rows = {
        "minutes of data, at most": round(learner.robot_minutes, 2),
        f"survived {steps * dt:g} s": float(np.mean(short["survived"])),
        f"survived {2 * steps * dt:g} s": float(np.mean(long["survived"])),
        f"survived {steps * dt:g} s, noise": float(np.mean(noisy["survived"])),
        "cost": float(np.mean(short["cost"])),
        "cost, noise": float(np.mean(noisy["cost"])),
        "teacher's cost": teacher,
        "violation": float(np.mean(short["violation"])),
        "inequality violated": float(np.mean(short["infeasible"])),
    }
    return rows | _close_look(run, key, starts)


def _teacher_cost(run: Run, starts: int) -> float:
    """Mean cost of the teacher from the same starts; it is the same for all runs on a task."""
    task = run.setting.system, run.setting.gait, starts
    if task not in _TEACHERS:
        key, learner = jax.random.PRNGKey(TEST_KEY), run.learner
        found = learner.test_teacher(run.state.policy, key, starts=starts, steps=learner.test_steps)
        _TEACHERS[task] = float(np.mean(found["cost"]))
    return _TEACHERS[task]


_TEACHERS: dict[tuple[str, str, int], float] = {}


def _close_look(run: Run, key: jax.Array, starts: int) -> dict[str, float]:
    """Experts in use (mean weight above 0.05), and feet, over a few rollouts."""
    learner = run.learner
    keys = jax.random.split(key, starts)[:FEET_STARTS]
    rollouts = [student_rollout(learner, run.state.policy, *learner.task.start(k), learner.test_steps) for k in keys]
    weights = np.mean([np.mean(rollout.extra, axis=0) for rollout in rollouts], axis=0)
    found = {"experts in use": int(np.sum(weights > 0.05))}
    if run.setting.system in LEGGED:
        feet = [foot_quality(run.setting, rollout) for rollout in rollouts]
        found |= {name: float(np.mean([row[name] for row in feet])) for name in feet[0]}
    return found


def exported(run: Run, folder: Path) -> dict[str, Any]:
    """The policy as NumPy, ONNX and C files; relative difference from JAX and microseconds per sample of each."""
    name = RUNS.name_of(run.setting)
    reports = [export(run.state.policy, folder / f"{name}{suffix}") for suffix in (".npz", ".onnx", ".h")]
    differences = {f"{report.path.suffix}, difference": report.relative for report in reports}
    return differences | {f"{report.path.suffix}, microseconds": report.latency for report in reports}
