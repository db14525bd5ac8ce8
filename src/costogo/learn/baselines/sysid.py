"""System identification from observed states: the baseline that sees more than the imitator."""

from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array

from costogo.learn.data import Demonstrations, ImitationData, Imitator, take
from costogo.learn.state import TrainState, initial_parameters, labelled


def next_state_errors(dynamics: Callable, batch: Demonstrations) -> Array:
    """Mean squared one-step error of each demonstration, `mean_{k, i} (f(x_k, u_k) - x_{k+1})_i^2`."""

    def one(states, controls):
        ts = jnp.arange(controls.shape[0], dtype=controls.dtype)
        return jnp.mean((jax.vmap(dynamics)(states[:-1], controls, ts) - states[1:]) ** 2)

    return jax.vmap(one)(batch.states, batch.controls)


class SystemIdentification(Imitator):
    """Baseline `sysid` of spec differentiable_mpc X3 and X4: fit `dynamics(theta)` to the expert's transitions.

    Minimises the mean squared next-state error on the training trajectories, which it is allowed to see in full
    (states and controls). `dynamics(theta)` returns `f(x, u, t)`.
    """

    dynamics: Callable[[Any], Callable]
    parameters: Any
    data: ImitationData
    optimiser: optax.GradientTransformation = eqx.field(static=True)
    batch_size: int = eqx.field(static=True, default=32)
    project: Callable[[Any], Any] | None = eqx.field(static=True, default=None)

    def init(self, key: Array) -> TrainState:
        """Training state at the start; `key` orders the data and draws the parameters."""
        order, draw = jax.random.split(key)
        return TrainState.create(order, initial_parameters(self.parameters, draw), self.optimiser)

    def step(self, state: TrainState) -> tuple[TrainState, dict[str, Array]]:
        """One update on one minibatch."""
        rows, weights = self.minibatches.rows(state.key, state.step)
        batch = take(self.data.train, rows)

        def loss(parameters):
            errors = next_state_errors(self.dynamics(parameters), batch)
            return jnp.sum(weights * errors) / jnp.sum(weights)

        value, gradient = jax.value_and_grad(loss)(state.parameters)
        return state.update(gradient, self.optimiser, self.project), {"loss": value}

    def evaluate(self, state: TrainState) -> dict[str, Array]:
        """Next-state errors on validation and test demonstrations, and the parameters."""
        f = self.dynamics(state.parameters)
        splits = {"validation": self.data.validation, "test": self.data.test}
        metrics = {f"{name}_loss": jnp.mean(next_state_errors(f, split)) for name, split in splits.items()}
        return metrics | {"projections": state.projections} | labelled(state.parameters)

    def policy(self, state: TrainState) -> Callable:
        """The identified dynamics."""
        return self.dynamics(state.parameters)
