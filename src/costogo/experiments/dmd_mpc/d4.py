"""D4: a quadruped learns to modulate its trot to slopes (spec dmd_mpc 9.3 and section 10)."""

from pathlib import Path
from typing import Any

import numpy as np

from costogo.experiments.claims import Claim, judge, write_claims, write_rows
from costogo.experiments.dmd_mpc.arms import Comparison, write_comparisons
from costogo.experiments.dmd_mpc.presets import DMDConfig
from costogo.experiments.dmd_mpc.results import episode, motion_frames
from costogo.experiments.registry import ExperimentConfig
from costogo.experiments.reporting import write_report
from costogo.experiments.training_runs import Run
from costogo.sim.stochlite import slope_action
from costogo.sim.tasks import GymnasiumEnvironment, StochliteEnvironment, perturbed_stochlite

ARMS = {"M-DeMoRL": {"method": "m_demorl"}, "SAC": {"method": "sac"}}
PITCHES = (-13, -9, -5, 0, 5, 9, 13)  # degrees, with a level roll; rolls with a level pitch are the same
DRAWS = 20
LEGS = 4
STRONG = 0.8  # correlation


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
    rows += [{"arm": "hand-tuned shifts", "seed": 0} | row for row in walks(slope_action, steps)]
    write_rows(folder / "walks.csv", rows)
    media.append(draw_shifts(rows, folder / "shifts.png"))
    first = found.runs["M-DeMoRL"][0]
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
    """A walk on each slope: steps survived, return, and the mean shifts of the feet (m)."""
    rows = []
    for axis in ("pitch", "roll"):
        for degrees in PITCHES:
            angle = float(np.radians(degrees))
            slope = (0.0, angle) if axis == "pitch" else (angle, 0.0)
            environment = GymnasiumEnvironment(StochliteEnvironment(slope=slope), time_limit=1000)
            shown = episode(environment, policy, 0, steps)
            shifts = 0.1 * np.clip(shown.controls, -1.0, 1.0)
            rows.append({
                "axis": axis, "slope": degrees, "steps": len(shown.rewards),
                "fell": int(shown.terminal), "return": round(float(shown.rewards.sum()), 1),
                "x-shift": round(float(shifts[:, :LEGS].mean()), 4),
                "y-shift": round(float(shifts[:, LEGS : 2 * LEGS].mean()), 4),
            })  # fmt: skip
    return rows


def perturbed(policy: Any, steps: int, draws: int) -> float:
    """Share of other robots, on random slopes, that a frozen policy does not let fall."""
    fell = []
    for draw in range(draws):
        environment = StochliteEnvironment(options=perturbed_stochlite(draw))
        fell.append(episode(GymnasiumEnvironment(environment, time_limit=1000), policy, draw, steps).terminal)
    return round(1.0 - float(np.mean(fell)), 3)


def correlation(rows: list[dict[str, Any]], arm: str, axis: str) -> np.ndarray:
    """Correlation of the mean shift along the slope's direction with its angle, of each seed."""
    column = "x-shift" if axis == "pitch" else "y-shift"
    found = []
    for seed in sorted({row["seed"] for row in rows if row["arm"] == arm}):
        chosen = [row for row in rows if (row["arm"], row["axis"], row["seed"]) == (arm, axis, seed)]
        slopes, shifts = np.array([row["slope"] for row in chosen]), np.array([row[column] for row in chosen])
        found.append(float(np.corrcoef(slopes, shifts)[0, 1]) if shifts.std() > 0 else 0.0)
    return np.array(found)


def claims_of(found: Comparison, rows: list[dict[str, Any]], trials: list[dict[str, Any]]) -> list[Claim]:
    """It walks on slopes after 60 episodes, shifts follow the slope, and it survives other robots."""
    ours = [row for row in rows if row["arm"] == "M-DeMoRL" and row["slope"] != 0]
    stood = 1.0 - float(np.mean([row["fell"] for row in ours]))
    pitch, roll = (correlation(rows, "M-DeMoRL", axis) for axis in ("pitch", "roll"))
    success = {arm: [row["success"] for row in trials if row["arm"] == arm] for arm in ARMS}
    finals = {arm: found.final(arm) for arm in ARMS}
    seeds = len(found.runs["SAC"])
    return [
        Claim("quadruped: walks on slopes of 5 to 13 degrees within 60 episodes", "walks", f"{stood:.0%} of the walks",
              judge(stood == 1.0, stood >= 0.8), seeds),
        Claim("quadruped: x-shifts grow with the slope's pitch, y-shifts with its roll", "they grow",
              f"correlation {', '.join(f'{c:.2f}' for c in pitch)} and {', '.join(f'{c:.2f}' for c in roll)}",
              judge(min(pitch.min(), abs(roll).min()) > STRONG, max(pitch.max(), abs(roll).max()) > STRONG), seeds),
        Claim("quadruped: return after the same episodes", "SAC needs 160 episodes",
              "; ".join(f"{arm} {', '.join(f'{v:.0f}' for v in values)}" for arm, values in finals.items()),
              judge(finals["M-DeMoRL"].mean() > finals["SAC"].mean()), seeds),
        Claim(f"quadruped: frozen policies on {DRAWS} perturbed robots", "not stated (spec)",
              "; ".join(f"{arm}: {', '.join(f'{v:.0%}' for v in values)}" for arm, values in success.items()),
              judge(min(success["M-DeMoRL"]) >= 0.9, max(success["M-DeMoRL"]) >= 0.9), seeds),
    ]  # fmt: skip


def draw_shifts(rows: list[dict[str, Any]], path: Path) -> Path:
    """Mean x-shift against pitch, mean y-shift against roll; a line per arm, points per seed."""
    from costogo.viz import COLOURS, figure, save

    fig, axes = figure(1, 2, size=(3.4, 2.8))
    for ax, axis, column in zip(axes.flat, ("pitch", "roll"), ("x-shift", "y-shift"), strict=True):
        for colour, arm in zip(COLOURS, dict.fromkeys(row["arm"] for row in rows), strict=False):
            chosen = [row for row in rows if row["arm"] == arm and row["axis"] == axis]
            means = [np.mean([row[column] for row in chosen if row["slope"] == slope]) for slope in PITCHES]
            ax.plot([row["slope"] for row in chosen], [row[column] for row in chosen], ".", color=colour, markersize=3)
            ax.plot(PITCHES, means, color=colour, label=arm)
        ax.set(xlabel=f"{axis} of the slope [degrees]", title=f"mean {column} of the feet [m]")
    axes.flat[0].legend(fontsize=7)
    return save(fig, path)
