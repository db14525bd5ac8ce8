"""Expert, data and learners of the imitation experiments X3 and X4 (spec differentiable_mpc section 8)."""

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array

from costogo.core.errors import CostogoError, known
from costogo.core.validate import require
from costogo.learn import ImitationData, Seeds, demonstrate
from costogo.learn.baselines import LSTMImitation, SystemIdentification
from costogo.learn.diff_mpc import DiffMPCImitation
from costogo.problem import OptimalControlProblem, QuadraticCost
from costogo.solvers import BoxDDP, solve
from costogo.systems import CartPole, Pendulum

HORIZON = 20
MODES = ("nn", "sysid", "mpc.dx", "mpc.cost", "mpc.cost.dx")
SYSTEMS = {"pendulum": Pendulum, "cartpole": CartPole}
STARTS = {
    "pendulum": {"gravity": 15.0, "mass": 3.0, "length": 0.5},
    "cartpole": {"gravity": 9.8, "cart_mass": 3.0, "pole_mass": 0.1, "length": 1.0},
}
LINE_SEARCH = {
    "pendulum": {"line_search_decay": 0.2, "line_search_trials": 5},
    "cartpole": {"line_search_decay": 0.5, "line_search_trials": 8},
}
ALTERNATION = 10  # epochs between the two groups of cost parameters


@dataclass(frozen=True)
class ImitationConfig:
    """One training run: system, what is learned, from how many trajectories, for how long."""

    system: str = "pendulum"
    """pendulum or cartpole"""
    mode: str = "mpc.dx"
    """nn, sysid, mpc.dx, mpc.cost or mpc.cost.dx"""
    train_size: int = 100
    """training trajectories, 1 to 100"""
    epochs: int = 1000
    seeds: int = 4
    """seeds trained together"""
    seed: int = 0
    angle_range: float | None = None
    """pendulum only: initial angles in +- this (default pi/2)"""

    def __post_init__(self):
        known("system", self.system, SYSTEMS)
        known("mode", self.mode, MODES)
        require(1 <= self.train_size <= 100, f"train_size is {self.train_size}; pass 1 to 100")
        require(self.epochs >= 1, f"epochs is {self.epochs}; pass at least 1")
        require(self.seeds >= 1, f"seeds is {self.seeds}; pass at least 1")
        if self.angle_range is not None and self.system != "pendulum":
            raise CostogoError("angle_range applies to the pendulum only")


def learner_solver(system: str) -> BoxDDP:
    """The paper's clamped box DDP with its line search; a warm-started solve gets at most 60 iterations."""
    return BoxDDP(subproblem="clamped", max_iterations=60, tolerance=1e-5, **LINE_SEARCH[system])


def expert_data(expert: Any, initial_states: Array) -> ImitationData:
    """100 training, 10 validation and 10 test trajectories of the expert MPC, solved from zero controls."""
    problem = expert.problem(HORIZON)
    solver = BoxDDP(subproblem="clamped", max_iterations=500, tolerance=1e-8)
    demonstrations = demonstrate(lambda x0: solve(problem, x0, solver=solver), initial_states)
    parts = (slice(0, 100), slice(100, 110), slice(110, 120))
    return ImitationData(*(jax.tree.map(lambda a, part=part: a[part], demonstrations) for part in parts))


def initial_states(expert: Any, seed: int, angle_range: float | None = None) -> Array:
    """The 120 initial states of the data set."""
    keys = jax.random.split(jax.random.PRNGKey(seed), 120)
    options = {} if angle_range is None else {"angle_range": angle_range}
    return jax.vmap(lambda key: expert.initial_state(key, **options))(keys)


def rmsprop() -> optax.GradientTransformation:
    """RMSprop of the public code: rate 1e-2, squared-gradient averaging 0.5, eps 1e-8 outside the root."""
    return optax.rmsprop(1e-2, decay=0.5, eps=1e-8, eps_in_sqrt=False)


Start = dict[str, float] | Callable[[Array], dict[str, Array]]


