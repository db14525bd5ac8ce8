"""`costogo evaluate`: what a run has learned, in numbers."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import equinox as eqx
import numpy as np
from tyro.conf import OmitArgPrefixes, Positional

from costogo.cli.console import say, say_rows, say_table
from costogo.cli.trained import TrainedRun
from costogo.core.validate import require
from costogo.experiments.mpc_net.conditions import Conditions
from costogo.experiments.mpc_net.results import compare

PHYSICS_SECONDS = 10.0


@dataclass(frozen=True)
class Evaluate:
    """Print the metrics of a run's newest checkpoint.

    diff_mpc: losses and parameters, one column per seed. mpc_net: teacher and student from the same unseen starts; with
    --physics the student in MuJoCo. constrained_gps: the policy on its training conditions and from unseen starts.
    dmd_mpc: return over new episodes; with --plan also when a plan is made in the learned model at every step.
    Examples: "costogo evaluate runs/diff_mpc-pendulum-mpc.dx", "costogo evaluate runs/mpc_net-ballbot --starts 100",
    "costogo evaluate runs/mpc_net-anymal-trot --physics 5 --push 20 --latency 0.01".
    """

    run_folder: Positional[Path]
    """folder that `costogo train` wrote"""
    starts: int = 40
    """mpc_net, dmd_mpc: number of unseen starts"""
    plan: int = 0
    """dmd_mpc: steps to plan ahead at every step; zero does not plan"""
    physics: int = 0
    """mpc_net, an anymal run: walks of ten seconds in MuJoCo, each with a noise of its own; zero stays on the model"""
    conditions: OmitArgPrefixes[Conditions] = field(default_factory=Conditions)

    def run(self) -> None:
        """Evaluate and print."""
        require(self.starts >= 1, f"starts is {self.starts}; pass at least 1")
        require(self.plan >= 0, f"plan is {self.plan}; pass a number of steps, or zero")
        trained = TrainedRun.load(self.run_folder)
        learner = trained.kind
        require(
            not self.plan or learner == "dmd_mpc",
            f"plan is for runs of dmd_mpc, this one is of {learner}; leave it out",
        )
        require(self.physics >= 0, f"physics is {self.physics}; pass a number of walks, or zero")
        system = getattr(trained.config, "system", learner)
        require(not self.physics or system == "anymal", f"physics needs an anymal run, this one is of {system}")
        self.conditions.require_use(bool(self.physics))
        TABLES[learner](self, trained)


def seed_metrics(trained: TrainedRun) -> dict[str, np.ndarray]:
    """Metrics of every seed of a run that trains several."""
    return {name: np.asarray(v) for name, v in eqx.filter_jit(trained.learner.evaluate)(trained.state).items()}


def _say_seeds(options: Evaluate, trained: TrainedRun) -> None:
    rows: list[list[Any]] = [["metric", *(f"seed {i}" for i in range(trained.config.seeds))]]
    for name, value in seed_metrics(trained).items():
        for index in np.ndindex(value.shape[1:]):
            suffix = f"[{','.join(map(str, index))}]" if index else ""
            rows.append([name + suffix, *(float(v) for v in value[(slice(None), *index)])])
    say_table(rows)


def _say_comparison(options: Evaluate, trained: TrainedRun) -> None:
    learner, state = trained.learner, trained.state
    if options.physics:
        from costogo.experiments.mpc_net.trials import tried  # needs mujoco

        say_rows(tried(trained.config, state.policy, options.physics, PHYSICS_SECONDS, options.conditions))
        return
    rows = compare(learner, state, options.starts, learner.test_steps)
    say_rows(rows)
    say(learner.explain(learner.evaluate(state)))


def _say_policy(options: Evaluate, trained: TrainedRun) -> None:
    from costogo.experiments.constrained_gps.results import summary  # needs mujoco

    say_rows(summary(trained.learner.learner.task, trained.state.policy))


def _say_agent(options: Evaluate, trained: TrainedRun) -> None:
    from costogo.experiments.dmd_mpc.results import summary  # needs mujoco

    learner, state = trained.learner, trained.state
    policies = {"policy": learner.policy(state)}
    if options.plan:
        policies["planning"] = learner.planner(state, options.plan)
    rows = [summary(trained.config, policy, options.starts) for policy in policies.values()]
    say_rows([{"who": who, **row} for who, found in zip(policies, rows, strict=True) for row in found])


TABLES = {"diff_mpc": _say_seeds, "mpc_net": _say_comparison, "constrained_gps": _say_policy, "dmd_mpc": _say_agent}
