"""D2: which share of the sampled sequences should count (spec dmd_mpc section 10; check 13)."""

from pathlib import Path

import numpy as np

from costogo.experiments.claims import Claim, judge, write_claims
from costogo.experiments.dmd_mpc.arms import Comparison, own_folder, write_comparisons
from costogo.experiments.dmd_mpc.presets import TASK_NAMES, DMDConfig
from costogo.experiments.registry import ExperimentConfig
from costogo.experiments.reporting import write_report

ASKABLE = TASK_NAMES
ELITES = (0.01, 0.05, 0.1, 0.2, 0.5, 1.0)
ARMS = {f"{100 * share:g} %": {"elites": share} for share in ELITES}
MIDDLE = ("5 %", "10 %", "20 %")


def run(config: ExperimentConfig, folder: Path) -> None:
    """Train with every share; write curves, bars of steps to the level, and claims."""
    found = Comparison(DMDConfig(task=config.task or "Swimmer"), ARMS).train(config, folder, 2)
    folder = own_folder(config, folder)
    media = [*write_comparisons(folder, [found]), draw_bars(found, folder / "steps_to_level.png")]
    rows = write_claims(folder, claims(found))
    write_report(folder, "D2: elite fractions", rows + found.summary, media, {"task": found.base.task, "preset": "cpu"})


def claims(found: Comparison) -> list[Claim]:
    """An intermediate share is best, and all samples are clearly worse."""
    areas = {arm: float(found.returns(arm)[1].mean()) for arm in ARMS}
    best = max(areas, key=areas.__getitem__)
    lost = (areas[best] - areas["100 %"]) / max(abs(areas[best]), 1e-9)
    told = ", ".join(f"{arm}: {area:.3g}" for arm, area in areas.items())
    seeds = len(found.runs[best])
    return [
        Claim(
            f"{found.base.task}: an intermediate share of elites is best", "10 %", f"{best}; mean return {told}",
            judge(best in MIDDLE), seeds,
        ),
        Claim(
            f"{found.base.task}: all samples together do worse", "more than 10 % below the best (spec)",
            f"{100 * lost:.0f} % below", judge(lost > 0.1, lost > 0.0), seeds,
        ),
    ]  # fmt: skip


def draw_bars(found: Comparison, path: Path) -> Path:
    """Epochs to the level for every arm: mean over the seeds that reach it, and each seed as a point."""
    from costogo.viz import COLOURS, figure, save

    fig, axes = figure(1, 1, size=(4.8, 2.8))
    ax, length = axes[0, 0], found.base.budget.epoch
    for i, arm in enumerate(found.arms):
        epochs = found.steps_to(arm) / length
        reached = epochs[np.isfinite(epochs)]
        if reached.size:
            ax.bar(i, reached.mean(), color=COLOURS[0], alpha=0.6)
            ax.plot(np.full(reached.size, i), reached, ".", color="0.2")
        else:
            ax.text(i, 0, "never", ha="center", va="bottom", fontsize=7)
    ax.set_xticks(range(len(found.arms)), list(found.arms))
    ax.set_xlim(-0.6, len(found.arms) - 0.4)
    ax.set(title=f"epochs of {length} steps to a return of {found.level:.4g}", xlabel="elites")
    return save(fig, path)
