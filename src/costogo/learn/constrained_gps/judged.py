"""One judge for all methods of policy search: the best of the last policies is what a run returns."""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from costogo.core.validate import require
from costogo.nn import GaussianPolicy


class JudgedState(eqx.Module):
    """State of the method, and the best policy of the last iterations so far with its cost (infinite before)."""

    inner: Any
    best: GaussianPolicy
    best_cost: Float[Array, ""]

    @property
    def step(self) -> Int[Array, ""]:
        """Iterations done."""
        return self.inner.step

    @property
    def policy(self) -> GaussianPolicy:
        """The best of the last policies; before those, the newest."""
        chosen = jnp.isfinite(self.best_cost)
        return jax.tree.map(
            lambda best, new: jnp.where(chosen, best, new) if eqx.is_array(best) else best,
            self.best, self.inner.policy,
        )  # fmt: skip


class Judged(eqx.Module):
    """A method of policy search whose policy is judged after every step, without noise, on its task.

    Adds `cost`, `failed`, `unseen_cost` and `unseen_failed` to the metrics of a step. Of the last `window` of
    `iterations` steps the policy with the lowest cost on the training conditions is kept (spec constrained_gps section
    6, step 4). `learner` has a `task`, and states with `step` and `policy`.
    """

    learner: Any
    iterations: int = eqx.field(static=True)
    window: int = eqx.field(static=True, default=10)

    def __check_init__(self):
        for name in ("iterations", "window"):
            require(getattr(self, name) >= 1, f"{name} is {getattr(self, name)}; pass at least 1")

    @property
    def steps_per_epoch(self) -> int:
        """As of the method."""
        return self.learner.steps_per_epoch

    def init(self, key: Array) -> JudgedState:
        """State of the method; nothing is judged yet."""
        inner = self.learner.init(key)
        return JudgedState(inner, inner.policy, jnp.full((), jnp.inf))

    def blank(self, key: Array) -> JudgedState:
        """A state of the same shapes, to read a checkpoint into."""
        shapes = eqx.filter_eval_shape(self.init, key)
        return jax.tree.map(
            lambda leaf: jnp.zeros(leaf.shape, leaf.dtype) if isinstance(leaf, jax.ShapeDtypeStruct) else leaf, shapes
        )

    def step(self, state: JudgedState) -> tuple[JudgedState, dict[str, Array]]:
        """One step of the method, and its policy's costs."""
        inner, metrics = self.learner.step(state.inner)
        judged = self.learner.task.evaluate(inner.policy)
        counts = (inner.step > self.iterations - self.window) & (judged["cost"] < state.best_cost)
        best = jax.tree.map(
            lambda new, old: jnp.where(counts, new, old) if eqx.is_array(new) else new, inner.policy, state.best
        )
        cost = jnp.asarray(jnp.where(counts, judged["cost"], state.best_cost), state.best_cost.dtype)
        return JudgedState(inner, best, cost), metrics | judged

    def evaluate(self, state: JudgedState) -> dict[str, Array]:
        """Costs of the policy that the run would return now, as `best_cost` and so on."""
        return {f"best_{name}": value for name, value in self.learner.task.evaluate(state.policy).items()}
