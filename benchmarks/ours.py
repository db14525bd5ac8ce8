"""costogo as a contender: compiled ahead of time, compile time apart, results waited for."""

import contextlib
import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import jax

from benchmarks.harness import Contender, timed
from costogo.lqr import set_threads
from costogo.lqr.native.library import VARIABLE


class Compiled(NamedTuple):
    """A compiled function on fixed arguments: ready to take turns, its result, seconds to compile, scratch bytes."""

    contender: Contender
    result: Any
    compile_s: float
    temp_bytes: int


def compiled(name: str, function: Callable, *arguments: Any) -> Compiled:
    """Trace and compile `function` for these arguments, and run it once."""
    start = time.perf_counter()
    # A function of its own: JAX would hand back an older trace of the same one, made under another implementation.
    executable = jax.jit(lambda *given: function(*given)).lower(*arguments).compile()
    seconds = time.perf_counter() - start

    def call() -> Any:
        return jax.block_until_ready(executable(*arguments))

    result = call()
    contender = Contender(name, lambda calls: timed(call, calls))
    memory = executable.memory_analysis()
    return Compiled(contender, result, seconds, memory.temp_size_in_bytes if memory else 0)


@contextlib.contextmanager
def implementation(choice: str) -> Iterator[None]:
    """Functions traced inside use this implementation of the sweeps."""
    before = os.environ.get(VARIABLE)
    os.environ[VARIABLE] = choice
    try:
        yield
    finally:
        del os.environ[VARIABLE]
        if before is not None:
            os.environ[VARIABLE] = before


@contextlib.contextmanager
def one_core() -> Iterator[None]:
    """One thread for the kernels and, on Linux, one core for all threads of this process, XLA's included."""
    pins = hasattr(os, "sched_setaffinity")
    before = os.sched_getaffinity(0) if pins else set()
    set_threads(1)
    if pins:
        _pin({max(before)})
    try:
        yield
    finally:
        if pins:
            _pin(before)
        set_threads(None)


def _pin(cores: set[int]) -> None:
    # A thread keeps the cores it was started with: those of XLA's pool are running already.
    for thread in Path("/proc/self/task").iterdir():
        with contextlib.suppress(ProcessLookupError):
            os.sched_setaffinity(int(thread.name), cores)
