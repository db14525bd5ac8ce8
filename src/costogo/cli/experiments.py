"""`costogo reproduce` and the demonstrations."""

from dataclasses import dataclass
from pathlib import Path

from tyro.conf import Positional

from costogo.cli.console import say, say_table
from costogo.core.errors import known, writable
from costogo.experiments.registry import EXPERIMENTS, ExperimentConfig, run_experiment


@dataclass(frozen=True)
class Reproduce:
    """Reproduce a figure of a paper: CSV, figure, claims with verdicts, and a report.

    Without a name it lists the experiments. An interrupted experiment goes on where it was. Those that train many runs
    go faster where the same command is started several times, say once per core: the copies share the runs. Examples:
    "costogo reproduce diff_mpc/x2", "costogo reproduce diff_mpc/x3 --quick --out /tmp/results".
    """

    experiment: Positional[str | None] = None
    """such as diff_mpc/x1"""
    quick: bool = False
    """a smoke test instead of the full experiment"""
    seeds: int | None = None
    """number of seeds, if not the paper's"""
    task: str | None = None
    """dmd_mpc: one task instead of all"""
    out: Path | None = None
    """results folder (default: results, of smoke tests results/quick)"""

    @property
    def folder(self) -> Path:
        """Results folder: a smoke test does not replace figures."""
        return self.out or Path("results/quick" if self.quick else "results")

    @property
    def after_interrupt(self) -> str:
        """What to do after Ctrl-C."""
        return f"Finished parts are saved in {self.folder}; the same command goes on."

    def run(self) -> None:
        """Run the experiment, print its verdicts."""
        if self.experiment is None:
            say_table([["experiment", "what it shows"], *EXPERIMENTS.items()])
            return
        known("experiment", self.experiment, EXPERIMENTS)
        config = ExperimentConfig(out=self.folder, quick=self.quick, seeds=self.seeds, task=self.task)
        say(f"{self.experiment}: {EXPERIMENTS[self.experiment]}")
        folder = run_experiment(self.experiment, config)
        for table in sorted(folder.rglob("claims.md")):  # an experiment may have a folder for each of its tasks
            say(table.read_text())
        say(f"wrote {folder}")


@dataclass(frozen=True)
class Demo:
    """Teach a network to balance a robot on a ball by watching an MPC, and compare the two on unseen starts.

    Ends with report.html: survival, cost, constraint violation, microseconds per step, and a video of both. About a
    minute on two cores; an interrupted demonstration goes on where it was.
    """

    rounds: int | None = None
    """rounds of training, if not the default"""
    seed: int = 0
    out: Path = Path("runs/demo")
    """output folder"""

    @property
    def after_interrupt(self) -> str:
        """What to do after Ctrl-C."""
        return f"Finished rounds are saved in {self.out}; the same command goes on."

    def run(self) -> None:
        """Run the demonstration."""
        from costogo.experiments.mpc_net import demo

        report = demo.run(demo.DemoConfig(rounds=self.rounds, seed=self.seed), writable(self.out))
        say(f"report: {report}")


@dataclass(frozen=True)
class DemoDiff:
    """Recover a cart-pole's masses and pole length from an expert's controls, then swing up.

    Ends with report.html: learned physics, imitation loss against an LSTM's, and an animation. Minutes on two cores;
    an interrupted demonstration goes on where it was.
    """

    epochs: int | None = None
    """training epochs, if not the default"""
    seed: int = 0
    out: Path = Path("runs/demo-diff")
    """output folder"""

    @property
    def after_interrupt(self) -> str:
        """What to do after Ctrl-C."""
        return f"Finished epochs are saved in {self.out}; the same command goes on."

    def run(self) -> None:
        """Run the demonstration."""
        from costogo.experiments.diff_mpc import demo

        options = {} if self.epochs is None else {"epochs": self.epochs}
        report = demo.run(demo.DemoConfig(seed=self.seed, **options), writable(self.out))
        say(f"report: {report}")
