"""What MPC-Net needs to know about each system: teacher, student, sizes of the training."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cache
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from costogo.core.errors import known
from costogo.core.validate import require
from costogo.learn.mpc_net import MPCNet, Task
from costogo.mpc import RecedingHorizon
from costogo.nn import MixtureOfExperts
from costogo.problem import RelaxedBarrier
from costogo.solvers import SLQ
from costogo.systems import Ballbot, PointMass
from costogo.systems.legged import GAITS, PLANAR_GAITS, Anymal, PlanarWalker, WalkingTask
from costogo.systems.legged.rigid_body import GRAVITY

SYSTEMS = ("point_mass", "ballbot", "planar", "anymal")
PAPER_GAITS = ("trot", "static_walk")

# The specification's; a field of `MPCNetConfig` each, and what it is where nothing is said.
STUDENT = {"latent": (32,), "neighbours": 2, "violation_weight": 0.0}


@dataclass(frozen=True)
class Preset:
    """Scales of the student's inputs and outputs, the sizes of the training, and what else is not `STUDENT`, of one
    system."""

    input_std: np.ndarray
    output_scale: np.ndarray
    training: dict[str, Any]
    output_offset: np.ndarray | float = 0.0
    barrier: RelaxedBarrier = field(default_factory=RelaxedBarrier)
    student: Mapping[str, Any] = field(default_factory=dict)


def _legged(
    body: list[float], forces: int, joints: int, flags: int, student: Mapping[str, Any] | None = None, **training: Any
) -> Preset:
    return Preset(
        input_std=np.concatenate([np.full(flags, 0.5), body, np.full(joints, 0.15)]),
        output_scale=np.concatenate([np.full(forces, 100.0), np.full(joints, 2.0)]),
        training={"steps": 120, "test_steps": 120, "updates": 2000, "batch_size": 128, **training},
        student=student or {},
    )


# Body of the walkers: angles, position, rates, velocity.
PRESETS = {
    "point_mass": Preset(
        np.array([2.0, 1.0, 2.0, 1.0]), np.full(2, 3.0),
        {"rounds": 30, "rollouts": 20, "steps": 30, "updates": 1500, "batch_size": 64, "learning_rate": 5e-3},
        barrier=RelaxedBarrier(1.0, 0.2),
    ),
    "ballbot": Preset(
        np.array([0.5, 0.5, 0.3, 0.1, 0.1, 0.5, 0.5, 0.5, 0.5, 0.5]), np.full(3, 5.0),
        {"rounds": 24, "rollouts": 20, "steps": 30, "updates": 1500, "batch_size": 64, "learning_rate": 1e-2},
    ),
    "planar": _legged(
        [0.1, 0.2, 0.03, 0.5, 0.3, 0.1], 4, 4, 4, rounds=30, rollouts=8, learning_rate=2e-3,
    ),
    "anymal": _legged(
        [0.1, 0.1, 0.3, 0.2, 0.15, 0.03, 0.3, 0.3, 0.3, 0.3, 0.2, 0.15], 12, 12, 8,
        {"latent": (128,), "neighbours": 4, "violation_weight": 4.0}, rounds=40, rollouts=4, learning_rate=2e-3,
    ),
}  # fmt: skip


@dataclass(frozen=True)
class MPCNetConfig:
    """One training run."""

    system: str = "ballbot"
    """point_mass, ballbot, planar or anymal"""
    gait: str = ""
    """anymal: trot, standing_trot, static_walk or stance; planar: walk or slow_walk; default: the first"""
    loss: str = "hamiltonian"
    """hamiltonian, blended_hamiltonian, cloning or cloning_norm"""
    experts: int = 8
    """1 is a plain network of the same latent size"""
    latent: tuple[int, ...] | None = None
    """sizes of the hidden layers, if not the system's"""
    gating: str = "sigmoid"
    """sigmoid or softmax"""
    neighbours: int | None = None
    """samples drawn around each visited state, if not the system's number"""
    alpha: float | None = None
    """share of the teacher in the rollouts; by default from one to zero"""
    violation_weight: float | None = None
    """weight of the squared constraint violation added to the Hamiltonian, if not the system's (paper: 0)"""
    trust: float = 3.0
    """samples whose Hamiltonian does not stand behind the teacher's control are left out; inf keeps all (paper)"""
    rounds: int | None = None
    """rounds of rollouts and updates, if not the system's"""
    seed: int = 0

    def __post_init__(self):
        known("system", self.system, SYSTEMS)
        for name, value in (STUDENT | PRESETS[self.system].student).items():
            if getattr(self, name) is None:
                object.__setattr__(self, name, value)
        object.__setattr__(self, "latent", tuple(self.latent or ()))  # from a file it comes as a list
        gaits = {"anymal": GAITS, "planar": PLANAR_GAITS}.get(self.system)
        if gaits is None:
            require(self.gait == "", f"gait is {self.gait!r}, but {self.system} has none; leave it out")
        elif self.gait:
            known("gait", self.gait, gaits)
        require(self.rounds is None or self.rounds >= 1, f"rounds is {self.rounds}; pass at least 1")


