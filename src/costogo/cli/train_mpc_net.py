"""`costogo train mpc_net`: a network from an MPC, in a run folder."""

from dataclasses import dataclass

from costogo.cli.console import say, say_rows
from costogo.cli.run_options import RunOptions
from costogo.core.validate import require
from costogo.experiments.claims import write_rows
from costogo.experiments.mpc_net.presets import MPCNetConfig, build
from costogo.experiments.mpc_net.results import compare, draw_learning
from costogo.experiments.mpc_net.runs import RUNS


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
        folder = self.open(config)
        say(
            f"{config.system} {config.gait}: {learner.rounds} rounds, {learner.robot_minutes:.1f} minutes "
            "of robot time; the first rollouts compile for a while"
        )
        run = RUNS.run(config, learner, folder, label=config.system, tensorboard=self.tensorboard)
        say(learner.explain(learner.evaluate(run.state)))
        rows = compare(learner, run.state, self.starts, learner.test_steps)
        write_rows(folder.path / "comparison.csv", rows)
        say_rows(rows)
        picture = draw_learning(run.curves, folder.figures / "learning.png")
        report = Report(f"MPC-Net: {config.system} {config.gait}").table(rows)
        report.media(picture, "The student alone, from fixed starts.")
        report.heading("Configuration").settings(folder.read_config())
        report.heading("Where and when").settings(folder.read_manifest()).write(folder.report)
        where = folder.path
        say(f"wrote {folder.report}; video: costogo render --run-folder {where}; files: costogo export {where}")
