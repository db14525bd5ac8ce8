"""Soft actor-critic: updates a second, and environment steps a second with one update each, on one and on two cores.

Networks of 2 x 256 units, batches of 256 rows, the peers' defaults, which are ours too. Updates alone run many in one
call; steps run as training does, through each library's own loop.
"""

from contextlib import ExitStack

from benchmarks.cases.common import Case, Settings, missing, timing_fields
from benchmarks.harness import Unavailable, interleave
from benchmarks.report import Row

TASKS = ("HalfCheetah-v5", "InvertedPendulum-v5")
OURS, SB3 = "costogo", "stable-baselines3"
# Name, environment (None is ours), script.
CONTENDERS = ((OURS, None, "costogo_sac"), (SB3, "sb3", "baselines_sac"), ("sbx-rl", "sbx", "baselines_sac"))
WORKS = ("updates", "steps")
TARGETS = {SB3: 1.5, "sbx-rl": 1.0}  # times as fast as the peer


def run(settings: Settings) -> list[Row]:
    """Both tasks; a quick run takes one task on one core."""
    if settings.quick:
        return _group(TASKS[1], 1, settings)
    return [row for cores in (1, 2) for task in TASKS for row in _group(task, cores, settings)]


def _group(task: str, cores: int, settings: Settings) -> list[Row]:
    """All libraries on a task, taking turns; each in a process bound to the same cores."""
    sizes = {"updates": 5, "steps": 10} if settings.quick else {"updates": 100, "steps": 250}
    base: Row = {"task": task, "cores": cores}
    rows, contenders = {name: {**base, "library": name} for name, *_ in CONTENDERS}, []
    with ExitStack() as stack:
        for name, environment, script in CONTENDERS:
            try:
                peer = stack.enter_context(settings.peer(environment, script, cores))
                rows[name] |= peer.prepare({}, task=task, first=1000, capacity=100_000, **sizes)
                contenders += [peer.contender(f"{name} {work}", work) for work in WORKS]
            except Unavailable as reason:
                rows[name] = missing(rows[name], reason)
        timings = interleave(contenders, settings.effort)
    for name, row in rows.items():
        for work in WORKS:
            if f"{name} {work}" in timings:
                fields = timing_fields(timings[f"{name} {work}"], "ms", sizes[work])
                row.update({key if key == "missing" else f"{work}_{key}": value for key, value in fields.items()})
        if "missing" not in row:
            row.update({f"{work}_per_s": 1e3 / row[f"{work}_ms"] for work in WORKS})
    return _compared(list(rows.values()))


def _compared(rows: list[Row]) -> list[Row]:
    """How many times as fast we are as each peer, and the target for it."""
    ours = rows[0]
    for row in rows:
        if row["library"] in TARGETS and "missing" not in row and "missing" not in ours:
            row.update({f"{work}_ratio": row[f"{work}_ms"] / ours[f"{work}_ms"] for work in WORKS})
            row["target"] = TARGETS[row["library"]]
    return rows


CASE = Case(
    "sac",
    (
        ("task", "task", 0),
        ("cores", "cores", 0),
        ("library", "library", 0),
        ("parameters", "trained numbers", 0),
        ("updates_per_s", "updates per s", 3),
        ("steps_per_s", "steps with an update per s", 3),
        ("updates_ratio", "costogo times as fast, updates", 3),
        ("steps_ratio", "steps", 3),
        ("target", "target", 2),
    ),
    run,
)
