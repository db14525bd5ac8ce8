"""`costogo bench`: what is installed, and how fast it is here."""

import runpy
import sys
from dataclasses import dataclass
from pathlib import Path

from costogo.cli.console import say_table
from costogo.cli.runtime import info
from costogo.core.errors import CostogoError


@dataclass(frozen=True)
class Bench:
    """Show what is installed, then run the side-by-side benchmarks (from a checkout of the repository).

    Example: "costogo bench --info" only tells versions, device, precision and which Riccati sweeps run.
    """

    info: bool = False
    """print the installation and stop"""
    only: str | None = None
    """one benchmark instead of all"""
    quick: bool = False
    """small sizes"""

    def run(self) -> None:
        """Print, then measure."""
        say_table(list(info().items()))
        if self.info:
            return
        if not Path("benchmarks/__main__.py").exists():
            raise CostogoError("the benchmarks live in the repository; run `make bench` in a checkout, or pass --info")
        sys.argv = ["benchmarks", *(["--only", self.only] if self.only else []), *(["--quick"] if self.quick else [])]
        sys.path.insert(0, str(Path.cwd()))
        runpy.run_module("benchmarks", run_name="__main__")
