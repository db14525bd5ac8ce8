"""Ring buffer of rows on the device: what learners sample their batches from."""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Int

from costogo.core.validate import require


class Ring(eqx.Module):
    """The last `capacity` rows of any pytree; `head` is where the next one goes, `size` how many there are."""

    data: Any
    head: Int[Array, ""]
    size: Int[Array, ""]

    @staticmethod
    def empty(like: Any, capacity: int) -> "Ring":
        """A buffer for rows of the shapes of `like` (one row, or its shapes)."""
        require(capacity >= 1, f"capacity is {capacity}; pass at least 1 row")
        rows = jax.tree.map(lambda a: jnp.zeros((capacity, *a.shape), a.dtype), like)
        zero = jnp.array(0, jnp.int32)
        return Ring(rows, zero, zero)

    @property
    def capacity(self) -> int:
        """Rows there is room for."""
        return jax.tree.leaves(self.data)[0].shape[0]

    def insert(self, rows: Any, keep: Bool[Array, " n"] | None = None) -> "Ring":
        """Add rows (leaves (n, ...)), or those that `keep` marks, in their order, over the oldest ones when full."""
        keep = jnp.ones(len(jax.tree.leaves(rows)[0]), bool) if keep is None else keep
        count = jnp.sum(keep, dtype=jnp.int32)
        order = jnp.cumsum(keep, dtype=jnp.int32) - 1
        # More rows than places: the last ones win. A row that is not kept goes nowhere.
        kept = keep & (order >= count - self.capacity)
        place = jnp.where(kept, (self.head + order) % self.capacity, self.capacity)
        data = jax.tree.map(lambda old, new: old.at[place].set(new.astype(old.dtype), mode="drop"), self.data, rows)
        return Ring(data, (self.head + count) % self.capacity, jnp.minimum(self.size + count, self.capacity))

    def draw(self, key: Array, count: int) -> Any:
        """`count` rows, uniformly with replacement. From an empty buffer: rows of zeros."""
        index = jax.random.randint(key, (count,), 0, jnp.maximum(self.size, 1))
        return jax.tree.map(lambda a: a[index], self.data)
