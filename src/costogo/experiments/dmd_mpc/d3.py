"""D3: a two-link leg tracks an ellipse with its foot (spec dmd_mpc 9.2 and section 10; check 14)."""

from pathlib import Path
from typing import Any

import numpy as np

from costogo.experiments.claims import Claim, judge, write_claims, write_rows
from costogo.experiments.dmd_mpc.arms import Comparison, write_comparisons
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

ARMS = {"M-DeMoRL": {"method": "m_demorl"}, "SAC": {"method": "sac"}, "SAC, 5 updates": {"method": "sac_many"}}
ASKABLE = ("Leg", "LegLiteral")  # those that track the ellipse
SETTLED = 250  # steps (0.5 s): the foot starts beside the path
GOOD = 0.02  # m
FROM = 20_000  # real steps, epoch 20
DRAWS = 20


def run(config: ExperimentConfig, folder: Path) -> None:
    """Train, compare, draw foot paths, try the frozen policies on perturbed legs."""
    found = Comparison(DMDConfig(task=config.task or "Leg"), ARMS).train(config, folder, 3)
    media = write_comparisons(folder, [found])
    tested = [tested_row(arm, run) for arm, runs in found.runs.items() for run in runs]
    write_rows(folder / "tracking.csv", tested)
    media.append(draw_paths(found, folder / "foot_paths.png"))
    rows = write_claims(folder, claims(found, tested))
    facts = {"task": found.base.task, "preset": "cpu", "perturbed legs": DRAWS}
    write_report(folder, "D3: a leg tracks an ellipse", rows + tested, media, facts)


def tracking(policy: Any, environment: LegEnvironment, seed: int) -> tuple[float, Episode]:
    """RMS distance (m) of the foot from its target after the first half second, and the episode."""
    shown = episode(GymnasiumEnvironment(environment, time_limit=1000), policy, seed)
    return rms_tracking_error([step["tracking_error"] for step in shown.info], skip=SETTLED), shown


def tested_row(arm: str, run: Run) -> dict[str, Any]:
    """Tracking on the leg of the training and on perturbed ones. Found out once, then read."""
    return {"arm": arm, "seed": run.setting.seed, **run.kept("tested", lambda: _tracked(run), draws=DRAWS)}


def _tracked(run: Run) -> dict[str, Any]:
    policy = run.learner.policy(run.state)
    own, _ = tracking(policy, LegEnvironment(), 0)
    others = [tracking(policy, LegEnvironment(options=perturbed_leg(seed)), seed)[0] for seed in range(DRAWS)]
    return {
        "RMS error [mm]": round(1e3 * own, 2),
        "median RMS, perturbed [mm]": round(1e3 * float(np.median(others)), 2),
        "perturbed below 20 mm": round(float(np.mean(np.array(others) < GOOD)), 2),
    }  # fmt: skip


def claims(found: Comparison, tested: list[dict[str, Any]]) -> list[Claim]:
    """Better than SAC from epoch 20 on, and closer than 2 cm at the end."""
    seeds = len(found.runs["SAC"])
    curves = {arm: found.returns(arm) for arm in ARMS}
    steps, ours = curves["M-DeMoRL"]
    late = steps >= min(FROM, steps[-1])
    above = ours.mean(axis=0)[late] > curves["SAC"][1].mean(axis=0)[late]
    gain = [values.mean(axis=0)[-1] - values.mean(axis=0)[0] for values in (ours, curves["SAC"][1])]
    errors = [row["RMS error [mm]"] for row in tested if row["arm"] == "M-DeMoRL"]
    return [
        Claim(
            "leg: more reward than SAC from epoch 20 on", "above", f"above in {above.mean():.0%} of the evaluations",
            judge(bool(above.all()), bool(above.mean() > 0.5)), seeds,
        ),
        Claim(
            "leg: gain in reward at the end", "2 times that of SAC", f"{gain[0] / gain[1]:.2f} times",
            judge(gain[0] >= 2 * gain[1], gain[0] >= gain[1]), seeds,
        ),
        Claim(
            "leg: tracking error at the end", "RMS below 20 mm (spec)", f"{', '.join(f'{e:.1f}' for e in errors)} mm",
            judge(max(errors) < 1e3 * GOOD, min(errors) < 1e3 * GOOD), seeds,
        ),
    ]  # fmt: skip


def draw_paths(found: Comparison, path: Path) -> Path:
    """Foot paths of the first seed of each arm, after the first half second, over the ellipse."""
    from costogo.viz import COLOURS, figure, save

    fig, axes = figure(1, len(found.arms), size=(2.8, 2.4), sharex=True, sharey=True)
    phases = np.linspace(0.0, 2.0 * np.pi, 200)
    target = np.array([foot_target("ellipse", phase)[0] for phase in phases])
    for ax, (arm, runs) in zip(axes.flat, found.runs.items(), strict=True):
        _, shown = tracking(runs[0].learner.policy(runs[0].state), LegEnvironment(), 0)
        joints = np.arctan2(shown.observations[SETTLED:, 2:4], shown.observations[SETTLED:, 0:2])
        foot = np.array([foot_position(q) for q in joints])
        ax.plot(*target.T, color="0.5", linestyle="--", linewidth=1.0)
        ax.plot(*foot.T, color=COLOURS[0], linewidth=0.9)
        ax.set(title=arm, xlabel="x [m]", aspect="equal")
    axes.flat[0].set_ylabel("z [m]")
    return save(fig, path)
