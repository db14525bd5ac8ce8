"""D4: a quadruped learns to modulate its trot to slopes (spec dmd_mpc 9.3 and section 10)."""

from pathlib import Path
from typing import Any

import numpy as np

from costogo.experiments.claims import Claim, judge, write_claims, write_rows
from costogo.experiments.dmd_mpc.arms import Comparison, write_comparisons
from costogo.experiments.dmd_mpc.presets import DMDConfig
from costogo.experiments.dmd_mpc.results import Episode, episode, motion_frames
from costogo.experiments.registry import ExperimentConfig
from costogo.experiments.reporting import write_report
from costogo.experiments.training_runs import Run
from costogo.sim.stochlite import slope_action
from costogo.sim.tasks import GymnasiumEnvironment, StochliteEnvironment, perturbed_stochlite
from costogo.sim.tasks.stochlite import COMMAND

OURS, SAC, CONTROL = "M-DeMoRL", "SAC", "SAC, 5 updates"  # SAC has one update per step; the control as many as ours
ARMS = {OURS: {"method": "m_demorl"}, SAC: {"method": "sac"}, CONTROL: {"method": "sac_many"}}
HAND = "hand-tuned shifts"
SLOPES = (-13, -9, -5, 0, 5, 9, 13)  # degrees: pitches with a level roll, and rolls with a pitch of training
OTHER_PITCH = 5.0  # degrees, of the walks on rolls
DRAWS = 20
LEGS = 4
WALKING = 0.5  # of the speed that is commanded, at least
SHORTEST = 100  # steps of a walk whose shifts count
STRONG, ENOUGH = 0.8, 0.1  # correlation; change with the slope, of that of the hand-tuned shifts
SIGNS = {"pitch": 1.0, "roll": -1.0}  # of the shifts that balance a slope: x with the pitch, y against the roll


def run(config: ExperimentConfig, folder: Path) -> None:
    """Train, walk on fixed slopes, relate shifts to slopes, try perturbed robots; write video and claims."""
    from costogo.viz import write_video

    found = Comparison(DMDConfig(task="Stochlite"), ARMS).train(config, folder, 3)
    steps, draws = (100, 2) if config.quick else (1000, DRAWS)
    media = write_comparisons(folder, [found])
    rows, trials = [], []
    for arm, run in ((arm, run) for arm, runs in found.runs.items() for run in runs):
        label, tests = {"arm": arm, "seed": run.setting.seed}, tested(run, steps, draws)
        rows += [label | row for row in tests["walks"]]
        trials.append(label | {"success": tests["success"]})
    rows += [{"arm": HAND, "seed": 0} | row for row in walks(slope_action, steps)]
    write_rows(folder / "walks.csv", rows)
    media.append(draw_shifts(rows, folder / "shifts.png"))
    first = found.runs[OURS][0]
    frames, fps = motion_frames(found.base, first.learner.policy(first.state), 0, steps)
    media.append(write_video(frames, folder / "walk.mp4", fps=fps))
    write_rows(folder / "perturbed.csv", trials)
    claims = write_claims(folder, claims_of(found, rows, trials))
    facts = {"preset": "cpu", "real steps": found.base.budget.steps, "perturbed robots": DRAWS}
    write_report(folder, "D4: a trot on slopes", claims + rows, media, facts)


def tested(run: Run, steps: int, draws: int) -> dict[str, Any]:
    """The walks of a policy, and its success on perturbed robots. Found out once, then read."""

    def work() -> dict[str, Any]:
        policy = run.learner.policy(run.state)
        return {"walks": walks(policy, steps), "success": perturbed(policy, steps, draws)}

    return run.kept("tested", work, steps=steps, draws=draws)


def walks(policy: Any, steps: int) -> list[dict[str, Any]]:
    """A walk on each slope: steps survived, return, forward speed (m/s), mean shifts of the feet (m), and the slope as
    the robot saw it, which turns with it (degrees, mean)."""
    rows = []
    for axis in ("pitch", "roll"):
        for degrees in SLOPES:
            slope = (0.0, degrees) if axis == "pitch" else (degrees, OTHER_PITCH)
            environment = StochliteEnvironment(slope=(float(np.radians(slope[0])), float(np.radians(slope[1]))))
            shown = episode(GymnasiumEnvironment(environment, time_limit=1000), policy, 0, steps)
            shifts, seen = (
                0.1 * np.clip(shown.controls, -1.0, 1.0),
                np.degrees(shown.observations[:-1, 6:8].mean(axis=0)),
            )
            rows.append({
                "axis": axis, "slope": degrees, "seen": round(float(seen[int(axis == "pitch")]), 2),
                "steps": len(shown.rewards), "fell": int(shown.terminal), "speed": round(speed(shown), 3),
                "return": round(float(shown.rewards.sum()), 1),
                "x-shift": round(float(shifts[:, :LEGS].mean()), 4),
                "y-shift": round(float(shifts[:, LEGS : 2 * LEGS].mean()), 4),
            })  # fmt: skip
    return rows


def speed(shown: Episode) -> float:
    """Mean forward speed (m/s) in the plane of the slope."""
    return float(np.mean([step["velocity"][0] for step in shown.info]))


