"""One call from a JAX program to NumPy code on the host, for a whole batch."""

import atexit
import contextlib
import dataclasses
import functools
import threading
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
from jax.custom_batching import custom_vmap
from jaxtyping import Array

# Bytes of an operand. `jax.pure_callback` copies each operand into a JAX array first, and XLA does that for operands of
# 100 KiB or more on the very pool of threads that the callback occupies: on one core, or with NPROC=1, it waits for
# ever (jax issue 24255; seen with jax 0.9.2 at 1.4 MB). Smaller ones are copied on the spot.
PIECE = 64 * 1024


def host_call(
    function: Callable, ranks: tuple[int, ...], results: tuple[tuple[int, ...], ...], *operands: Array
) -> tuple[Array, ...]:
    """Call `function(*arrays) -> arrays`, NumPy to NumPy, once for all leading axes and all `vmap`s around this call.

    Operand `i` has `ranks[i]` axes of its own and any leading axes, which broadcast against those of the others. The
    function sees every operand with exactly one leading axis, and returns arrays `(batch, *results[i])`; what comes
    back has the leading axes. All have the precision of the first operand. It must be pure and must not raise.
    """
    dtype = operands[0].dtype
    deepest = max(a.ndim - rank for a, rank in zip(operands, ranks, strict=True))
    aligned = [
        jnp.asarray(a, dtype).reshape((1,) * (deepest - a.ndim + rank) + a.shape)
        for a, rank in zip(operands, ranks, strict=True)
    ]

    # With a rule of our own, so that the call below sees the full sizes, `vmap`s included.
    @custom_vmap
    def call(*operands):
        host = _Host(function, tuple(a.shape for a in operands), ranks, results)
        shapes = tuple(jax.ShapeDtypeStruct(host.lead + core, dtype) for core in results)
        flat = jnp.concatenate([a.ravel() for a in operands])
        length = PIECE // dtype.itemsize
        pieces = [flat[i : i + length] for i in range(0, flat.size, length)]
        return tuple(jax.pure_callback(host, shapes, *pieces))

    @call.def_vmap
    def batch(size, batched, *operands):
        out = call(*(a if own else a[None] for a, own in zip(operands, batched, strict=True)))
        return out, tuple(True for _ in results)

    return call(*aligned)


@dataclasses.dataclass(frozen=True)
class _Host:
    """What runs on the host: puts the operands together again and calls the function on a single batch axis."""

    function: Callable
    shapes: tuple[tuple[int, ...], ...]
    ranks: tuple[int, ...]
    results: tuple[tuple[int, ...], ...]

    @property
    def lead(self) -> tuple[int, ...]:
        """Leading axes of all operands together."""
        return np.broadcast_shapes(*(s[: len(s) - rank] for s, rank in zip(self.shapes, self.ranks, strict=True)))

    def __call__(self, *pieces) -> tuple[np.ndarray, ...]:
        with _CALLS:
            if _CALLS.closed:
                return tuple(
                    np.full(self.lead + core, np.nan, pieces[0].dtype if pieces else None) for core in self.results
                )
            return self._run(*pieces)

    def _run(self, *pieces) -> tuple[np.ndarray, ...]:
        # No operation of JAX in here: it would wait for the threads that wait for this call.
        flat = np.concatenate([np.asarray(piece) for piece in pieces]) if pieces else np.zeros(0)
        ends = np.cumsum([int(np.prod(shape)) for shape in self.shapes])
        parts = np.split(flat, ends[:-1])
        count = int(np.prod(self.lead))
        arrays = []
        for part, shape, rank in zip(parts, self.shapes, self.ranks, strict=True):
            core = shape[len(shape) - rank :]
            arrays.append(np.broadcast_to(part.reshape(shape), self.lead + core).reshape(count, *core))
        out = self.function(*arrays)
        return tuple(np.reshape(a, self.lead + core) for a, core in zip(out, self.results, strict=True))


class _Calls:
    """Counts calls under way, so that Python ends after them and not in their middle.

    A program that nobody waits for goes on while Python closes down, and a callback in that moment brings the process
    down (plain `jax.pure_callback` does so too). From then on calls return NaN at once, which soon ends the programs.
    """

    def __init__(self):
        self.closed, self._count, self._changed = False, 0, threading.Condition()

    def __enter__(self) -> None:
        _at_exit()
        with self._changed:
            self._count += 1

    def __exit__(self, *error: object) -> None:
        with self._changed:
            self._count -= 1
            self._changed.notify_all()

    def close(self) -> None:
        """Wait for calls, and for the programs whose results are still held."""
        self.closed = True
        with self._changed:
            self._changed.wait_for(lambda: self._count == 0)
        for array in jax.live_arrays():
            with contextlib.suppress(RuntimeError):  # a program that failed
                array.block_until_ready()


_CALLS = _Calls()


@functools.cache
def _at_exit() -> None:
    """Once, at the first call."""
    atexit.register(_CALLS.close)
