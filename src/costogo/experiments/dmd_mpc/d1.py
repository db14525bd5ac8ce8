"""D1: SAC, MBPO, MoPAC and M-DeMoRL on the same tasks and budget (spec dmd_mpc section 10; checks 11 and 12)."""

from pathlib import Path

import numpy as np

from costogo.experiments.claims import Claim, judge, write_claims
from costogo.experiments.dmd_mpc.arms import Comparison, write_comparisons
from costogo.experiments.dmd_mpc.presets import TASK_NAMES, DMDConfig
from costogo.experiments.registry import ExperimentConfig
from costogo.experiments.reporting import write_report

ASKABLE = TASK_NAMES
TASKS = ("InvertedPendulum", "InvertedDoublePendulum", "Reacher", "Swimmer")
ARMS = {
    "M-DeMoRL": {"method": "m_demorl"},
    "MoPAC": {"method": "mopac"},
    "MBPO": {"method": "mbpo"},
    "SAC": {"method": "sac"},  # one update per step
}
OURS = "M-DeMoRL"
REPRODUCED, NO_WORSE = 0.85, 1.0


def run(config: ExperimentConfig, folder: Path) -> None:
    """Train every method on every task; write curves, table of steps and claims. Where one task is asked for, those
    that are finished stay in the report."""
    asked = (config.task,) if config.task else TASKS
    every = [Comparison(DMDConfig(task=task), ARMS) for task in dict.fromkeys((*TASKS, *asked))]
    found = [c.train(config, folder, 3) for c in every if c.base.task in asked or c.there(config, folder, 3)]
    tasks = [comparison.base.task for comparison in found]
    media = write_comparisons(folder, found)
    rows = write_claims(folder, claims(found))
    table = [row for comparison in found for row in comparison.summary]
    write_report(folder, "D1: returns against real steps", rows + table, media, {"preset": "cpu", "tasks": tasks})


def claims(found: list[Comparison]) -> list[Claim]:
    """The paper's sentence, task by task and as a median over tasks."""
    made, ratios = [], []
    for comparison in found:
        steps = {arm: float(np.median(comparison.steps_to(arm))) for arm in ARMS}
        best = min(steps[arm] for arm in ARMS if arm != OURS)
        ratio = steps[OURS] / best if np.isfinite(best) else np.nan
        ratios.append(ratio)
        seeds = len(comparison.runs[OURS])
        made.append(Claim(
            f"{comparison.base.task}: fewer real steps to 80 % of the common final level", "about 0.7 times the best",
            f"{ratio:.2f} times; median steps {', '.join(f'{arm} {s:.0f}' for arm, s in steps.items())}",
            judge(ratio <= REPRODUCED, ratio <= NO_WORSE), seeds,
        ))  # fmt: skip
        finals = {arm: comparison.final(arm) for arm in ARMS}
        made.append(Claim(
            f"{comparison.base.task}: the same final return", "equal to MBPO and MoPAC",
            "; ".join(f"{arm} {v.mean():.4g} ({v.min():.4g} to {v.max():.4g})" for arm, v in finals.items()),
            judge(finals[OURS].mean() >= finals["MBPO"].mean() - 0.1 * _range(finals)), seeds,
        ))  # fmt: skip
    median = float(np.nanmedian(ratios)) if np.isfinite(ratios).any() else np.nan
    enough = len(found) >= len(TASKS)
    return [*made, Claim(
        "median over tasks: fewer real steps than the best baseline", "0.7 times",
        f"{median:.2f} times, of {len(found)} {'tasks' if len(found) > 1 else 'task'}",
        judge(median <= REPRODUCED, median <= NO_WORSE) if enough else "not run", len(found[0].runs[OURS]),
    )]  # fmt: skip


def _range(finals: dict[str, np.ndarray]) -> float:
    """Distance between the best and the worst mean."""
    means = [values.mean() for values in finals.values()]
    return float(max(means) - min(means))
