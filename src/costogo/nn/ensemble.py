"""Probabilistic ensembles: several networks that predict reward and next state, with their uncertainty."""

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from costogo.core.validate import require

# Weight decay from the first layer to the last, times half the squared norm (spec dmd_mpc section 5).
DECAY = (2.5e-5, 5e-5, 7.5e-5, 7.5e-5, 1e-4)
BOUND_PENALTY = 0.01
LOG_VARIANCE = (-10.0, 0.5)


class Normaliser(eqx.Module):
    """Mean and standard deviation of vectors, as explicit state: `(v - mean) / std`."""

    mean: Float[Array, " n"]
    std: Float[Array, " n"]

    @staticmethod
    def identity(size: int) -> "Normaliser":
        """Changes nothing."""
        return Normaliser(jnp.zeros(size, jnp.float32), jnp.ones(size, jnp.float32))

    @staticmethod
    def fit(rows: Float[Array, "n m"], used: Float[Array, " n"]) -> "Normaliser":
        """Moments of the rows that `used` marks with one. A column that does not vary keeps its unit."""
        total = jnp.maximum(jnp.sum(used), 1.0)
        mean = used @ rows / total
        std = jnp.sqrt(used @ (rows - mean) ** 2 / total)
        return Normaliser(mean, jnp.where(std < 1e-6, 1.0, std))

    def __call__(self, v: Float[Array, " n"]) -> Float[Array, " n"]:
        """The normalised vector."""
        return (v - self.mean) / self.std


class ProbabilisticNetwork(eqx.Module):
    """`p(r, x' - x | x, u) = N(mean, diag(exp(log_var)))` by one network (spec dmd_mpc section 5).

    Fully connected, activation `swish`, on normalised `(x, u)`. The logarithm of the variance is kept between learned
    bounds by two soft rectifiers. Weights are float32. For one pair `(x, u)`; batch with `jax.vmap`. Called as `f(x, u,
    t)`, it is ordinary dynamics: the mean of the next state.
    """

    weights: tuple[Float[Array, "a b"], ...]
    biases: tuple[Float[Array, " b"], ...]
    upper: Float[Array, " out"]
    lower: Float[Array, " out"]
    inputs: Normaliser

    def __init__(self, no: int, nu: int, *, key: Array, hidden: tuple[int, ...] = (200,) * 4):
        require(min(no, nu) >= 1, f"no and nu are {no} and {nu}; pass at least 1 for each")
        require(len(hidden) >= 2 and min(hidden) >= 1, f"hidden is {hidden}; pass the sizes of at least two layers")
        sizes = (no + nu, *hidden, 2 * (1 + no))
        keys = jax.random.split(key, len(sizes) - 1)
        self.weights = tuple(
            jax.random.truncated_normal(k, -2.0, 2.0, (a, b), jnp.float32) / (2.0 * a**0.5)
            for k, a, b in zip(keys, sizes[:-1], sizes[1:], strict=True)
        )
        self.biases = tuple(jnp.zeros(b, jnp.float32) for b in sizes[1:])
        self.lower, self.upper = (jnp.full(1 + no, bound, jnp.float32) for bound in LOG_VARIANCE)
        self.inputs = Normaliser.identity(no + nu)

    def moments(
        self, x: Float[Array, " no"], u: Float[Array, " nu"]
    ) -> tuple[Float[Array, " out"], Float[Array, " out"]]:
        """Mean of `(r, x' - x)` and the logarithm of its variance."""
        h = self.inputs(jnp.concatenate([x, u]))
        for weight, bias in zip(self.weights[:-1], self.biases[:-1], strict=True):
            h = jax.nn.silu(h @ weight + bias)
        mean, raw = jnp.split(h @ self.weights[-1] + self.biases[-1], 2)
        raw = self.upper - jax.nn.softplus(self.upper - raw)
        return mean, self.lower + jax.nn.softplus(raw - self.lower)

    def predict(
        self, x: Float[Array, " no"], u: Float[Array, " nu"], noise: Float[Array, " no"] | None = None
    ) -> tuple[Float[Array, ""], Float[Array, " no"]]:
        """Mean reward, and the next state: its mean, or with standard normal `noise` a draw."""
        mean, log_var = self.moments(x, u)
        change = mean[1:] if noise is None else mean[1:] + jnp.exp(0.5 * log_var[1:]) * noise
        return mean[0], x + change

    def __call__(self, x: Float[Array, " no"], u: Float[Array, " nu"], t: Array) -> Float[Array, " no"]:
        """Mean of the next state."""
        return self.predict(x, u)[1]

    def loss(
        self, xs: Float[Array, "n no"], us: Float[Array, "n nu"], targets: Float[Array, "n out"]
    ) -> Float[Array, ""]:
        """`mean[(mean - y)^2 exp(-log_var)] + mean[log_var]`, weight decay, and a pull on the bounds."""
        mean, log_var = jax.vmap(self.moments)(xs, us)
        likelihood = jnp.mean((mean - targets) ** 2 * jnp.exp(-log_var) + log_var)
        rates = (*DECAY[:2], *(DECAY[2] for _ in self.weights[2:-1]), DECAY[-1])
        decay = [0.5 * rate * jnp.sum(w**2) for rate, w in zip(rates, self.weights, strict=True)]
        return likelihood + sum(decay) + BOUND_PENALTY * (jnp.sum(self.upper) - jnp.sum(self.lower))


class ProbabilisticEnsemble(eqx.Module):
    """K networks, their leaves stacked along a leading axis, and its `elites`: the members with the lowest error on
    held-out data, best first. Only these predict.

    Deviation from MBPO: each member has variance bounds of its own.
    """

    networks: ProbabilisticNetwork
    elites: Int[Array, " E"]

    @staticmethod
    def create(
        no: int, nu: int, *, key: Array, members: int = 7, elites: int = 5, hidden: tuple[int, ...] = (200,) * 4
    ) -> "ProbabilisticEnsemble":
        """Fresh networks; the first members are the elites until a training says otherwise."""
        require(1 <= elites <= members, f"elites is {elites}; pass 1 to {members}, the number of members")
        make = lambda k: ProbabilisticNetwork(no, nu, key=k, hidden=hidden)  # noqa: E731
        return ProbabilisticEnsemble(eqx.filter_vmap(make)(jax.random.split(key, members)), jnp.arange(elites))

    @property
    def best(self) -> ProbabilisticNetwork:
        """The elites, stacked, best first: map over them with `jax.vmap`."""
        return jax.tree.map(lambda leaf: leaf[self.elites], self.networks)

    def member(self, number: int) -> ProbabilisticNetwork:
        """One of the elites, the best is number 0: dynamics `f(x, u, t)`."""
        return jax.tree.map(lambda leaf: leaf[self.elites[number]], self.networks)
