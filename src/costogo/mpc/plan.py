"""The plan that a receding-horizon controller carries from one step to the next."""

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from costogo.problem import AffineFeedback, OptimalControlProblem, rollout

# Rounding of `t0 + k dt`, as a part of an interval.
ROUNDING = 1e-6


class Plan(eqx.Module):
    """A trajectory from `time` on with the feedback about it: `u = controls[k] + gains[k] (x - states[k])`."""

    time: Float[Array, ""]
    states: Float[Array, "N+1 nx"]
    controls: Float[Array, "N nu"]
    gains: Float[Array, "N nu nx"]

    @staticmethod
    def open_loop(time: Array, states: Array, controls: Array) -> "Plan":
        """A plan without feedback."""
        gains = jnp.zeros((*controls.shape, states.shape[-1]), controls.dtype)
        return Plan(jnp.asarray(time, controls.dtype), states, controls, gains)

    def move(self, problem: OptimalControlProblem, tail: "Plan") -> "Plan":
        """The same plan on the knots of `tail`, whose trajectory follows where this one ends.

        States are interpolated linearly; controls and gains are those of the interval in which the new one starts, or
        of the next where only that has the mode (the active constraints) of the new one.
        """
        N = problem.horizon
        position = (tail.time - self.time) / problem.dt + jnp.arange(N + 1) + ROUNDING
        interval = self._intervals(problem, tail, jnp.clip(jnp.floor(position[:-1]).astype(int), 0, N - 1))
        known = position[:-1] < N
        knot = jnp.clip(jnp.floor(position).astype(int), 0, N - 1)
        share = jnp.clip(position - ROUNDING - knot, 0.0, 1.0)[:, None]
        states = (1.0 - share) * self.states[knot] + share * self.states[knot + 1]
        return Plan(
            time=tail.time,
            states=jnp.where((position - ROUNDING <= N)[:, None], states, tail.states),
            controls=jnp.where(known[:, None], self.controls[interval], tail.controls),
            gains=jnp.where(known[:, None, None], self.gains[interval], tail.gains),
        )

    def _intervals(self, problem: OptimalControlProblem, tail: "Plan", first: Array) -> Array:
        """The old interval whose controls each new one takes."""
        masks = [mask for mask in (problem.equality_mask, problem.inequality_mask) if mask is not None]
        if not masks:
            return first
        dtype = self.controls.dtype

        def modes(time: Array) -> Array:
            ts = problem.times(time, dtype)[:-1] + ROUNDING * jnp.asarray(problem.dt, dtype)
            return jnp.concatenate([jax.vmap(mask)(ts) > 0 for mask in masks], axis=-1)

        old, new = modes(self.time), modes(tail.time)
        second = jnp.minimum(first + 1, problem.horizon - 1)
        fits = [jnp.all(new == old[index], axis=-1) for index in (first, second)]
        return jnp.where(~fits[0] & fits[1], second, first)

    def follow(self, problem: OptimalControlProblem, x: Array) -> tuple[Array, Array]:
        """States (N+1, nx) and controls (N, nu) of the plan with its feedback, simulated from `x`."""
        lower, upper = problem.bounds(self.controls.dtype)
        law = AffineFeedback(self.states[:-1], self.controls, self.gains, lower, upper)
        return rollout(problem.dynamics, x, law, problem.times(self.time, x.dtype)[:-1])
