"""What our SAC learns, in a process of its own like the others."""

from costogo.cli.runtime import configure

configure()

import jax  # noqa: E402
import numpy as np  # noqa: E402

from benchmarks.peers.serve import Prepared, serve  # noqa: E402
from costogo.learn.dmd_mpc import MDeMoRL  # noqa: E402
from costogo.rl import SAC  # noqa: E402
from costogo.sim.tasks import GymnasiumEnvironment  # noqa: E402


def prepare(given: dict, task: str, steps: int, every: int, episodes: int, seed: int) -> Prepared:
    """Train the learner without a model, one update a step after `every` random ones; returns of its policy after each
    epoch of as many."""
    environments = [GymnasiumEnvironment(task) for _ in range(2)]
    learner = MDeMoRL(
        *environments, SAC(environments[0].no, environments[0].nu), None, epoch_length=every, first_steps=every,
        updates=1, capacity=steps, tests=episodes,
    )  # fmt: skip
    state, rows = learner.init(jax.random.PRNGKey(seed)), []
    while not rows or rows[-1]["real_steps"] < steps:
        state, metrics = learner.step(state)
        rows.append(metrics | learner.evaluate(state))
    names = {"steps": "real_steps", "returns": "return"}
    found = {name: np.array([row[column] for row in rows]) for name, column in names.items()}
    return Prepared({}, found, {})


if __name__ == "__main__":
    serve(prepare, [])
