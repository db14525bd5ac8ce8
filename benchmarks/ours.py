"""costogo as a contender: compiled ahead of time, compile time apart, results waited for."""

import contextlib
import os
import time
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import jax

from benchmarks.harness import Contender, timed
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
    jax.clear_caches()  # of traces of jitted functions further in, made under another implementation
    try:
        yield
    finally:
        jax.clear_caches()
        del os.environ[VARIABLE]
        if before is not None:
            os.environ[VARIABLE] = before
