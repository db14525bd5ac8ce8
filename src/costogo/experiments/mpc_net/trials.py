"""Trials in full physics: ANYmal in MuJoCo under MPC or a policy, torques through the whole-body program alone, states
seen through a noisy estimate (spec mpc_net 8.8)."""

import dataclasses
from collections.abc import Callable, Iterator
from functools import cache
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from costogo.core.validate import require
from costogo.experiments.mpc_net.conditions import Conditions
from costogo.experiments.mpc_net.presets import MPCNetConfig, task_of, walking_task
from costogo.sim import (
    EstimateNoise,
    Push,
    QuadrupedSimulation,
    Record,
    Reference,
    SimulationOptions,
    anymal_model,
    frame_stride,
    quadruped_positions,
    render,
    standing_state,
    track,
)
from costogo.sim.anymal import TIMESTEP
from costogo.systems.legged.rigid_body import GRAVITY

SETTLE = 0.5  # s, standing
PUSH_TIME = 2.0  # s
FRAMES_PER_SECOND = 25
WIDTH, HEIGHT = 480, 360  # of a frame


def options_of(conditions: Conditions) -> SimulationOptions:
    """What the simulation is told. Raises where a number makes no sense."""
    require(conditions.noise >= 0.0, f"noise is {conditions.noise}; pass a number, zero or more")
    require(conditions.latency >= 0.0, f"latency is {conditions.latency}; pass seconds, zero or more")
    typical = dataclasses.asdict(EstimateNoise.typical())
    scaled = {name: value * (1.0 if name == "correlation" else conditions.noise) for name, value in typical.items()}
    steps = round(conditions.latency / TIMESTEP)
    pushes = (Push(PUSH_TIME, (0.0, conditions.push, 0.0)),) if conditions.push else ()
    return SimulationOptions(EstimateNoise(**scaled), steps, pushes, conditions.mass_scale, conditions.friction)


class Programs(NamedTuple):
    """Functions of a walking task, compiled once for all runs."""

    rate: Callable
    stance: Callable
    observe: Callable
    flow: Callable


@cache
def _programs(system: str, gait: str) -> Programs:
    task = walking_task(MPCNetConfig(system=system, gait=gait))
    functions = (task.robot.velocity, task.gait.stance, task.observe, task.problem().dynamics)
    return Programs(*(eqx.filter_jit(function) for function in functions))


def programs(config: MPCNetConfig) -> Programs:
    """Rate and stance of the model, what a student sees, and where a control leads over one interval."""
    return _programs(config.system, config.gait)


def floor_lift(config: MPCNetConfig) -> float:
    """Height (m) to add to a state of the model: its floor is that of the contact points, MuJoCo's is below the feet's
    spheres."""
    return float(standing_state()[5] - walking_task(config).robot.standing()[5])


class Pilot:
    """References for the whole-body controller, from a plan or a policy that is asked at every knot.

    `act(x, t) -> u, x_next` gives the control at a knot and the state the model expects at the next one; in between the
    reference moves straight from the estimate to it. Stands for the first half second.
    """

    def __init__(self, config: MPCNetConfig, act: Callable[[jax.Array, jax.Array], tuple[jax.Array, jax.Array]]):
        task = walking_task(config)
        self.act, self.dt = act, task.dt
        self.rate, self.stance, *_ = programs(config)
        self.lift = floor_lift(config)
        forces = np.zeros(24)
        forces[2:12:3] = task.robot.mass * GRAVITY / 4
        self.stand = Reference(standing_state(), forces, np.ones(4, bool))
        self.knot = -1

    def __call__(self, t: float, x: np.ndarray) -> Reference:
        """Reference at time `t` for the estimate `x`."""
        since = t - SETTLE
        if since < -1e-9:
            return self.stand
        knot = int(np.floor(since / self.dt + 1e-6))
        if knot != self.knot:
            self._ask(knot, x)
        share = since / self.dt - knot
        target = (1.0 - share) * self.here + share * self.there
        target[5] += self.lift
        return Reference(target, self.u, self.contacts, self.acceleration)

    def _ask(self, knot: int, x: np.ndarray) -> None:
        self.knot = knot
        # An array, not a number: the programs below must not be compiled again for every time.
        time = jnp.asarray(knot * self.dt)
        state = jnp.asarray(x).at[5].add(-self.lift)
        u, following = self.act(state, time)
        self.here, self.there, self.u = (np.asarray(a) for a in (state, following, u))
        self.acceleration = np.asarray(self.rate(state, u, time))[6:12]
        self.contacts = np.asarray(self.stance(time))


def planner(config: MPCNetConfig) -> Callable[[], Callable]:
    """Makes `act` of the MPC: one iteration per knot, ten at the first."""
    controller = task_of(config).controller
    init, plan = eqx.filter_jit(controller.init), eqx.filter_jit(controller.plan)

    def fresh() -> Callable:
        memory: list[Any] = []

        def act(x, t):
            state = memory.pop() if memory else init(x, t0=t)
            _, state = plan(state, x, t)
            memory.append(state)
            return state.plan.controls[0], state.plan.states[1]

        return act

    return fresh


def student(config: MPCNetConfig, policy: Callable[[np.ndarray], np.ndarray]) -> Callable[[], Callable]:
    """Makes `act` of an exported policy; the model says where its control leads."""
    *_, observe, flow = programs(config)

    def act(x, t):
        u = jnp.asarray(policy(np.asarray(observe(x, t), np.float32)), x.dtype)
        return u, flow(x, u, t)

    return lambda: act


def student_of(config: MPCNetConfig, policy: Any) -> Callable[[], Callable]:
    """Makes `act` of a network as it was trained."""
    act = eqx.filter_jit(policy)
    return student(config, lambda o: np.asarray(act(o)))


def simulate(
    setting: MPCNetConfig, act: Callable, seed: int, seconds: float, conditions: Conditions | None = None
) -> Record:
    """One run from standing; by default with the typical noise of a state estimator."""
    simulation = QuadrupedSimulation(options_of(conditions or Conditions()))
    simulation.reset(standing_state(), seed)
    return track(simulation, Pilot(setting, act), seconds)


def tried(
    config: MPCNetConfig, policy: Any, seeds: int, seconds: float, conditions: Conditions | None = None
) -> list[dict[str, Any]]:
    """What a network does under so many seeds of noise."""
    make = student_of(config, policy)
    return [{"noise": i, **judged(simulate(config, make(), i, seconds, conditions))} for i in range(seeds)]


def judged(record: Record) -> dict[str, float]:
    """Survival, attitude, drift and torques of one run."""
    return {
        "survived": round(record.survived, 3),
        "fallen": float(record.fallen),
        "largest tilt [deg]": float(np.rad2deg(np.abs(record.states[:, :2]).max())),
        "lowest height [m]": float(record.states[:, 5].min()),
        "drift [m]": float(np.linalg.norm(record.final[3:5])),
        "torque change [N m]": float(np.abs(np.diff(record.torques, axis=0)).mean()),
        "largest torque [N m]": float(np.abs(record.torques).max()),
        "programs without solution": float(record.failures),
    }


def frames(record: Record) -> Iterator[np.ndarray]:
    """Pictures of a run, `FRAMES_PER_SECOND`."""
    every, _ = frame_stride(float(record.times[1] - record.times[0]), FRAMES_PER_SECOND)
    return render(anymal_model(), quadruped_positions(record.states[::every]), width=WIDTH, height=HEIGHT)
