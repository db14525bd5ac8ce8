"""Ring buffer of teacher samples, on the device."""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from costogo.core.validate import require


class Sample(eqx.Module):
    """One row: what the student sees, the Hamiltonian's expansion about the teacher's control, and where it came from.

    `costate` and `multipliers` allow the exact Hamiltonian to be evaluated later; `state` and `time` name the place.
    """

    observation: Float[Array, " no"]
    control: Float[Array, " nu"]
    gradient: Float[Array, " nu"]
    hessian: Float[Array, "nu nu"]
    state: Float[Array, " nx"]
    time: Float[Array, ""]
    costate: Float[Array, " nx"]
    multipliers: Float[Array, " ng"]


class Replay(eqx.Module):
    """The last `capacity` samples; `head` is where the next one goes, `size` how many there are."""

    data: Sample
    head: Int[Array, ""]
    size: Int[Array, ""]

    @staticmethod
    def empty(like: Any, capacity: int) -> "Replay":
        """A buffer for rows of the shapes of `like` (one sample, or its shapes)."""
        require(capacity >= 1, f"capacity is {capacity}; pass at least 1")
        rows = jax.tree.map(lambda a: jnp.zeros((capacity, *a.shape), a.dtype), like)
        zero = jnp.array(0, jnp.int32)
        return Replay(rows, zero, zero)

    @property
    def capacity(self) -> int:
        """Largest number of samples."""
        return self.data.time.shape[0]

    def insert(self, rows: Sample, keep: Bool[Array, " n"]) -> "Replay":
        """Add the rows marked in `keep`, over the oldest ones when full."""
        count = jnp.sum(keep, dtype=jnp.int32)
        order = jnp.cumsum(keep, dtype=jnp.int32) - 1
        # More rows than places: the last ones win. A row that is not kept goes nowhere.
        kept = keep & (order >= count - self.capacity)
        place = jnp.where(kept, (self.head + order) % self.capacity, self.capacity)
        data = jax.tree.map(lambda old, new: old.at[place].set(new.astype(old.dtype), mode="drop"), self.data, rows)
        return Replay(data, (self.head + count) % self.capacity, jnp.minimum(self.size + count, self.capacity))

    def draw(self, key: Array, n: int) -> Sample:
        """`n` rows, uniformly with replacement."""
        index = jax.random.randint(key, (n,), 0, jnp.maximum(self.size, 1))
        return jax.tree.map(lambda a: a[index], self.data)