def perturbed(policy: Any, steps: int, draws: int) -> float:
    """Share of other robots, on random slopes, that walk under a frozen policy."""
    good = []
    for draw in range(draws):
        environment = StochliteEnvironment(options=perturbed_stochlite(draw))
        shown = episode(GymnasiumEnvironment(environment, time_limit=1000), policy, draw, steps)
        good.append(walked(shown.terminal, speed(shown)))
    return round(float(np.mean(good)), 3)


def walked(fell: bool, speed: float) -> bool:
    """To stand, or to slide back, is not to walk."""
    return not fell and speed >= WALKING * COMMAND[0]


def relation(rows: list[dict[str, Any]], arm: str, axis: str) -> tuple[np.ndarray, np.ndarray]:
    """Of the mean shifts of the feet in each walk, and the slope seen in it: correlation, and mm per degree, of each
    seed. The sign is that of balance; walks that ended at once do not count."""
    column, found = "x-shift" if axis == "pitch" else "y-shift", []
    for seed in sorted({row["seed"] for row in rows if row["arm"] == arm}):
        chosen = [
            row for row in rows
            if (row["arm"], row["axis"], row["seed"]) == (arm, axis, seed)
            and (not row["fell"] or row["steps"] >= SHORTEST)
        ]  # fmt: skip
        slopes, shifts = (np.array([row[name] for row in chosen]) for name in ("seen", column))
        known = len(chosen) >= 3 and shifts.std() > 0 and slopes.std() > 0
        found.append(
            (np.corrcoef(slopes, shifts)[0, 1], 1e3 * np.polyfit(slopes, shifts, 1)[0]) if known else (0.0, 0.0)
        )
    correlation, gain = SIGNS[axis] * np.array(found).T
    return correlation, gain


def claims_of(found: Comparison, rows: list[dict[str, Any]], trials: list[dict[str, Any]]) -> list[Claim]:
    """It walks on slopes after 60 episodes, shifts follow the slope, and it walks as another robot."""
    ours = [row for row in rows if row["arm"] == OURS and row["slope"] != 0]
    share = float(np.mean([walked(bool(row["fell"]), row["speed"]) for row in ours]))
    success = {arm: [row["success"] for row in trials if row["arm"] == arm] for arm in ARMS}
    finals = {arm: found.final(arm) for arm in ARMS}
    returns = "; ".join(f"{arm} {', '.join(f'{v:.0f}' for v in values)}" for arm, values in finals.items())
    steps, seeds = found.base.budget.steps, len(found.runs[SAC])
    return [
        Claim("quadruped: walks on slopes of 5 to 13 degrees within 60 episodes", "walks",
              f"{share:.0%} of the walks at half the commanded speed or more, after {steps:,} real steps",
              judge(share == 1.0, share >= 0.8), seeds),
        *(_follows(rows, axis, seeds) for axis in SIGNS),
        Claim("quadruped: return after the same real steps, SAC with one update per step", "SAC needs 160 episodes",
              returns, judge(finals[OURS].mean() > finals[SAC].mean()), seeds),
        Claim("quadruped: return after the same real steps, SAC with as many updates", "not told (spec: the control)",
              returns, judge(finals[OURS].mean() > finals[CONTROL].mean()), seeds),
        Claim(f"quadruped: frozen policies on {DRAWS} perturbed robots", "not stated (spec)",
              "; ".join(f"{arm}: {', '.join(f'{v:.0%}' for v in values)}" for arm, values in success.items()) + " walk",
              judge(min(success[OURS]) >= 0.9, max(success[OURS]) >= 0.9), seeds),
    ]  # fmt: skip


def _follows(rows: list[dict[str, Any]], axis: str, seeds: int) -> Claim:
    """Shifts grow with the slope as balance asks, and by enough to matter, in every seed."""
    (correlation, gain), hand = relation(rows, OURS, axis), float(relation(rows, HAND, axis)[1][0])
    good = (correlation > STRONG) & (gain >= ENOUGH * hand)
    shifts = "x-shifts grow with the pitch" if axis == "pitch" else "y-shifts grow with the roll"
    values = [", ".join(f"{value:.2f}" for value in column) for column in (correlation, gain)]
    return Claim(
        f"quadruped: {shifts} of the slope", "they grow",
        f"correlation {values[0]}; {values[1]} mm per degree, tuned by hand {hand:.2f}",
        judge(bool(good.all()), bool(good.any())), seeds,
    )  # fmt: skip


def draw_shifts(rows: list[dict[str, Any]], path: Path) -> Path:
    """Mean x-shift against pitch, mean y-shift against roll; a line per arm, points per seed."""
    from costogo.viz import COLOURS, figure, save

    fig, axes = figure(1, 2, size=(3.4, 2.8))
    for ax, axis, column in zip(axes.flat, ("pitch", "roll"), ("x-shift", "y-shift"), strict=True):
        for colour, arm in zip(COLOURS, dict.fromkeys(row["arm"] for row in rows), strict=False):
            chosen = [row for row in rows if row["arm"] == arm and row["axis"] == axis]
            means = [np.mean([row[column] for row in chosen if row["slope"] == slope]) for slope in SLOPES]
            ax.plot([row["slope"] for row in chosen], [row[column] for row in chosen], ".", color=colour, markersize=3)
            ax.plot(SLOPES, means, color=colour, label=arm)
        ax.set(xlabel=f"{axis} of the slope [degrees]", title=f"mean {column} of the feet [m]")
    axes.flat[0].legend(fontsize=7)
    return save(fig, path)
