"""The forward pass of an iteration: all step sizes at once, by single or by multiple shooting."""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array

from costogo.lqr import LQModel, forward
from costogo.problem import AffineFeedback, OptimalControlProblem, defects, rollout, total_cost


class Candidate(NamedTuple):
    """A trajectory with its cost and how far it is from feasible, such as the 1-norm of its gaps."""

    states: Array
    controls: Array
    cost: Array
    violation: Array


class Direction(NamedTuple):
    """Search direction of one iteration: feedback and feedforward, and the model it came from."""

    model: LQModel
    gains: Array
    feedforward: Array


class Knots(NamedTuple):
    """What all forward passes share: bounds (N, nu) and times (N+1,)."""

    lower: Array
    upper: Array
    ts: Array


def single_shooting(
    problem: OptimalControlProblem, at: Candidate, direction: Direction, alpha: Array, knots: Knots
) -> Candidate:
    """Roll out `u = clip(u_bar + alpha k + K (x - x_bar))` through the nonlinear dynamics: no gaps."""
    law = AffineFeedback(
        at.states[:-1], at.controls + alpha * direction.feedforward, direction.gains, knots.lower, knots.upper
    )
    states, controls = rollout(problem.dynamics, at.states[0], law, knots.ts[:-1])
    return Candidate(states, controls, total_cost(problem, states, controls, knots.ts), jnp.zeros_like(at.violation))


def multiple_shooting(
    problem: OptimalControlProblem, at: Candidate, direction: Direction, alpha: Array, knots: Knots
) -> Candidate:
    """Linear forward sweep, then parallel re-evaluation of cost and gaps; gaps shrink by about `1 - alpha`."""
    dx, du = forward(direction.model, direction.gains, direction.feedforward, jnp.zeros_like(at.states[0]))
    states = at.states + alpha * dx
    controls = jnp.clip(at.controls + alpha * du, knots.lower, knots.upper)
    gap = jnp.sum(jnp.abs(defects(problem, states, controls, knots.ts)))
    return Candidate(states, controls, total_cost(problem, states, controls, knots.ts), gap)


FORWARD_PASSES = {"single": single_shooting, "multiple": multiple_shooting}


class LineSearch(NamedTuple):
    """Step sizes `decay**i`, i < trials, tried `block` at a time in parallel until one is acceptable."""

    decay: float
    trials: int
    block: int


def search(
    advance: Callable[[Array], Candidate], at: Candidate, rule: LineSearch, sufficient: Array, penalty: Array
) -> tuple[Candidate, Array, Array]:
    """Accept the largest step size whose merit `cost + penalty violation` falls by enough.

    `advance` maps a step size to a trajectory. `sufficient` is the required change of merit per unit of step size
    (negative). Rounding of the merit is forgiven, so that a converged trajectory is not rejected for its last digit.
    NaN is never accepted. Returns the trajectory (the old one if none is acceptable), the step size (then zero) and
    whether one was.
    """
    old = at.cost + penalty * at.violation
    rounding = 20.0 * jnp.finfo(old.dtype).eps * (1.0 + jnp.abs(old))

    def try_block(carry):
        index, _, _, _ = carry
        exponents = index + jnp.arange(rule.block)
        alphas = jnp.asarray(rule.decay, old.dtype) ** exponents
        trials = jax.vmap(advance)(alphas)
        passes = (trials.cost + penalty * trials.violation <= old + alphas * sufficient + rounding) & (
            exponents < rule.trials
        )
        first, accepted = jnp.argmax(passes), jnp.any(passes)
        best = jax.tree.map(lambda trial, kept: jnp.where(accepted, trial[first], kept), trials, at)
        return index + rule.block, best, jnp.where(accepted, alphas[first], 0.0), accepted

    # Under vmap the loop goes on only while some problem has no acceptable step yet: mostly one block.
    start = (jnp.array(0), at, jnp.zeros_like(old), jnp.array(False))
    _, best, alpha, accepted = jax.lax.while_loop(lambda c: ~c[3] & (c[0] < rule.trials), try_block, start)
    return best, alpha, accepted