def start_parameters(system: Any, mode: str, start: Start) -> Any:
    """Parameters before training: wrong physics, a cost without a goal, or both. `start` may be drawn from a key."""
    if callable(start):
        return lambda key: start_parameters(system, mode, start(key))
    n = system.nx + system.nu
    parameters: dict[str, Any] = {}
    if "dx" in mode or mode == "sysid":
        parameters["dynamics"] = {name: jnp.array(value) for name, value in start.items()}
    if "cost" in mode:
        parameters["cost"] = {"logit": jnp.zeros(n), "goal": jnp.zeros(n)}
    return parameters


def learner_problem(system: Any, parameters: dict[str, Any], horizon: int = HORIZON) -> OptimalControlProblem:
    """The learner's MPC: the expert's, with what is learned put in (`q = sigmoid(logit)`, `p = sqrt(q) goal`)."""
    dynamics = dataclasses.replace(system, **parameters["dynamics"]) if "dynamics" in parameters else system
    cost = system.cost()
    if "cost" in parameters:
        q = jax.nn.sigmoid(parameters["cost"]["logit"])
        p = jnp.sqrt(q) * parameters["cost"]["goal"]
        nx = system.nx
        cost = QuadraticCost(Q=q[:nx], R=q[nx:], q=p[:nx], r=p[nx:])
    return OptimalControlProblem(dynamics, cost, horizon=horizon, control_bounds=system.control_bounds(), dt=system.dt)


def physical(parameters: dict[str, Any]) -> dict[str, Any]:
    """Keep learned physics in [0.05, 50], outside which the equations lose their meaning."""
    if "dynamics" not in parameters:
        return parameters
    return {**parameters, "dynamics": jax.tree.map(lambda v: jnp.clip(v, 0.05, 50.0), parameters["dynamics"])}


def alternate(epoch: Array, gradient: dict[str, Any]) -> dict[str, Any]:
    """Every ten epochs switch between goal (first) and weights of the cost; the other group's gradient is zeroed."""
    if "cost" not in gradient:
        return gradient
    goal_turn = (epoch // ALTERNATION) % 2 == 0
    cost = gradient["cost"]
    frozen = {"goal": jnp.where(goal_turn, cost["goal"], 0.0), "logit": jnp.where(goal_turn, 0.0, cost["logit"])}
    return {**gradient, "cost": frozen}


def mpc_learner(name: str, system: Any, mode: str, start: Start, data: ImitationData) -> DiffMPCImitation:
    """Differentiable-MPC imitation in one of its modes; `system` is the learner's model class."""
    return DiffMPCImitation(
        build=lambda parameters: learner_problem(system, parameters),
        parameters=start_parameters(system, mode, start),
        data=data,
        optimiser=rmsprop(),
        solver=learner_solver(name),
        freeze=alternate,
        project=physical,
    )


def sysid_learner(system: Any, start: Start, data: ImitationData) -> SystemIdentification:
    """System identification of the same parameters."""
    return SystemIdentification(
        dynamics=lambda parameters: dataclasses.replace(system, **parameters["dynamics"]),
        parameters=start_parameters(system, "sysid", start),
        data=data,
        optimiser=rmsprop(),
        project=physical,
    )


def build(config: ImitationConfig) -> Any:
    """The learner of a configuration (one seed)."""
    system = SYSTEMS[config.system]()
    states = initial_states(system, config.seed, config.angle_range)
    data = expert_data(system, states).with_train_size(config.train_size)
    start = STARTS[config.system]
    if config.mode == "nn":
        return LSTMImitation(data)
    if config.mode == "sysid":
        return sysid_learner(system, start, data)
    return mpc_learner(config.system, system, config.mode, start, data)


def build_seeds(config: ImitationConfig) -> Seeds:
    """The learner of a configuration, all its seeds together."""
    return Seeds(build(config), config.seeds)


def identifiable(system: str, parameters: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """What the controls can tell about the physics: for the pendulum only `g/l` and `m l^2`."""
    if system != "pendulum":
        return parameters
    g, m, length = (np.asarray(parameters[name]) for name in ("gravity", "mass", "length"))
    return {"g/l": g / length, "m l^2": m * length**2}
