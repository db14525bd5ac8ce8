"""Tests run in float64, with a compilation cache that outlives the run."""

import gc
import os
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
# Programs here are compiled once and run for moments: optimising them takes longer than it saves.
os.environ.setdefault("XLA_FLAGS", "--xla_backend_optimization_level=0")
os.environ.setdefault("JAX_COMPILATION_CACHE_DIR", str(Path(__file__).parents[1] / ".jax_cache"))

import jax
import pytest

jax.config.update("jax_enable_x64", True)
jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.3)


@pytest.fixture(autouse=True, scope="module")
def drop_programs():
    """Forget the programs of one file at its end. Each maps memory, and Linux allows a process 65,530 maps: the whole
    suite in one process came near that, and jaxlib aborted there twice. That the limit is the cause is inferred from
    the count (docs/jax_versions.md)."""
    yield
    jax.clear_caches()
    gc.collect()
