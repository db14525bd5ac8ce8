"""Entry point: `python -m benchmarks [--only NAME] [--out DIR] [--quick]`, from the root of the repository."""

import argparse
import os
import subprocess
import sys
import time
from importlib.metadata import version
from pathlib import Path

from costogo.cli.runtime import configure

configure()

import jax  # noqa: E402

from benchmarks.cases import (  # noqa: E402
    adjoint,
    anymal_mpc,
    bounded,
    imitation,
    planning,
    riccati,
    sac,
    sac_return,
    scaling,
    swing_up,
    walker_gps,
)
from benchmarks.cases.common import Case, Settings  # noqa: E402
from benchmarks.report import fill, machine, markdown_table, write_csv  # noqa: E402

MODULES = (riccati, scaling, bounded, swing_up, adjoint, imitation, anymal_mpc, walker_gps, planning, sac, sac_return)
CASES: dict[str, Case] = {module.CASE.name: module.CASE for module in MODULES}
ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "benchmarks.md"
POOL = "NPROC"  # XLA's name for the size of its pool of threads


def main() -> None:
    """Run the chosen cases; write one CSV each and, in a full run, the tables of the docs page."""
    options = _options()
    # A compilation cache would turn compile times into load times.
    jax.config.update("jax_enable_compilation_cache", False)
    out = options.out or (ROOT / ".bench" / "quick" if options.quick else ROOT / "results" / "bench")
    for name in [options.only] if options.only else CASES:
        start = time.perf_counter()
        print(f"== {name}", flush=True)
        if CASES[name].one_core and os.environ.get(POOL) != "1":
            _run_on_one_core(name)
        else:
            _run(CASES[name], out, options.quick)
        print(f"   {time.perf_counter() - start:.0f} s", flush=True)


def _run_on_one_core(name: str) -> None:
    """A process of its own: XLA takes the size of its pool of threads when it starts, and two on one core are slow."""
    words = sys.argv[1:] if "--only" in sys.argv else [*sys.argv[1:], "--only", name]
    one = {max(os.sched_getaffinity(0))} if hasattr(os, "sched_setaffinity") else None
    pin = None if one is None else lambda: os.sched_setaffinity(0, one)
    command = [sys.executable, "-m", "benchmarks", *words]
    subprocess.run(command, env={**os.environ, POOL: "1"}, preexec_fn=pin, check=True)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description="Side-by-side benchmarks.")
    parser.add_argument("--only", choices=CASES, help="one benchmark instead of all")
    parser.add_argument("--out", type=Path, help="folder for the CSV files (default: results/bench)")
    parser.add_argument(
        "--quick", action="store_true", help="small sizes, to see that all runs; figures mean nothing, docs untouched"
    )
    return parser.parse_args()


def _run(case: Case, out: Path, quick: bool) -> None:
    settings = Settings(quick)
    rows = case.run(settings)
    versions = {name: version(name) for name in ("costogo", "jax", "jaxlib")} | settings.versions
    facts = {**machine(), "versions": ", ".join(f"{name} {number}" for name, number in versions.items())}
    write_csv(out / f"{case.name}.csv", rows, facts)
    table = markdown_table(rows, case.columns)
    print(table, flush=True)
    note = f"{facts['machine']}; {facts['date']}; {facts['versions']}. Median of {settings.effort.rounds} rounds."
    if not quick and not fill(PAGE, case.name, f"{table}\n\n{note}"):
        print(f"   {PAGE.name} has no place for this table: add <!-- bench:{case.name} --> and <!-- /bench -->")


if __name__ == "__main__":
    main()
