"""What trained policies do: rollouts, summaries, learning curves, traces of the root link."""

from collections.abc import Sequence
from itertools import cycle
from pathlib import Path
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from costogo.experiments.constrained_gps.presets import CONDITIONS, TUNABLE, GPSConfig, build, setting_of
from costogo.experiments.constrained_gps.tasks import TEST_STEPS, WARM_UP, walker_dynamics, walking_cost
from costogo.experiments.reporting import mean_and_range
from costogo.experiments.training_runs import Run
from costogo.learn.constrained_gps import GuidedPolicySearch, PolicySearch, Rollouts
from costogo.learn.constrained_gps.first_trajectory import first_trajectory
from costogo.sim import Simbicon

ACROSS = {"swimmer": "y [m]"}  # second coordinate of the root link, by default the height; the first is x

roll_out = eqx.filter_jit(PolicySearch.roll_out)  # one function, so that all that show a policy share its program


def motions(task: PolicySearch, policy: Any) -> dict[str, Rollouts]:
    """Rollouts of a policy without noise on the training conditions and on the unseen ones."""
    found = {"training": roll_out(task, policy, task.conditions, task.starts, steps=task.test_steps)}
    if task.unseen is not None:
        found["unseen"] = roll_out(task, policy, *task.unseen, steps=task.test_steps)
    return found


def up_for(rollouts: Rollouts) -> np.ndarray:
    """Intervals that each rollout survived."""
    return np.cumprod(np.asarray(rollouts.valid[..., 1:]), axis=-1).sum(axis=-1)


def summary(task: PolicySearch, policy: Any) -> list[dict[str, Any]]:
    """Per group of starts: mean cost, failures (invalid, or too dear), mean seconds before a state that is not valid,
    mean forward speed of a policy."""
    dt = float(task.problem_of(jax.tree.map(lambda leaf: leaf[0], task.conditions)).dt)
    rows = []
    for group, rolled in motions(task, policy).items():
        up, (costs, failed) = up_for(rolled), task.judged(rolled)
        moved = np.asarray(rolled.states[..., -1, 0] - rolled.states[..., 0, 0]) / (rolled.controls.shape[-2] * dt)
        rows.append({
            "starts": group, "number": len(up), "cost": float(costs.mean()), "failed": int(failed.sum()),
            "seconds": float(up.mean() * dt), "speed": float(moved.mean()),
        })  # fmt: skip
    return rows


def disagreement(run: Run) -> str | None:
    """What to tell of a run in which policy and trajectories did not come together, if so: the divergence is more than
    half of what it was after the first iteration."""
    learner, rows = run.learner.learner, run.curves
    if not isinstance(learner, GuidedPolicySearch) or rows[-1]["divergence"] <= 0.5 * rows[0]["divergence"]:
        return None
    state = run.state.inner
    found = np.asarray(learner.divergence(state.policy, state.q, state.weights))
    found = found[:, learner.examples(found.shape[1])]
    condition, knot = np.unravel_index(np.argmax(found), found.shape)
    return (
        f"the divergence of policy and trajectories did not fall: {rows[0]['divergence']:.3g} after the first "
        f"iteration, {rows[-1]['divergence']:.3g} after the last; the most, {found[condition, knot]:.3g}, is at knot "
        f"{knot} of condition {condition}; try a larger --hidden, --rate or --fit-iterations, or more --iterations"
    )


def references(config: GPSConfig) -> dict[str, float]:
    """Costs to compare with: of the swimmer its own unconstrained optimum, of the walker the demonstration (on level
    ground and without a push)."""
    task = setting_of(config).task
    if config.system == "swimmer":
        learner = build(config).learner
        solved = eqx.filter_jit(first_trajectory)(
            task, learner.solver, None, task.starts[0], learner.first_iterations, jnp.ones(())
        )
        return {"trajectory optimisation": float(solved.cost)}
    shown, dt = Simbicon().demonstrate(walker_dynamics(), TEST_STEPS, warm_up=WARM_UP), walker_dynamics().dt
    ts = dt * jnp.arange(TEST_STEPS)
    return {"demonstration": float(jnp.sum(jax.vmap(walking_cost)(shown.states[:-1], shown.controls, ts)))}


def size_of(setting: GPSConfig) -> str:
    """What makes the task or the policy of an arm larger, in words."""
    alone = setting.conditions is None
    return f"{setting.hidden} units" if alone else f"{setting.conditions} {CONDITIONS[setting.system]}"


def name_of(setting: GPSConfig) -> str:
    """Method and numbers of an arm, in words."""
    numbers = [f"{name} {value:g}" for name in TUNABLE if (value := getattr(setting, name)) is not None]
    return ", ".join([setting.method, *numbers])


def draw_learning(runs: Sequence[Run], path: Path, lines: dict[str, float] | None = None) -> Path:
    """Cost of the policy against iterations, a panel for each size; on training conditions solid, on unseen ones
    dotted; mean and range over seeds; costs to compare with as thin lines."""
    from costogo.viz import COLOURS, figure, save

    sizes, names = (list(dict.fromkeys(part(run.setting) for run in runs)) for part in (size_of, name_of))
    fig, axes = figure(1, len(sizes), size=(4.2, 3.4), sharey=True)
    for ax, size in zip(axes.flat, sizes, strict=True):
        for colour, name in zip(cycle(COLOURS), names, strict=False):
            rows = [row for run in runs if (size_of(run.setting), name_of(run.setting)) == (size, name)
                    for row in run.curves]  # fmt: skip
            mean_and_range(ax, rows, "epoch", "cost", colour, name)
            before = len(ax.lines)
            mean_and_range(ax, rows, "epoch", "unseen_cost", colour, "")
            for line in ax.lines[before:]:
                line.set(linestyle=":", label="_")
        for name, cost in (lines or {}).items():
            ax.axhline(cost, color="0.4", linewidth=0.9, linestyle="--", label=name)
        ax.set(xlabel="iteration", title=f"{size}: cost (dotted: unseen starts)", yscale="log")
        for which in (ax.yaxis.set_major_formatter, ax.yaxis.set_minor_formatter):
            which("{x:g}")  # not powers of ten: costs span less than two decades
    axes.flat[-1].legend(fontsize=7, loc="upper left", bbox_to_anchor=(1.02, 1.0))
    return save(fig, path)


def draw_motion(run: Run, path: Path) -> Path:
    """The root link's path, from training starts and from unseen ones."""
    from costogo.viz import COLOURS, figure, save

    fig, axes = figure(2, 1, size=(6.4, 2.0), sharex=True)
    task = setting_of(run.setting).task
    for ax, (group, rolled) in zip(axes.flat, motions(task, run.state.policy).items(), strict=False):
        states: Array = rolled.states
        for i, track in enumerate(np.asarray(states)):
            kept, along = up_for(rolled)[i] + 1, track[:, 0] - track[0, 0]  # grounds lie one behind the other
            ax.plot(along[:kept], track[:kept, 1], color=COLOURS[i % len(COLOURS)], linewidth=1.1)
            if kept < len(track):
                ax.plot(along[kept - 1], track[kept - 1, 1], "x", color=COLOURS[i % len(COLOURS)])
        ax.set(title=f"root link, {group} starts (cross: failed)", ylabel=ACROSS.get(run.setting.system, "height [m]"))
    axes[-1, 0].set(xlabel="x from the start [m]")
    return save(fig, path)
