"""The training loop that every learner shares: jitted epochs, evaluation, callbacks, resume."""

from collections.abc import Sequence
from typing import Any, Protocol

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from costogo.core.validate import require


class Learner(Protocol):
    """What `fit` needs of a learner: pure functions over an explicit state, which counts its updates in `step`."""

    @property
    def steps_per_epoch(self) -> int:
        """Updates in one pass over the data."""
        ...

    def init(self, key: Array) -> Any:
        """State before training."""
        ...

    def step(self, state: Any) -> tuple[Any, dict[str, Array]]:
        """One update and its metrics."""
        ...

    def evaluate(self, state: Any) -> dict[str, Array]:
        """Metrics on held-out data."""
        ...


class Callback:
    """Hooks of `fit`; override what is needed. Metrics are NumPy values: scalars, or one per seed."""

    def on_start(self, learner: Learner, state: Any, epoch: int, epochs: int) -> None:
        """Before the first epoch; `epoch` is where training begins or resumes."""

    def on_epoch(self, epoch: int, state: Any, metrics: dict[str, np.ndarray]) -> None:
        """After epoch number `epoch` (the first is 1)."""

    def on_end(self, state: Any) -> None:
        """After the last epoch."""


class Seeds(eqx.Module):
    """Several seeds of one learner trained together, by `vmap`; state and metrics gain a leading axis of length n."""

    learner: Any
    n: int = eqx.field(static=True)

    @property
    def steps_per_epoch(self) -> int:
        """As for one seed."""
        return self.learner.steps_per_epoch

    def init(self, key: Array) -> Any:
        """One state per seed."""
        return eqx.filter_vmap(self.learner.init)(jax.random.split(key, self.n))

    def step(self, state: Any) -> tuple[Any, dict[str, Array]]:
        """One update of every seed."""
        return eqx.filter_vmap(self.learner.step)(state)

    def evaluate(self, state: Any) -> dict[str, Array]:
        """Metrics of every seed."""
        return eqx.filter_vmap(self.learner.evaluate)(state)


def epochs_done(learner: Learner, state: Any) -> int:
    """Epochs a state has finished."""
    return int(np.ravel(np.asarray(state.step))[0]) // learner.steps_per_epoch


def fit(
    learner: Learner, state: Any, *, epochs: int, evaluate_every: int = 1, callbacks: Sequence[Callback] = ()
) -> Any:
    """Train until `epochs` epochs are done, from wherever `state` stands; returns the last state.

    An epoch is one jitted scan over its updates, compiled once; a learner with `host = True` runs step by step instead.
    Metrics of an epoch are the means over its updates; every `evaluate_every` epochs, and after the last, those of
    `learner.evaluate` join them. The state after a given epoch does not depend on where training was resumed.
    """
    require(epochs >= 0, f"epochs is {epochs}; pass 0 or more")
    require(evaluate_every >= 1, f"evaluate_every is {evaluate_every}; pass at least 1")
    run_epoch, evaluate = _compiled(learner)
    first = epochs_done(learner, state)
    for callback in callbacks:
        callback.on_start(learner, state, first, epochs)
    for epoch in range(first + 1, epochs + 1):
        state, metrics = run_epoch(state)
        if epoch % evaluate_every == 0 or epoch == epochs:
            metrics = {**metrics, **evaluate(state)}
        host = {name: np.asarray(value) for name, value in metrics.items()}
        for callback in callbacks:
            callback.on_epoch(epoch, state, host)
    for callback in callbacks:
        callback.on_end(state)
    return state


def _compiled(learner: Learner):
    if getattr(learner, "host", False):
        return _host_epoch(learner), learner.evaluate

    @eqx.filter_jit
    def run_epoch(state):
        dynamic, static = eqx.partition(state, eqx.is_array)

        def body(dynamic, _):
            state, metrics = learner.step(eqx.combine(dynamic, static))
            return eqx.filter(state, eqx.is_array), metrics

        dynamic, metrics = jax.lax.scan(body, dynamic, None, length=learner.steps_per_epoch)
        return eqx.combine(dynamic, static), jax.tree.map(lambda m: jnp.mean(m, axis=0), metrics)

    return run_epoch, eqx.filter_jit(learner.evaluate)


def _host_epoch(learner: Learner):
    """An epoch of a learner whose step runs several programs, such as rollouts beside updates."""

    def run_epoch(state):
        rows = []
        for _ in range(learner.steps_per_epoch):
            state, metrics = learner.step(state)
            rows.append({name: np.asarray(value) for name, value in metrics.items()})
        return state, {name: np.mean([row[name] for row in rows], axis=0) for name in rows[0]}

    return run_epoch
