"""`costogo train dmd_mpc`: a policy from reinforcement learning in a learned model, in a run folder."""

from dataclasses import dataclass

from costogo.cli.console import say, say_rows
from costogo.cli.run_options import RunOptions
from costogo.experiments.claims import write_rows
from costogo.experiments.dmd_mpc.presets import METHODS, DMDConfig, build
from costogo.experiments.dmd_mpc.results import draw_learning, summary
from costogo.experiments.dmd_mpc.runs import RUNS


@dataclass(frozen=True)
class TrainDMDMPC(RunOptions, DMDConfig):
    """Train a policy on a MuJoCo task by M-DeMoRL, MoPAC, MBPO or SAC, in a run folder.

    The folder holds config.yaml, manifest.json, metrics.csv, checkpoints/, summary.csv and report.html; every epoch is
    saved, and a run that was stopped goes on with the same command and --resume. Examples: "costogo train dmd_mpc
    --task InvertedPendulum", "costogo train dmd_mpc --task Swimmer --method sac --steps 20000".
    """

    learner = "dmd_mpc"
    config_type = DMDConfig

    def label(self) -> tuple[str, ...]:
        """Task and method."""
        return self.task, self.method

    def run(self) -> None:
        """Train, judge, report."""
        from costogo.viz import Report

        config = self.config()
        learner = build(config)  # before the folder is: it has checks of its own
        folder = self.open(config)
        budget = config.budget
        say(f"{config.task}, {METHODS[config.method]}: {config.epochs} epochs of {budget.epoch} real steps")
        run = RUNS.run(config, learner, folder, label=config.task, tensorboard=self.tensorboard)
        rows = summary(config, learner.policy(run.state))
        write_rows(folder.path / "summary.csv", rows)
        say_rows(rows)
        report = Report(f"{config.task}: {config.method}").table(rows)
        report.media(
            draw_learning(run.curves, folder.figures / "learning.png"), "Return of the policy without exploration."
        )
        report.heading("Configuration").settings(folder.read_config())
        report.heading("Where and when").settings(folder.read_manifest()).write(folder.report)
        say(f"wrote {folder.report}; video: costogo render --run-folder {folder.path}")
