"""Training of a probabilistic ensemble: bootstrapped members, early stopping on held-out rows, elites."""

import warnings
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Float, Int

from costogo.core.validate import require
from costogo.nn import Normaliser, ProbabilisticEnsemble
from costogo.rl import Replay


class Model(eqx.Module):
    """An ensemble with the state of its optimiser."""

    ensemble: ProbabilisticEnsemble
    optimiser: Any

    @property
    def trained(self) -> bool:
        """Whether a training has succeeded: the optimiser of one that diverged is not kept."""
        return int(optax.tree.get(self.optimiser, "count")) > 0


class Split(eqx.Module):
    """Rows for training and rows held out, as index arrays of fixed sizes of which the first ones count, so that a
    growing buffer does not compile anew. A row of `bootstrap` holds the training rows of a member."""

    order: Int[Array, " capacity"]
    bootstrap: Int[Array, "K capacity"]
    train: Int[Array, ""]
    held_out: Int[Array, ""]


class ModelFit(eqx.Module):
    """Maximum likelihood by Adam, until no member gains (spec dmd_mpc section 5).

    Of the rows a share `holdout`, at most `most_held_out`, is held out. Each member draws its batches from a bootstrap
    sample of the others. After each pass, a member whose error on the held-out rows fell by more than `gain` (relative)
    since its best in this call is remembered; when none was for more than `patience` passes, or before a pass that
    would make more than `updates` updates in the call, the remembered networks are restored and the members with the
    lowest error become the elites. Weights and optimiser go on from the last call. Errors are mean squares of
    `(r, x' - x)`.

    Deviation from MBPO: the rows of a pass are drawn from the bootstrap sample with replacement.
    """

    learning_rate: float = eqx.field(static=True, default=1e-3)
    batch_size: int = eqx.field(static=True, default=256)
    holdout: float = eqx.field(static=True, default=0.2)
    most_held_out: int = eqx.field(static=True, default=5000)
    gain: float = eqx.field(static=True, default=0.01)
    patience: int = eqx.field(static=True, default=5)
    updates: int = eqx.field(static=True, default=5000)

    def __check_init__(self):
        for name in ("batch_size", "most_held_out", "updates"):
            require(getattr(self, name) >= 1, f"{name} is {getattr(self, name)}; pass at least 1")
        require(self.learning_rate > 0, f"learning_rate is {self.learning_rate}; pass a positive number")
        require(0 < self.holdout < 1, f"holdout is {self.holdout}; pass a share between 0 and 1")
        require(self.patience >= 0, f"patience is {self.patience}; pass 0 or more passes")

    @property
    def optimiser(self) -> optax.GradientTransformation:
        """Adam."""
        return optax.adam(self.learning_rate)

    def init(self, ensemble: ProbabilisticEnsemble) -> Model:
        """Before the first call."""
        return Model(ensemble, self.optimiser.init(_trained(ensemble.networks)))

    def run(self, model: Model, replay: Replay, key: Array) -> tuple[Model, dict[str, Any]]:
        """Train on all rows of a buffer; metrics: passes, error of the elites on the held-out rows, and `diverged`, one
        where that error or the optimiser is not finite (then the model is the one that was given, and a warning says
        so)."""
        shuffle, key = jax.random.split(key)
        split = self._split(replay, len(model.ensemble.networks.upper), shuffle)
        networks = _normalised(model.ensemble.networks, replay, split)
        # The given networks have seen rows that are held out now, so their error says nothing: the first pass counts.
        best, lowest, waited, done = networks, jnp.full(len(networks.upper), jnp.inf), 0, 0
        state, most = model.optimiser, max(1, self.updates // self._batches(split))
        while waited <= self.patience and done < most:
            networks, state = _one_pass(self, networks, state, replay, split, jax.random.fold_in(key, done))
            best, lowest, better = _keep(self, best, lowest, networks, _errors(self, networks, replay, split))
            waited, done = 0 if bool(better) else waited + 1, done + 1
        order = jnp.argsort(lowest)[: len(model.ensemble.elites)]
        error = float(jnp.mean(lowest[order]))
        # Moments that are not finite would spoil every later call.
        diverged = not np.isfinite(error) or not bool(_finite(state))
        if diverged:
            warnings.warn(_divergence(self, error), RuntimeWarning, stacklevel=2)
        found = model if diverged else Model(ProbabilisticEnsemble(best, order), state)
        return found, {"passes": float(done), "model_error": error, "diverged": float(diverged)}

    def _batches(self, split: Split) -> int:
        """Batches in a pass."""
        return -(-int(split.train) // self.batch_size)

    def _split(self, replay: Replay, members: int, key: Array) -> Split:
        size = int(replay.size)
        held_out = min(int(size * self.holdout), self.most_held_out)
        require(held_out >= 1, f"the replay buffer holds {size} rows; collect more before a model is trained")
        order = np.zeros(replay.capacity, np.int32)
        random = np.random.default_rng(np.asarray(key))
        order[:size] = random.permutation(size)
        bootstrap = order[random.integers(0, size - held_out, (members, replay.capacity))]
        return Split(*map(jnp.asarray, (order, bootstrap, np.int32(size - held_out), np.int32(held_out))))


def _divergence(fit: ModelFit, error: float) -> str:
    """What to do about it."""
    return (
        f"the training of the model diverged (its error on held-out rows is {error}): the model before stays; pass a "
        f"learning_rate below {fit.learning_rate}, or scale observations and rewards of the environment to about one"
    )


def _trained(networks: Any) -> Any:
    """The part of the networks that gradients move: all but the normalisation of the inputs."""
    return eqx.tree_at(lambda n: n.inputs, networks, None)


def _columns(replay: Replay, rows: Array) -> tuple[Array, Array, Array]:
    """Inputs x, u and targets `(r, x' - x)` of buffer rows."""
    data = replay.unpack(replay.rows[rows])
    return data.x, data.u, jnp.concatenate([data.reward[..., None], data.new - data.x], axis=-1)


@eqx.filter_jit
def _normalised(networks: Any, replay: Replay, split: Split) -> Any:
    """The networks with the normalisation of these rows."""
    xs, us, _ = _columns(replay, split.order)
    used = (jnp.arange(len(split.order)) < split.train).astype(xs.dtype)
    inputs = Normaliser.fit(jnp.concatenate([xs, us], axis=-1), used)
    members = len(networks.upper)
    stacked = jax.tree.map(lambda leaf: jnp.broadcast_to(leaf, (members, *leaf.shape)), inputs)
    return eqx.tree_at(lambda n: n.inputs, networks, stacked)


@eqx.filter_jit
def _one_pass(fit: ModelFit, networks: Any, state: Any, replay: Replay, split: Split, key: Array):
    """As many batches as the training rows fill."""
    members = len(networks.upper)

    def loss(trained, inputs, xs, us, targets):
        whole = eqx.tree_at(lambda n: n.inputs, trained, inputs, is_leaf=lambda leaf: leaf is None)
        return jnp.sum(jax.vmap(lambda n, x, u, y: n.loss(x, u, y))(whole, xs, us, targets))

    def body(i, carry):
        trained, state = carry
        places = jax.random.randint(jax.random.fold_in(key, i), (members, fit.batch_size), 0, split.train)
        rows = jnp.take_along_axis(split.bootstrap, places, axis=1)
        gradient = jax.grad(loss)(trained, networks.inputs, *_columns(replay, rows))
        updates, state = fit.optimiser.update(gradient, state)
        return optax.apply_updates(trained, updates), state

    count = (split.train + fit.batch_size - 1) // fit.batch_size
    trained, state = jax.lax.fori_loop(0, count, body, (_trained(networks), state))
    return eqx.tree_at(lambda n: n.inputs, trained, networks.inputs, is_leaf=lambda leaf: leaf is None), state


@eqx.filter_jit
def _errors(fit: ModelFit, networks: Any, replay: Replay, split: Split) -> Float[Array, " K"]:
    """Mean squared error of every member on the held-out rows; infinite where it is not a number."""
    most = min(fit.most_held_out, max(1, int(fit.holdout * replay.capacity)))
    places = jnp.minimum(split.train + jnp.arange(most), replay.capacity - 1)
    xs, us, targets = _columns(replay, split.order[places])
    used = (jnp.arange(most) < split.held_out).astype(xs.dtype)
    means = jax.vmap(lambda n: jax.vmap(lambda x, u: n.moments(x, u)[0])(xs, us))(networks)
    error = jnp.sum(used * jnp.mean((means - targets) ** 2, axis=-1), axis=-1) / jnp.sum(used)
    return jnp.where(jnp.isnan(error), jnp.inf, error)


@eqx.filter_jit
def _finite(state: Any) -> Array:
    """Whether all numbers of a state are finite."""
    return jnp.all(jnp.array([jnp.all(jnp.isfinite(leaf)) for leaf in jax.tree.leaves(state)]))


@eqx.filter_jit
def _keep(fit: ModelFit, best: Any, lowest: Array, networks: Any, errors: Array):
    """The better of the remembered and the new networks, member by member, and whether any was better."""
    better = errors < (1.0 - fit.gain) * lowest
    pick = lambda old, new: jnp.where(better.reshape(-1, *[1] * (new.ndim - 1)), new, old)  # noqa: E731
    return jax.tree.map(pick, best, networks), jnp.where(better, errors, lowest), jnp.any(better)
