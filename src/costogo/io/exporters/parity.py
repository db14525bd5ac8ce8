"""Is an exported policy the one it was made from? Random observations, comparison with JAX, and the report."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import equinox as eqx
import jax
import numpy as np

from costogo.core.errors import CostogoError
from costogo.io.exporters.description import Description

# About 170 units in the last place of float32; for float64, room for the same with long sums.
TOLERANCES = {"float32": 1e-5, "float64": 1e-12}
REPEATS = 5


@dataclass(frozen=True)
class Trial:
    """What an exported policy made of the observations.

    `controls` is (..., samples, nu): leading axes are other ways to call it, such as all samples at once. `latency` is
    in microseconds for one sample on one thread.
    """

    controls: np.ndarray
    latency: float


@dataclass(frozen=True)
class ExportReport:
    """What `export` wrote and how it compares with JAX.

    `difference` is the largest `|u - u_jax|` in the controls' units; `relative` the largest after division by
    `max(1, |u|)`, |u| being the largest magnitude of that control over the samples; `latency` is in microseconds for
    one sample on one thread. All three are None where the file could not be run, and `note` says why.
    """

    format: str
    path: Path
    samples: int
    difference: float | None
    relative: float | None
    latency: float | None
    note: str = ""

    @property
    def checked(self) -> bool:
        """True if the file was run and compared with JAX."""
        return self.difference is not None

    def __str__(self) -> str:
        """One line."""
        if not self.checked:
            return f"{self.path} ({self.format}): not checked, {self.note}"
        return (
            f"{self.path} ({self.format}): within {self.difference:.2g} of JAX over {self.samples} samples, "
            f"{self.latency:.3g} us per sample on one thread"
        )


def draw_observations(description: Description, samples: int, seed: int) -> np.ndarray:
    """Observations (samples, no) that are standard normal in normalised units; every fourth is ten times as far out.

    The far ones saturate activations and gates.
    """
    normal = np.random.default_rng(seed).standard_normal((samples, description.widths[0]))
    normal[3::4] *= 10.0
    first = description.operations[0]
    if first.kind == "scale":
        scale = np.where(first.arrays["scale"] == 0, 1.0, first.arrays["scale"])
        normal = (normal - first.arrays["offset"]) / scale
    return normal.astype(description.dtype)


def reference(policy: Any, observations: np.ndarray) -> np.ndarray:
    """Controls (samples, nu) of the policy in JAX, at the full precision of its type on any device."""
    with jax.default_matmul_precision("highest"):
        return np.asarray(_batched(policy, observations))


@eqx.filter_jit
def _batched(policy: Any, observations: jax.Array) -> jax.Array:
    return jax.vmap(policy)(observations)


def compare(controls: np.ndarray, expected: np.ndarray, what: str) -> tuple[float, float]:
    """Largest absolute and relative difference of controls (..., samples, nu) from the expected (samples, nu).

    A control is measured against its own largest magnitude over the samples, and at least 1: where large terms cancel
    in one sample, the rounding of those terms is what remains, in JAX as elsewhere.

    Raises `CostogoError` above the tolerance: 1e-5 in float32, 1e-12 in float64.
    """
    tolerance = TOLERANCES[str(expected.dtype)]
    error = np.abs(np.asarray(controls, float) - expected).reshape(-1, expected.shape[-1]).max(axis=0)
    relative = error / np.maximum(1.0, np.abs(expected).max(axis=0))
    worst = int(np.argmax(relative))
    if not relative[worst] <= tolerance:  # a NaN, which argmax finds first, is no agreement
        raise CostogoError(
            f"{what} differs from JAX by {error[worst]:.3g} in control {worst} (relative {relative[worst]:.3g}, "
            f"tolerance {tolerance:g}), so nothing was written. If a float64 copy of the policy passes, this is "
            "rounding: look for weights or offsets that are very large and cancel"
        )
    return float(error.max()), float(relative[worst])


def stopwatch(call: Callable[[np.ndarray], Any], observations: np.ndarray) -> tuple[list[Any], float]:
    """Results of `call` for each observation, and microseconds per call: the best of a few sweeps over all."""
    results, seconds = [call(observation) for observation in observations], np.inf
    for _ in range(REPEATS):
        start = time.perf_counter()
        for observation in observations:
            call(observation)
        seconds = min(seconds, time.perf_counter() - start)
    return results, 1e6 * seconds / len(observations)
