"""T2, acceptance 13: a point mass passes a disc on either side. One network averages the sides, experts need not."""

from pathlib import Path
from typing import Any

import jax
import numpy as np

from costogo.experiments.claims import Claim, judge, write_claims
from costogo.experiments.mpc_net.arms import Comparison, write_comparisons
from costogo.experiments.mpc_net.presets import MPCNetConfig, system_of
from costogo.experiments.mpc_net.results import TEST_KEY, student_rollout
from costogo.experiments.registry import ExperimentConfig
from costogo.experiments.reporting import write_report
from costogo.experiments.training_runs import Run

ARMS = {"8 experts": {}, "2 experts": {"experts": 2}, "one network": {"experts": 1}}
STARTS, SHOWN = 100, 30


def run(config: ExperimentConfig, folder: Path) -> None:
    """Train all arms; write collision rates, sides, paths and claims."""
    seeds = config.seed_count(5)
    found = Comparison(MPCNetConfig(system="point_mass"), ARMS).train(config, folder, seeds)
    paths = {arm: [paths_of(run, STARTS) for run in runs] for arm, runs in found.runs.items()}
    for row in found.summary:
        row |= _sides(paths[row["arm"]][row["seed"]])
    media = [*write_comparisons(folder, [found]), draw(found, paths, folder / "paths.png")]
    rows = write_claims(folder, _claims(found, seeds))
    write_report(folder, "T2: a disc in the way", rows + found.summary, media, {"seeds": seeds, "starts": STARTS})


def paths_of(run: Run, starts: int) -> np.ndarray:
    """Positions (starts, steps+1, 2) of the student, and whether it was outside the disc (starts, steps+1)."""
    learner = run.learner
    keys = jax.random.split(jax.random.PRNGKey(TEST_KEY), starts)
    rolled = [student_rollout(learner, run.state.policy, *learner.task.start(k), learner.test_steps) for k in keys]
    return np.stack([np.column_stack([r.states[:, :2], r.alive]) for r in rolled])


def _sides(paths: np.ndarray) -> dict[str, Any]:
    """Share of collisions, and of the passages below the disc."""
    safe = paths[:, -1, 2] > 0
    highest = np.take_along_axis(paths[..., 1], np.abs(paths[..., 1]).argmax(axis=1)[:, None], axis=1)[:, 0]
    below = float(np.mean(highest[safe] < 0)) if safe.any() else 0.0
    return {"collisions": float(np.mean(~safe)), "passed below": below}


def _claims(found: Comparison, seeds: int) -> list[Claim]:
    # Ten collisions in 500 starts are 2 %, also where the mean of the seeds' rates rounds up.
    rate = {arm: np.round(found.of(arm, "collisions").mean(), 9) for arm in ARMS}
    shown = ", ".join(f"{arm} {100 * value:.1f} %" for arm, value in rate.items())
    below = np.concatenate([found.of(arm, "passed below") for arm in ("8 experts", "2 experts")])
    mixed = min(rate["8 experts"], rate["2 experts"])
    return [
        Claim("experts pass the disc: at most 2 % collisions", "spec, check 13", shown,
              judge(max(rate["8 experts"], rate["2 experts"]) <= 0.02, mixed <= 0.02), seeds),
        Claim("both sides are used", "spec, check 13", f"passed below: {100 * below.min():.0f} to "
              f"{100 * below.max():.0f} % of the starts", judge(below.min() > 0.1 and below.max() < 0.9), seeds),
        Claim("one network collides at least three times as often", "spec, check 13", shown,
              judge(rate["one network"] >= 3 * max(rate["8 experts"], 1e-9) and rate["one network"] > 0), seeds),
    ]  # fmt: skip


def draw(found: Comparison, paths: dict[str, list[np.ndarray]], path: Path) -> Path:
    """Paths of the first seed of every arm; those that end in the disc in orange."""
    from matplotlib.patches import Circle

    from costogo.viz import COLOURS, figure, save

    radius = float(system_of(found.place).radius)
    fig, axes = figure(1, len(paths), size=(3.6, 1.6), sharey=True)
    for ax, (arm, seeds) in zip(axes.flat, paths.items(), strict=True):
        ax.add_patch(Circle((0, 0), radius, color="0.85"))
        for line in seeds[0][:SHOWN]:
            ax.plot(line[:, 0], line[:, 1], color=COLOURS[0] if line[-1, 2] else COLOURS[1], linewidth=0.8)
        ax.set(title=arm, xlabel="x [m]", aspect="equal")
    axes.flat[0].set(ylabel="y [m]")
    return save(fig, path)
