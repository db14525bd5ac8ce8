"""Gaussian policies: a small network for the mean, and noise that does not depend on the state."""

from collections.abc import Sequence

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike
from jaxtyping import Array, Float

from costogo.core.validate import is_concrete, require
from costogo.nn.mixture import Affine


class GaussianPolicy(eqx.Module):
    """`pi(u | o) = N(W_2 softplus(W_1 o' + b_1) + b_2, diag(exp(2 log_std)))` (spec constrained_gps section 5).

    One hidden layer of soft rectifiers; `o' = (o - input_mean) / input_std` and the mean in units of `output_scale`
    are data, not parameters. For one observation; batch with `jax.vmap`. `log_std` (nu,) is that of the controls, in
    their units.

    `symmetry`, two tuples of indices, says which observations and controls change places when the robot is mirrored,
    its legs exchanged, say. The mean `mu` is then `(mu(o) + R mu(S o)) / 2`, with `S` and `R` these exchanges: what it
    knows of one side it knows of the other. Raises `CostogoError` for indices that are no exchange.
    """

    normalise: Affine
    hidden: eqx.nn.Linear
    head: eqx.nn.Linear
    output: Affine
    log_std: Float[Array, " nu"]
    symmetry: tuple[tuple[int, ...], tuple[int, ...]] | None = eqx.field(static=True)

    def __init__(
        self,
        no: int,
        nu: int,
        *,
        key: Array,
        hidden: int = 50,
        std: ArrayLike = 1.0,
        input_mean: ArrayLike = 0.0,
        input_std: ArrayLike = 1.0,
        output_scale: ArrayLike = 1.0,
        symmetry: tuple[Sequence[int], Sequence[int]] | None = None,
        dtype: jnp.dtype | None = None,
    ):
        for name, value in (("no", no), ("nu", nu), ("hidden", hidden)):
            require(value >= 1, f"{name} is {value}; pass at least 1")
        for name, value in (("std", std), ("input_std", input_std), ("output_scale", output_scale)):
            if is_concrete(value):
                require(bool(np.all(np.asarray(value) > 0)), f"{name} is {value}; pass positive numbers")
        first, second = jax.random.split(key)
        mean, spread = jnp.asarray(input_mean), jnp.asarray(input_std)
        self.normalise = Affine(no, -mean / spread, 1.0 / spread, dtype)
        self.hidden = eqx.nn.Linear(no, hidden, key=first, dtype=dtype)
        self.head = eqx.nn.Linear(hidden, nu, key=second, dtype=dtype)
        self.output = Affine(nu, 0.0, output_scale, dtype)
        if symmetry is not None:
            symmetry = (_exchange("observations", no, symmetry[0]), _exchange("controls", nu, symmetry[1]))
        self.symmetry = symmetry
        self.log_std = jnp.broadcast_to(jnp.log(jnp.asarray(std, self.head.weight.dtype)), (nu,))

    def __call__(self, o: Float[Array, " no"]) -> Float[Array, " nu"]:
        """The mean."""
        if self.symmetry is None:
            return self._mean(o)
        there, back = (np.array(indices) for indices in self.symmetry)
        return 0.5 * (self._mean(o) + self._mean(o[there])[back])

    def _mean(self, o: Float[Array, " no"]) -> Float[Array, " nu"]:
        return self.output(self.head(jax.nn.softplus(self.hidden(self.normalise(o)))))

    @property
    def covariance(self) -> Float[Array, "nu nu"]:
        """Covariance of the noise."""
        return jnp.diag(jnp.exp(2.0 * self.log_std))

    def sample(self, key: Array, o: Float[Array, " no"]) -> Float[Array, " nu"]:
        """A control drawn from the policy."""
        mean = self(o)
        return mean + jnp.exp(self.log_std) * jax.random.normal(key, mean.shape, mean.dtype)

    def log_density(self, o: Float[Array, " no"], u: Float[Array, " nu"]) -> Float[Array, ""]:
        """`log pi(u | o)`."""
        scaled = (u - self(o)) / jnp.exp(self.log_std)
        return -0.5 * jnp.sum(scaled**2) - jnp.sum(self.log_std) - 0.5 * len(u) * jnp.log(2.0 * jnp.pi)


def _exchange(what: str, size: int, indices: Sequence[int]) -> tuple[int, ...]:
    """The indices, checked: each place once, and twice is nothing."""
    found = tuple(int(i) for i in indices)
    whole = sorted(found) == list(range(size)) and all(found[found[i]] == i for i in range(size))
    require(whole, f"symmetry of the {what} is {found}; pass the place, 0 to {size - 1}, that each changes with")
    return found
