"""Policies for several conditions, tried on unseen ones: what G3 and G4 have in common (check 15)."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from costogo.experiments.claims import Claim, judge, write_claims
from costogo.experiments.constrained_gps.arms import Comparison, tested
from costogo.experiments.constrained_gps.disturbed import random_pushes
from costogo.experiments.constrained_gps.presets import CONDITIONS, GPSConfig, setting_of
from costogo.experiments.constrained_gps.results import summary
from costogo.experiments.constrained_gps.videos import motion_frames
from costogo.experiments.registry import ExperimentConfig
from costogo.experiments.reporting import write_report
from costogo.experiments.training_runs import Run

OURS = "constrained"
SEEDS = {OURS: 3, "variational": 1, "adapted": 1, "dagger": 1}
ITERATIONS = {"terrain": 40, "push": 95}  # before the ramp ends: at the whole cost policies are less sure
SHOWN_STEPS = 400
FURTHER = {"terrain": tuple(range(300, 320)), "push": random_pushes(20, seed=1)}  # others were looked at before
ENOUGH = 0.75  # of the unseen conditions


def compare(
    system: str,
    counts: tuple[int, int],
    config: ExperimentConfig,
    folder: Path,
    more: Callable[[Comparison, Path], list[Path]] = lambda found, folder: [],
) -> Comparison:
    """Train ours and three baselines on few and on many conditions; write curves, traces, claims, an unseen one, and
    the figures that `more` draws."""
    from costogo.viz import write_video

    found = Comparison(base(system), [{"conditions": count} for count in counts], SEEDS, tested_further)
    found.train(config, folder)
    media = found.write(folder) + more(found, folder)
    run = next(r for r in found.runs if (r.setting.method, r.setting.conditions) == (OURS, counts[-1]))
    frames, fps = motion_frames(run.setting, run.state.policy, 0, 40 if config.quick else SHOWN_STEPS)
    media.append(write_video(frames, folder / "unseen.mp4", fps=fps))
    rows = write_claims(folder, claims(found))
    title = f"{folder.name.upper()}: {CONDITIONS[system]} that training has not seen"
    write_report(folder, title, rows + found.summary, media, found.references)
    return found


def base(system: str) -> GPSConfig:
    """What all runs have in common."""
    return GPSConfig(system=system, hidden=50, iterations=ITERATIONS[system], symmetric=True)


def tested_further(run: Run) -> list[dict[str, Any]]:
    """What the policy of a run does, also on conditions by which no setting was chosen."""

    def further() -> dict[str, Any]:
        task = setting_of(run.setting, unseen=FURTHER[run.setting.system]).task
        return summary(task, run.state.policy)[-1] | {"starts": "further"}

    return [*tested(run), run.kept("further", further)]


def stood(found: Comparison, starts: str, **arm: object) -> np.ndarray:
    """Share of the conditions without a fall, of each seed."""
    return 1.0 - found.of("failed", starts=starts, **arm) / found.of("number", starts=starts, **arm)


def claims(found: Comparison) -> list[Claim]:
    """Ours succeeds on conditions it has seen and on those it has not; no baseline does as well on the latter."""
    what, most = CONDITIONS[found.base.system], found.variants[-1]["conditions"]
    made, shares = [], {}
    for arm in found.arms:
        seen, unseen, further = (stood(found, starts, **arm) for starts in ("training", "unseen", "further"))
        published, verdict = _judged(found.base.system, arm, seen, unseen, most)
        shares[arm["method"], arm["conditions"]] = float(unseen.mean())
        made.append(Claim(
            f"{what}: {arm['method']} guided policy search with {arm['conditions']}", published,
            f"no fall on {_percent(seen)} of those seen, {_percent(unseen)} of 4 unseen, {_percent(further)} of "
            f"{len(FURTHER[found.base.system])} more", verdict, len(seen),
        ))  # fmt: skip
    ours = shares[OURS, most]
    others = {arm: share for arm, share in shares.items() if arm[0] != OURS}
    best = max(others.values(), default=0.0)
    told = ", ".join(f"{method} with {count} {share:.0%}" for (method, count), share in others.items())
    return [*made, Claim(
        f"{what}: unseen ones, ours with {most} against the baselines", "3 of 4, and more than any baseline (spec)",
        f"{ours:.0%} against {told}", judge(ours >= ENOUGH and ours > best, ours >= ENOUGH or ours > best),
        len(found.of("failed", method=OURS, conditions=most)),
    )]  # fmt: skip


def _judged(system: str, arm: dict[str, Any], seen: np.ndarray, unseen: np.ndarray, most: int) -> tuple[str, str]:
    """What the paper has of an arm, and the verdict on the shares that stood in ours."""
    learned, generalised = bool(seen.mean() == 1.0), bool(unseen.mean() >= ENOUGH)
    if arm["method"] != OURS:
        fails, stuck = bool(unseen.max() < ENOUGH), bool(seen.max() < 1.0)
        if arm["conditions"] == most:
            return "does not learn all, does not generalise", judge(fails and stuck, fails or stuck)
        return "does not generalise", judge(fails)
    if system == "push" and arm["conditions"] < most:
        return "not told", "no claim"
    return "learns and generalises", judge(learned and generalised, bool(unseen.max() >= ENOUGH))


def _percent(shares: np.ndarray) -> str:
    return ", ".join(f"{share:.0%}" for share in shares)
