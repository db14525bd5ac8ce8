"""Experiments by name: `costogo reproduce diff_mpc/x1`."""

import importlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from costogo.core.errors import known, writable
from costogo.core.validate import require

EXPERIMENTS = {
    "diff_mpc/x1": "time and memory of the backward pass against the number of solver iterations",
    "diff_mpc/x2": "LQR imitation: learn A and B from an expert with the same cost",
    "diff_mpc/x3": "pendulum and cart-pole imitation: five modes, three train sizes",
    "diff_mpc/x4": "non-realisable expert: system identification against differentiable MPC",
    "mpc_net/e1": "one network, two gaits: a quadruped trots and walks from minutes of MPC data",
    "mpc_net/e2": "Hamiltonian or cloning: violation on the model, falls in full physics",
    "mpc_net/e3": "samples around visited states, or none: survival, noise, full physics",
    "mpc_net/e4": "experts or one network: violation, experts in use",
    "mpc_net/e5": "minutes of MPC data until the policy is stable",
    "mpc_net/obstacle": "a point mass passes a disc on either side: experts or one network",
    "mpc_net/ladder": "every ablation with five seeds on ballbot and planar walker",
    "constrained_gps/tuning": "guided policy search: three values of one number for each method, on one seed",
    "constrained_gps/g1": "a swimmer: guided policy search with 5 and 10 hidden units",
    "constrained_gps/g2": "a planar walker: guided policy search with 5 and 10 hidden units",
    "constrained_gps/g3": "a walker on uneven ground: trained on one or three grounds, tried on four others",
    "constrained_gps/g4": "a walker that is pushed: trained on one or four pushes, tried on four others",
    "constrained_gps/g5": "one policy under three pushes half a second apart, and how it answers each of eight",
    "dmd_mpc/d1": "SAC, MBPO, MoPAC and M-DeMoRL: return against real steps",
    "dmd_mpc/d2": "which share of the sampled sequences should count",
    "dmd_mpc/d3": "a two-link leg tracks an ellipse: M-DeMoRL and SAC, frozen policies on perturbed legs",
    "dmd_mpc/d4": "a quadruped learns to modulate its trot to slopes; perturbed robots",
    "dmd_mpc/d5": "weightings, step sizes and modes of the mirror step",
    "mpc_net/physics": "the quadruped in MuJoCo under MPC and learned policy, with noisy estimates",
}

# Those that can be asked for one task, of those in `ASKABLE` of their module.
WITH_TASKS = ("constrained_gps/tuning", "dmd_mpc/d1", "dmd_mpc/d2", "dmd_mpc/d3", "dmd_mpc/d5")


@dataclass(frozen=True)
class ExperimentConfig:
    """How to run an experiment: `quick` shrinks it to a smoke test, `seeds` overrides the paper's count, and
    `task` takes one of the tasks, where an experiment has several."""

    out: Path
    quick: bool = False
    seeds: int | None = None
    task: str | None = None

    def __post_init__(self):
        require(self.seeds is None or self.seeds >= 1, f"seeds is {self.seeds}; pass at least 1")

    def seed_count(self, full: int, quick: int = 1) -> int:
        """Number of seeds: as asked, else `quick` for a smoke test and `full` otherwise."""
        return self.seeds or (quick if self.quick else full)


def run_experiment(name: str, config: ExperimentConfig) -> Path:
    """Run an experiment; writes CSV, figures, claims and report into `config.out / name` and returns that folder."""
    known("experiment", name, EXPERIMENTS)
    require(config.task is None or name in WITH_TASKS, f"task is {config.task!r}, but {name} has tasks of its own; "
            f"leave it out, or take one of {', '.join(WITH_TASKS)}")  # fmt: skip
    module = importlib.import_module("costogo.experiments." + name.replace("/", "."))
    if config.task is not None:
        known("task", config.task, module.ASKABLE)
    folder = writable(config.out / name)
    run: Callable[[ExperimentConfig, Path], None] = module.run
    run(config, folder)
    return folder
