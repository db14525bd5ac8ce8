"""Rollouts and total cost of a trajectory."""

from collections.abc import Callable

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from costogo.problem.problem import OptimalControlProblem


class AffineFeedback(eqx.Module):
    """Control law about a nominal trajectory: `u_k = clip(u_bar_k + K_k (x_k - x_bar_k), lower_k, upper_k)`."""

    states: Float[Array, "N nx"]
    controls: Float[Array, "N nu"]
    gains: Float[Array, "N nu nx"]
    lower: Float[Array, "N nu"]
    upper: Float[Array, "N nu"]

    @staticmethod
    def unbounded(states: Array, controls: Array, gains: Array) -> "AffineFeedback":
        """The law without bounds."""
        infinite = jnp.full_like(controls, jnp.inf)
        return AffineFeedback(states, controls, gains, -infinite, infinite)

    @staticmethod
    def open_loop(controls: Array, nx: int) -> "AffineFeedback":
        """The controls alone, without feedback or bounds."""
        N, nu = controls.shape
        dtype = controls.dtype
        return AffineFeedback.unbounded(jnp.zeros((N, nx), dtype), controls, jnp.zeros((N, nu, nx), dtype))


def next_state(dynamics: Callable, x: Array, u: Array, t: Array) -> Array:
    """One step of JAX or simulator dynamics, in the precision of the state."""
    if hasattr(dynamics, "step"):
        return jnp.asarray(dynamics.step(x, u, t), x.dtype)
    return jnp.asarray(dynamics(x, u, t), x.dtype)


def rollout(dynamics: Callable, x0: Array, feedback: AffineFeedback, ts: Array) -> tuple[Array, Array]:
    """Simulate the feedback law from `x0`; returns states (N+1, nx) and the controls applied (N, nu)."""
    if hasattr(dynamics, "rollout"):
        return dynamics.rollout(x0, feedback, ts)

    def step(x, knot):
        law, t = knot
        u = jnp.clip(law.controls + law.gains @ (x - law.states), law.lower, law.upper)
        new = next_state(dynamics, x, u, t)
        return new, (new, u)

    _, (states, controls) = jax.lax.scan(step, x0, (feedback, ts))
    return jnp.concatenate([x0[None], states]), controls


def open_loop(problem: OptimalControlProblem, x0: Array, controls: Array, t0: Array | float = 0.0) -> Array:
    """States (N+1, nx) under given controls (N, nu)."""
    ts = problem.times(t0, x0.dtype)[:-1]
    return rollout(problem.dynamics, x0, AffineFeedback.open_loop(controls, len(x0)), ts)[0]


def total_cost(problem: OptimalControlProblem, states: Array, controls: Array, ts: Array) -> Array:
    """`sum_k l(x_k, u_k, t_k) + phi(x_N)`, all knots evaluated at once."""
    stages = jax.vmap(problem.stage_cost)(states[:-1], controls, ts[:-1])
    total = jnp.sum(jnp.asarray(stages, states.dtype))
    if problem.terminal_cost is not None:
        total += jnp.asarray(problem.terminal_cost(states[-1]), states.dtype)
    return total


def defects(problem: OptimalControlProblem, states: Array, controls: Array, ts: Array) -> Array:
    """Gaps of the dynamics, `f(x_k, u_k) - x_{k+1}`, shape (N, nx), all knots at once."""
    if hasattr(problem.dynamics, "step"):
        new = problem.dynamics.step(states[:-1], controls, ts[:-1])
    else:
        new = jax.vmap(problem.dynamics)(states[:-1], controls, ts[:-1])
    return jnp.asarray(new, states.dtype) - states[1:]
