"""What every case shares: its description, the settings of a run, and rows from timings."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

from benchmarks.harness import QUICK, Effort, Timing, Unavailable
from benchmarks.peers.process import Peer
from benchmarks.report import Column, Row


@dataclass
class Settings:
    """Effort of a run, and the peers' versions as they become known."""

    quick: bool = False
    versions: dict[str, str] = field(default_factory=dict)

    @property
    def effort(self) -> Effort:
        """Rounds and seconds of a turn."""
        return QUICK if self.quick else Effort()

    @contextmanager
    def peer(self, environment: str | None, script: str, cores: int | None = None) -> Iterator[Peer]:
        """A running peer; raises `Unavailable` where its environment cannot be built or its package not imported."""
        with Peer(environment, script, cores) as peer:
            self.versions.update(peer.versions)
            yield peer


@dataclass(frozen=True)
class Case:
    """A benchmark: name (of CSV file and docs marker), columns of its table, and the run; on one core if asked."""

    name: str
    columns: Sequence[Column]
    run: Callable[[Settings], list[Row]]
    one_core: bool = False


def timing_fields(timing: Timing | Unavailable, unit: str, per: int = 1) -> Row:
    """Median and quartiles per problem, in `us` or `ms`, where one call solves `per` problems; or what went wrong."""
    if isinstance(timing, Unavailable):
        return {"missing": str(timing)}
    scale = {"us": 1e6, "ms": 1e3}[unit] / per
    return {
        unit: scale * timing.median,
        f"{unit}_low": scale * timing.low,
        f"{unit}_high": scale * timing.high,
        "rounds": timing.rounds,
    }


def missing(row: Row, reason: Unavailable) -> Row:
    """The row of a contender that cannot take part."""
    return {**row, "missing": str(reason)}
