"""`costogo train diff_mpc`: the cost or the model of an MPC from an expert, in a run folder."""

from dataclasses import dataclass

import jax

from costogo.cli.console import say
from costogo.cli.run_options import RunOptions
from costogo.experiments.diff_mpc.imitation import ImitationConfig, build_seeds
from costogo.experiments.diff_mpc.series import read_curves
from costogo.io import RunFolder, train


@dataclass(frozen=True)
class TrainDiffMPC(RunOptions, ImitationConfig):
    """Learn the cost or the model of an MPC from an expert's controls, in a run folder.

    The folder holds config.yaml, manifest.json, metrics.csv, checkpoints/ and report.html. A run that was stopped goes
    on with the same command and --resume. Examples: "costogo train diff_mpc --system pendulum --mode mpc.dx" or
    "costogo train diff_mpc --system cartpole --mode nn --epochs 1000 --seeds 4 --out runs/lstm".
    """

    seeds: int = 1
    """seeds trained together"""
    epochs: int = 100
    """passes over the training data"""

    learner = "diff_mpc"
    config_type = ImitationConfig

    def label(self) -> tuple[str, ...]:
        """System and mode."""
        return self.system, self.mode

    def run(self) -> None:
        """Train and report."""
        config = self.config()
        run = self.open(config)
        say(f"{config.system}, {config.mode}: the expert solves {config.train_size} training problems, then training")
        train(
            build_seeds(config),
            jax.random.PRNGKey(config.seed),
            run,
            epochs=config.epochs,
            evaluate_every=5,
            tensorboard=self.tensorboard,
        )
        _report(run, config)
        say(f"wrote {run.report}; metrics: costogo evaluate {run.path}; video: costogo render --run-folder {run.path}")


def _report(run: RunFolder, config: ImitationConfig) -> None:
    """Curves of losses and parameters, and `report.html`."""
    from costogo.experiments.reporting import mean_and_range
    from costogo.viz import COLOURS, Report, figure, save

    curves = read_curves(run.metrics, {}, config.seeds)
    parameters = [name for name in curves[-1] if name.startswith("[")]
    fig, axes = figure(1, 2 if parameters else 1, size=(4.8, 3.2))
    for name, colour in zip(("loss", "validation_loss", "test_loss"), COLOURS, strict=False):
        mean_and_range(axes[0, 0], curves, "epoch", name, colour, name.replace("_", " "))
    axes[0, 0].set(yscale="log", xlabel="epoch", title="imitation loss")
    axes[0, 0].legend()
    for name, colour in zip(parameters, COLOURS, strict=False):
        mean_and_range(axes[0, 1], curves, "epoch", name, colour, _short(name))
    if parameters:
        axes[0, 1].set(xlabel="epoch", title="parameters")
        axes[0, 1].legend()
    picture = save(fig, run.figures / "curves.png")
    last = [row for row in curves if row["epoch"] == curves[-1]["epoch"]]
    shown = ("seed", "epoch", "loss", "validation_loss", "test_loss", *parameters)
    rows = [{_short(key): row.get(key, "") for key in shown} for row in last]
    report = Report(f"{config.system}, {config.mode}").table(rows)
    report.media(picture, "Mean over seeds; the band spans the seeds.")
    report.heading("Configuration").settings(run.read_config())
    report.heading("Where and when").settings(run.read_manifest()).write(run.report)


def _short(name: str) -> str:
    """`['dynamics']['mass']` as `dynamics.mass`."""
    return name.replace("']['", ".").removeprefix("['").replace("']", "")
