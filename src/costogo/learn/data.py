"""Demonstrations for imitation, and the order in which minibatches visit them."""

from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from costogo.core.validate import require, require_shape


class Demonstrations(eqx.Module):
    """Expert trajectories: initial states (n, nx), controls (n, N, nu) and states (n, N+1, nx)."""

    x0s: Float[Array, "n nx"]
    controls: Float[Array, "n N nu"]
    states: Float[Array, "n N+1 nx"]

    def __check_init__(self):
        n, N = self.controls.shape[:2]
        require(n >= 1, "the demonstrations are empty; pass at least one trajectory")
        require_shape("x0s", self.x0s.shape[:1], (n,), "pass one initial state for each trajectory of controls")
        require_shape("states", self.states.shape[:2], (n, N + 1), "pass N+1 states for N controls")

    def __len__(self) -> int:
        return self.controls.shape[0]


class ImitationData(eqx.Module):
    """Training, validation and test demonstrations."""

    train: Demonstrations
    validation: Demonstrations
    test: Demonstrations

    def with_train_size(self, n: int) -> "ImitationData":
        """The same data with only the first `n` training trajectories."""
        require(1 <= n <= len(self.train), f"train size is {n}; pass a number from 1 to {len(self.train)}")
        return eqx.tree_at(lambda d: d.train, self, jax.tree.map(lambda a: a[:n], self.train))


def demonstrate(expert: Callable[[Array], Any], x0s: Float[Array, "n nx"]) -> Demonstrations:
    """Let the expert act: `expert(x0)` returns an object with `states` and `controls` (a `Solution` does)."""
    solution = jax.jit(jax.vmap(expert))(x0s)
    return Demonstrations(x0s=x0s, controls=solution.controls, states=solution.states)


class Minibatches(eqx.Module):
    """Shuffled minibatches of fixed shape: each epoch is a permutation that depends on (key, epoch) only.

    The last batch of an epoch may be short: it is filled up with index `count`, whose weight is zero and which
    `mode="drop"` scatters ignore.
    """

    count: int = eqx.field(static=True)
    size: int = eqx.field(static=True)

    @property
    def per_epoch(self) -> int:
        """Minibatches in an epoch."""
        return -(-self.count // self.size)

    def rows(self, key: Array, step: Int[Array, ""]) -> tuple[Int[Array, " size"], Float[Array, " size"]]:
        """Indices and 0/1 weights of the minibatch of this step."""
        epoch, batch = step // self.per_epoch, step % self.per_epoch
        order = jax.random.permutation(jax.random.fold_in(key, epoch), self.count)
        padding = jnp.full(self.per_epoch * self.size - self.count, self.count, order.dtype)
        rows = jax.lax.dynamic_slice_in_dim(jnp.concatenate([order, padding]), batch * self.size, self.size)
        return rows, (rows < self.count).astype(float)


def take(data: Any, rows: Int[Array, " size"]) -> Any:
    """Rows of every array of the data; padding rows repeat the last one."""
    return jax.tree.map(lambda a: jnp.take(a, rows, axis=0, mode="clip"), data)


class Imitator(eqx.Module):
    """What learners from demonstrations share: they pass over the training data in minibatches."""

    data: eqx.AbstractVar[ImitationData]
    batch_size: eqx.AbstractVar[int]

    @property
    def minibatches(self) -> Minibatches:
        """Order of the training data."""
        return Minibatches(len(self.data.train), min(self.batch_size, len(self.data.train)))

    @property
    def steps_per_epoch(self) -> int:
        """Updates in one pass over the training data."""
        return self.minibatches.per_epoch
