"""`costogo train constrained_gps`: a policy from trajectory optimisation, in a run folder."""

from dataclasses import dataclass

from costogo.cli.console import say, say_rows
from costogo.cli.run_options import RunOptions
from costogo.experiments.claims import write_rows
from costogo.experiments.constrained_gps.presets import GPSConfig, build, setting_of
from costogo.experiments.constrained_gps.results import disagreement, draw_learning, draw_motion, summary
from costogo.experiments.constrained_gps.runs import RUNS


@dataclass(frozen=True)
class TrainConstrainedGPS(RunOptions, GPSConfig):
    """Train a small policy by guided policy search in MuJoCo, in a run folder.

    The folder holds config.yaml, manifest.json, metrics.csv, checkpoints/, summary.csv and report.html. A run that was
    stopped goes on with the same command and --resume. Examples: "costogo train constrained_gps --system swimmer",
    "costogo train constrained_gps --system walker --hidden 50 --iterations 60".
    """

    learner = "constrained_gps"
    config_type = GPSConfig

    def label(self) -> tuple[str, ...]:
        """System and method."""
        return self.system, self.method

    def run(self) -> None:
        """Train, judge, report."""
        from costogo.viz import Report

        config = self.config()
        learner = build(config)  # before the folder is: it has checks of its own
        folder = self.open(config)
        say(f"{config.system}: {config.iterations} iterations; the first trajectories and compilation take a while")
        run = RUNS.run(config, learner, folder, label=config.system, tensorboard=self.tensorboard)
        rows = summary(setting_of(config).task, run.state.policy)
        write_rows(folder.path / "summary.csv", rows)
        say_rows(rows)
        if remark := disagreement(run):
            say(remark)
        report = Report(f"Guided policy search: {config.system}, {config.method}").table(rows)
        report.media(draw_learning([run], folder.figures / "learning.png"), "Cost of the policy without noise.")
        report.media(draw_motion(run, folder.figures / "motion.png"), "The policy from unseen starts.")
        report.heading("Configuration").settings(folder.read_config())
        report.heading("Where and when").settings(folder.read_manifest()).write(folder.report)
        say(f"wrote {folder.report}; video: costogo render --run-folder {folder.path}")
