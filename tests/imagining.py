"""Stand-ins for an ensemble and an agent, whose imagination can be computed by hand."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from costogo.learn.dmd_mpc import (
    Source,
)

KEY = jax.random.PRNGKey(0)
NEVER = lambda x, u, new: jnp.array(False)  # noqa: E731


class Members(eqx.Module):
    """Stand-in for elites: `x' = x + gain u + 0.01 noise`, reward `slope x + u - bend (u - aim)^2`."""

    gain: jax.Array
    aim: jax.Array
    slope: float = eqx.field(static=True, default=0.0)
    bend: float = eqx.field(static=True, default=0.0)

    @property
    def upper(self):
        return self.gain

    def predict(self, x, u, noise=None):
        new = x + self.gain * u + (0.0 if noise is None else 0.01 * noise)
        return self.slope * x[0] + u[0] - self.bend * (u[0] - self.aim) ** 2, new


class Broken(Members):
    """Not a number from x = 2 on."""

    def predict(self, x, u, noise=None):
        reward, new = super().predict(x, u, noise)
        return reward, jnp.where(x > 1.9, jnp.nan, new)


class Actor(eqx.Module):
    """Stand-in for an agent: `u = clip(bias + feedback x)`, with a key plus noise; value `worth x`."""

    bias: float = 0.0
    feedback: float = 0.0
    worth: float = 0.0
    no: int = eqx.field(static=True, default=1)
    nu: int = eqx.field(static=True, default=1)
    discount: float = eqx.field(static=True, default=0.9)

    def act(self, state, x, key=None):
        u = self.bias + self.feedback * x
        return jnp.clip(u if key is None else u + 0.1 * jax.random.normal(key, x.shape, x.dtype), -1.0, 1.0)

    def value(self, state, x):
        return self.worth * x[0]


def source(agent, terminated=NEVER, gains=(1.0,), aims=None, dtype=jnp.float32, **reward):
    aims = [0.0] * len(gains) if aims is None else aims
    return Source(Members(jnp.array(gains, dtype), jnp.array(aims, dtype), **reward), agent, None, terminated)


def member(networks, number):
    return jax.tree.map(lambda leaf: leaf[number] if eqx.is_array(leaf) else leaf, networks)


def zeros(n):
    return jnp.zeros((n, 1), jnp.float32)


def same(a, b):
    return all(np.array_equal(p, q, equal_nan=True) for p, q in zip(*map(jax.tree.leaves, (a, b)), strict=True))
