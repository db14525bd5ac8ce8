"""E-1 and E-5: one network and one set of hyperparameters learn trot and static walk from less than ten minutes of MPC
data (spec mpc_net section 10; paper III-E), with the feet checked and the gates looked at."""

from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from costogo.experiments.claims import Claim, judge, write_claims, write_rows
from costogo.experiments.mpc_net.presets import MPCNetConfig, build, walking_task
from costogo.experiments.mpc_net.results import (
    TEST_KEY,
    draw_gating,
    draw_learning,
    draw_response,
    foot_quality,
    student_rollout,
)
from costogo.experiments.registry import ExperimentConfig
from costogo.experiments.reporting import write_report
from costogo.io import RunFolder, export, train
from costogo.io.runs import read_rows
from costogo.learn.mpc_net import MPCNet, MPCNetState

GAITS = ("trot", "static_walk")
STARTS, SHORT, LONG = 40, 120, 240  # knots of 25 ms: 3 s and 6 s


def run(config: ExperimentConfig, folder: Path) -> None:
    """Train every gait and seed; write summary, figures and claims."""
    seeds = config.seeds or (1 if config.quick else 3)
    summary, media = [], []
    for gait in GAITS:
        for seed in range(seeds):
            setting = MPCNetConfig(system="anymal", gait=gait, seed=seed, rounds=2 if config.quick else None)
            learner, state, place = trained(setting, folder / "runs" / f"{gait}-{seed}")
            row = {"gait": gait, "seed": seed, **tested(setting, learner, state, 4 if config.quick else STARTS)}
            summary.append(row | export_policy(state, folder / "policies" / f"{gait}-{seed}"))
            if seed == 0:
                media += draw(setting, learner, state, place, folder)
    write_rows(folder / "summary.csv", summary)
    rows = write_claims(folder, claims(summary, seeds))
    write_report(folder, "E-1: trot and static walk from minutes of MPC data", rows + summary, media, {"seeds": seeds})


def trained(setting: MPCNetConfig, path: Path) -> tuple[MPCNet, MPCNetState, RunFolder]:
    """Train in a run folder, or go on, or read what is there."""
    learner = build(setting)
    place = RunFolder.create(path, {"learner": "mpc_net", **vars(setting)}, resume=True)
    state = train(
        learner, jax.random.PRNGKey(setting.seed), place, epochs=learner.rounds, evaluate_every=4,
        checkpoint_every=20, metric="rollout_survived", label=f"{setting.gait} {setting.seed}",
    )  # fmt: skip
    return learner, state, place


def export_policy(state: MPCNetState, path: Path) -> dict[str, Any]:
    """The policy as NumPy, ONNX and C files; relative difference from JAX and microseconds per sample of each."""
    reports = [export(state.policy, path.with_suffix(suffix)) for suffix in (".npz", ".onnx", ".h")]
    differences = {f"{report.path.suffix}, difference": report.relative for report in reports}
    return differences | {f"{report.path.suffix}, microseconds": report.latency for report in reports}


def tested(setting: MPCNetConfig, learner: MPCNet, state: MPCNetState, starts: int) -> dict[str, Any]:
    """Survival over 3 and 6 s on unseen starts, cost beside the teacher's, and the feet over ten of them."""
    key = jax.random.PRNGKey(TEST_KEY)
    short, long = (learner.test(state.policy, key, starts=starts, steps=steps) for steps in (SHORT, LONG))
    noisy = learner.test(state.policy, key, starts=starts, steps=SHORT, noise=1.0)
    teacher = learner.test_teacher(state.policy, key, starts=min(starts, 10), steps=SHORT)
    feet = [
        foot_quality(setting, student_rollout(learner, state.policy, *learner.task.start(k), SHORT))
        for k in jax.random.split(key, starts)[:10]
    ]
    return {
        "minutes of data, at most": round(learner.robot_minutes, 2),
        "survived 3 s": float(np.mean(short["survived"])),
        "survived 6 s": float(np.mean(long["survived"])),
        "survived 3 s, noise": float(np.mean(noisy["survived"])),
        "cost": float(np.mean(short["cost"])),
        "teacher's cost": float(np.mean(teacher["cost"])),
        "violation": float(np.mean(short["violation"])),
        "cone violated": float(np.mean(short["infeasible"])),
        **{name: float(np.mean([row[name] for row in feet])) for name in feet[0]},
    }


def displaced(setting: MPCNetConfig) -> jax.Array:
    """Standing 0.3 m ahead, 0.15 m to the left and 25 degrees turned."""
    x = jnp.asarray(walking_task(setting).robot.standing(), float)
    return x.at[3].set(0.3).at[4].set(0.15).at[2].set(np.deg2rad(25.0))


def draw(setting: MPCNetConfig, learner: MPCNet, state: MPCNetState, place: RunFolder, folder: Path) -> list[Path]:
    """Learning curve, response and gating of one run."""
    rollout = student_rollout(learner, state.policy, displaced(setting), jnp.zeros(()), LONG)
    return [
        draw_learning(read_rows(place.metrics), folder / f"learning_{setting.gait}.png"),
        draw_response(rollout, folder / f"response_{setting.gait}.png"),
        draw_gating(setting, rollout, folder / f"gating_{setting.gait}.png"),
    ]


def claims(summary: list[dict[str, Any]], seeds: int) -> list[Claim]:
    """Acceptance checks 15 and the paper's sentences."""
    found = []
    for gait in GAITS:
        rows = [row for row in summary if row["gait"] == gait]
        three, six, minutes = (
            np.mean([row[name] for row in rows])
            for name in ("survived 3 s", "survived 6 s", "minutes of data, at most")
        )
        found.append(Claim(
            f"{gait}: the policy survives, learned from at most 10 minutes of MPC data", "3 s of 3 s",
            f"{100 * three:.1f} % of starts over 3 s, {100 * six:.1f} % over 6 s, from {minutes:.1f} min",
            judge(three >= 0.9 and six >= 0.8 and minutes <= 10, three >= 0.5), seeds,
        ))  # fmt: skip
        error, force = (
            np.mean([row[name] for row in rows]) for name in ("stance height error", "smallest stance force")
        )
        found.append(Claim(
            f"{gait}: stance feet stay on the ground and push", "not reported",
            f"height error {1e3 * error:.1f} mm, smallest vertical force {force:.0f} N, "
            f"slip {np.mean([row['slip'] for row in rows]):.2f} m/s, force on swinging feet "
            f"{np.mean([row['swing force'] for row in rows]):.1f} N",
            judge(error < 0.02 and force > 0, error < 0.04), seeds,
        ))  # fmt: skip
    return found
