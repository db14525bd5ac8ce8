"""Settings of a training run: tasks, methods, budgets."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

from costogo.core.errors import known
from costogo.core.validate import require
from costogo.learn.dmd_mpc import (
    BranchedRollouts,
    Imagination,
    ImprovedRollouts,
    LinearSchedule,
    MDeMoRL,
    ModelFit,
    constant,
    mopac_solver,
)
from costogo.rl import SAC
from costogo.sim.tasks import TASKS, GymnasiumEnvironment
from costogo.solvers import Exponentiated, LiteralElites, LowCost, MirrorDescent, ShiftedElites

TASK_NAMES = tuple(TASKS)
METHODS = {
    "m_demorl": "mirror descent in the model, SAC on real and imagined transitions",
    "mopac": "path-integral correction of the policy in the model",
    "mbpo": "branched rollouts of the policy in the model",
    "mbpo_long": "the same, with the planning horizon's schedule",
    "sac": "real transitions only, one update per step",
    "sac_many": "the same, with the updates of the others",
}
# Spec dmd_mpc 4.3; each is made of the share of elites.
WEIGHTINGS: dict[str, Callable[[float], Callable]] = {
    "plc": LowCost,
    "eeu": lambda elites: Exponentiated(),
    "elite_shifted": ShiftedElites,
    "literal_14": LiteralElites,
}


class Budget(NamedTuple):
    """Real steps, steps of an epoch, updates per real step, random first steps."""

    steps: int
    epoch: int
    updates: int
    first: int


class Scale(NamedTuple):
    """How much is imagined per call: start states, samples per start, replays of a plan, schedule of the horizon over
    the share of a run, model steps of branched rollouts, and updates of a model training."""

    starts: int
    samples: int
    replays: int
    horizon: tuple[int, int]
    branched: int
    model_updates: int


# Issue: budgets for two cores; other tasks take what the spec's table says.
CPU_BUDGETS = {
    "InvertedPendulum": Budget(10_000, 250, 5, 500),
    "InvertedDoublePendulum": Budget(10_000, 250, 5, 500),
    "Reacher": Budget(10_000, 250, 5, 500),
    "Swimmer": Budget(20_000, 500, 5, 1000),
    **dict.fromkeys(("Leg", "LegLiteral", "LegSemi"), Budget(40_000, 1000, 5, 1000)),
    "Stochlite": Budget(60_000, 1000, 5, 1000),
}
CPU_STEPS = 20_000
SCALES = {
    "cpu": Scale(200, 32, 32, (5, 8), 51_200, 300),
    "paper": Scale(10_000, 100, 1, (5, 15), 100_000, 5000),
}
HORIZON_EPOCHS = 40_000  # real steps until the horizon is at its longest, of the paper's schedule


@dataclass(frozen=True)
class DMDConfig:
    """What can be set; the other numbers are the spec's. None: the task's own."""

    task: str = "InvertedPendulum"
    method: str = "m_demorl"
    scale: str = "cpu"
    """how much is imagined: cpu or paper"""
    seed: int = 0
    steps: int | None = None
    """real steps after the random ones"""
    updates: int | None = None
    """updates of the agent per real step"""
    real_share: float | None = None
    """share of real transitions in a batch"""
    elites: float = 0.1
    """share of the sampled sequences that count"""
    weighting: str = "plc"
    """plc, eeu, elite_shifted or literal_14"""
    step_size: float = 0.9
    std: float = 0.3
    """standard deviation of the sampled controls"""
    mode: str = "closed_loop"
    """closed_loop or open_loop"""
    imagined_capacity: int = 100_000
    """imagined transitions that are kept, at least; four calls' worth if that is more"""
    bounded: bool = True
    """clip what the model predicts to the ranges of real observations and rewards (not in the paper)"""
    replays: int | None = None
    """m_demorl and mopac: how often each plan is replayed in the model (once in the paper)"""
    explore: bool = False
    """m_demorl and mopac: replay plans with the agent's noise (not in the paper)"""

    def __post_init__(self):
        known("task", self.task, TASKS)
        known("method", self.method, METHODS)
        known("scale", self.scale, SCALES)
        known("weighting", self.weighting, WEIGHTINGS)
        for name in ("steps", "updates", "replays"):
            value = getattr(self, name)
            require(value is None or value >= 1, f"{name} is {value}; pass at least 1, or leave it out")
        one = self.method != "sac" or self.updates in (None, 1)
        require(one, f"updates is {self.updates}, but sac has one per real step; pass --method sac_many")
        share = self.real_share
        require(share is None or 0.0 <= share <= 1.0, f"real_share is {share}; pass a fraction from 0 to 1")

    @property
    def budget(self) -> Budget:
        """Steps and updates, the given ones in place of the table's."""
        task = TASKS[self.task]
        own = Budget(task.epochs * task.epoch_steps, task.epoch_steps, task.updates, task.first_steps)
        if self.scale == "cpu":
            own = CPU_BUDGETS.get(self.task, own._replace(steps=CPU_STEPS, updates=5))
        updates = 1 if self.method == "sac" else self.updates or own.updates
        return own._replace(steps=self.steps or own.steps, updates=updates)

    @property
    def epochs(self) -> int:
        """Epochs of the run."""
        return max(1, self.budget.steps // self.budget.epoch)


def build(config: DMDConfig) -> MDeMoRL:
    """The learner of a setting."""
    task, budget = TASKS[config.task], config.budget
    environments = [GymnasiumEnvironment(config.task) for _ in range(2)]
    no, nu = environments[0].no, environments[0].nu
    return MDeMoRL(
        *environments, SAC(no, nu, target_entropy=task.target_entropy), imagination(config),
        model_fit=ModelFit(updates=SCALES[config.scale].model_updates), hidden=task.hidden,
        epoch_length=budget.epoch, first_steps=budget.first, updates=budget.updates, model_every=task.model_every,
        real_share=task.real_share if config.real_share is None else config.real_share,
        capacity=budget.first + config.epochs * budget.epoch,
        imagined_capacity=config.imagined_capacity, bounded=config.bounded,
        tests=3 if config.scale == "cpu" else 1,
    )  # fmt: skip


def imagination(config: DMDConfig) -> Imagination | None:
    """What a method imagines."""
    if config.method in ("sac", "sac_many"):
        return None
    scale, budget = SCALES[config.scale], config.budget
    # Over the same real steps whatever an epoch is; over half of the run where that is shorter.
    ramp = max(1, min(HORIZON_EPOCHS, budget.steps // 2) // budget.epoch)
    schedule = LinearSchedule(0, ramp, *scale.horizon)
    if config.method == "mbpo":
        rollout = TASKS[config.task].rollout
        own = constant(1) if config.scale == "cpu" or rollout[2] == rollout[3] else LinearSchedule(*rollout)
        return BranchedRollouts(own, samples=scale.branched)
    if config.method == "mbpo_long":
        return BranchedRollouts(schedule, samples=scale.branched)
    replays = config.replays or scale.replays
    if config.method == "mopac":
        return ImprovedRollouts(
            schedule, mopac_solver(scale.samples), scale.starts, replays, residual=True, explore=config.explore
        )
    solver = MirrorDescent(
        1, utility=WEIGHTINGS[config.weighting](config.elites), step_size=config.step_size, std=config.std,
        samples=scale.samples, mode=config.mode,
    )  # fmt: skip
    return ImprovedRollouts(schedule, solver, scale.starts, replays, explore=config.explore)
