"""SAC of stable-baselines3 and of sbx-rl, which share their interface, as their users call them."""

import os
from importlib.metadata import PackageNotFoundError, version

import torch
from stable_baselines3.common.logger import Logger

from benchmarks.peers.serve import Prepared, serve

try:
    version("sbx-rl")
except PackageNotFoundError:
    from stable_baselines3 import SAC

    PACKAGES = ["stable-baselines3", "torch"]
else:
    from sbx import SAC

    PACKAGES = ["sbx-rl"]


def prepare(given: dict, task: str, first: int, updates: int, steps: int, capacity: int) -> Prepared:
    """An agent with the defaults, which are ours too, that has collected `first` transitions at random."""
    torch.set_num_threads(int(os.environ["OMP_NUM_THREADS"]))
    model = SAC("MlpPolicy", task, learning_starts=first, buffer_size=capacity, batch_size=256, seed=0, device="cpu")
    model.set_logger(Logger(None, []))  # its own leaves a folder in the temporary one at each call
    model.learn(first + 1)

    def update() -> None:
        # Some of the JAX version's parameters are still being computed when this returns; the next call waits for them.
        model.train(updates, 256)

    def step() -> None:
        model.learn(steps, reset_num_timesteps=False)

    return Prepared({"updates": update, "steps": step}, {}, {"parameters": _count(model.policy)})


def _count(policy) -> int:
    """Trained numbers of actor and critics."""
    if PACKAGES == ["sbx-rl"]:
        import jax

        trees = (policy.actor_state.params, policy.qf_state.params)
        return sum(leaf.size for leaf in jax.tree.leaves(trees))
    return sum(p.numel() for part in (policy.actor, policy.critic) for p in part.parameters())


if __name__ == "__main__":
    serve(prepare, PACKAGES)
