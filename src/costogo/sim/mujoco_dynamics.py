"""MuJoCo's C engine as the dynamics of an optimal control problem."""

# mujoco is compiled and has no stubs.
# pyright: reportAttributeAccessIssue=false

import os
from collections.abc import Callable, Sequence

import equinox as eqx
import jax.numpy as jnp
import mujoco
import numpy as np
from jax.typing import ArrayLike
from jaxtyping import Array

from costogo.core.errors import CostogoError, known
from costogo.core.validate import as_floating, is_concrete, require, require_shape
from costogo.problem import SimulatorDynamics
from costogo.problem.rollout import AffineFeedback
from costogo.sim.host_call import host_call
from costogo.sim.mujoco_engine import Engine, Pushes
from costogo.sim.mujoco_model import check_stateless, control_limits, keyframe_state, load_model


class BodyPush(eqx.Module):
    """A force on a body's centre of mass: `force` (3,) N in the world, from `start` s for `duration` s (spec 8.4).

    A step of MuJoCo that the push covers in part sees its mean, so the impulse is `force * duration` whatever the
    timestep. Times and force are leaves: under `vmap` each problem can have its own push.
    """

    body: str = eqx.field(static=True)
    start: Array
    force: Array
    duration: Array

    def __init__(self, body: str, start: ArrayLike, force: ArrayLike, duration: ArrayLike = 0.1):
        self.body = body
        self.start, self.duration = as_floating("start", start), as_floating("duration", duration)
        self.force = as_floating("force", force)
        require_shape("force", self.force.shape, (3,), "pass (x, y, z) in N")
        for name, value in (("start", self.start), ("duration", self.duration)):
            require_shape(name, value.shape, (), "pass seconds, a number")
        if is_concrete(self.duration):
            require(float(self.duration) > 0.0, f"duration is {self.duration}; pass positive seconds")


