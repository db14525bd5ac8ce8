"""HPIPM's C interface through ctypes, from the shared libraries in a wheel beside this interpreter.

The casadi wheel ships BLASFEO compiled for no processor in particular (SSE2); comma-deps-acados ships it with AVX2
and FMA kernels. Every HPIPM struct is an opaque block of the size that the library itself reports.
"""

import ctypes
import sysconfig
from collections.abc import Callable, Sequence
from functools import cache, partial
from pathlib import Path

import numpy as np

from benchmarks.harness import timed

# Package name, and where its libraries lie under site-packages; the first that is installed counts.
WHEELS = (("comma-deps-acados", "acados/install/lib"), ("casadi", "casadi"))
MODES = {"SPEED_ABS": 0, "SPEED": 1, "BALANCE": 2, "ROBUST": 3}
ALIGNMENT = 64
INT = ctypes.c_int


@cache
def wheel() -> tuple[str, Path]:
    """The installed package that brings HPIPM, and the folder of its libraries."""
    site = Path(sysconfig.get_path("platlib"))
    for package, inside in WHEELS:
        if (site / inside / "libhpipm.so").exists():
            return package, site / inside
    raise ImportError(f"no libhpipm.so under {site}")


@cache
def libraries() -> tuple[ctypes.CDLL, ctypes.CDLL]:
    """BLASFEO and HPIPM. HPIPM finds BLASFEO's symbols because that is loaded first, and globally."""
    folder = wheel()[1]
    blasfeo = next(path for name in ("libblasfeo.so.0", "libblasfeo.so") if (path := folder / name).exists())
    loaded = ctypes.CDLL(str(blasfeo), ctypes.RTLD_GLOBAL), ctypes.CDLL(str(folder / "libhpipm.so"))
    if not loaded[0].blasfeo_processor_cpu_features(ctypes.byref(INT())):
        raise OSError(f"this processor lacks what {blasfeo.name} needs: {kernels(loaded[0])}")
    return loaded


def kernels(blasfeo: ctypes.CDLL | None = None) -> str:
    """Processor features that BLASFEO was compiled for, "generic" where none."""
    text = ctypes.create_string_buffer(256)
    (blasfeo or libraries()[0]).blasfeo_processor_library_string(text)
    return text.value.decode().strip() or "generic"


class Block:
    """Zeroed, aligned memory; `pointer` is its address as a ctypes argument."""

    def __init__(self, size: int):
        self._memory = np.zeros(size + ALIGNMENT, np.uint8)
        address = self._memory.ctypes.data
        self.pointer = ctypes.c_void_p(address + -address % ALIGNMENT)


