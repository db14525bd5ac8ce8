"""`costogo train mpc_net`: a network from an MPC, in a run folder."""

from dataclasses import dataclass

import jax

from costogo.cli.console import say, say_rows
from costogo.cli.run_options import RunOptions
from costogo.core.validate import require
from costogo.experiments.claims import write_rows
from costogo.experiments.mpc_net.presets import MPCNetConfig, build
from costogo.experiments.mpc_net.results import compare, draw_learning
from costogo.io import train
from costogo.io.runs import read_rows


@dataclass(frozen=True)
class TrainMPCNet(RunOptions, MPCNetConfig):
    """Distil an MPC into a network through the control Hamiltonian, in a run folder.

    The folder holds config.yaml, manifest.json, metrics.csv, checkpoints/, comparison.csv and report.html. A run that
    was stopped goes on with the same command and --resume. Examples: "costogo train mpc_net --system ballbot", "costogo
    train mpc_net --system anymal --gait static_walk --loss cloning".
    """

    starts: int = 40
    """unseen starts of the comparison with the teacher"""

    learner = "mpc_net"
    config_type = MPCNetConfig

    def label(self) -> tuple[str, ...]:
        """System and gait."""
        return self.system, self.gait

    def run(self) -> None:
        """Train, compare with the teacher, report."""
        from costogo.viz import Report

        require(self.starts >= 1, f"starts is {self.starts}; pass at least 1")
        config = self.config()
        learner = build(config)
        run = self.open(config)
        say(
            f"{config.system} {config.gait}: {learner.rounds} rounds, {learner.robot_minutes:.1f} minutes "
            "of robot time; the first rollouts compile for a while"
        )
        state = train(
            learner, jax.random.PRNGKey(config.seed), run, epochs=learner.rounds, evaluate_every=4,
            checkpoint_every=10, metric="rollout_survived", label=config.system, tensorboard=self.tensorboard,
        )  # fmt: skip
        say(learner.explain(learner.evaluate(state)))
        rows = compare(learner, state, self.starts, learner.test_steps)
        write_rows(run.path / "comparison.csv", rows)
        say_rows(rows)
        picture = draw_learning(read_rows(run.metrics), run.figures / "learning.png")
        report = Report(f"MPC-Net: {config.system} {config.gait}").table(rows)
        report.media(picture, "The student alone, from fixed starts.")
        report.heading("Configuration").settings(run.read_config())
        report.heading("Where and when").settings(run.read_manifest()).write(run.report)
        say(f"wrote {run.report}; video: costogo render --run-folder {run.path}; files: costogo export {run.path}")
