"""Replay buffers of transitions."""

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from costogo.core.ring import Ring


class Transitions(eqx.Module):
    """Rows `(x, u, r, x', terminal)`. `terminal` is one where the episode ended in a terminal state, and zero where it
    was only cut at a time limit: the value of x' still counts there."""

    x: Float[Array, "*n no"]
    u: Float[Array, "*n nu"]
    reward: Float[Array, "*n"]
    new: Float[Array, "*n no"]
    terminal: Float[Array, "*n"]


class Replay(eqx.Module):
    """Ring buffer of transitions, each packed into one row; the newest overwrite the oldest."""

    ring: Ring
    no: int = eqx.field(static=True)
    nu: int = eqx.field(static=True)

    @staticmethod
    def empty(no: int, nu: int, capacity: int) -> "Replay":
        """A buffer without rows."""
        return Replay(Ring.empty(jax.ShapeDtypeStruct((2 * no + nu + 2,), jnp.float32), capacity), no, nu)

    @property
    def rows(self) -> Float[Array, "capacity width"]:
        """Packed rows, of which the first `size` are filled."""
        return self.ring.data

    @property
    def capacity(self) -> int:
        """Rows there is room for."""
        return self.ring.capacity

    @property
    def size(self) -> Int[Array, ""]:
        """Rows in the buffer."""
        return self.ring.size

    def add(self, new: Transitions, keep: Bool[Array, " n"] | None = None) -> "Replay":
        """Add rows, or those of them that `keep` marks, in their order."""
        return Replay(self.ring.insert(self.pack(new), keep), self.no, self.nu)

    def sample(self, key: Array, count: int) -> Transitions:
        """`count` rows, drawn uniformly with replacement. From an empty buffer: rows of zeros."""
        return self.unpack(self.ring.draw(key, count))

    def pack(self, rows: Transitions) -> Float[Array, "n width"]:
        """Rows side by side in one array."""
        columns = (rows.x, rows.u, rows.new, rows.reward[..., None], rows.terminal[..., None])
        return jnp.concatenate([jnp.asarray(c, jnp.float32) for c in columns], axis=-1)

    def unpack(self, rows: Float[Array, "n width"]) -> Transitions:
        """The inverse of `pack`."""
        no, nu = self.no, self.nu
        x, u, new, reward, terminal = jnp.split(rows, (no, no + nu, 2 * no + nu, 2 * no + nu + 1), axis=-1)
        return Transitions(x, u, reward[..., 0], new, terminal[..., 0])


def mixed(key: Array, real: Replay, imagined: Replay, count: int, share: float) -> Transitions:
    """`count` rows, of which the whole number nearest to `share * count` come from `real` and the others from
    `imagined`; all from `real` while the other is empty."""
    first = round(share * count)
    keys = jax.random.split(key)
    rows = real.pack(real.sample(keys[0], count))
    if first < count:
        others = imagined.pack(imagined.sample(keys[1], count - first))
        rows = rows.at[first:].set(jnp.where(imagined.size > 0, others, rows[first:]))
    return real.unpack(rows)
