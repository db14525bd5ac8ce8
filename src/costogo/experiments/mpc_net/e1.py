"""E-1 and E-5: one network and one set of hyperparameters learn trot and static walk from less than ten minutes of MPC
data (spec mpc_net section 10; paper III-E), with the feet checked and the gates looked at."""

from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from costogo.experiments.claims import Claim, judge, write_claims, write_rows
from costogo.experiments.mpc_net.arms import STARTS
from costogo.experiments.mpc_net.presets import PAPER_GAITS, MPCNetConfig, walking_task
from costogo.experiments.mpc_net.results import draw_gating, draw_learning, draw_response, student_rollout
from costogo.experiments.mpc_net.runs import all_runs, exported, tested
from costogo.experiments.registry import ExperimentConfig
from costogo.experiments.reporting import write_report
from costogo.experiments.training_runs import Run


def run(config: ExperimentConfig, folder: Path) -> None:
    """Train every gait and seed; write summary, figures and claims."""
    seeds, starts = config.seed_count(3), 4 if config.quick else STARTS
    summary, media = [], []
    settings = [MPCNetConfig(system="anymal", gait=gait) for gait in PAPER_GAITS]
    for number, run in all_runs(config, folder, settings, seeds, starts):
        row = {"gait": PAPER_GAITS[number], "seed": run.setting.seed, **tested(run, starts)}
        summary.append(row | exported(run, folder / "policies"))
        if run.setting.seed == 0:
            media += draw(run, folder)
    write_rows(folder / "summary.csv", summary)
    rows = write_claims(folder, claims(summary, seeds))
    write_report(folder, "E-1: trot and static walk from minutes of MPC data", rows + summary, media, {"seeds": seeds})


def displaced(setting: MPCNetConfig) -> jax.Array:
    """Standing 0.3 m ahead, 0.15 m to the left and 25 degrees turned."""
    x = jnp.asarray(walking_task(setting).robot.standing(), float)
    return x.at[3].set(0.3).at[4].set(0.15).at[2].set(np.deg2rad(25.0))


def draw(run: Run, folder: Path) -> list[Path]:
    """Learning curve, response and gating of one run."""
    setting = run.setting
    rollout = student_rollout(
        run.learner, run.state.policy, displaced(setting), jnp.zeros(()), 2 * run.learner.test_steps
    )
    return [
        draw_learning(run.curves, folder / f"learning_{setting.gait}.png"),
        draw_response(rollout, folder / f"response_{setting.gait}.png"),
        draw_gating(setting, rollout, folder / f"gating_{setting.gait}.png"),
    ]


def claims(summary: list[dict[str, Any]], seeds: int) -> list[Claim]:
    """Acceptance checks 15 and the paper's sentences."""
    found = []
    for gait in PAPER_GAITS:
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
            np.mean([row[name] for row in rows]) for name in ("largest stance height error", "smallest stance force")
        )
        found.append(Claim(
            f"{gait}: stance feet stay on the ground and push", "not reported",
            f"height error {1e3 * np.mean([row['stance height error'] for row in rows]):.1f} mm in the mean, "
            f"{1e3 * error:.1f} mm at most, smallest vertical force {force:.0f} N, "
            f"slip {np.mean([row['slip'] for row in rows]):.2f} m/s, force on swinging feet "
            f"{np.mean([row['swing force'] for row in rows]):.1f} N",
            judge(error < 0.02 and force > 0, error < 0.04), seeds,
        ))  # fmt: skip
    return found
