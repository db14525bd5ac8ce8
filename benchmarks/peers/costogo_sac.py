"""Our SAC, in a process of its own like the others: XLA takes the size of its pool of threads when it starts."""

from costogo.cli.runtime import configure

configure()

import equinox as eqx  # noqa: E402
import jax  # noqa: E402

from benchmarks.peers.serve import Prepared, serve  # noqa: E402
from costogo.learn.dmd_mpc import MDeMoRL  # noqa: E402
from costogo.rl import SAC  # noqa: E402
from costogo.sim.tasks import GymnasiumEnvironment  # noqa: E402


def prepare(given: dict, task: str, first: int, updates: int, steps: int, capacity: int) -> Prepared:
    """The learner without a model, whose epoch is `steps` steps with one update each, after `first` random steps."""
    environments = [GymnasiumEnvironment(task) for _ in range(2)]
    agent = SAC(environments[0].no, environments[0].nu)
    learner = MDeMoRL(*environments, agent, None, epoch_length=steps, first_steps=first, updates=1, capacity=capacity)
    state = learner.init(jax.random.PRNGKey(0))
    update, trained = _updates(agent, updates), state.agent
    key = jax.random.PRNGKey(1)

    def train() -> None:
        nonlocal trained
        trained = jax.block_until_ready(update(trained, state.real, key))

    def step() -> None:
        nonlocal state
        state, _ = learner.step(state)

    networks = eqx.filter((state.agent.actor.parameters, state.agent.critics.parameters), eqx.is_array)
    count = sum(a.size for a in jax.tree.leaves(networks))
    return Prepared({"updates": train, "steps": step}, {}, {"parameters": count})


def _updates(agent: SAC, count: int):
    """`count` updates in one call, each on rows drawn from the buffer."""

    @eqx.filter_jit
    def run(state, real, key):
        arrays, static = eqx.partition(state, eqx.is_array)

        def body(arrays, key):
            draw, noise = jax.random.split(key)
            new, _ = agent.update(eqx.combine(arrays, static), noise, real.sample(draw, 256))
            return eqx.filter(new, eqx.is_array), None

        return eqx.combine(jax.lax.scan(body, arrays, jax.random.split(key, count))[0], static)

    return run


if __name__ == "__main__":
    serve(prepare, [])
