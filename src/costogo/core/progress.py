"""Progress of long work: rate, time left and the metric that matters."""

import shutil
import sys
import time
from collections.abc import Callable
from typing import TextIO

BAR = 20  # characters


class ProgressMeter:
    """Writes one line per report: rewritten in place on a terminal, at most one every `interval` seconds elsewhere.

    The rate is measured from the first report on, so that compilation, which happens before it, does not distort the
    time left.
    """

    def __init__(
        self,
        total: int,
        unit: str = "step",
        *,
        stream: TextIO | None = None,
        interval: float = 5.0,
        clock: Callable[[], float] = time.monotonic,
    ):
        self.total, self.unit = total, unit
        self.stream = sys.stderr if stream is None else stream
        self.terminal = self.stream.isatty()
        self.interval = 0.2 if self.terminal else interval
        self.clock = clock
        self.origin: tuple[int, float] | None = None
        self.reported = -float("inf")

    def update(self, done: int, text: str = "") -> None:
        """Report that `done` of `total` units are finished; the last one is always shown."""
        now = self.clock()
        last = done >= self.total
        pace = self._pace(done, now)
        if not last and now - self.reported < self.interval:
            return
        self.reported = now
        self._write(f"{done}/{self.total} {self.unit}s  {pace}  {text}".rstrip(), done, last)

    def _pace(self, done: int, now: float) -> str:
        """Rate and time left."""
        if self.origin is None:
            self.origin = (done, now)
        first, began = self.origin
        if done <= first:
            return "starting"
        rate = (done - first) / max(now - began, 1e-9)
        return f"{rate:.3g} {self.unit}s/s  {format_seconds((self.total - done) / rate)} left"

    def _write(self, line: str, done: int, last: bool) -> None:
        if self.terminal:
            filled = BAR * min(done, self.total) // max(self.total, 1)
            line = f"[{'#' * filled}{'.' * (BAR - filled)}] {line}"
            line = "\r\x1b[2K" + line[: shutil.get_terminal_size().columns - 1] + ("\n" if last else "")
        else:
            line += "\n"
        self.stream.write(line)
        self.stream.flush()


def format_seconds(seconds: float) -> str:
    """Human-readable duration: `42 s`, `3 min 05 s`, `2 h 10 min`."""
    seconds = round(seconds)
    if seconds < 60:
        return f"{seconds} s"
    if seconds < 3600:
        return f"{seconds // 60} min {seconds % 60:02d} s"
    return f"{seconds // 3600} h {seconds % 3600 // 60:02d} min"
