"""A learner that trains in milliseconds: linear regression by gradient descent on shuffled minibatches.

Run as a program, `toy.py FOLDER EPOCHS [SECONDS]`, it trains in a run folder, slowed down so that it can be killed.
"""

import sys
import time

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax

from costogo.io import RunFolder, train
from costogo.learn import Seeds
from costogo.learn.data import Minibatches
from costogo.learn.state import TrainState


class Regression(eqx.Module):
    inputs: jax.Array
    targets: jax.Array
    delay: float = 0.0

    @property
    def minibatches(self):
        return Minibatches(len(self.inputs), 4)

    @property
    def steps_per_epoch(self):
        return self.minibatches.per_epoch

    @property
    def optimiser(self):
        return optax.adam(0.03)

    def init(self, key):
        order, weights = jax.random.split(key)
        return TrainState.create(order, jax.random.normal(weights, self.inputs.shape[1:]), self.optimiser)

    def step(self, state):
        rows, weights = self.minibatches.rows(state.key, state.step)

        def loss(w):
            return jnp.sum(weights * (self.inputs[rows] @ w - self.targets[rows]) ** 2) / jnp.sum(weights)

        value, gradient = jax.value_and_grad(loss)(state.parameters)
        if self.delay:
            jax.debug.callback(lambda _: time.sleep(self.delay), state.step)
        return state.update(gradient, self.optimiser), {"loss": value}

    def evaluate(self, state):
        return {"test_loss": jnp.mean((self.inputs @ state.parameters - self.targets) ** 2)}


def regression(delay=0.0):
    rng = np.random.default_rng(0)
    inputs = rng.normal(size=(10, 3))
    return Regression(jnp.asarray(inputs), jnp.asarray(inputs @ np.array([1.0, -2.0, 0.5])), delay)


def run_toy(folder, epochs, delay=0.0):
    run = RunFolder.create(folder, {"toy": 1, "seed": 3, "epochs": epochs}, resume=True)
    key = jax.random.PRNGKey(3)
    return train(Seeds(regression(delay), 2), key, run, epochs=epochs, evaluate_every=4, checkpoint_every=5)


if __name__ == "__main__":
    jax.config.update("jax_enable_x64", True)
    run_toy(sys.argv[1], int(sys.argv[2]), float(sys.argv[3]))
