"""Versions of jaxlib that can deadlock on CPU, and the remedy."""

import functools
import os
import warnings
from importlib.metadata import version

# What was seen with each version stands in the docs (JAX versions).
HANGING = ("0.8.3", "0.10.", "0.11.0")
REMEDY = (
    "jaxlib {version} can deadlock on CPUs with few cores (jit(vmap(jacfwd(...))) with LAPACK calls); "
    "set NPROC=1 in the environment before JAX starts, or install jax==0.9.2"
)


def affected() -> bool:
    """True if the installed jaxlib is one that can deadlock and the machine has few cores."""
    installed = version("jaxlib")
    few_cores = (os.cpu_count() or 1) <= 4
    return few_cores and any(installed == v or (v.endswith(".") and installed.startswith(v)) for v in HANGING)


@functools.cache
def warn_if_affected() -> None:
    """Warn once, at the first solve, unless the remedy is in place."""
    if affected() and os.environ.get("NPROC") != "1":
        warnings.warn(REMEDY.format(version=version("jaxlib")), RuntimeWarning, stacklevel=3)
