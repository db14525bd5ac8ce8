"""The compiled parts of an epoch of `MDeMoRL`."""

from typing import TYPE_CHECKING, Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array

from costogo.rl import Agent, Replay, Transitions, mixed

if TYPE_CHECKING:
    from costogo.learn.dmd_mpc.learner import MDeMoRL


@eqx.filter_jit(donate="all-except-first")
def interact(given: tuple["MDeMoRL", Any, Replay, Transitions, Array, Array, Array], leaves: list):
    """Remember a transition, update the agent, and choose the next control. Agent and buffer, the leaves of `tree`,
    change in place."""
    learner, tree, imagined, row, x, key, i = given
    agent, real = jax.tree.unflatten(tree, leaves)
    key = jax.random.split(jax.random.fold_in(key, i))[0]
    real = real.add(jax.tree.map(lambda leaf: jnp.asarray(leaf)[None], row))
    share = 1.0 if learner.imagination is None else learner.real_share
    arrays, static = eqx.partition(agent, eqx.is_array)

    def update(arrays, key):
        draw, noise = jax.random.split(key)
        batch = mixed(draw, real, imagined, learner.batch_size, share)
        new, metrics = learner.agent.update(eqx.combine(arrays, static), noise, batch)
        return eqx.filter(new, eqx.is_array), metrics

    keys = jax.random.split(key, learner.updates + 1)
    arrays, metrics = jax.lax.scan(update, arrays, keys[1:])
    agent = eqx.combine(arrays, static)
    u = learner.agent.act(agent, x, keys[0])
    return jax.tree.leaves((agent, real)), u, jax.tree.map(jnp.mean, metrics)


@eqx.filter_jit
def renew(learner: "MDeMoRL", horizon: int, count: int, ensemble, agent, real: Replay, imagined: Replay, draw, make):
    """New imagined transitions in the ring; how many of them were not finite, their share of clipped controls, and the
    faults of their plans."""
    starts = real.sample(draw, count).x
    source = learner.source(ensemble, agent, real)
    imagination: Any = learner.imagination
    made = imagination.generate(source, starts, horizon, make)
    at_bound = made.keep[:, None] * (jnp.abs(made.rows.u) >= 1.0)
    clipped = jnp.sum(at_bound) / jnp.maximum(jnp.sum(made.keep) * at_bound.shape[-1], 1)
    counts = {"dropped": jnp.sum(made.lost), "clipped": clipped} | (made.faults or {})
    return imagined.add(made.rows, made.keep), counts


@eqx.filter_jit
def act(agent: Agent, state: Any, x: Array, key: Array | None = None) -> Array:
    """A control for one observation."""
    return agent.act(state, x, key)


@jax.jit
def add(replay: Replay, rows: Transitions) -> Replay:
    """A buffer with more rows."""
    return replay.add(rows)
