"""The compiled kernels: found, loaded and registered with XLA at first use, never on import."""

import ctypes
import functools
import importlib.machinery
import os
import warnings
from pathlib import Path

import jax

from costogo.core.errors import known

VARIABLE = "COSTOGO_RICCATI"
CHOICES = ("auto", "native", "jax")
TARGETS = ("backward", "forward", "costates", "solve", "interior_point")
NOT_BUILT = (
    "costogo runs its Riccati sweeps in pure JAX: the native CPU kernels were not built, because no C++17 compiler was "
    "found when costogo was installed. They are several times faster. Install a compiler and costogo again, or set "
    f"{VARIABLE}=jax to silence this note"
)


@functools.cache
def library() -> ctypes.CDLL | None:
    """The shared library with its handlers registered for CPU, or None where it was not built."""
    for suffix in importlib.machinery.EXTENSION_SUFFIXES:
        path = Path(__file__).with_name(f"_kernels{suffix}")
        if path.exists():
            loaded = ctypes.CDLL(str(path))
            loaded.costogo_instruction_set.restype = ctypes.c_char_p
            loaded.costogo_compiler.restype = ctypes.c_char_p
            for target in TARGETS:
                handler = jax.ffi.pycapsule(getattr(loaded, f"costogo_{target}"))
                jax.ffi.register_ffi_target(f"costogo_{target}", handler, platform="cpu")
            return loaded
    return None


def implementation() -> str:
    """`native` (always), `jax` (always) or `auto` (native on CPU, pure JAX elsewhere).

    The environment variable COSTOGO_RICCATI forces a choice; it is read when a function is traced.
    """
    choice = known(VARIABLE, os.environ.get(VARIABLE, "auto"), CHOICES)
    if choice == "auto" and library() is None:
        _note_not_built()
        return "jax"
    if choice == "native" and library() is None:
        raise RuntimeError(f"{VARIABLE}=native, but the kernels were not built; install a C++17 compiler and reinstall")
    return choice


@functools.cache
def _note_not_built() -> None:
    warnings.warn(NOT_BUILT, RuntimeWarning, stacklevel=2)


def set_threads(threads: int | None) -> None:
    """Threads that the native kernels use from now on, for compiled functions too; None: back to the default.

    The default is COSTOGO_THREADS, or else the cores that this process may run on. Results do not depend on it.
    """
    if threads is not None and threads < 1:
        raise ValueError(f"threads is {threads}; pass at least 1, or None for the default")
    loaded = library()
    if loaded is not None:
        loaded.costogo_set_threads(threads or 0)


def info() -> dict[str, str]:
    """Which sweeps run on CPU, and for native ones compiler, instruction set and threads."""
    loaded = library()
    choice = implementation() if loaded is not None else "jax"
    if choice == "jax":
        reason = "kernels not built" if loaded is None else f"{VARIABLE}=jax"
        return {"Riccati sweeps": f"pure JAX ({reason})"}
    assert loaded is not None
    return {
        "Riccati sweeps": "native C++" + (" on CPU, pure JAX elsewhere" if choice == "auto" else ""),
        "compiler": loaded.costogo_compiler().decode(),
        "instruction set": loaded.costogo_instruction_set().decode(),
        "threads": str(loaded.costogo_threads()),
    }
