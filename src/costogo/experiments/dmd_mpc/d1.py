"""D1: SAC, MBPO, MoPAC and M-DeMoRL on the same tasks and budget (spec dmd_mpc section 10; check 12)."""

from pathlib import Path

import numpy as np

from costogo.experiments.claims import Claim, judge, write_claims
from costogo.experiments.dmd_mpc.arms import Comparison, write_comparisons
from costogo.experiments.dmd_mpc.presets import TASK_NAMES, DMDConfig
from costogo.experiments.registry import ExperimentConfig
from costogo.experiments.reporting import write_report

ASKABLE = TASK_NAMES
TASKS = ("InvertedPendulum", "InvertedDoublePendulum", "Reacher", "Swimmer")
OURS, MBPO, MOPAC, SAC = "M-DeMoRL", "MBPO", "MoPAC", "SAC"
ARMS = {
    OURS: {"method": "m_demorl"},
    MOPAC: {"method": "mopac"},
    MBPO: {"method": "mbpo"},
    SAC: {"method": "sac"},  # one update per step
    "MBPO, long": {"method": "mbpo_long"},
    "SAC, 5 updates": {"method": "sac_many"},
}
PUBLISHED = (MOPAC, MBPO, SAC)  # the others are controls: what a long horizon and more updates do alone
REPRODUCED, NO_WORSE = 0.85, 1.0
EQUAL = 0.1  # of what the best arm gained
DRAWS = 1000  # of seeds, for intervals
# Claims on tasks that two cores do not run at the paper's budget.
LARGE = {
    "HalfCheetah": ("MBPO needs fewer steps than SAC (check 11)", "1.5 times fewer"),
    "Ant": ("the final return", "equal to MoPAC, clearly better than MBPO"),
}
UPDATES_PER_SECOND = 143  # of SAC on one core (docs/benchmarks.md)


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
    """The paper's sentence, task by task and as a median over tasks; what was not run."""
    made = [claim for comparison in found for claim in (_sooner(comparison), _controls(comparison), _equal(comparison))]
    ratios = np.array([ratio(comparison, PUBLISHED) for comparison in found])
    compared = ratios[np.isfinite(ratios)]
    median = float(np.median(compared)) if compared.size else np.nan
    enough = len(found) >= len(TASKS)
    return [*made, Claim(
        "median over tasks: fewer real steps than the best baseline", "0.7 times",
        f"{median:.2f} times, of {len(compared)} {'task' if len(compared) == 1 else 'tasks'}",
        judge(median <= REPRODUCED, median <= NO_WORSE) if enough else "not run", len(found[0].runs[OURS]),
    ), *not_run()]  # fmt: skip


def ratio(found: Comparison, others: tuple[str, ...], seeds: dict[str, np.ndarray] | None = None) -> float:
    """Median steps of ours to the level, in units of the quickest other arm's; zero where none of these gets there,
    NaN where ours does not either. `seeds` are the numbers of those that count, by default all."""
    steps = {
        arm: float(np.median(found.steps_to(arm) if seeds is None else found.steps_to(arm)[seeds[arm]]))
        for arm in (OURS, *others)
    }
    best = min(steps[arm] for arm in others)
    if np.isfinite(best):
        return steps[OURS] / best
    return 0.0 if np.isfinite(steps[OURS]) else np.nan


def interval(found: Comparison, others: tuple[str, ...]) -> tuple[float, float]:
    """95 % of the ratios for seeds drawn anew, with replacement, in each arm."""
    draw, count = np.random.default_rng(0), len(found.runs[OURS])
    drawn = [
        ratio(found, others, {arm: draw.integers(count, size=count) for arm in (OURS, *others)}) for _ in range(DRAWS)
    ]
    low, high = np.quantile(np.nan_to_num(drawn, nan=np.inf), (0.025, 0.975), method="nearest")
    return float(low), float(high)


def _told(found: Comparison, others: tuple[str, ...]) -> tuple[float, str]:
    """The ratio, and in words, with its interval and the steps."""
    value, (low, high) = ratio(found, others), interval(found, others)
    steps = ", ".join(f"{arm} {np.median(found.steps_to(arm)):.0f}" for arm in (OURS, *others))
    if np.isnan(value):
        return value, f"none reaches it; median steps {steps}"
    return value, f"{value:.2f} times (95 % of draws of the seeds: {low:.2f} to {high:.2f}); median steps {steps}"


def _sooner(found: Comparison) -> Claim:
    value, told = _told(found, PUBLISHED)
    verdict = judge(value <= REPRODUCED, value <= NO_WORSE)
    at_once = len({float(step) for arm in ARMS for step in found.steps_to(arm)}) == 1  # nobody learned, or all did
    return Claim(
        f"{found.base.task}: fewer real steps to 80 % of the common final level", "about 0.7 times the best", told,
        "no claim" if at_once else verdict, len(found.runs[OURS]),
    )  # fmt: skip


def _controls(found: Comparison) -> Claim:
    """What is left where the others have the same updates and horizon."""
    return Claim(
        f"{found.base.task}: the same against SAC with as many updates and MBPO with as long a horizon", "not told",
        _told(found, tuple(arm for arm in ARMS if arm not in (OURS, *PUBLISHED)))[1], "no claim",
        len(found.runs[OURS]),
    )  # fmt: skip


def _equal(found: Comparison) -> Claim:
    """Final returns of the model-based methods, within a share of what the best arm gained."""
    finals = {arm: found.final(arm) for arm in ARMS}
    apart = [float(finals[OURS].mean() - finals[arm].mean()) for arm in (MBPO, MOPAC)]
    near = EQUAL * max(found.best_gain, 0.0)
    return Claim(
        f"{found.base.task}: the same final return", "equal to MBPO and MoPAC",
        "; ".join(f"{arm} {v.mean():.4g} ({v.min():.4g} to {v.max():.4g})" for arm, v in finals.items()),
        judge(max(map(abs, apart)) <= near, min(apart) >= -near), len(found.runs[OURS]),
    )  # fmt: skip


def not_run() -> list[Claim]:
    """What the paper says of large tasks, and the hours they need."""
    rows = []
    for task, (claim, published) in LARGE.items():
        budget = DMDConfig(task=task, scale="paper").budget
        hours = budget.steps * budget.updates / UPDATES_PER_SECOND / 3600
        rows.append(Claim(
            f"{task}: {claim}", published,
            f"{budget.steps:,} steps of {budget.updates} updates: {hours:.0f} hours of updates a seed and core",
            "not run", 0,
        ))  # fmt: skip
    return rows
