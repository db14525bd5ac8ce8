"""What guided policy search needs to know about each system, and its configuration."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from importlib import import_module
from typing import TYPE_CHECKING, Any

from costogo.core.errors import known
from costogo.core.validate import require
from costogo.learn.constrained_gps import (
    ConstrainedGPS,
    CostWeightedRegression,
    Dagger,
    ImportanceSampledGPS,
    Judged,
    VariationalGPS,
)
from costogo.solvers import GaussianDDP

if TYPE_CHECKING:
    from costogo.experiments.constrained_gps.tasks import Setting

SYSTEMS = {"swimmer": "tasks", "walker": "tasks", "terrain": "disturbed", "push": "disturbed"}  # and their module
CONDITIONS = {"terrain": "grounds", "push": "pushes"}  # of the systems with a number of them
WALKERS = ("walker", *CONDITIONS)
METHODS: dict[str, Callable[..., Any]] = {
    "constrained": ConstrainedGPS,
    "variational": VariationalGPS,
    "importance": ImportanceSampledGPS,
    "adapted": partial(ImportanceSampledGPS, adapt=True),
    "regression": CostWeightedRegression,
    "dagger": Dagger,
}
TUNABLE = {  # options of the learners, and the methods that have them
    "rate": ("constrained",),
    "ramp": ("constrained", "variational"),
    "first_scale": tuple(METHODS),
    "adapt_scale": ("adapted",),
    "share": ("regression",),
}


@dataclass(frozen=True)
class GPSConfig:
    """One training run. Numbers that the learner checks are checked by `build`."""

    system: str = "swimmer"
    """swimmer, walker, terrain (the walker on uneven ground) or push (the walker pushed)"""
    method: str = "constrained"
    """constrained, variational, importance, adapted, regression or dagger"""
    hidden: int = 10
    """units of the policy's hidden layer"""
    iterations: int = 100
    """outer iterations; constrained: trajectories, policy, multipliers"""
    rate: float | None = None
    """step of the multipliers, constrained only; by default 0.1 (swimmer), 0.04 (walker, push) or 2 (terrain)"""
    ramp: int | None = None
    """iterations in which cost and pushes grow, constrained and variational; by default 50, or 100 (push)"""
    first_scale: float | None = None
    """factor of the cost at first; by default 0.1 (constrained, variational) or 1"""
    adapt_scale: float | None = None
    """factor of the cost when trajectories are adapted, adapted only; by default 1"""
    share: float | None = None
    """effective share of the rollouts, regression only; by default 0.1"""
    samples: int = 20
    """samples of every knot that the policy is fitted to, an even number"""
    fit_iterations: int = 150
    """iterations of L-BFGS in each fit of the policy"""
    conditions: int | None = None
    """terrain, push: number of grounds or pushes to train on; by default 3 and 4"""
    symmetric: bool = False
    """walker, terrain, push: a policy that does the same with either leg"""
    seed: int = 0

    def __post_init__(self):
        known("system", self.system, SYSTEMS)
        known("method", self.method, METHODS)
        require(self.hidden >= 1, f"hidden is {self.hidden}; pass at least 1")
        for name, methods in TUNABLE.items():
            value = getattr(self, name)
            require(value is None or value > 0, f"{name} is {value}; pass a positive number")
            require(
                value is None or self.method in methods,
                f"{name} is {value}, but the {self.method} method has none; leave it out",
            )
        require(
            self.conditions is None or self.system in CONDITIONS,
            f"conditions is {self.conditions}, but {self.system} has conditions of its own; leave it out",
        )
        legs = self.system in WALKERS
        require(legs or not self.symmetric, f"symmetric is set, but {self.system} has no legs; leave it out")


def setting_of(config: GPSConfig, **given: Any) -> "Setting":
    """Task and limits of a configuration; more of what its task is `given`, such as other unseen conditions."""
    # Tasks need mujoco, which a configuration does not.
    module = import_module(f"costogo.experiments.constrained_gps.{SYSTEMS[config.system]}")
    given |= {} if config.conditions is None else {"conditions": config.conditions}
    given |= {"symmetric": True} if config.symmetric else {}
    return getattr(module, config.system)(config.hidden, **given)


def build(config: GPSConfig) -> Judged:
    """The learner of a configuration."""
    setting = setting_of(config)
    solver = GaussianDDP(covariance_cap=setting.covariance_cap, state_limit=setting.state_limit)
    options = {name: value for name in TUNABLE if (value := getattr(config, name)) is not None}
    if config.method in TUNABLE["ramp"]:
        options = {"ramp": setting.ramp} | options
    if config.method == "constrained":
        options = {"rate": setting.rate, "first_weight": setting.first_weight} | options
    learner = METHODS[config.method](
        setting.task, solver=solver, first_iterations=setting.first_iterations, samples=config.samples,
        fit_iterations=config.fit_iterations, tail=setting.tail, **options,
    )  # fmt: skip
    return Judged(learner, config.iterations)