class OcpQp:
    """A QP with stages 0..N, its solver arguments and workspace.

    `nx`, `nu`: sizes of all N + 1 stages. `bounded` gives every control a bound. `arguments`: fields of
    `d_ocp_qp_ipm_arg_set` and their values, int or float, on top of the defaults of `mode`.
    """

    def __init__(self, nx: Sequence[int], nu: Sequence[int], mode: str, bounded: bool = False, **arguments):
        self.nx, self.nu, self.N = list(nx), list(nu), len(nx) - 1
        self._keep: list[Block] = []
        self._dim = self._struct("dim", INT(self.N), create=INT(self.N))
        for stage, sizes in enumerate(zip(nx, nu, strict=True)):
            for field, size in zip((b"nx", b"nu", b"nbu"), (*sizes, sizes[1] * bounded), strict=True):
                self._call("dim_set", field, INT(stage), INT(size), self._dim)
        self._qp = self._struct("", self._dim)
        self._arg = self._struct("ipm_arg", self._dim)
        self._call("ipm_arg_set_default", INT(MODES[mode]), self._arg)
        for field, value in arguments.items():
            kind = ctypes.c_double if isinstance(value, float) else INT
            self._call("ipm_arg_set", field.encode(), ctypes.byref(kind(value)), self._arg)
        # The workspace depends on the arguments, so they cannot change from here on.
        self._ws = self._struct("ipm_ws", self._dim, self._arg)
        if bounded:
            for stage, size in enumerate(nu):
                self._call("set", b"idxbu", INT(stage), ctypes.byref((INT * size)(*range(size))), self._qp)

    def set(self, stage: int, **fields: np.ndarray) -> None:
        """Copy arrays into the QP: A, B, b, Q, R, S (nu, nx), q, r, lbu, ubu."""
        for name, value in fields.items():
            columns = np.ascontiguousarray(np.asarray(value, float).T)
            self._call("set", name.encode(), INT(stage), ctypes.c_void_p(columns.ctypes.data), self._qp)

    def setter(self, name: str, stage: int) -> Callable[[ctypes.c_void_p], None]:
        """Bare `set` for one vector by its address."""
        return self._bound(f"set_{name}", INT(stage))

    @property
    def qp(self) -> ctypes.c_void_p:
        """The QP itself, last argument of a `setter`."""
        return self._qp

    def solution(self) -> ctypes.c_void_p:
        """A new place for a solution; it lives as long as this object."""
        return self._struct("sol", self._dim)

    def sweep(self, solution: ctypes.c_void_p) -> Callable[[], None]:
        """One Riccati factorisation and solve; inequalities do not count."""
        return self._bound("fact_solve_kkt_unconstr", self._qp, solution, self._arg, self._ws)

    def solve(self, solution: ctypes.c_void_p) -> Callable[[], None]:
        """The interior-point method."""
        return self._bound("ipm_solve", self._qp, solution, self._arg, self._ws)

    def outcome(self) -> tuple[bool, int]:
        """Whether the last solve succeeded, and its iterations."""
        status, iterations = INT(), INT()
        self._call("ipm_get_status", self._ws, ctypes.byref(status))
        self._call("ipm_get_iter", self._ws, ctypes.byref(iterations))
        return status.value == 0, iterations.value

    def controls(self, solution: ctypes.c_void_p) -> np.ndarray:
        """Controls of stages 0..N-1, (N, nu)."""
        return self._vectors("u", range(self.N), self.nu, solution)

    def states(self, solution: ctypes.c_void_p, x0: np.ndarray) -> np.ndarray:
        """States (N + 1, nx); the first is `x0`, which is no variable here."""
        return np.concatenate([x0[None], self._vectors("x", range(1, self.N + 1), self.nx, solution)])

    def trivial(self) -> Callable[[], None]:
        """A call of a function that copies one number."""
        return self._bound("ipm_get_status", self._ws, ctypes.byref(INT()))

    def call_seconds(self, calls: int = 20_000) -> float:
        """What a ctypes call of a trivial function costs."""
        return min(timed(self.trivial(), calls // 5) for _ in range(5))

    def _vectors(self, name: str, stages: range, sizes: list[int], solution: ctypes.c_void_p) -> np.ndarray:
        found = np.empty((len(stages), sizes[stages[0]]))
        for row, stage in zip(found, stages, strict=True):
            self._call(f"sol_get_{name}", INT(stage), solution, ctypes.c_void_p(row.ctypes.data))
        return found

    def _struct(self, name: str, *sized_by, create: INT | None = None) -> ctypes.c_void_p:
        """Create one of HPIPM's structs, sized by the given arguments, and keep its memory."""
        prefix = f"{name}_" if name else ""
        size = self._function(f"{prefix}strsize", ctypes.c_size_t)()
        memory = self._function(f"{prefix}memsize", ctypes.c_size_t)(*sized_by)
        blocks = Block(size), Block(memory)
        self._keep.extend(blocks)
        self._call(f"{prefix}create", *((create,) if create else sized_by), *(block.pointer for block in blocks))
        return blocks[0].pointer

    def _bound(self, name: str, *arguments) -> partial:
        """A call that costs no more than ctypes itself, and keeps this object's memory alive."""
        call = partial(self._function(name), *arguments)
        call.owner = self
        return call

    def _call(self, name: str, *arguments) -> None:
        self._function(name)(*arguments)

    @staticmethod
    def _function(name: str, result=None):
        function = getattr(libraries()[1], f"d_ocp_qp_{name}")
        function.restype = result
        return function


def eliminate_x0(nx: int, N: int) -> list[int]:
    """State sizes without x0, which moves into b and r of stage 0 (as acados does it)."""
    return [0] + [nx] * N
