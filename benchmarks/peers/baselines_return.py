"""What SAC of stable-baselines3 or of sbx-rl learns, as their users call it."""

import os

import gymnasium
import numpy as np
import torch
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.evaluation import evaluate_policy
from stable_baselines3.common.logger import Logger
from stable_baselines3.common.monitor import Monitor

from benchmarks.peers.baselines_sac import PACKAGES, SAC
from benchmarks.peers.serve import Prepared, serve


class Tests(BaseCallback):
    """Deterministic episodes every so many steps."""

    def __init__(self, task: str, every: int, episodes: int, seed: int):
        super().__init__()
        self.environment, self.every, self.episodes = Monitor(gymnasium.make(task)), every, episodes
        self.environment.reset(seed=seed)
        self.steps: list[int] = []
        self.returns: list[float] = []

    def _on_step(self) -> bool:
        if self.num_timesteps % self.every == 0:
            mean, _ = evaluate_policy(self.model, self.environment, self.episodes, deterministic=True)
            self.steps.append(self.num_timesteps)
            self.returns.append(float(mean))
        return True


def prepare(given: dict, task: str, steps: int, every: int, episodes: int, seed: int) -> Prepared:
    """Train an agent with the defaults; returns of its policy on the way."""
    torch.set_num_threads(int(os.environ["OMP_NUM_THREADS"]))
    model = SAC("MlpPolicy", task, learning_starts=every, buffer_size=steps, batch_size=256, seed=seed, device="cpu")
    model.set_logger(Logger(None, []))
    tests = Tests(task, every, episodes, seed)
    model.learn(steps, callback=tests)
    return Prepared({}, {"steps": np.array(tests.steps), "returns": np.array(tests.returns)}, {})


if __name__ == "__main__":
    serve(prepare, PACKAGES)
