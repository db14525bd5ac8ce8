"""The verbs of the command line. Each is a function; its annotations and docstring make its `--help`."""

import csv
import runpy
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import yaml

from costogo.cli.runtime import info as installation
from costogo.core.errors import CostogoError, known
from costogo.core.status import Status
from costogo.core.validate import require
from costogo.experiments.diff_mpc import demo as demonstration
from costogo.experiments.diff_mpc.imitation import ImitationConfig, build, learner_problem
from costogo.experiments.registry import EXPERIMENTS, ExperimentConfig, run_experiment
from costogo.io import CheckpointFolder, RunFolder
from costogo.io import train as train_in_folder
from costogo.learn import Seeds
from costogo.mpc import RecedingHorizon, simulate
from costogo.solvers import BoxDDP
from costogo.solvers import solve as solve_problem
from costogo.systems import get

LEARNERS = ("diff_mpc",)


def say(text: str) -> None:
    """Write a line to the terminal."""
    sys.stdout.write(text + "\n")


def solve(
    system: str = "pendulum",
    horizon: int = 20,
    x0: tuple[float, ...] | None = None,
    seed: int = 0,
    subproblem: str = "interior_point",
    shooting: str = "single",
    max_iterations: int = 100,
    out: Path = Path("runs/solve"),
) -> None:
    """Solve one optimal control problem and write trajectory, plot and summary.

    Example: costogo solve --system cartpole --horizon 40 --seed 3

    Args:
        system: pendulum, cartpole, double_integrator or linear
        horizon: number of intervals
        x0: initial state; by default drawn from the system's distribution
        seed: seed of that draw
        subproblem: interior_point or clamped
        shooting: single or multiple
        max_iterations: iteration limit
        out: folder for trajectory.csv and trajectory.png
    """
    from costogo.viz.plots import save, trajectory

    plant = get(system)
    problem = plant.problem(horizon)
    start = plant.initial_state(jax.random.PRNGKey(seed)) if x0 is None else jnp.asarray(x0, float)
    require(
        start.shape == (plant.nx,), f"x0 has {start.size} numbers; {system} has {plant.nx} states {plant.state_names}"
    )
    solver = BoxDDP(subproblem=subproblem, shooting=shooting, max_iterations=max_iterations)
    solution = solve_problem(problem, start, solver=solver)
    times = plant.dt * np.arange(horizon + 1)
    status = Status(int(solution.status))
    say(f"{system}: {status.name} after {int(solution.iterations)} iterations, cost {float(solution.cost):.6g}")
    say(f"  {status.describe()}; {int(np.sum(solution.active))} of {solution.active.size} controls at a bound")
    out.mkdir(parents=True, exist_ok=True)
    states, controls = np.asarray(solution.states), np.asarray(solution.controls)
    with (out / "trajectory.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["time", *plant.state_names, *plant.control_names])
        padded = np.vstack([controls, np.full((1, plant.nu), np.nan)])
        writer.writerows(np.column_stack([times, states, padded]).tolist())
    save(trajectory(times, states, controls, plant.state_names, plant.control_names), out / "trajectory.png")
    say(f"  wrote {out}/trajectory.csv and trajectory.png")


def train(
    learner: str = "diff_mpc",
    config: ImitationConfig = ImitationConfig(seeds=1, epochs=100),  # noqa: B008
    out: Path | None = None,
    resume: bool = False,
    tensorboard: bool = False,
) -> None:
    """Train a learner in a run folder: config, manifest, metrics, checkpoints.

    Example: costogo train --config.system pendulum --config.mode mpc.dx --config.epochs 200

    Args:
        learner: diff_mpc
        config: what to learn, from how much data, for how long
        out: run folder; by default runs/<learner>-<system>-<mode>
        resume: go on from the newest checkpoint of the folder
        tensorboard: also write TensorBoard events
    """
    known("learner", learner, LEARNERS)
    folder = out or Path("runs") / f"{learner}-{config.system}-{config.mode}"
    run = RunFolder.create(folder, {"learner": learner, **asdict(config)}, resume=resume)
    model = Seeds(build(config), config.seeds)
    key = jax.random.PRNGKey(config.seed)
    train_in_folder(model, key, run, epochs=config.epochs, evaluate_every=5, label=config.mode, tensorboard=tensorboard)
    say(f"wrote {folder}: metrics.csv, checkpoints; see it with: costogo evaluate --run {folder}")


def _load(run: Path) -> tuple[ImitationConfig, Any, Any]:
    """Configuration, learner and newest state of a run folder."""
    folder = RunFolder(run)
    if not folder.config.exists():
        raise CostogoError(f"{run} holds no run (config.yaml is missing); pass the folder that train wrote")
    settings = yaml.safe_load(folder.config.read_text())
    settings.pop("learner", None)
    config = ImitationConfig(**settings)
    learner = build(config)
    model = Seeds(learner, config.seeds)
    found = CheckpointFolder(folder.checkpoints).load_latest(model.init(jax.random.PRNGKey(config.seed)))
    if found is None:
        raise CostogoError(f"{run} has no checkpoint yet; train it longer")
    return config, learner, found[0]


def evaluate(run: Path) -> None:
    """Print the metrics of the newest checkpoint of a run, one column per seed.

    Args:
        run: run folder
    """
    config, learner, state = _load(run)
    metrics = jax.jit(Seeds(learner, config.seeds).evaluate)(state)
    for name, value in metrics.items():
        say(f"{name:36s} " + "  ".join(f"{v:.6g}" for v in np.ravel(np.asarray(value))))


def reproduce(experiment: str, quick: bool = False, seeds: int | None = None, out: Path = Path("results")) -> None:
    """Reproduce a figure of a paper: CSV, figure, claims with verdicts and report.

    Example: costogo reproduce --experiment diff_mpc/x2 --quick

    Args:
        experiment: diff_mpc/x1, diff_mpc/x2, diff_mpc/x3 or diff_mpc/x4
        quick: a smoke test instead of the full experiment
        seeds: number of seeds, if not the paper's
        out: results folder; an interrupted experiment goes on where it was
    """
    known("experiment", experiment, EXPERIMENTS)
    say(f"{experiment}: {EXPERIMENTS[experiment]}")
    folder = run_experiment(experiment, ExperimentConfig(out=out, quick=quick, seeds=seeds))
    say((folder / "claims.md").read_text())
    say(f"wrote {folder}")


def render(
    system: str = "cartpole", run: Path | None = None, steps: int = 80, seed: int = 0, out: Path = Path("runs/mpc.mp4")
) -> None:
    """Make a video of a system under MPC: its own, or the one a run has learned.

    Args:
        system: pendulum or cartpole (ignored with --run)
        run: run folder whose learned MPC is shown beside the expert's
        steps: closed-loop steps
        seed: seed of the initial state
        out: .mp4 or .gif
    """
    from costogo.viz.animate import DRAWINGS, frames, write_video

    problems = {}
    if run is not None:
        config, _, state = _load(run)
        system = config.system
        require(config.mode.startswith("mpc"), f"{run} trained {config.mode!r}, which is no MPC; nothing to render")
        first = jax.tree.map(lambda a: a[0], state.parameters)
        problems["learned"] = learner_problem(get(system), first)
    known("system with a drawing", system, DRAWINGS)
    plant = get(system)
    problems = {"expert": plant.problem(), **problems}
    x0 = plant.initial_state(jax.random.PRNGKey(seed))
    panels = {}
    for name, problem in problems.items():
        controller = RecedingHorizon(problem, solver=BoxDDP(subproblem="clamped"))
        path = jax.jit(lambda x, c=controller: simulate(c, x, steps, dynamics=plant))(x0)
        panels[name] = (np.asarray(path.states), np.asarray(path.controls))
    say(f"wrote {write_video(frames(system, panels, plant.dt), out, fps=1.0 / plant.dt)}")


def bench(info_only: bool = False, only: str | None = None, quick: bool = False) -> None:
    """Show what is installed, or run the side-by-side benchmarks (from a checkout of the repository).

    Args:
        info: print versions, device, precision and implementation, and stop (also: `costogo bench --info`)
        only: one benchmark instead of all
        quick: small sizes
    """
    for name, value in installation().items():
        say(f"{name:16s} {value}")
    if info:
        return
    if not Path("benchmarks/__main__.py").exists():
        raise CostogoError("the benchmarks live in the repository; run `make bench` in a checkout, or pass --info")
    sys.argv = ["benchmarks", *(["--only", only] if only else []), *(["--quick"] if quick else [])]
    runpy.run_module("benchmarks", run_name="__main__")


def demo(config: demonstration.DemoConfig = demonstration.DemoConfig(), out: Path = Path("runs/demo")) -> None:  # noqa: B008
    """Recover a cart-pole's physics from an expert's controls, then swing up. About two minutes on two cores.

    Args:
        config: sizes
        out: folder for report.html, figures and animation
    """
    report = demonstration.run(config, out)
    say(f"report: {report}")


VERBS = {
    "solve": solve,
    "train": train,
    "evaluate": evaluate,
    "reproduce": reproduce,
    "render": render,
    "bench": bench,
    "demo": demo,
}
