"""Imitation with a recurrent network instead of an MPC."""

from collections.abc import Callable

import equinox as eqx
import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array

from costogo.learn.data import Demonstrations, ImitationData, Imitator, take
from costogo.learn.state import TrainState
from costogo.nn import RecurrentPolicy


class LSTMImitation(Imitator):
    """Baseline `nn` of spec differentiable_mpc X3: regress the expert's controls on the initial state.

    Mean squared error over batch, time and control, Adam 1e-4, batch 32, in float32 whatever the data's precision.
    """

    data: ImitationData
    learning_rate: float = eqx.field(static=True, default=1e-4)
    batch_size: int = eqx.field(static=True, default=32)
    width: int = eqx.field(static=True, default=256)

    @property
    def optimiser(self) -> optax.GradientTransformation:
        """Adam."""
        return optax.adam(self.learning_rate)

    def init(self, key: Array) -> TrainState:
        """Training state with a freshly initialised network."""
        order, weights = jax.random.split(key)
        _, horizon, nu = self.data.train.controls.shape
        nx = self.data.train.x0s.shape[1]
        network = RecurrentPolicy(nx, nu, horizon, key=weights, width=self.width)
        network = jax.tree.map(lambda a: a.astype(jnp.float32) if eqx.is_inexact_array(a) else a, network)
        return TrainState.create(order, network, self.optimiser)

    def step(self, state: TrainState) -> tuple[TrainState, dict[str, Array]]:
        """One Adam update on one minibatch."""
        rows, weights = self.minibatches.rows(state.key, state.step)
        batch, weights = take(self.data.train, rows), weights.astype(jnp.float32)

        def loss(network):
            return jnp.sum(weights * _errors(network, batch)) / jnp.sum(weights)

        value, gradient = jax.value_and_grad(loss)(state.parameters)
        return state.update(gradient, self.optimiser), {"loss": value}

    def evaluate(self, state: TrainState) -> dict[str, Array]:
        """Losses on validation and test demonstrations."""
        splits = {"validation": self.data.validation, "test": self.data.test}
        return {f"{name}_loss": jnp.mean(_errors(state.parameters, split)) for name, split in splits.items()}

    def policy(self, state: TrainState) -> Callable[[Array], Array]:
        """The network: initial state to controls (N, nu)."""
        return state.parameters


def _errors(network: RecurrentPolicy, batch: Demonstrations) -> Array:
    """Mean squared control error of each demonstration."""
    predicted = jax.vmap(network)(batch.x0s.astype(jnp.float32))
    return jnp.mean((predicted - batch.controls.astype(jnp.float32)) ** 2, axis=(1, 2))