class MujocoDynamics(SimulatorDynamics):
    """Any MJCF model of slide and hinge joints, in MuJoCo's C engine on host threads.

    State `(qpos, qvel)` (nx,), control: the inputs of the actuators (nu,), held for `substeps` steps of the model's
    timestep, which make the problem's `dt`. For use with `costogo.solve`, `jax.jit` and `jax.vmap`; whatever the number
    of problems, a step, a linearisation or a rollout is one call to the host (spec constrained_gps 8, 12).

        dynamics = MujocoDynamics("robot.xml", substeps=5)
        problem = OptimalControlProblem(dynamics, cost, horizon=200, dt=dynamics.dt,
                                        control_bounds=dynamics.control_bounds())

    Arguments: `model`, a compiled model (copied), the path of an MJCF file, or MJCF text; `pushes`, forces from
    outside; `difference_step` and `centred`, of the finite differences `mjd_transitionFD` of one timestep, chained over
    substeps (with contacts, a step such as 1e-4 averages over their onset); `threads`, all cores by default.

    The next state depends on state, control, time (through pushes) and nothing else, to the bit: see `Engine`. Controls
    beyond an actuator's range act as its limit, with a derivative of zero. Simulations run in float64 and are
    rounded to the precision of the state at every knot. A simulation that diverges gives NaN, in its problem only.

    Raises `CostogoError` for a model that does not load, joints other than slides and hinges, actuators with a state,
    no actuators, and wrong sizes; `linearise` does for the integrator RK4, which `mjd_transitionFD` does not know.
    """

    pushes: tuple[BodyPush, ...]
    engine: Engine = eqx.field(static=True)

    def __init__(
        self,
        model: mujoco.MjModel | str | os.PathLike,
        *,
        substeps: int = 1,
        pushes: Sequence[BodyPush] = (),
        difference_step: float = 1e-6,
        centred: bool = True,
        threads: int | None = None,
    ):
        for name, value in (("substeps", substeps), ("threads", 1 if threads is None else threads)):
            whole = isinstance(value, int | np.integer) and not isinstance(value, bool)
            require(whole and value >= 1, f"{name} is {value!r}; pass an integer of at least 1")
        require(0.0 < difference_step < 1.0, f"difference_step is {difference_step}; pass a small number such as 1e-6")
        loaded = load_model(model)
        check_stateless(loaded)
        self.engine = Engine(
            loaded, substeps=int(substeps), difference_step=difference_step, centred=centred, threads=threads
        )
        self.pushes = _checked_pushes(loaded, pushes)

    @property
    def model(self) -> mujoco.MjModel:
        """The compiled model, a copy; to be read, not written."""
        return self.engine.model

    @property
    def nx(self) -> int:
        """Number of states."""
        return self.engine.nx

    @property
    def nu(self) -> int:
        """Number of controls."""
        return self.engine.nu

    @property
    def dt(self) -> float:
        """Seconds per control interval."""
        return self.engine.substeps * float(self.model.opt.timestep)

    def control_bounds(self) -> tuple[np.ndarray, np.ndarray]:
        """Lower and upper limits (nu,) of the actuators' inputs, infinite where the model has none."""
        return control_limits(self.model)

    def initial_state(self, keyframe: str | None = None) -> np.ndarray:
        """State (nx,) of a keyframe, or the model's initial positions at rest."""
        return keyframe_state(self.model, keyframe)

    def with_pushes(self, pushes: Sequence[BodyPush]) -> "MujocoDynamics":
        """The same model, memory and threads under other pushes."""
        checked = _checked_pushes(self.model, pushes)
        return eqx.tree_at(lambda dynamics: dynamics.pushes, self, checked, is_leaf=lambda leaf: leaf is self.pushes)

    def step(self, xs: Array, us: Array, ts: Array) -> Array:
        """Next states (*batch, nx) of states (*batch, nx) under controls (*batch, nu) at times (*batch,)."""
        return self._call("step", (1, 1, 0), ((self.nx,),), xs, us, ts)[0]

    def linearise(self, xs: Array, us: Array, ts: Array) -> tuple[Array, Array, Array]:
        """Next states (*batch, nx) and Jacobians (*batch, nx, nx) and (*batch, nx, nu)."""
        require(
            self.model.opt.integrator != int(mujoco.mjtIntegrator.mjINT_RK4),
            "model uses the integrator RK4, which MuJoCo does not differentiate; "
            'write <option integrator="implicitfast"/> in the MJCF, or set model.opt.integrator',
        )
        nx, nu = self.nx, self.nu
        new, A, B = self._call("linearise", (1, 1, 0), ((nx,), (nx, nx), (nx, nu)), xs, us, ts)
        return new, A, B

    def rollout(self, x0: Array, feedback: AffineFeedback, ts: Array) -> tuple[Array, Array]:
        """States (N+1, nx) and controls (N, nu) from `x0` (nx,) under the law, at times (N,)."""
        law = (feedback.states, feedback.controls, feedback.gains, feedback.lower, feedback.upper)
        N, nx, nu = len(ts), self.nx, self.nu
        for name, part, core in zip(
            ("states", "controls", "gains", "lower", "upper"), law, ((nx,), (nu,), (nu, nx), (nu,), (nu,)), strict=True
        ):
            require_shape(f"feedback.{name}", part.shape, (N, *core), "pass one row for each time")
        _check_last("x0", x0, nx, "(qpos, qvel)")
        ranks, results = (1, 2, 2, 3, 2, 2, 1), ((N + 1, nx), (N, nu))
        states, controls = self._host(_rollout, ranks, results, x0, *law, ts)
        return states, controls

    def _call(self, method: str, ranks: tuple, results: tuple, xs: Array, us: Array, ts: Array) -> tuple[Array, ...]:
        xs, us = as_floating("xs", xs), as_floating("us", us)
        _check_last("xs", xs, self.nx, "(qpos, qvel)")
        _check_last("us", us, self.nu, "one input for each actuator")
        return self._host(getattr(Engine, method), ranks, results, xs, us, ts)

    def _host(self, method: Callable, ranks: tuple, results: tuple, *operands: ArrayLike) -> tuple[Array, ...]:
        """Call a method of the engine on the host, with the pushes as its last argument."""
        count, dtype = len(self.pushes), jnp.asarray(operands[0]).dtype
        starts, durations, forces = (
            jnp.asarray([getattr(push, name) for push in self.pushes], dtype).reshape(count, *core)
            for name, core in (("start", ()), ("duration", ()), ("force", (3,)))
        )
        bodies = tuple(self.model.body(push.body).id for push in self.pushes)

        def run(*arrays: np.ndarray) -> tuple[np.ndarray, ...]:
            return method(self.engine, *arrays[:-3], Pushes(bodies, *arrays[-3:]))

        operands = tuple(jnp.asarray(a, dtype) for a in operands)
        return host_call(run, (*ranks, 1, 1, 2), results, *operands, starts, durations, forces)


def _rollout(engine: Engine, x0, *rest) -> tuple[np.ndarray, ...]:
    *law, ts, pushes = rest
    return engine.rollout(x0, tuple(law), ts, pushes)


def _check_last(name: str, value: ArrayLike, size: int, what: str) -> None:
    shape = jnp.shape(value)
    if not shape or shape[-1] != size:
        raise CostogoError(f"{name} has shape {shape}, expected (..., {size}); pass {what}")


def _checked_pushes(model: mujoco.MjModel, pushes: Sequence[BodyPush]) -> tuple[BodyPush, ...]:
    names = [model.body(i).name for i in range(1, model.nbody)]
    for push in pushes:
        require(isinstance(push, BodyPush), f"pushes holds {push!r}; pass costogo.sim.BodyPush objects")
        known("body", push.body, names)
    return tuple(pushes)
