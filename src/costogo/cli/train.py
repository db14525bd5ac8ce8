"""`costogo train` and `costogo evaluate`: learners in run folders."""

from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import equinox as eqx
import jax
import numpy as np
from tyro.conf import Positional

from costogo.cli.console import say, say_table
from costogo.core.errors import CostogoError, known
from costogo.experiments.diff_mpc.imitation import ImitationConfig, build
from costogo.experiments.diff_mpc.series import read_curves
from costogo.io import CheckpointFolder, RunFolder, load_state, train
from costogo.learn import Seeds

LEARNERS = ("diff_mpc",)


@dataclass(frozen=True)
class TrainDiffMPC(ImitationConfig):
    """Learn the cost or the model of an MPC from an expert's controls, in a run folder.

    The folder holds config.yaml, manifest.json, metrics.csv, checkpoints/ and report.html. A run that was stopped goes
    on with the same command and --resume. Examples: "costogo train diff_mpc --system pendulum --mode mpc.dx" or
    "costogo train diff_mpc --system cartpole --mode nn --epochs 1000 --seeds 4 --out runs/lstm".
    """

    seeds: int = 1
    """seeds trained together"""
    epochs: int = 100
    """passes over the training data"""
    out: Path | None = None
    """run folder; by default runs/diff_mpc-SYSTEM-MODE"""
    resume: bool = False
    """go on from the newest checkpoint of the folder"""
    tensorboard: bool = False
    """also write TensorBoard events"""

    def __post_init__(self):
        """Nothing: `run` checks, so that a mistake is answered in one line."""

    @property
    def folder(self) -> Path:
        """Where the run is."""
        return self.out or Path("runs") / f"diff_mpc-{self.system}-{self.mode}"

    @property
    def after_interrupt(self) -> str:
        """What to do after Ctrl-C."""
        return f"The run is saved in {self.folder}; the same command with --resume goes on."

    def run(self) -> None:
        """Train and report."""
        config = ImitationConfig(**{field.name: getattr(self, field.name) for field in fields(ImitationConfig)})
        run = RunFolder.create(self.folder, {"learner": "diff_mpc", **vars(config)}, resume=self.resume)
        say(f"{config.system}, {config.mode}: the expert solves {config.train_size} training problems, then training")
        train(
            Seeds(build(config), config.seeds),
            jax.random.PRNGKey(config.seed),
            run,
            epochs=config.epochs,
            evaluate_every=5,
            tensorboard=self.tensorboard,
        )
        _report(run, config)
        say(f"wrote {run.report}; metrics: costogo evaluate {run.path}; video: costogo render --run-folder {run.path}")


@dataclass(frozen=True)
class TrainedRun:
    """Configuration, learner (over seeds) and newest state of a run folder."""

    config: ImitationConfig
    learner: Seeds
    state: Any

    @staticmethod
    def load(path: Path) -> "TrainedRun":
        """Rebuild the learner from `config.yaml` and read the newest checkpoint."""
        run = RunFolder.open(path)
        settings = run.read_config()
        known("learner", settings.pop("learner", "none"), LEARNERS)
        names = {field.name for field in fields(ImitationConfig)}
        if set(settings) != names:
            odd = ", ".join(sorted(set(settings) ^ names))
            raise CostogoError(f"{run.config} does not fit this version of costogo (settings: {odd})")
        config = ImitationConfig(**settings)
        learner = Seeds(build(config), config.seeds)
        state = load_state(learner, jax.random.PRNGKey(config.seed), CheckpointFolder(run.checkpoints))
        if state is None:
            raise CostogoError(f"{path} has no checkpoint yet; train it longer")
        return TrainedRun(config, learner, state)

    def metrics(self) -> dict[str, np.ndarray]:
        """Metrics of every seed."""
        return {name: np.asarray(value) for name, value in eqx.filter_jit(self.learner.evaluate)(self.state).items()}


@dataclass(frozen=True)
class Evaluate:
    """Print the metrics of a run's newest checkpoint, one column per seed.

    Example: "costogo evaluate runs/diff_mpc-pendulum-mpc.dx".
    """

    run_folder: Positional[Path]
    """folder that `costogo train` wrote"""

    def run(self) -> None:
        """Evaluate and print."""
        trained = TrainedRun.load(self.run_folder)
        rows: list[list[Any]] = [["metric", *(f"seed {i}" for i in range(trained.config.seeds))]]
        for name, value in trained.metrics().items():
            for index in np.ndindex(value.shape[1:]):
                suffix = f"[{','.join(map(str, index))}]" if index else ""
                rows.append([name + suffix, *(float(v) for v in value[(slice(None), *index)])])
        say_table(rows)


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
