"""Timing: contenders take turns in one run, warm, and the median of their turns counts.

Machines drift within minutes; taking turns (ours, peer, ours, peer, ...) spreads the drift over all contenders alike.
Standard library only: the peers' processes import this module too.
"""

import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass


class Unavailable(Exception):
    """A contender cannot take part; the message is the reason shown in the table."""


@dataclass(frozen=True)
class Contender:
    """`sample(calls)` runs the work `calls` times, waits for it, and returns the mean seconds of one call."""

    name: str
    sample: Callable[[int], float]


@dataclass(frozen=True)
class Timing:
    """Seconds of one call: median and quartiles over the rounds."""

    median: float
    low: float
    high: float
    rounds: int


@dataclass(frozen=True)
class Effort:
    """How long to measure: number of rounds, and the least seconds of one turn."""

    rounds: int = 9
    turn_seconds: float = 0.05


QUICK = Effort(rounds=2, turn_seconds=0.0)


def timed(call: Callable[[], object], calls: int) -> float:
    """Mean seconds of `calls` calls. The call itself waits for its result."""
    start = time.perf_counter()
    for _ in range(calls):
        call()
    return (time.perf_counter() - start) / calls


def interleave(contenders: Sequence[Contender], effort: Effort) -> dict[str, Timing | Unavailable]:
    """Let the contenders take turns; returns the timing of each by name, or why it dropped out."""
    calls: dict[str, int] = {}
    samples: dict[str, list[float]] = {c.name: [] for c in contenders}
    dropped: dict[str, Unavailable] = {}
    for turn in range(effort.rounds):
        # Every second round runs backwards, so that nobody always follows the same neighbour.
        for contender in contenders if turn % 2 == 0 else reversed(contenders):
            name = contender.name
            try:
                if name not in dropped:
                    calls[name] = calls.get(name) or _calls(contender, effort)
                    samples[name].append(contender.sample(calls[name]))
            except Unavailable as reason:
                dropped[name] = reason
    return {name: dropped.get(name) or summary(values) for name, values in samples.items()}


def _calls(contender: Contender, effort: Effort) -> int:
    """Calls in one turn; the two calls made to find out are the warm-up."""
    contender.sample(1)
    seconds = contender.sample(1)
    return max(1, min(100_000, round(effort.turn_seconds / max(seconds, 1e-9))))


def summary(values: list[float]) -> Timing:
    """Median and quartiles of some times."""
    low, _, high = statistics.quantiles(values, n=4, method="inclusive") if len(values) > 1 else values * 3
    return Timing(statistics.median(values), low, high, len(values))
