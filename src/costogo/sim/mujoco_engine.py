"""Batches of MuJoCo simulations and derivatives in host threads, NumPy to NumPy."""

# mujoco is compiled and has no stubs.
# pyright: reportAttributeAccessIssue=false

import collections
import contextlib
import functools
import itertools
import os
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

import mujoco
import numpy as np

SHARES = 4  # tasks for each thread: contacts make some knots dearer than others


class Engine:
    """One model, simulated from many states at once.

    A state (nx,) is `(qpos, qvel)`. Nothing is carried over from one control interval to the next: positions,
    velocities, inputs, time and applied forces are set, and the solver's warm start is cleared. So an answer depends on
    its arguments alone, to the bit, whatever ran before and on however many threads. (The substeps of one interval do
    warm-start each other.)

    What cannot be simulated is NaN: a start or an input that is not finite or beyond 1e10, any warning of MuJoCo
    (acceleration that is not finite, contact buffers that are full) or a fatal error of it. Others are not affected.

    The engine compares by identity, so that compiled JAX programs can hold it, and owns its model.
    """

    def __init__(
        self,
        model: mujoco.MjModel,
        *,
        substeps: int,
        difference_step: float,
        centred: bool,
        threads: int | None,
    ):
        # A simulation that diverges must not go on from the initial pose, as MuJoCo's automatic reset has it.
        model.opt.disableflags |= int(mujoco.mjtDisableBit.mjDSBL_AUTORESET)
        self.model, self.substeps = model, substeps
        self.difference_step, self.centred = difference_step, centred
        self.threads = _cores() if threads is None else threads
        self.nx, self.nu = model.nq + model.nv, model.nu
        self._free: collections.deque[_Workspace] = collections.deque()
        self._pool, self._lock = None, threading.Lock()

    def step(self, xs, us, ts, pushes: "Pushes") -> tuple[np.ndarray]:
        """Next states (B, nx) of states (B, nx), inputs (B, nu) and times (B,)."""
        new = np.full_like(xs, np.nan)

        def one(space: _Workspace, i: int) -> None:
            if space.interval(xs[i], us[i], ts[i], pushes.at(i)):
                new[i] = space.state()

        self._each(len(xs), one)
        return (new,)

    def linearise(self, xs, us, ts, pushes: "Pushes") -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Next states (B, nx) and Jacobians (B, nx, nx), (B, nx, nu), those of the substeps chained."""
        new = np.full_like(xs, np.nan)
        A = np.full((*xs.shape, self.nx), np.nan, xs.dtype)
        B = np.full((*xs.shape, self.nu), np.nan, xs.dtype)

        def one(space: _Workspace, i: int) -> None:
            chain = _Chain(self)
            if space.interval(xs[i], us[i], ts[i], pushes.at(i), chain):
                new[i], A[i], B[i] = space.state(), chain.A, chain.B

        self._each(len(xs), one)
        return new, A, B

    def rollout(self, x0, law: tuple[np.ndarray, ...], ts, pushes: "Pushes") -> tuple[np.ndarray, np.ndarray]:
        """States (B, N+1, nx) and controls (B, N, nu) from states (B, nx) under a law
        `u = clip(u_bar + K (x - x_bar), lower, upper)`, given as `(x_bar, u_bar, K, lower, upper)` with axes (B, N)."""
        count, N = ts.shape
        states = np.full((count, N + 1, self.nx), np.nan, x0.dtype)
        controls = np.full((count, N, self.nu), np.nan, x0.dtype)
        states[:, 0] = x0

        def one(space: _Workspace, i: int) -> None:
            for k, (x_bar, u_bar, K, lower, upper) in enumerate(zip(*(part[i] for part in law), strict=True)):
                # States and controls are rounded to the caller's precision before they are used, so that in single
                # precision too `step` reproduces a rollout to the bit.
                x = states[i, k]
                controls[i, k] = np.minimum(np.maximum(u_bar + K @ (x - x_bar), lower), upper)
                if not space.interval(x, controls[i, k], ts[i, k], pushes.at(i)):
                    return
                states[i, k + 1] = space.state()

        self._each(count, one)
        return states, controls

    def _each(self, count: int, one: "Callable[[_Workspace, int], None]") -> None:
        """Call `one(workspace, i)` for all `i` below `count`, on all threads."""
        parts = min(count, SHARES * self.threads if self.threads > 1 else 1)
        edges = np.linspace(0, count, parts + 1).astype(int) if parts else []
        shares = [range(a, b) for a, b in itertools.pairwise(edges)]
        for task in self._started(one, shares):
            task()

    def _started(self, one: "Callable[[_Workspace, int], None]", shares: list[range]) -> list[Callable[[], None]]:
        """What is left to be called for each share, once the threads are at work."""
        if len(shares) > 1:
            with contextlib.suppress(RuntimeError):  # Python is closing down: threads take no more work
                return [self._threads().submit(self._share, one, share).result for share in shares]
        return [functools.partial(self._share, one, share) for share in shares]

    def _share(self, one: "Callable[[_Workspace, int], None]", share: range) -> None:
        space = self._borrow()
        with np.errstate(over="ignore", invalid="ignore"):  # what fails is NaN, without a warning on the console
            for i in share:
                try:
                    one(space, i)
                except mujoco.FatalError:  # out of memory and the like: the results stay NaN, this memory is dropped
                    space = _Workspace(self.model, self.substeps)
        self._free.append(space)

    def _borrow(self) -> "_Workspace":
        # A deque, because programs of JAX may call from several threads at once.
        try:
            return self._free.pop()
        except IndexError:
            return _Workspace(self.model, self.substeps)

    def _threads(self) -> ThreadPoolExecutor:
        with self._lock:
            if self._pool is None:
                self._pool = ThreadPoolExecutor(self.threads, thread_name_prefix="costogo-mujoco")
            return self._pool


class Pushes:
    """Forces on bodies in a batch: bodies (P,), start times and durations (B, P) s, forces (B, P, 3) N."""

    def __init__(self, bodies: tuple[int, ...], starts: np.ndarray, durations: np.ndarray, forces: np.ndarray):
        self.bodies, self.starts, self.durations, self.forces = bodies, starts, durations, forces

    def at(self, i: int) -> "Pushes | None":
        """Those of one problem, (P,) and (P, 3), or None if there are none."""
        return Pushes(self.bodies, self.starts[i], self.durations[i], self.forces[i]) if self.bodies else None

    def mean_forces(self, t: float, timestep: float) -> np.ndarray:
        """Mean forces (P, 3) over the step that begins at `t`, so that the steps add up to the impulse."""
        end = np.minimum(t + timestep, self.starts + self.durations)
        return self.forces * np.maximum(end - np.maximum(t, self.starts), 0.0)[:, None] / timestep


class _Chain:
    """Jacobians of the next state with respect to state and inputs, chained over substeps."""

    def __init__(self, engine: Engine):
        self.engine = engine
        self.A, self.B = np.eye(engine.nx), np.zeros((engine.nx, engine.nu))
        self._A, self._B = np.empty_like(self.A), np.empty_like(self.B)

    def substep(self, data: mujoco.MjData) -> None:
        """Differentiate the step that comes next; `data` is left as it was."""
        e = self.engine
        mujoco.mjd_transitionFD(e.model, data, e.difference_step, e.centred, self._A, self._B, None, None)
        self.A, self.B = self._A @ self.A, self._A @ self.B + self._B


class _Workspace:
    """Memory of one simulation at a time."""

    def __init__(self, model: mujoco.MjModel, substeps: int):
        self.model, self.data, self.substeps = model, mujoco.MjData(model), substeps
        self._warnings = self.data.warning.number
        self._warnings[:] = 1  # MuJoCo prints, and writes a file, when one of these leaves zero
        self._quiet = self._warnings.tobytes()

    def state(self) -> np.ndarray:
        """The state (nx,) after the interval."""
        return np.concatenate([self.data.qpos, self.data.qvel])

    def interval(self, x, u, t, pushes: Pushes | None, chain: _Chain | None = None) -> bool:
        """Simulate one control interval from state `x` (nx,) under `u` (nu,); False where that failed."""
        if not (_sound(x) and _sound(u)):  # not to be shown to a collision routine
            return False
        data, nq = self.data, self.model.nq
        data.qpos[:], data.qvel[:], data.ctrl[:], data.time = x[:nq], x[nq:], u, t
        data.qacc_warmstart[:], data.xfrc_applied[:] = 0.0, 0.0
        self._warnings[:] = 1
        for _ in self._forced(t, pushes):
            if chain is not None:
                chain.substep(data)
            mujoco.mj_step(self.model, data)
            if self._warnings.tobytes() != self._quiet:
                return False
        return _sound(data.qpos) and _sound(data.qvel)

    def _forced(self, t: float, pushes: Pushes | None) -> Iterator[int]:
        """The substeps, each with the forces of the pushes in place."""
        h = self.model.opt.timestep
        for i in range(self.substeps):
            if pushes is not None:
                self.data.xfrc_applied[:] = 0.0
                for body, force in zip(pushes.bodies, pushes.mean_forces(t + i * h, h), strict=True):
                    self.data.xfrc_applied[body, :3] += force
            yield i


def _cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _sound(values: np.ndarray) -> bool:
    """True if all are below MuJoCo's bound, which NaN is not."""
    return bool((np.abs(values) < mujoco.mjMAXVAL).all())
