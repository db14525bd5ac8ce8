"""Tests of a trained student beside its teacher, foot quality, curves and reports."""

from pathlib import Path
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from costogo.experiments.mpc_net.presets import MPCNetConfig, walking_task
from costogo.learn.mpc_net import MPCNet, MPCNetState, Rollout, closed_loop

TEST_KEY = 1_000_003  # starts that training and evaluation never see


def compare(learner: MPCNet, state: MPCNetState, starts: int, steps: int) -> list[dict[str, Any]]:
    """Means over unseen starts, one row for the teacher, one for the student, one for the student with noisy sight."""
    key = jax.random.PRNGKey(TEST_KEY)
    rows = {
        "teacher": learner.test_teacher(state.policy, key, starts=starts, steps=steps),
        "student": learner.test(state.policy, key, starts=starts, steps=steps),
        "student, noise": learner.test(state.policy, key, starts=starts, steps=steps, noise=1.0),
    }
    # What only the teacher reports would shift the columns of a table.
    shared = list(rows["student"])
    return [{"controller": name, **{k: float(np.mean(found[k])) for k in shared}} for name, found in rows.items()]


@eqx.filter_jit
def student_rollout(learner: MPCNet, policy: Any, x0: jax.Array, t0: jax.Array, steps: int) -> Rollout:
    """One closed loop of the student; `extra` are the weights of its experts."""
    task = learner.task

    def act(memory, x, t):
        o = task.observe(x, t)
        return jnp.asarray(policy(o), x.dtype), memory, policy.propose(o)[0]

    times = t0 + task.controller.problem.dt * jnp.arange(steps, dtype=x0.dtype)
    rollout = closed_loop(act, task.plant, task.valid, None, x0[None], times[None])
    return jax.tree.map(lambda a: a[0], rollout)


def foot_quality(config: MPCNetConfig, rollout: Rollout) -> dict[str, float]:
    """What survival does not show (spec mpc_net 15.8): height error and slip of stance feet, force on swinging ones.

    Heights in m, slip in m/s, forces in N; means over the time survived but for what is called largest or smallest.
    """
    task = walking_task(config)
    robot, constraints = task.robot, task.constraints
    alive = np.asarray(rollout.alive[:-1])
    xs, us, ts = (np.asarray(a)[alive] for a in (rollout.states[:-1], rollout.controls, rollout.times))
    position, velocity = jax.vmap(constraints.foot_motion)(xs, us, ts)
    forces = jax.vmap(lambda x, u: robot.forces(u) @ robot.rotation(x).T)(xs, us)
    stance = np.asarray(jax.vmap(task.gait.stance)(ts))
    position, velocity, forces = (np.asarray(a) for a in (position, velocity, forces))
    swinging = forces[~stance]
    return {
        "stance height error": float(np.abs(position[..., -1][stance]).mean()),
        "largest stance height error": float(np.abs(position[..., -1][stance]).max()),
        "slip": float(np.linalg.norm(velocity[stance], axis=-1).mean()),
        "smallest stance force": float(forces[..., -1][stance].min()),
        "swing force": float(np.linalg.norm(swinging, axis=-1).mean()) if len(swinging) else 0.0,
    }


def draw_learning(rows: list[dict[str, float]], path: Path) -> Path:
    """Survival, cost and violation of the student against rounds."""
    from costogo.viz import COLOURS, figure, save

    fig, axes = figure(1, 3, size=(3.8, 2.8))
    tested = [row for row in rows if "survival" in row]
    for ax, name, label in zip(
        axes.flat, ("survival", "cost", "violation"),
        ("survival of the student [s]", "cost per second, no barrier", "mean constraint violation"), strict=True,
    ):  # fmt: skip
        ax.plot([r["epoch"] for r in tested], [r[name] for r in tested], color=COLOURS[0], marker=".")
        ax.set(xlabel="round", title=label)
    axes[0, 1].set_yscale("log")
    twin = axes[0, 0].twinx()
    twin.plot([r["epoch"] for r in rows], [r["alpha"] for r in rows], color="0.6", linestyle=":")
    twin.set(ylim=(-0.02, 1.02), ylabel="share of the teacher (dotted)")
    twin.grid(visible=False)
    return save(fig, path)


def draw_response(rollout: Rollout, path: Path) -> Path:
    """Position and yaw from a displaced start, and the weights of the experts below the contacts."""
    from costogo.viz import COLOURS, figure, save

    fig, axes = figure(1, 1, size=(5.0, 3.0))
    ts = np.asarray(rollout.times) - float(rollout.times[0])
    states = np.asarray(rollout.states[:-1])
    for index, name, colour in ((3, "x [m]", COLOURS[0]), (4, "y [m]", COLOURS[1]), (2, "yaw [rad]", COLOURS[2])):
        axes[0, 0].plot(ts, states[:, index], color=colour, label=name)
    axes[0, 0].axhline(0.0, color="0.3", linewidth=0.8, linestyle=":")
    axes[0, 0].set(xlabel="time [s]", title="return to the origin")
    axes[0, 0].legend()
    return save(fig, path)


def draw_gating(config: MPCNetConfig, rollout: Rollout, path: Path) -> Path:
    """Which foot stands, and which expert speaks, over the last two cycles."""
    from costogo.viz import COLOURS, figure, save

    task = walking_task(config)
    steps = 2 * round(task.gait.period / task.dt)
    ts = np.asarray(rollout.times)[-steps:]
    stance = np.asarray(jax.vmap(task.gait.stance)(ts))
    weights = np.asarray(rollout.extra)[-steps:]
    fig, axes = figure(2, 1, size=(6.0, 1.9), sharex=True)
    for foot in range(len(task.robot.foot_names)):
        for t in ts[stance[:, foot]]:
            axes[0, 0].barh(foot, task.dt, left=t, height=0.8, color=COLOURS[6])
        axes[0, 0].set_yticks(range(len(task.robot.foot_names)), task.robot.foot_names)
    axes[0, 0].set(title="feet on the ground")
    axes[1, 0].stackplot(ts, weights.T, step="post", colors=COLOURS)
    axes[1, 0].set(xlabel="time [s]", ylim=(0, 1), title="weights of the experts")
    return save(fig, path)
