"""G5: what one policy for four pushes does, push by push and under three in a row (spec constrained_gps section 10)."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from costogo.experiments.claims import Claim, judge, write_claims, write_rows
from costogo.experiments.constrained_gps.arms import shrunk
from costogo.experiments.constrained_gps.disturbed import PUSH_TIME, PUSHED, PUSHES, UNSEEN_PUSHES, pushed_dynamics
from costogo.experiments.constrained_gps.generalising import base
from costogo.experiments.constrained_gps.presets import setting_of
from costogo.experiments.constrained_gps.results import motions, up_for
from costogo.experiments.constrained_gps.runs import RUNS
from costogo.experiments.constrained_gps.tasks import TEST_STEPS, demonstration, walking_cost
from costogo.experiments.registry import ExperimentConfig
from costogo.experiments.reporting import write_report
from costogo.learn.constrained_gps import PolicySearch, Rollouts
from costogo.problem import OptimalControlProblem
from costogo.sim import BodyPush, MujocoDynamics, frame_stride, render, walker_model

SERIES = ((300.0, -250.0, 275.0), (-300.0, 300.0, -250.0))  # N, at TIMES
TIMES = (0.5, 1.0, 1.5)  # s
BETWEEN = 0.15  # s, of the pictures of a strip
FRAMES_PER_SECOND = 50


def run(config: ExperimentConfig, folder: Path) -> None:
    """Train (or read) the policy of G4; write responses, strips, videos and claims."""
    from costogo.viz import write_video

    setting = replace(base("push"), conditions=len(PUSHES))  # a run of G4
    setting = shrunk(setting) if config.quick else setting
    trained = RUNS.trained(setting, folder.parent / "runs")
    policy, steps = trained.state.policy, 40 if config.quick else TEST_STEPS
    media = [draw_responses(setting_of(setting).task, policy, folder / "responses.png")]
    rows = []
    for number, forces in enumerate(SERIES):
        dynamics, rolled = three_pushes(setting_of(setting).task, policy, forces, steps)
        seconds = float(up_for(rolled)[0] * dynamics.dt)
        rows.append({"forces [N]": " ".join(f"{f:+g}" for f in forces), "seconds": seconds})
        states = np.asarray(rolled.states[0, : int(up_for(rolled)[0]) + 1])
        media.append(write_strip(dynamics, states, folder / f"strip_{number}.png"))
        every, fps = frame_stride(dynamics.dt, FRAMES_PER_SECOND)
        media.append(write_video(_pictures(dynamics, states, every), folder / f"three_pushes_{number}.mp4", fps=fps))
    write_rows(folder / "series.csv", rows)
    made = write_claims(folder, [claim(rows, steps * dynamics.dt)])
    write_report(folder, "G5: how one policy answers pushes", made + rows, media, {"policy": RUNS.name_of(setting)})


def claim(rows: list[dict[str, Any]], seconds: float) -> Claim:
    """It survives three pushes in a row."""
    stood = [row["seconds"] >= seconds - 1e-6 for row in rows]
    told = "; ".join(f"{row['forces [N]']} N: up for {row['seconds']:.2f} s" for row in rows)
    return Claim("three pushes half a second apart, one policy", "recovers", told, judge(all(stood), any(stood)), 1)


def three_pushes(task: PolicySearch, policy: Any, forces: tuple[float, ...], steps: int) -> tuple[Any, Rollouts]:
    """The policy from the first demonstrated state under pushes at `TIMES`."""
    pushes = [BodyPush(PUSHED, at, [force, 0.0, 0.0], PUSH_TIME) for at, force in zip(TIMES, forces, strict=True)]
    dynamics = MujocoDynamics(walker_model(), substeps=5, pushes=pushes)
    problem = OptimalControlProblem(dynamics, walking_cost, horizon=steps, nu=6, dt=dynamics.dt)
    alone = eqx.tree_at(lambda t: t.problem_of, task, lambda _: problem)
    start = jnp.asarray(demonstration().states[:1])
    condition = jax.tree.map(lambda leaf: leaf[:1], task.conditions)
    return dynamics, eqx.filter_jit(alone.roll_out)(policy, condition, start, steps=steps)


def _pictures(dynamics: MujocoDynamics, states: np.ndarray, every: int, **size: int) -> Any:
    """Frames of every so-manyth state, with the pushes as arrows."""
    arrows = []
    for k in range(0, len(states), every):
        active = [p for p in dynamics.pushes if p.start <= k * dynamics.dt < p.start + p.duration]
        arrows.append([(p.body, np.asarray(p.force)) for p in active])
    positions = states[::every, : dynamics.model.nq]
    return render(dynamics.model, positions, forces=arrows, **size)


def write_strip(dynamics: MujocoDynamics, states: np.ndarray, path: Path) -> Path:
    """Pictures side by side, `BETWEEN` apart, in two rows."""
    import imageio.v3 as iio

    frames = list(_pictures(dynamics, states, round(BETWEEN / dynamics.dt), width=200, height=260))
    half = max(1, (len(frames) + 1) // 2)
    frames += [np.full_like(frames[0], 255)] * (2 * half - len(frames))
    iio.imwrite(path, np.concatenate([np.concatenate(frames[i : i + half], axis=1) for i in (0, half)]))
    return path


def draw_responses(task: PolicySearch, policy: Any, path: Path) -> Path:
    """Speed and pitch of the torso after each push, up to a fall; seen pushes above, unseen ones below."""
    from costogo.viz import COLOURS, figure, save

    fig, axes = figure(2, 2, size=(3.6, 2.2), sharex=True)
    forces = {"training": PUSHES, "unseen": UNSEEN_PUSHES}
    for row, (group, rolled) in zip(axes, motions(task, policy).items(), strict=True):
        for i, (states, kept) in enumerate(zip(np.asarray(rolled.states), up_for(rolled) + 1, strict=True)):
            times = np.arange(kept) * pushed_dynamics().dt
            for ax, column in zip(row, (9, 2), strict=True):
                ax.plot(
                    times, states[:kept, column], color=COLOURS[i], linewidth=1.0, label=f"{forces[group][i][0]:+g} N"
                )
        row[0].set(title=f"{group} pushes: speed [m/s]")
        row[1].set(title="pitch [rad]")
        row[0].legend(fontsize=6)
    for ax in axes[-1]:
        ax.set_xlabel("time [s]")
    return save(fig, path)
