"""MPC and learned policy in full physics: ANYmal in MuJoCo, torques through the whole-body program, noisy estimates.

Stands for the paper's hardware test (spec mpc_net 8.8). The policies are those of E-1; without them only the MPC runs.
"""

from collections.abc import Callable, Iterator, Sequence
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from costogo.experiments.claims import Claim, judge, write_claims, write_rows
from costogo.experiments.mpc_net.arms import Comparison
from costogo.experiments.mpc_net.presets import MPCNetConfig, task_of, walking_task
from costogo.experiments.mpc_net.runs import RUNS
from costogo.experiments.registry import ExperimentConfig
from costogo.experiments.reporting import write_report
from costogo.experiments.training_runs import Run
from costogo.io import load_numpy
from costogo.sim import (
    EstimateNoise,
    QuadrupedSimulation,
    Record,
    Reference,
    SimulationOptions,
    anymal_model,
    frame_stride,
    quadruped_positions,
    render,
    standing_state,
    track,
)
from costogo.systems.legged.rigid_body import GRAVITY

GAITS = ("trot", "static_walk")
SECONDS, SETTLE, SEEDS = 10.0, 0.5, 10
FRAMES_PER_SECOND = 25
WIDTH, HEIGHT = 480, 360  # of a frame


class Programs(NamedTuple):
    """Functions of a walking task, compiled once for all runs."""

    rate: Callable
    stance: Callable
    observe: Callable
    flow: Callable


@cache
def _programs(system: str, gait: str) -> Programs:
    task = walking_task(MPCNetConfig(system=system, gait=gait))
    functions = (task.robot.velocity, task.gait.stance, task.observe, task.problem().dynamics)
    return Programs(*(eqx.filter_jit(function) for function in functions))


def programs(config: MPCNetConfig) -> Programs:
    """Rate and stance of the model, what a student sees, and where a control leads over one interval."""
    return _programs(config.system, config.gait)


def floor_lift(config: MPCNetConfig) -> float:
    """Height (m) to add to a state of the model: its floor is that of the contact points, MuJoCo's is below the feet's
    spheres."""
    return float(standing_state()[5] - walking_task(config).robot.standing()[5])


class Pilot:
    """References for the whole-body controller, from a plan or a policy that is asked at every knot.

    `act(x, t) -> u, x_next` gives the control at a knot and the state the model expects at the next one; in between the
    reference moves straight from the estimate to it. Stands for the first half second.
    """

    def __init__(self, config: MPCNetConfig, act: Callable[[jax.Array, jax.Array], tuple[jax.Array, jax.Array]]):
        task = walking_task(config)
        self.act, self.dt = act, task.dt
        self.rate, self.stance, *_ = programs(config)
        self.lift = floor_lift(config)
        forces = np.zeros(24)
        forces[2:12:3] = task.robot.mass * GRAVITY / 4
        self.stand = Reference(standing_state(), forces, np.ones(4, bool))
        self.knot = -1

    def __call__(self, t: float, x: np.ndarray) -> Reference:
        """Reference at time `t` for the estimate `x`."""
        since = t - SETTLE
        if since < -1e-9:
            return self.stand
        knot = int(np.floor(since / self.dt + 1e-6))
        if knot != self.knot:
            self._ask(knot, x)
        share = since / self.dt - knot
        target = (1.0 - share) * self.here + share * self.there
        target[5] += self.lift
        return Reference(target, self.u, self.contacts, self.acceleration)

    def _ask(self, knot: int, x: np.ndarray) -> None:
        self.knot = knot
        # An array, not a number: the programs below must not be compiled again for every time.
        time = jnp.asarray(knot * self.dt)
        state = jnp.asarray(x).at[5].add(-self.lift)
        u, following = self.act(state, time)
        self.here, self.there, self.u = (np.asarray(a) for a in (state, following, u))
        self.acceleration = np.asarray(self.rate(state, u, time))[6:12]
        self.contacts = np.asarray(self.stance(time))


def planner(config: MPCNetConfig) -> Callable[[], Callable]:
    """Makes `act` of the MPC: one iteration per knot, ten at the first."""
    controller = task_of(config).controller
    init, plan = eqx.filter_jit(controller.init), eqx.filter_jit(controller.plan)

    def fresh() -> Callable:
        memory: list[Any] = []

        def act(x, t):
            state = memory.pop() if memory else init(x, t0=t)
            _, state = plan(state, x, t)
            memory.append(state)
            return state.plan.controls[0], state.plan.states[1]

        return act

    return fresh


def student(config: MPCNetConfig, policy: Callable[[np.ndarray], np.ndarray]) -> Callable[[], Callable]:
    """Makes `act` of an exported policy; the model says where its control leads."""
    *_, observe, flow = programs(config)

    def act(x, t):
        u = jnp.asarray(policy(np.asarray(observe(x, t), np.float32)), x.dtype)
        return u, flow(x, u, t)

    return lambda: act


