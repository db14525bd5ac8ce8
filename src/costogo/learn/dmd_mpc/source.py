"""What imagination draws on: a learned model, where it is believed, and an agent."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax.numpy as jnp
from jaxtyping import Array, Float

from costogo.nn import ProbabilisticNetwork
from costogo.rl import Agent, Replay


class Support(NamedTuple):
    """The box of observations, and the range of rewards, about which real transitions say something.

    What a model predicts is clipped to it. (Not in the papers: an error that grows over the steps of a trajectory
    leaves the data, and critics that bootstrap from there feed on themselves.)
    """

    low: Float[Array, " no"]
    high: Float[Array, " no"]
    least: Float[Array, ""]
    most: Float[Array, ""]

    @staticmethod
    def of(real: Replay) -> "Support":
        """The ranges of all real transitions."""
        rows = real.unpack(real.rows)
        filled = jnp.arange(real.capacity) < real.size

        def ends(*columns: Array) -> tuple[Array, Array]:
            values = jnp.stack(columns)
            there = filled.reshape(1, -1, *[1] * (values.ndim - 2))
            low, high = (
                f(jnp.where(there, values, z), axis=(0, 1)) for f, z in ((jnp.min, jnp.inf), (jnp.max, -jnp.inf))
            )
            return low, high

        return Support(*ends(rows.x, rows.new), *ends(rows.reward))

    def clip(self, reward: Array, new: Float[Array, "*n no"]) -> tuple[Array, Array]:
        """Reward and next observation within the ranges; what is not finite stays so, and is dropped."""

        def within(value: Array, low: Array, high: Array) -> Array:
            return jnp.where(jnp.isfinite(value), jnp.clip(value, low, high), value)

        return within(reward, self.least, self.most), within(new, self.low, self.high)


class Source(NamedTuple):
    """What imagination draws on: the elites of an ensemble, stacked; an agent and its state; when a trajectory ends,
    `terminated(x, u, x') -> Bool`; and where the model is believed (None: everywhere)."""

    networks: ProbabilisticNetwork
    agent: Agent
    state: Any
    terminated: Callable
    support: Support | None = None

    def predict(self, network: ProbabilisticNetwork, x: Array, u: Array, noise: Array | None = None):
        """Reward and next observation from one member, within the support."""
        reward, new = network.predict(x, u, noise)
        return (reward, new) if self.support is None else self.support.clip(reward, new)
