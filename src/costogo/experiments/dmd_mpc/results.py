"""What trained agents do: episodes of the policy without exploration, and pictures of them."""

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import equinox as eqx
import numpy as np

from costogo.experiments.dmd_mpc.presets import DMDConfig
from costogo.sim.tasks import GymnasiumEnvironment

FRAMES_PER_SECOND = 25
TEST_SEED = 2_000_000  # apart from the starts of training and of the evaluations during it


class Episode(NamedTuple):
    """Observations (n+1, no), controls (n, nu), rewards (n,), what the environment said in each step, and whether it
    ended in a terminal state."""

    observations: np.ndarray
    controls: np.ndarray
    rewards: np.ndarray
    info: list[dict[str, Any]]
    terminal: bool


_jitted = eqx.filter_jit(lambda policy, x: policy(x))


def _act(policy: Any, x: np.ndarray) -> np.ndarray:
    """Control of a network, or of a function of NumPy arrays."""
    return np.asarray(_jitted(policy, x) if isinstance(policy, eqx.Module) else policy(x))


def episode(
    environment: GymnasiumEnvironment,
    policy: Any,
    seed: int,
    steps: int | None = None,
    watch: Callable[[], None] | None = None,
) -> Episode:
    """An episode from the start that belongs to the seed, for at most `steps` steps; `watch()` runs before each."""
    x, over = environment.start(TEST_SEED + seed), False
    observations, controls, rewards, info, terminal = [x], [], [], [], False
    while not over and (steps is None or len(controls) < steps):
        if watch is not None:
            watch()
        u = _act(policy, x)
        x, reward, terminal, cut = environment.step(u)
        over = terminal or cut
        observations.append(x)
        controls.append(u)
        rewards.append(reward)
        info.append(dict(environment.info))
    return Episode(*map(np.asarray, (observations, controls, rewards)), info, terminal)


def summary(config: DMDConfig, policy: Any, episodes: int = 10) -> list[dict[str, Any]]:
    """Return and length of episodes from new starts: mean, smallest, largest."""
    environment = GymnasiumEnvironment(config.task)
    found = [episode(environment, policy, seed) for seed in range(episodes)]
    rows = []
    for name, values in (("return", [e.rewards.sum() for e in found]), ("steps", [len(e.rewards) for e in found])):
        rows.append({
            "of": f"{episodes} episodes", "what": name, "mean": round(float(np.mean(values)), 2),
            "smallest": round(float(np.min(values)), 2), "largest": round(float(np.max(values)), 2),
        })  # fmt: skip
    return rows


def draw_learning(curve: Sequence[dict[str, Any]], path: Path) -> Path:
    """Return of the policy, and of the exploring agent, against real steps."""
    from costogo.viz import figure, save

    fig, axes = figure(1, 1, size=(5.0, 3.0))
    ax, steps = axes[0, 0], [row["real_steps"] for row in curve]
    ax.plot(steps, [row["return"] for row in curve], label="without exploration")
    ax.plot(steps, [row["train_return"] for row in curve], label="exploring", linewidth=0.8)
    ax.set(xlabel="real steps", title="return of an episode")
    ax.legend(fontsize=7)
    return save(fig, path)


def motion_frames(
    config: DMDConfig, policy: Any, seed: int, steps: int, *, width: int = 480, height: int = 360
) -> tuple[Iterator[np.ndarray], float]:
    """Frames of an episode, and how many of them make a second."""
    from costogo.sim import frame_stride, render

    environment, positions = GymnasiumEnvironment(config.task), []
    simulator: Any = environment.env.unwrapped
    episode(environment, policy, seed, steps, lambda: positions.append(np.array(simulator.data.qpos)))
    every, fps = frame_stride(simulator.dt, FRAMES_PER_SECOND)
    model = simulator.model
    known = [model.camera(i).name for i in range(model.ncam)]
    camera = next((name for name in ("side", "track") if name in known), None)
    frames = render(model, np.array(positions[::every]), width=width, height=height, camera=camera)
    return frames, fps
