"""Recurrent policy that unrolls a whole control sequence from an initial state."""

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from costogo.nn.mlp import MLP


class RecurrentPolicy(eqx.Module):
    """The `nn` baseline of spec differentiable_mpc X3.

    The initial state is embedded (nx -> 256 -> 256 -> 256, ReLU) and fed to an LSTM cell; at each step the *cell*
    state is decoded (256 -> 256 -> 256 -> nu) into a control, which is embedded and fed back as the next input.
    Returns controls (horizon, nu).
    """

    embed_state: MLP
    embed_control: MLP
    decode: MLP
    cell: eqx.nn.LSTMCell
    horizon: int = eqx.field(static=True)

    def __init__(self, nx: int, nu: int, horizon: int, *, key: Array, width: int = 256):
        k1, k2, k3, k4 = jax.random.split(key, 4)
        self.embed_state = MLP((nx, width, width, width), key=k1)
        self.embed_control = MLP((nu, width, width, width), key=k2)
        self.decode = MLP((width, width, width, nu), key=k3)
        self.cell = eqx.nn.LSTMCell(width, width, key=k4)
        self.horizon = horizon

    def __call__(self, x0: Float[Array, " nx"]) -> Float[Array, "horizon nu"]:
        """Controls from the initial state."""

        def step(carry, _):
            memory, given = carry
            memory = self.cell(given, memory)
            control = self.decode(memory[1])
            return (memory, self.embed_control(control)), control

        given = self.embed_state(x0)
        zeros = jnp.zeros_like(given)
        _, controls = jax.lax.scan(step, ((zeros, zeros), given), None, length=self.horizon)
        return controls
