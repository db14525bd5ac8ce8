"""The training state that gradient-based learners share."""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Int


class TrainState(eqx.Module):
    """Step count, data-order key, parameters, optimiser state, and how often a projection moved a parameter."""

    step: Int[Array, ""]
    key: Array
    parameters: Any
    optimiser: Any
    projections: Int[Array, ""]

    @staticmethod
    def create(key: Array, parameters: Any, optimiser: optax.GradientTransformation) -> "TrainState":
        """State before the first update."""
        zero = jnp.array(0, jnp.int32)
        return TrainState(zero, key, parameters, optimiser.init(parameters), zero)

    def update(self, gradient: Any, optimiser: optax.GradientTransformation, project: Any = None) -> "TrainState":
        """Apply one optimiser step, then the projection of the parameters into their domain."""
        updates, optimiser_state = optimiser.update(gradient, self.optimiser, self.parameters)
        updated = optax.apply_updates(self.parameters, updates)
        parameters = updated if project is None else project(updated)
        pairs = zip(jax.tree.leaves(updated), jax.tree.leaves(parameters), strict=True)
        moved = jnp.any(jnp.array([jnp.any(a != b) for a, b in pairs])).astype(jnp.int32)
        return TrainState(self.step + 1, self.key, parameters, optimiser_state, self.projections + moved)


def labelled(parameters: Any) -> dict[str, Array]:
    """Parameters as metrics, named by their path."""
    leaves = jax.tree_util.tree_leaves_with_path(parameters)
    return {"parameter" + jax.tree_util.keystr(path): leaf for path, leaf in leaves}


def initial_parameters(parameters: Any, key: Array) -> Any:
    """Start of training: a pytree of numbers, or a function of the key that draws one."""
    drawn = parameters(key) if callable(parameters) else parameters
    # Strong types: a weakly typed start would make the first updates compile again.
    return jax.tree.map(lambda v: jnp.asarray(v, jnp.result_type(v)), drawn)
