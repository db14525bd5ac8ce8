"""MPC and learned policy in full physics, with noisy estimates, in place of the paper's hardware test.

The policies are those of E-1; without them only the MPC runs.
"""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from costogo.experiments.claims import Claim, judge, write_claims, write_rows
from costogo.experiments.mpc_net.arms import Comparison
from costogo.experiments.mpc_net.presets import PAPER_GAITS, MPCNetConfig
from costogo.experiments.mpc_net.runs import RUNS
from costogo.experiments.mpc_net.trials import FRAMES_PER_SECOND, frames, judged, planner, simulate, student, tried
from costogo.experiments.registry import ExperimentConfig
from costogo.experiments.reporting import write_report
from costogo.io import load_numpy
from costogo.sim import Record

SECONDS, SEEDS = 10.0, 10


def run(config: ExperimentConfig, folder: Path) -> None:
    """Ten seeds of noise for each gait and controller; write summary, videos and claims."""
    seeds, seconds = config.seed_count(SEEDS), 1.0 if config.quick else SECONDS
    summary, media = [], []
    for gait in PAPER_GAITS:
        setting = MPCNetConfig(system="anymal", gait=gait)
        makers: dict[str, Callable] = {"mpc": planner(setting)}
        exported = folder.parent / "e1" / "policies" / f"{RUNS.name_of(setting)}.npz"
        if exported.is_file():
            makers["policy"] = student(setting, load_numpy(exported))
        for name, make in makers.items():
            records = [simulate(setting, make(), seed, seconds) for seed in range(seeds)]
            summary += [{"gait": gait, "controller": name, "seed": i, **judged(r)} for i, r in enumerate(records)]
            media.append(film(records[0], folder / f"{gait}_{name}.mp4"))
    write_rows(folder / "summary.csv", summary)
    rows = write_claims(folder, claims(summary, seeds, seconds))
    write_report(folder, "ANYmal in MuJoCo under MPC and policy", rows + summary, media, {"seconds": seconds})


def compare(config: ExperimentConfig, folder: Path, comparisons: Sequence[Comparison]) -> list[dict[str, Any]]:
    """The students of some comparisons in full physics, under a few seeds of noise each; writes `physics.csv`."""
    noises, seconds = (1, 1.0) if config.quick else (3, SECONDS)
    rows = []
    for comparison in comparisons:
        for arm, runs in comparison.runs.items():
            for run in runs:
                label = {"system": comparison.title, "arm": arm, "seed": run.setting.seed}
                found = run.kept(
                    "physics", lambda run=run: tried(run.setting, run.state.policy, noises, seconds),
                    noises=noises, seconds=seconds,
                )  # fmt: skip
                rows += [label | row for row in found]
    write_rows(folder / "physics.csv", rows)
    return rows


def film(record: Record, path: Path) -> Path:
    """Video of a run, in real time."""
    from costogo.viz import write_video

    return write_video(frames(record), path, fps=FRAMES_PER_SECOND)


def claims(summary: list[dict[str, Any]], seeds: int, seconds: float) -> list[Claim]:
    """Acceptance 4: at least eight of ten."""
    found = []
    for gait in PAPER_GAITS:
        for name in ("mpc", "policy"):
            rows = [row for row in summary if (row["gait"], row["controller"]) == (gait, name)]
            stood = sum(1 for row in rows if not row["fallen"])
            ours = f"{stood} of {len(rows)} stay up for {seconds:g} s" if rows else "no trained policy found"
            verdict = judge(stood >= 0.8 * len(rows), stood > 0) if rows else "not run"
            found.append(Claim(f"{gait} in MuJoCo under the {name}", "works on the robot", ours, verdict, seeds))
    return found
