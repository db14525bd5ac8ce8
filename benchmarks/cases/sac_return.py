"""Soft actor-critic: what it has learned after 20,000 steps, beside the same algorithm of two other libraries.

One update a step, networks of 2 x 256 units, batches of 256 rows, after 1000 random steps; the policy without noise is
tested in 5 episodes every 1000 steps. The peers' other settings are their defaults.
"""

import numpy as np

from benchmarks.cases.common import Case, Settings, missing
from benchmarks.harness import Unavailable
from benchmarks.report import Row

TASK, SOLVED = "InvertedPendulum-v5", 950.0
SEEDS = 3
LAST = 5  # tests that make the final return
CONTENDERS = (  # name, environment (None is ours), script
    ("costogo", None, "costogo_return"),
    ("stable-baselines3", "sb3", "baselines_return"),
    ("sbx-rl", "sbx", "baselines_return"),
)


def run(settings: Settings) -> list[Row]:
    """Every library and seed, each in a process on one core; a quick run takes one seed and few steps."""
    seeds = 1 if settings.quick else SEEDS
    return [_row(*contender, seed, settings) for seed in range(seeds) for contender in CONTENDERS]


def _row(name: str, environment: str | None, script: str, seed: int, settings: Settings) -> Row:
    steps, every, episodes = (600, 300, 1) if settings.quick else (20_000, 1000, 5)
    row: Row = {"task": TASK, "library": name, "seed": seed}
    try:
        with settings.peer(environment, script, 1) as peer:
            found = peer.prepare({}, task=TASK, steps=steps, every=every, episodes=episodes, seed=seed)
    except Unavailable as reason:
        return missing(row, reason)
    solved = np.flatnonzero(found["returns"] >= SOLVED)
    return row | {
        "final": float(np.mean(found["returns"][-LAST:])),
        "last": float(found["returns"][-1]),
        "solved": int(found["steps"][solved[0]]) if len(solved) else "never",
    }


CASE = Case(
    "sac_return",
    (
        ("task", "task", 0),
        ("library", "library", 0),
        ("seed", "seed", 0),
        ("final", "mean return of the last 5 tests", 4),
        ("last", "of the last", 4),
        ("solved", f"steps to the first test of {SOLVED:g}", 0),
    ),
    run,
)
