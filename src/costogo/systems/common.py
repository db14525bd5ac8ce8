"""Small pieces that several systems share."""

import jax.numpy as jnp
from jax.typing import ArrayLike
from jaxtyping import Array


def saturate(u: Array, limit: ArrayLike) -> Array:
    """Clip to `[-limit, limit]` with derivative one at the limit itself.

    `jnp.clip` has derivative 1/2 at a tie, and controls of a bounded problem sit exactly there.
    """
    return jnp.where(jnp.abs(u) <= limit, u, jnp.clip(u, -limit, limit))


def goal_weights(weights: ArrayLike, goal: ArrayLike) -> tuple[Array, Array]:
    """Quadratic and linear weights `q = w`, `p = -sqrt(w) * goal` of spec differentiable_mpc X3.

    `1/2 x' diag(q) x + p'x` is goal tracking where the non-zero entries of the goal have weight one.
    """
    weights, goal = jnp.asarray(weights, float), jnp.asarray(goal, float)
    return weights, -jnp.sqrt(weights) * goal
