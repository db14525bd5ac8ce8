"""D3: a two-link leg tracks an ellipse with its foot (spec dmd_mpc 9.2 and section 10; check 14)."""

from pathlib import Path
from typing import Any

import numpy as np

from costogo.experiments.claims import Claim, judge, write_claims, write_rows
from costogo.experiments.dmd_mpc.arms import Comparison, own_folder, share_above, write_comparisons
from costogo.experiments.dmd_mpc.presets import DMDConfig
from costogo.experiments.dmd_mpc.results import Episode, episode
from costogo.experiments.registry import ExperimentConfig
from costogo.experiments.reporting import write_report
from costogo.experiments.training_runs import Run
from costogo.sim.tasks import (
    GymnasiumEnvironment,
    LegEnvironment,
    foot_position,
    foot_target,
    perturbed_leg,
    rms_tracking_error,
)

OURS, SAC, CONTROL = "M-DeMoRL", "SAC", "SAC, 5 updates"  # SAC has one update per step; the control as many as ours
ARMS = {OURS: {"method": "m_demorl"}, SAC: {"method": "sac"}, CONTROL: {"method": "sac_many"}}
ASKABLE = ("Leg", "LegLiteral")  # those that track the ellipse
SETTLED = 250  # steps (0.5 s): the foot starts beside the path
GOOD = 0.02  # m
FROM = 20_000  # real steps, epoch 20
DRAWS = 20


def run(config: ExperimentConfig, folder: Path) -> None:
    """Train, compare, draw foot paths, try the frozen policies on perturbed legs."""
    found = Comparison(DMDConfig(task=config.task or "Leg"), ARMS).train(config, folder, 3)
    folder = own_folder(config, folder)
    media = write_comparisons(folder, [found])
    tested = [tested_row(arm, run) for arm, runs in found.runs.items() for run in runs]
    media.append(draw_paths({row["arm"]: row.pop("path") for row in reversed(tested)}, folder / "foot_paths.png"))
    write_rows(folder / "tracking.csv", tested)
    rows = write_claims(folder, claims(found, tested))
    facts = {"task": found.base.task, "preset": "cpu", "perturbed legs": DRAWS}
    write_report(folder, "D3: a leg tracks an ellipse", rows + tested, media, facts)


def tracking(policy: Any, environment: LegEnvironment, seed: int) -> tuple[float, Episode]:
    """RMS distance (m) of the foot from its target after the first half second, and the episode."""
    shown = episode(GymnasiumEnvironment(environment, time_limit=1000), policy, seed)
    return rms_tracking_error([step["tracking_error"] for step in shown.info], skip=SETTLED), shown


def tested_row(arm: str, run: Run) -> dict[str, Any]:
    """Tracking on the leg of the training and on perturbed ones, and the foot's path (m) on the former, as a list.
    Found out once, then read."""
    return {"arm": arm, "seed": run.setting.seed, **run.kept("tested", lambda: _tracked(run), draws=DRAWS)}


def _tracked(run: Run) -> dict[str, Any]:
    policy = run.learner.policy(run.state)
    own, shown = tracking(policy, LegEnvironment(), 0)
    joints = np.arctan2(shown.observations[SETTLED:, 2:4], shown.observations[SETTLED:, 0:2])
    others = [tracking(policy, LegEnvironment(options=perturbed_leg(seed)), seed)[0] for seed in range(DRAWS)]
    return {
        "RMS error [mm]": round(1e3 * own, 2),
        "median RMS, perturbed [mm]": round(1e3 * float(np.median(others)), 2),
        "perturbed below 20 mm": round(float(np.mean(np.array(others) < GOOD)), 2),
        "path": np.round([foot_position(q) for q in joints], 4).tolist(),
    }  # fmt: skip


def claims(found: Comparison, tested: list[dict[str, Any]]) -> list[Claim]:
    """Better than SAC from epoch 20 on, and than SAC with as many updates; closer than 2 cm at the end."""
    task, seeds = found.base.task, len(found.runs[SAC])
    above, control = (share_above(found, OURS, arm, FROM) for arm in (SAC, CONTROL))
    gains = {arm: float(found.final(arm).mean()) - found.first for arm in ARMS}
    errors = [row["RMS error [mm]"] for row in tested if row["arm"] == OURS]
    more = gains[OURS] > 0 and gains[OURS] >= gains[SAC]
    return [
        Claim(
            f"{task}: more reward than SAC (one update per step) from epoch 20 on", "above",
            f"above in {above:.0%} of the evaluations", judge(above == 1.0, above > 0.5), seeds,
        ),
        Claim(
            f"{task}: more reward than SAC with as many updates from epoch 20 on", "not told (spec: the control)",
            f"above in {control:.0%} of the evaluations", judge(control == 1.0, control > 0.5), seeds,
        ),
        Claim(
            f"{task}: gain in reward over the run", "2 times that of SAC",
            ", ".join(f"{arm} {gain:.0f}" for arm, gain in gains.items()),
            judge(more and gains[OURS] >= 2 * gains[SAC], more), seeds,
        ),
        Claim(
            f"{task}: tracking error at the end", "RMS below 20 mm (spec)",
            f"{', '.join(f'{e:.1f}' for e in errors)} mm",
            judge(max(errors) < 1e3 * GOOD, min(errors) < 1e3 * GOOD), seeds,
        ),
    ]  # fmt: skip


def draw_paths(paths: dict[str, list[list[float]]], path: Path) -> Path:
    """Foot paths of the arms, after the first half second, over the ellipse."""
    from costogo.viz import COLOURS, figure, save

    fig, axes = figure(1, len(paths), size=(2.8, 2.4), sharex=True, sharey=True)
    phases = np.linspace(0.0, 2.0 * np.pi, 200)
    target = np.array([foot_target("ellipse", phase)[0] for phase in phases])
    for ax, arm in zip(axes.flat, ARMS, strict=True):
        ax.plot(*target.T, color="0.5", linestyle="--", linewidth=1.0)
        ax.plot(*np.array(paths[arm]).T, color=COLOURS[0], linewidth=0.9)
        ax.set(title=arm, xlabel="x [m]", aspect="equal")
    axes.flat[0].set_ylabel("z [m]")
    return save(fig, path)
