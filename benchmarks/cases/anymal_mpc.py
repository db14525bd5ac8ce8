"""One MPC call for ANYmal (24 states, 24 inputs, 1 s ahead, 1 iteration, warm start) on one core, and where it goes.

The calls are those of a closed loop. The parts are programs of their own on the data of one call of the trot. With them
take turns sweeps over a random LQ model of the same dimensions: ours, and Crocoddyl's backward pass.
"""

import dataclasses
from contextlib import ExitStack

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks.anymal import Loop, constrained, parts_of
from benchmarks.cases.common import Case, Settings, missing, timing_fields
from benchmarks.cases.riccati import FIELDS, random_model
from benchmarks.harness import Contender, Unavailable, interleave, summary
from benchmarks.ours import Compiled, compiled, implementation
from benchmarks.peers.process import Peer
from benchmarks.report import Row
from costogo.lqr import EqualityRows, LQModel, backward
from costogo.systems.legged import GAITS, Anymal, WalkingTask

# Knots and milliseconds between them: the performance target's, and those that training uses.
GRIDS = ((67, 15), (40, 25))
NX = NU = 24
ROWS = 16
# Gait and implementation of the closed loops; the call of the first is taken apart.
LOOPS = (("trot", "auto"), ("static_walk", "auto"), ("trot", "jax"))
# Seconds of one turn of a closed loop: a good part of a gait cycle.
TURN = 0.25
SAME_GAINS = 1e-6
CALL = "MPC call, at one state"
PEER = "Crocoddyl backwardPass, no equality rows"


def run(settings: Settings) -> list[Row]:
    """All grids: the calls, then the parts. A quick run compiles only the first loop: that takes longest."""
    rows = []
    number = 1 if settings.quick else None
    for knots, dt in GRIDS[:number]:
        loops = {way: Loop(_task(way[0], knots, dt), way[1]) for way in LOOPS[:number]}
        grid = f"{knots} knots of {dt} ms"
        rows += _closed_loops(loops, grid, settings)
        rows += _split(loops[LOOPS[0]], f"{LOOPS[0][0]}, {grid}", settings)
    return rows


def _task(gait: str, knots: int, dt: int) -> WalkingTask:
    return WalkingTask(Anymal(), GAITS[gait], dt=dt / 1e3, horizon=knots)


def _closed_loops(loops: dict[tuple[str, str], Loop], grid: str, settings: Settings) -> list[Row]:
    """The calls as they come; the median is over all of them, not over the means of the turns."""
    effort = settings.effort if settings.quick else dataclasses.replace(settings.effort, turn_seconds=TURN)
    interleave([loop.contender(" ".join(way)) for way, loop in loops.items()], effort)
    rows = []
    for (gait, way), loop in loops.items():
        loop.check()
        fields = timing_fields(summary(loop.seconds), "ms") | {"rounds": effort.rounds}
        rows.append({
            "problem": f"{gait}, {grid}",
            "work": "MPC call in closed loop" + (", pure JAX" if way == "jax" else ""),
            **fields,
            "slow": 1e3 * float(np.quantile(loop.seconds, 0.95)),
            "rate": 1e3 / fields["ms"],
            "calls": len(loop.seconds),
            "compile_s": loop.compile_s,
        })  # fmt: skip
    return rows


def _split(loop: Loop, problem: str, settings: Settings) -> list[Row]:
    """The parts of one call, and sweeps over a random model of its dimensions, all taking turns."""
    parts, model = parts_of(loop), random_model(NX, NU, loop.task.horizon)
    sweeps = _random_sweeps(model)
    with implementation("jax"):
        pure = compiled(f"{parts.sweep.contender.name}, pure JAX", constrained, *parts.lq)
    mine = [*parts.in_order(), pure, *sweeps]
    rows: list[Row] = [{"problem": problem, "work": name} for name in (CALL, *(m.contender.name for m in mine))]
    for row in rows[-len(sweeps) :]:
        row["problem"] = f"random LQ model, {loop.task.horizon} knots"
    with ExitStack() as stack:
        theirs, found = _crocoddyl(stack, settings, model, sweeps[0].result.gains)
        rows.append({**rows[-1], "work": PEER, **theirs})
        timings = interleave([loop.again(CALL), *(m.contender for m in mine), *found], settings.effort)
    for row in rows:
        row.update(timing_fields(timings[row["work"]], "ms") if row["work"] in timings else {})
    return _compared(rows, [part.contender.name for part in parts.of_call])


def _random_sweeps(model: dict[str, np.ndarray]) -> list[Compiled]:
    """Our backward sweep over the model, without and with random equality rows."""
    lq = LQModel(**{key: jnp.asarray(model[key]) for key in FIELDS})
    rng, N = np.random.default_rng(1), len(model["B"])
    C, D = (jnp.asarray(rng.standard_normal((N, ROWS, width))) for width in (NX, NU))
    rows = EqualityRows(C=C, D=D, e=jnp.asarray(rng.standard_normal((N, ROWS))), mask=jnp.ones((N, ROWS), bool))
    return [
        compiled("costogo backward, no equality rows", backward, lq),
        compiled("costogo backward, 16 equality rows", constrained, lq, rows),
    ]


def _crocoddyl(
    stack: ExitStack, settings: Settings, model: dict[str, np.ndarray], gains: jax.Array
) -> tuple[Row, list[Contender]]:
    """Fields of the peer's row, and its backward pass if it can take part. Raises if it finds other gains."""
    try:
        peer: Peer = stack.enter_context(settings.peer("crocoddyl", "crocoddyl_sweep"))
        theirs = peer.prepare(model)["gains"]
    except Unavailable as reason:
        return missing({}, reason), []
    difference = float(np.abs(np.asarray(gains) - theirs).max() / (1.0 + np.abs(theirs).max()))
    if not difference <= SAME_GAINS:
        raise RuntimeError(f"Crocoddyl's gains are {difference:.1e} away from ours: not the same sweep")
    return {"difference": difference}, [peer.contender(PEER, "backward")]


def _compared(rows: list[Row], of_call: list[str]) -> list[Row]:
    """Shares of the call, what is left of it, and how many times as long the peer takes for a sweep."""
    ms = {row["work"]: row["ms"] for row in rows if "ms" in row}
    for row in rows:
        if row["problem"] == rows[0]["problem"]:
            row["share"] = 100 * ms[row["work"]] / ms[CALL]
        if PEER in ms and "ackward" in row["work"]:
            row["crocoddyl"] = ms[PEER] / ms[row["work"]]
    rest = ms[CALL] - sum(ms[name] for name in of_call)
    left: Row = {"problem": rows[0]["problem"], "work": "rest", "ms": rest, "share": 100 * rest / ms[CALL]}
    place = 1 + [row["work"] for row in rows].index(of_call[-1])
    return [*rows[:place], left, *rows[place:]]


CASE = Case(
    "anymal_mpc",
    (
        ("problem", "problem", 0),
        ("work", "work", 0),
        ("ms", "ms", 3),
        ("slow", "95 % of calls within, ms", 3),
        ("rate", "calls per s", 3),
        ("share", "% of the call", 2),
        ("crocoddyl", "times faster than Crocoddyl's backward pass", 3),
        ("difference", "largest difference of gains to ours", 2),
    ),
    run,
    one_core=True,
)
