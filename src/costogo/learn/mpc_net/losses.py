"""What the student minimises on a sample (spec mpc_net sections 4.8 and 6)."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from costogo.learn.mpc_net.sample import Sample


def quadratic_hamiltonian(sample: Sample, u: Float[Array, " nu"]) -> Float[Array, ""]:
    """`H(u) - H(u*)` of the expansion, per unit of time."""
    du = u - sample.control
    return sample.gradient @ du + 0.5 * du @ (sample.hessian @ du)


def hamiltonian(policy: Any, sample: Sample, metric: Array) -> Array:
    """Each expert's own Hamiltonian, weighted: `sum_i p_i H(u_i)` (paper eq. 13)."""
    weights, controls = policy.propose(sample.observation)
    return weights @ jax.vmap(quadratic_hamiltonian, (None, 0))(sample, controls)


def blended_hamiltonian(policy: Any, sample: Sample, metric: Array) -> Array:
    """Hamiltonian of the blend, `H(sum_i p_i u_i)`: what the authors' later public code trains."""
    return quadratic_hamiltonian(sample, policy(sample.observation))


def cloning(policy: Any, sample: Sample, metric: Array) -> Array:
    """Squared behavioural cloning, `sum_i p_i |u_i - u*|_R^2`, with the `R` of the stage cost per unit of time."""
    weights, controls = policy.propose(sample.observation)
    return weights @ _squared_distance(controls - sample.control, metric)


def cloning_norm(policy: Any, sample: Sample, metric: Array) -> Array:
    """The same without the square, as the paper prints it (eq. 17)."""
    weights, controls = policy.propose(sample.observation)
    # The root has no derivative at zero.
    return weights @ jnp.sqrt(_squared_distance(controls - sample.control, metric) + 1e-12)


def _squared_distance(du: Array, metric: Array) -> Array:
    return jnp.einsum("ei,ij,ej->e", du, metric, du)


LOSSES: dict[str, Callable[[Any, Sample, Array], Array]] = {
    "hamiltonian": hamiltonian,
    "blended_hamiltonian": blended_hamiltonian,
    "cloning": cloning,
    "cloning_norm": cloning_norm,
}
