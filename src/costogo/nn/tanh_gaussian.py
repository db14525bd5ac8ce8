"""Squashed Gaussian policies and action values: the networks of off-policy reinforcement learning."""

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from costogo.core.validate import require
from costogo.nn.mlp import MLP

LOG_STD = (-20.0, 2.0)  # in float32 like all networks here, whatever the precision of JAX


class TanhGaussianPolicy(eqx.Module):
    """`u = tanh(a)`, `a ~ N(mean(o), diag(std(o)^2))`: controls in [-1, 1]^nu (Haarnoja et al. 2018, appendix C).

    One network gives mean and logarithm of the standard deviation, clipped to [-20, 2]. Called, it is the policy
    without noise, `tanh(mean(o))`. For one observation; batch with `jax.vmap`.
    """

    network: MLP

    def __init__(self, no: int, nu: int, *, key: Array, hidden: tuple[int, ...] = (256, 256)):
        require(min(no, nu) >= 1, f"no and nu are {no} and {nu}; pass at least 1 for each")
        self.network = MLP((no, *hidden, 2 * nu), key=key, dtype=jnp.float32)

    def __call__(self, o: Float[Array, " no"]) -> Float[Array, " nu"]:
        """The control without noise."""
        return jnp.tanh(self._moments(o)[0])

    def sample(
        self, o: Float[Array, " no"], noise: Float[Array, " nu"]
    ) -> tuple[Float[Array, " nu"], Float[Array, ""]]:
        """The control made of standard normal `noise`, and the logarithm of its density,

        `log pi(u | o) = sum log N(a; mean, std) - sum log(1 - tanh(a)^2)`.
        """
        mean, log_std = self._moments(o)
        raw = mean + jnp.exp(log_std) * noise
        normal = -0.5 * noise**2 - log_std - 0.5 * jnp.log(2.0 * jnp.pi)
        # log(1 - tanh(a)^2) in a form that does not lose digits where tanh(a) rounds to one
        squash = 2.0 * (jnp.log(2.0) - raw - jax.nn.softplus(-2.0 * raw))
        return jnp.tanh(raw), jnp.sum(normal - squash)

    def _moments(self, o: Array) -> tuple[Array, Array]:
        mean, log_std = jnp.split(self.network(o), 2)
        return mean, jnp.clip(log_std, *LOG_STD)


class DeterministicPolicy(eqx.Module):
    """`u = tanh(network(o))`, controls in [-1, 1]^nu. For one observation; batch with `jax.vmap`."""

    network: MLP

    def __init__(self, no: int, nu: int, *, key: Array, hidden: tuple[int, ...] = (256, 256)):
        require(min(no, nu) >= 1, f"no and nu are {no} and {nu}; pass at least 1 for each")
        self.network = MLP((no, *hidden, nu), key=key, dtype=jnp.float32)

    def __call__(self, o: Float[Array, " no"]) -> Float[Array, " nu"]:
        """The control."""
        return jnp.tanh(self.network(o))


class ActionValue(eqx.Module):
    """`Q(o, u)`, a scalar, by one network. For one pair; batch with `jax.vmap`."""

    network: MLP

    def __init__(self, no: int, nu: int, *, key: Array, hidden: tuple[int, ...] = (256, 256)):
        self.network = MLP((no + nu, *hidden, 1), key=key, dtype=jnp.float32)

    def __call__(self, o: Float[Array, " no"], u: Float[Array, " nu"]) -> Float[Array, ""]:
        """The value."""
        return self.network(jnp.concatenate([o, u]))[0]
