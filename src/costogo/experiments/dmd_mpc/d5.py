"""D5: weightings, step sizes and modes of the mirror step, and what we added to the paper (spec dmd_mpc section 10;
the paper claims nothing)."""

from pathlib import Path

from costogo.experiments.claims import Claim, write_claims
from costogo.experiments.dmd_mpc.arms import Comparison, own_folder, write_comparisons
from costogo.experiments.dmd_mpc.presets import TASK_NAMES, DMDConfig
from costogo.experiments.registry import ExperimentConfig
from costogo.experiments.reporting import write_report

ASKABLE = TASK_NAMES
TASKS = ("InvertedPendulum", "Reacher")
ARMS = {
    "low cost (PLC)": {},
    "exponentiated (EEU)": {"weighting": "eeu"},
    "shifted elites": {"weighting": "elite_shifted"},
    "literal (14)": {"weighting": "literal_14"},
    "step 0.5": {"step_size": 0.5},
    "step 1.0": {"step_size": 1.0},
    "open loop": {"mode": "open_loop"},
    "one replay": {"replays": 1},
    "no clip": {"bounded": False},
    "one replay, no clip": {"bounded": False, "replays": 1},
}


def run(config: ExperimentConfig, folder: Path) -> None:
    """Train every variant on both tasks; write curves and a table."""
    tasks = (config.task,) if config.task else TASKS
    found = [Comparison(DMDConfig(task=task), ARMS).train(config, folder, 2) for task in tasks]
    folder = own_folder(config, folder)
    media = write_comparisons(folder, found)
    rows = write_claims(folder, [_ranking(comparison) for comparison in found])
    table = [row for comparison in found for row in comparison.summary]
    write_report(folder, "D5: variants of the mirror step", rows + table, media, {"tasks": tasks, "preset": "cpu"})


def _ranking(found: Comparison) -> Claim:
    """Mean return over the run, best first. Nothing is published to hold it against."""
    areas = {arm: float(found.returns(arm)[1].mean()) for arm in found.arms}
    told = ", ".join(f"{arm} {areas[arm]:.4g}" for arm in sorted(areas, key=areas.__getitem__, reverse=True))
    return Claim(
        f"{found.base.task}: mean return over the run", "none", told, "no claim", len(found.runs[next(iter(areas))])
    )
