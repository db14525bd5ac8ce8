"""Multi-layer perceptron."""

from collections.abc import Callable

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array

from costogo.core.validate import require


class MLP(eqx.Module):
    """Fully connected network with `hidden` layers and a linear output, for one input vector; batch with `jax.vmap`."""

    layers: tuple[eqx.nn.Linear, ...]
    activation: Callable = eqx.field(static=True)

    def __init__(
        self,
        sizes: tuple[int, ...],
        *,
        key: Array,
        activation: Callable = jax.nn.relu,
        dtype: jnp.dtype | None = None,
    ):
        require(len(sizes) >= 2, f"sizes is {sizes}; pass input, hidden and output sizes, at least two numbers")
        keys = jax.random.split(key, len(sizes) - 1)
        self.layers = tuple(
            eqx.nn.Linear(a, b, key=k, dtype=dtype) for a, b, k in zip(sizes[:-1], sizes[1:], keys, strict=True)
        )
        self.activation = activation

    def __call__(self, x: Array) -> Array:
        """Output for one input."""
        for layer in self.layers[:-1]:
            x = self.activation(layer(x))
        return self.layers[-1](x)
