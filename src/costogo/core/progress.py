"""Progress of long work: rate, time left and the metric that matters."""

import sys
import time
from typing import TextIO


class ProgressMeter:
    """Writes one line per report: rewritten in place on a terminal, at most one every `interval` seconds elsewhere."""

    def __init__(self, total: int, unit: str = "step", *, start: int = 0, stream: TextIO | None = None, interval=5.0):
        self.total, self.unit, self.start = total, unit, start
        self.stream = sys.stderr if stream is None else stream
        self.interval = 0.2 if self.stream.isatty() else interval
        self.began = time.monotonic()
        self.reported = -float("inf")

    def update(self, done: int, text: str = "") -> None:
        """Report that `done` of `total` units are finished; the last one is always shown."""
        now = time.monotonic()
        last = done >= self.total
        if not last and now - self.reported < self.interval:
            return
        self.reported = now
        line = f"{done}/{self.total} {self.unit}s  {self.describe_pace(done, now)}  {text}".rstrip()
        if self.stream.isatty():
            self.stream.write("\r\x1b[2K" + line + ("\n" if last else ""))
        else:
            self.stream.write(line + "\n")
        self.stream.flush()

    def describe_pace(self, done: int, now: float) -> str:
        """Rate and time left, from what was done since the meter started."""
        elapsed = max(now - self.began, 1e-9)
        rate = (done - self.start) / elapsed
        if rate <= 0:
            return "starting"
        return f"{rate:.3g} {self.unit}s/s  {format_seconds((self.total - done) / rate)} left"


def format_seconds(seconds: float) -> str:
    """Human-readable duration: `42 s`, `3 min 05 s`, `2 h 10 min`."""
    seconds = round(seconds)
    if seconds < 60:
        return f"{seconds} s"
    if seconds < 3600:
        return f"{seconds // 60} min {seconds % 60:02d} s"
    return f"{seconds // 3600} h {seconds % 3600 // 60:02d} min"
