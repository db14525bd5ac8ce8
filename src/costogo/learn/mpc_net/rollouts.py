"""Closed loops that end when the robot falls, and what they cost."""

from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from costogo.problem import OptimalControlProblem, equality_values, inequality_values


class Rollout(eqx.Module):
    """A closed loop: states (steps+1, nx), controls (steps, nu), times (steps,).

    `alive` says at which knots the state was valid; after the first invalid one it stands still. `extra` is what the
    controller reported at each step.
    """

    states: Float[Array, "steps+1 nx"]
    controls: Float[Array, "steps nu"]
    times: Float[Array, " steps"]
    alive: Bool[Array, " steps+1"]
    extra: Any = None


def closed_loop(
    act: Callable[[Any, Array, Array], tuple[Array, Any, Any]],
    plant: Callable[[Array, Array, Array], Array],
    valid: Callable[[Array], Array],
    memory: Any,
    x0: Float[Array, "n nx"],
    times: Float[Array, "n steps"],
) -> Rollout:
    """Run `u, memory, extra = act(memory, x, t)` on `plant(x, u, t)` until `valid(x)` fails, from `n` starts at once.

    `memory`, and all arrays of the result, have a leading axis of length `n`; the functions are for one robot.
    """

    def one(x, memory, alive, t):
        u, memory, extra = act(memory, x, t)
        new = jnp.asarray(plant(x, u, t), x.dtype)
        good = alive & jnp.all(jnp.isfinite(new)) & valid(new)
        return (jnp.where(good, new, x), memory, good), (u, extra)

    def step(carry, t):
        carry, (u, extra) = jax.vmap(one)(*carry, t)
        return carry, (carry[0], u, carry[2], extra)

    start = jax.vmap(valid)(x0)
    _, rows = jax.lax.scan(step, (x0, memory, start), times.T)
    states, controls, alive, extra = jax.tree.map(lambda a: jnp.moveaxis(a, 0, 1), rows)
    states = jnp.concatenate([x0[:, None], states], axis=1)
    return Rollout(states, controls, times, jnp.concatenate([start[:, None], alive], axis=1), extra)


def scores(problem: OptimalControlProblem, rollout: Rollout) -> dict[str, Array]:
    """Survival (s), and over the time survived: mean cost per second without barrier terms, mean violation `|g|`, share
    of the time in which some inequality is violated, smallest margin `h`.

    The barrier is no cost: it is negative where all is well (spec 15.7).
    """
    xs, us, ts, alive = rollout.states[:-1], rollout.controls, rollout.times, rollout.alive[:-1]
    steps = jnp.maximum(jnp.sum(alive), 1)
    stages = jax.vmap(problem.stage_cost)(xs, us, ts)
    g = jnp.sqrt(jnp.sum(equality_values(problem, xs, us, ts) ** 2, axis=-1))
    h = jnp.min(inequality_values(problem, xs, us, ts), axis=-1, initial=jnp.inf)

    def mean(values: Array) -> Array:
        return jnp.sum(jnp.where(alive, values, 0.0)) / steps

    return {
        "survival": problem.dt * jnp.sum(rollout.alive[1:], dtype=xs.dtype),
        "survived": jnp.asarray(rollout.alive[-1], xs.dtype),
        "cost": mean(stages) / problem.dt,
        "violation": mean(g),
        "infeasible": mean(h < 0),
        "margin": jnp.min(jnp.where(alive, h, jnp.inf)),
    }
