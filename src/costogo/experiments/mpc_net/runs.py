"""Training runs that the experiments of MPC-Net share: one folder for all, trained once, resumed after an interrupt."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import jax
import numpy as np

from costogo.experiments.mpc_net.presets import MPCNetConfig, build
from costogo.experiments.mpc_net.results import TEST_KEY, foot_quality, student_rollout
from costogo.experiments.registry import ExperimentConfig
from costogo.experiments.run_names import run_name
from costogo.io import RunFolder, export, train
from costogo.io.runs import read_rows
from costogo.learn.mpc_net import MPCNet, MPCNetState

FEET_STARTS = 10  # unseen starts over which feet are looked at
LEGGED = ("anymal", "planar")


@dataclass(frozen=True)
class Run:
    """A finished training run."""

    setting: MPCNetConfig
    learner: MPCNet
    state: MPCNetState
    folder: RunFolder

    @property
    def policy(self) -> Any:
        """The student."""
        return self.state.policy

    def curves(self) -> list[dict[str, Any]]:
        """Metrics of the rounds, with the seed, as a list of rows."""
        return [{"seed": self.setting.seed, **row} for row in read_rows(self.folder.metrics)]


def name_of(setting: MPCNetConfig) -> str:
    """Name of a run: system, gait, what is not the default, seed."""
    return run_name(setting, {"system": setting.system, "gait": setting.gait})


def trained(setting: MPCNetConfig, folder: Path) -> Run:
    """Train in a run folder under `folder`, or go on, or read what is there."""
    learner, name = build(setting), name_of(setting)
    place = RunFolder.create(folder / name, {"learner": "mpc_net", **vars(setting)}, resume=True)
    state = train(
        learner, jax.random.PRNGKey(setting.seed), place, epochs=learner.rounds, evaluate_every=4,
        checkpoint_every=20, metric="rollout_survived", label=name,
    )  # fmt: skip
    return Run(setting, learner, state, place)


def all_runs(
    config: ExperimentConfig, folder: Path, settings: Sequence[MPCNetConfig], seeds: int
) -> Iterator[tuple[int, Run]]:
    """Runs of every setting and seed, with the number of the setting. `folder` is the experiment's."""
    rounds = {"rounds": 2} if config.quick else {}
    for number, setting in enumerate(settings):
        for seed in range(seeds):
            yield number, trained(replace(setting, seed=seed, **rounds), folder.parent / "runs")


def tested(run: Run, starts: int) -> dict[str, Any]:
    """The student from unseen starts: survival over one and two test lengths and under observation noise, cost beside
    the teacher's, violation, experts in use, and of walkers the feet."""
    learner, key = run.learner, jax.random.PRNGKey(TEST_KEY)
    steps, dt = learner.test_steps, float(learner.task.controller.problem.dt)
    short, long = (learner.test(run.policy, key, starts=starts, steps=n) for n in (steps, 2 * steps))
    noisy = learner.test(run.policy, key, starts=starts, steps=steps, noise=1.0)
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
        found = learner.test_teacher(run.policy, key, starts=starts, steps=learner.test_steps)
        _TEACHERS[task] = float(np.mean(found["cost"]))
    return _TEACHERS[task]


_TEACHERS: dict[tuple[str, str, int], float] = {}


def _close_look(run: Run, key: jax.Array, starts: int) -> dict[str, float]:
    """Experts in use (mean weight above 0.05), and feet, over a few rollouts."""
    learner = run.learner
    keys = jax.random.split(key, starts)[:FEET_STARTS]
    rollouts = [student_rollout(learner, run.policy, *learner.task.start(k), learner.test_steps) for k in keys]
    weights = np.mean([np.mean(rollout.extra, axis=0) for rollout in rollouts], axis=0)
    found = {"experts in use": int(np.sum(weights > 0.05))}
    if run.setting.system in LEGGED:
        feet = [foot_quality(run.setting, rollout) for rollout in rollouts]
        found |= {name: float(np.mean([row[name] for row in feet])) for name in feet[0]}
    return found


def exported(run: Run, folder: Path) -> dict[str, Any]:
    """The policy as NumPy, ONNX and C files; relative difference from JAX and microseconds per sample of each."""
    name = name_of(run.setting)
    reports = [export(run.policy, folder / f"{name}{suffix}") for suffix in (".npz", ".onnx", ".h")]
    differences = {f"{report.path.suffix}, difference": report.relative for report in reports}
    return differences | {f"{report.path.suffix}, microseconds": report.latency for report in reports}