def plain_quadruped(gait: str) -> MPCNetConfig:
    """What the comparisons on ANYmal start from: the specification's small network, and no extension of the loss."""
    return MPCNetConfig(system="anymal", gait=gait, **STUDENT)


# Cached: runs that have the same task and learner, such as seeds, share the programs that JAX compiles for them.


@cache
def _walking_task(system: str, gait: str) -> WalkingTask:
    robot, gaits = (Anymal(), GAITS) if system == "anymal" else (PlanarWalker(), PLANAR_GAITS)
    return WalkingTask(robot, gaits[gait or next(iter(gaits))])


@cache
def _task(system: str, gait: str) -> Task:
    model, preset = _system(system, gait), PRESETS[system]
    robot = getattr(model, "robot", model)
    controller = RecedingHorizon(model.problem(), solver=SLQ(barrier=preset.barrier), iterations=1, guess=model.guess)
    spread = jnp.asarray(robot.neighbour_spread(), float)
    return Task(controller, model.plant(), model.observe, model.start, robot.valid, spread)


def _system(system: str, gait: str) -> Any:
    return {"point_mass": PointMass, "ballbot": Ballbot}.get(system, lambda: _walking_task(system, gait))()


def walking_task(config: MPCNetConfig) -> WalkingTask:
    """Robot and gait of a legged system."""
    return _walking_task(config.system, config.gait)


def task_of(config: MPCNetConfig) -> Task:
    """Teacher and surroundings of the student."""
    return _task(config.system, config.gait)


def system_of(config: MPCNetConfig) -> Any:
    """What knows problem, guess, plant, observation and starts."""
    return _system(config.system, config.gait)


def build(config: MPCNetConfig) -> MPCNet:
    """The learner of a configuration; the seed is no part of it."""
    return _build(replace(config, seed=0))


@cache
def _build(config: MPCNetConfig) -> MPCNet:
    system, preset = system_of(config), PRESETS[config.system]
    offset = np.zeros(preset.output_scale.shape)
    if config.system in ("anymal", "planar"):
        robot = system.robot
        dim, feet = robot.rotation_dimension, len(robot.foot_names)
        offset[dim - 1 : dim * feet : dim] = robot.mass * GRAVITY / feet

    def network(key: jax.Array) -> MixtureOfExperts:
        return MixtureOfExperts(
            system.observation_size, len(offset), key=key, experts=config.experts, latent=config.latent,
            gating=config.gating, input_std=preset.input_std, output_offset=offset, output_scale=preset.output_scale,
        )  # fmt: skip

    training = {"clip": 10.0, "final_learning_rate": 1e-4, "test_steps": 30, **preset.training}
    if config.rounds is not None:
        training["rounds"] = config.rounds
    return MPCNet(
        task_of(config), network, loss=config.loss, neighbours=config.neighbours,
        alpha="linear" if config.alpha is None else config.alpha, violation_weight=config.violation_weight,
        trust=config.trust, **training,
    )  # fmt: skip
