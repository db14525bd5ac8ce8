"""The kernels under AddressSanitizer and UndefinedBehaviorSanitizer, on recorded calls, without XLA."""

import os
import shutil
import subprocess
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from costogo.lqr import Limits, sweeps
from costogo.lqr.native import library
from test_native import catalogue, zero

SOURCES = Path(__file__).parents[1] / "src" / "costogo" / "lqr" / "native" / "cpp"
HERE = Path(__file__).parent / "native"
COMPILER = shutil.which("g++") or shutil.which("clang++")
SANITIZE = ["-fsanitize=address,undefined", "-fno-sanitize-recover=all"]
FIELDS = ("A", "B", "d", "Q", "q", "R", "r", "P")

pytestmark = pytest.mark.skipif(COMPILER is None or library() is None, reason="no C++ compiler, or no kernels built")


@pytest.fixture(scope="module")
def driver(tmp_path_factory):
    """The driver and all kernels, instrumented, with an arena that hides no overrun.

    The generic sizes only: the others are the same templates.
    """
    folder = tmp_path_factory.mktemp("sanitized")
    flags = ["-std=c++17", "-O1", "-g0", "-Wno-psabi", "-DCOSTOGO_GENERIC_SIZES", *SANITIZE, f"-I{SOURCES}"]
    kernels = [p for p in sorted(SOURCES.glob("*.cpp"), reverse=True) if p.stem not in ("handlers", "arena")]
    sources = [*kernels, *HERE.glob("*.cpp")]

    def compile_one(source: Path) -> Path:
        target = folder / f"{source.stem}.o"
        subprocess.run([COMPILER, *flags, "-c", source, "-o", target], check=True, capture_output=True)
        return target

    with ThreadPoolExecutor(os.cpu_count()) as pool:
        objects = list(pool.map(compile_one, sources))
    subprocess.run([COMPILER, *SANITIZE, *objects, "-o", folder / "driver", "-pthread"], check=True)
    return folder / "driver"


class Recorder:
    """Writes calls for the driver, and keeps what it should print."""

    def __init__(self):
        self.parts, self.expected = [], []

    def add(self, kind, model, arrays, result, ng=0, nh=0, box=False):
        """One call; `None` for an absent array, a tuple for one shared by all problems."""
        problems, (N, nx, nu) = model.B.shape[0], model.B.shape[1:]
        arrays = [*(getattr(model, field) for field in FIELDS), *arrays]
        double = model.B.dtype == jnp.float64
        header = [kind, double, problems, nx, nu, N, ng, nh, box, len(arrays)]
        self.parts.append(np.array(header, np.int32).tobytes())
        for array in arrays:
            shared = isinstance(array, tuple)
            data = np.asarray(array[0] if shared else [] if array is None else array)
            self.parts += [np.int32(shared).tobytes(), np.int64(data.nbytes).tobytes(), data.tobytes()]
        leaves = [
            np.asarray(leaf, float) for leaf in jax.tree.leaves(result) if jnp.issubdtype(leaf.dtype, jnp.floating)
        ]
        self.expected.append((sum(np.abs(leaf).sum() for leaf in leaves), 1e-9 if double else 2e-4))


def _record(recorder: Recorder, size, batch, dtype):
    model, free, fixed, rows, x0 = catalogue(*size, batch=(batch,), dtype=dtype)
    bound, mu = jnp.full_like(fixed, 0.2), zero(model) + 0.1
    backward = sweeps._backward.ways["native"]
    none = [None] * 9
    recorder.add(0, model, [mu, *none[:8]], backward(model, None, None, mu, None))
    limits = Limits.boxed(-bound, bound)
    recorder.add(0, model, [mu, None, -bound, bound, *none[:5]], backward(model, limits, None, mu, None), box=True)
    given = [mu, *[None] * 4, rows.C, rows.D, rows.e, rows.mask]
    recorder.add(0, model, given, backward(model, None, rows, mu, None), ng=rows.mask.shape[-1])
    limits, given = Limits.masked(free, fixed), [mu, None, fixed, None, free, *[None] * 4]
    recorder.add(0, model, given, backward(model, limits, None, mu, None))
    solution = sweeps._solve.ways["native"](model, x0, free, fixed)
    # The driver computes the costates once more, from the trajectory, and a rollout with P and r for gains.
    others = solution[0].costates, sweeps._forward.ways["native"](model, model.P, model.r, x0)
    recorder.add(1, model, [x0, free, fixed], (solution, others))
    found = sweeps._interior_point(50, 20).ways["native"](model, x0, -bound, bound, None, mu, None, None)
    recorder.add(2, model, [x0, -bound, bound, None, None, None, mu, None, None], found)
    shared = bound[0]
    recorder.add(2, model, [x0, (-shared,), (shared,), None, None, None, mu, None, None], found)


def test_recorded_calls_are_clean(driver, tmp_path):
    """All instruction sets and thread counts: nothing read or written out of bounds, and the same results."""
    recorder = Recorder()
    for size in ((1, 1, 1), (4, 1, 9), (5, 2, 1), (8, 4, 5), (13, 7, 2), (40, 17, 2)):
        for batch in (1, 3, 17):
            for dtype in ("float64", "float32"):
                _record(recorder, size, batch, dtype)
    calls = tmp_path / "calls.bin"
    calls.write_bytes(b"".join(recorder.parts))
    for instructions in ("avx512", "avx2", "portable"):
        for threads in ("1", "2"):
            environment = {**os.environ, "COSTOGO_INSTRUCTIONS": instructions}
            done = subprocess.run(
                [driver, calls, threads], env=environment, capture_output=True, text=True, timeout=300, check=False
            )
            assert done.returncode == 0, done.stderr[-3000:]
            name, *printed = done.stdout.split("\n")[:-1]
            assert len(printed) == len(recorder.expected)
            for line, (expected, tolerance) in zip(printed, recorder.expected, strict=True):
                assert abs(float(line) - expected) <= tolerance * (1.0 + expected), (name, line, expected)