def run(config: ExperimentConfig, folder: Path) -> None:
    """Ten seeds of noise for each gait and controller; write summary, videos and claims."""
    seeds, seconds = config.seed_count(SEEDS), 1.0 if config.quick else SECONDS
    summary, media = [], []
    for gait in GAITS:
        setting = MPCNetConfig(system="anymal", gait=gait)
        makers: dict[str, Callable] = {"mpc": planner(setting)}
        exported = folder.parent / "e1" / "policies" / f"{RUNS.name_of(setting)}.npz"
        if exported.is_file():
            makers["policy"] = student(setting, load_numpy(exported))
        for name, make in makers.items():
            records = [simulate(setting, make(), seed, seconds) for seed in range(seeds)]
            summary += [{"gait": gait, "controller": name, "seed": i, **judged(r)} for i, r in enumerate(records)]
            media.append(film(records[0], folder / f"{gait}_{name}.mp4"))
    write_rows(folder / "summary.csv", summary)
    rows = write_claims(folder, claims(summary, seeds, seconds))
    write_report(folder, "ANYmal in MuJoCo under MPC and policy", rows + summary, media, {"seconds": seconds})


def compare(config: ExperimentConfig, folder: Path, comparisons: Sequence[Comparison]) -> list[dict[str, Any]]:
    """The students of some comparisons in full physics, under a few seeds of noise each; writes `physics.csv`."""
    noises, seconds = (1, 1.0) if config.quick else (3, SECONDS)
    rows = []
    for comparison in comparisons:
        for arm, runs in comparison.runs.items():
            for run in runs:
                label = {"system": comparison.title, "arm": arm, "seed": run.setting.seed}
                rows += [label | row for row in _trials(run, noises, seconds)]
    write_rows(folder / "physics.csv", rows)
    return rows


def _trials(run: Run, noises: int, seconds: float) -> list[dict[str, Any]]:
    """What a student does under each seed of noise. Found out once, then read."""

    def work() -> list[dict[str, Any]]:
        act = eqx.filter_jit(run.state.policy)
        make = student(run.setting, lambda o: np.asarray(act(o)))
        return [{"noise": i, **judged(simulate(run.setting, make(), i, seconds))} for i in range(noises)]

    return run.kept("physics", work, noises=noises, seconds=seconds)


def simulate(setting: MPCNetConfig, act: Callable, seed: int, seconds: float) -> Record:
    """One run from standing, with the typical noise of a state estimator."""
    simulation = QuadrupedSimulation(SimulationOptions(noise=EstimateNoise.typical()))
    simulation.reset(standing_state(), seed)
    return track(simulation, Pilot(setting, act), seconds)


def judged(record: Record) -> dict[str, float]:
    """Survival, attitude, drift and torques of one run."""
    return {
        "survived": round(record.survived, 3),
        "fallen": float(record.fallen),
        "largest tilt [deg]": float(np.rad2deg(np.abs(record.states[:, :2]).max())),
        "lowest height [m]": float(record.states[:, 5].min()),
        "drift [m]": float(np.linalg.norm(record.final[3:5])),
        "torque change [N m]": float(np.abs(np.diff(record.torques, axis=0)).mean()),
        "largest torque [N m]": float(np.abs(record.torques).max()),
        "programs without solution": float(record.failures),
    }


def frames(record: Record) -> Iterator[np.ndarray]:
    """Pictures of a run, `FRAMES_PER_SECOND`."""
    every, _ = frame_stride(float(record.times[1] - record.times[0]), FRAMES_PER_SECOND)
    return render(anymal_model(), quadruped_positions(record.states[::every]), width=WIDTH, height=HEIGHT)


def film(record: Record, path: Path) -> Path:
    """Video of a run, in real time."""
    from costogo.viz import write_video

    return write_video(frames(record), path, fps=FRAMES_PER_SECOND)


def claims(summary: list[dict[str, Any]], seeds: int, seconds: float) -> list[Claim]:
    """Acceptance 4: at least eight of ten."""
    found = []
    for gait in GAITS:
        for name in ("mpc", "policy"):
            rows = [row for row in summary if (row["gait"], row["controller"]) == (gait, name)]
            stood = sum(1 for row in rows if not row["fallen"])
            ours = f"{stood} of {len(rows)} stay up for {seconds:g} s" if rows else "no trained policy found"
            verdict = judge(stood >= 0.8 * len(rows), stood > 0) if rows else "not run"
            found.append(Claim(f"{gait} in MuJoCo under the {name}", "works on the robot", ours, verdict, seeds))
    return found
