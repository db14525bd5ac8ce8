"""Mixture of experts on a shared latent layer."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike
from jaxtyping import Array, Float

from costogo.core.errors import known
from costogo.core.validate import require

GATINGS = ("sigmoid", "softmax")


class Affine(eqx.Module):
    """Fixed elementwise map `offset + scale * v` of inputs or outputs: data, not parameters; no gradient reaches it."""

    offset: Float[Array, " n"]
    scale: Float[Array, " n"]

    def __init__(self, size: int, offset: ArrayLike = 0.0, scale: ArrayLike = 1.0, dtype: jnp.dtype | None = None):
        self.offset = jnp.broadcast_to(jnp.asarray(offset, dtype), (size,))
        self.scale = jnp.broadcast_to(jnp.asarray(scale, dtype), (size,))

    def __call__(self, v: Array) -> Array:
        """Map one vector."""
        return jax.lax.stop_gradient(self.offset) + jax.lax.stop_gradient(self.scale) * v


class MixtureOfExperts(eqx.Module):
    """Policy `u = sum_i p_i(o) u_i(o)` of MPC-Net (spec mpc_net section 6, paper eq. 12).

        z = tanh(W o' + b) (once per entry of `latent`),  u_i = offset + scale * (W_i z + b_i),  a = W_g z + b_g
        p = sigmoid(a) / sum sigmoid(a), or softmax(a);   o' = (o - input_mean) / input_std

    One expert is a plain network of the same latent size: its weight is one whatever the gate says. For one
    observation; batch with `jax.vmap`. `output_offset` and `output_scale` are in the unit of the controls.
    """

    normalise: Affine
    layers: tuple[eqx.nn.Linear, ...]
    experts: eqx.nn.Linear
    gate: eqx.nn.Linear
    output: Affine
    gating: str = eqx.field(static=True)

    def __init__(
        self,
        no: int,
        nu: int,
        *,
        key: Array,
        experts: int = 8,
        latent: tuple[int, ...] = (32,),
        gating: str = "sigmoid",
        input_mean: ArrayLike = 0.0,
        input_std: ArrayLike = 1.0,
        output_offset: ArrayLike = 0.0,
        output_scale: ArrayLike = 1.0,
        dtype: jnp.dtype = jnp.float32,
    ):
        known("gating", gating, GATINGS)
        require(experts >= 1, f"experts is {experts}; pass at least 1")
        require(len(latent) >= 1 and min(latent) >= 1, f"latent is {latent}; pass the sizes of at least one layer")
        require(bool(np.all(np.asarray(input_std) > 0)), f"input_std is {input_std}; pass positive numbers")
        keys = jax.random.split(key, len(latent) + 2)
        sizes = [no, *latent]
        mean, std = jnp.asarray(input_mean), jnp.asarray(input_std)
        self.normalise = Affine(no, -mean / std, 1.0 / std, dtype)
        self.layers = tuple(
            eqx.nn.Linear(a, b, key=k, dtype=dtype) for a, b, k in zip(sizes[:-1], latent, keys, strict=False)
        )
        self.experts = eqx.nn.Linear(sizes[-1], experts * nu, key=keys[-2], dtype=dtype)
        self.gate = eqx.nn.Linear(sizes[-1], experts, key=keys[-1], dtype=dtype)
        self.output = Affine(nu, output_offset, output_scale, dtype)
        self.gating = gating

    def propose(self, o: Float[Array, " no"]) -> tuple[Float[Array, " ne"], Float[Array, "ne nu"]]:
        """Weight of each expert (they sum to one) and its control."""
        z = self.normalise(o)
        for layer in self.layers:
            z = jnp.tanh(layer(z))
        logits = self.gate(z)
        controls = self.experts(z).reshape(len(logits), -1)
        return self._weights(logits), jax.vmap(self.output)(controls)

    def _weights(self, logits: Array) -> Array:
        if self.gating == "softmax":
            return jax.nn.softmax(logits)
        # In logarithms: all gates may be closed, and a ratio of zeros is no weight.
        return jax.nn.softmax(jax.nn.log_sigmoid(logits))

    def __call__(self, o: Float[Array, " no"]) -> Float[Array, " nu"]:
        """The blend of the experts."""
        weights, controls = self.propose(o)
        return weights @ controls
