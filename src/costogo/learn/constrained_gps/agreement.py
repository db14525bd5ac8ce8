"""What joins policy and trajectories: averages of the policy, rows to fit it to, multipliers."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike
from jaxtyping import Array, Float

from costogo.core.validate import require
from costogo.learn.constrained_gps.policy_fit import Regression
from costogo.nn import GaussianPolicy
from costogo.solvers import GaussianTrajectory, PolicyTerms

Observe = Callable[[Array], Array]


def draw_noise(key: Array, samples: int, nx: int, *shape: int) -> Float[Array, "*shape samples nx"]:
    """Standard normal samples in antithetic pairs, so that their mean is zero (spec constrained_gps 4.6), for each
    element of `shape`."""
    require(samples >= 2 and samples % 2 == 0, f"samples is {samples}; pass an even number of at least 2")
    half = jax.random.normal(key, (*shape, samples // 2, nx))
    return jnp.concatenate([half, -half], axis=-2)


def policy_terms(
    policy: GaussianPolicy,
    observe: Observe,
    weights: Float[Array, " N"],
    noise: Float[Array, "samples nx"],
    q: GaussianTrajectory,
    kind: type[PolicyTerms] = PolicyTerms,
) -> PolicyTerms:
    """The policy as a trajectory sees it: mean and Jacobian averaged over samples of `q(x)` (appendix B, averages).

    `observe(x)` is what the policy gets of a state; `kind` says what the trajectory has to do with the policy. `noise`
    is to be drawn once and kept, so that what is optimised stays the same (spec 4.6).
    """

    def one(x: Array) -> tuple[Array, Array]:
        return policy(observe(x)), jax.jacfwd(lambda x: policy(observe(x)))(x)

    mean, slope = jax.vmap(jax.vmap(one))(q.sample_states(noise))
    covariance = jnp.broadcast_to(policy.covariance, q.covariances.shape)
    return kind(jnp.mean(mean, axis=1), jnp.mean(slope, axis=1), covariance, weights)


def regression(
    observe: Observe,
    q: GaussianTrajectory,
    weights: Float[Array, "trajectories N"],
    key: Array,
    samples: int,
) -> Regression:
    """Rows of a policy fit from a batch of trajectories: `samples` states of each knot, and the controls wanted there.

    Every knot has samples of its own: a few pairs that are the same at all knots leave directions in which nothing
    tells the policy what to do.
    """
    noise = draw_noise(key, samples, q.states.shape[-1], *weights.shape)

    def rows(q: GaussianTrajectory, weights: Array, noise: Array) -> Regression:
        xs = q.sample_states(noise)
        wanted = q.controls[:, None] + jnp.einsum("kux,kmx->kmu", q.gains, xs - q.states[:-1, None])
        precisions = jnp.broadcast_to(jnp.linalg.inv(q.covariances)[:, None], (*wanted.shape, wanted.shape[-1]))
        variances = jnp.broadcast_to(jnp.diagonal(q.covariances, axis1=-2, axis2=-1)[:, None], wanted.shape)
        shared = jnp.broadcast_to(weights[:, None], wanted.shape[:2])
        return Regression(jax.vmap(jax.vmap(observe))(xs), wanted, precisions, variances, shared)

    batch = jax.vmap(rows)(q, weights, noise)
    return jax.tree.map(lambda a: a.reshape(-1, *a.shape[3:]), batch)


def ascend(
    weights: Float[Array, "*n"],
    divergence: Float[Array, "*n"],
    *,
    rate: ArrayLike = 0.1,
    slack: ArrayLike = 0.1,
    most: ArrayLike = 1e4,
) -> Float[Array, "*n"]:
    """Dual step `lambda + rate KL` (paper eq. 2), at most `2 lambda + slack` and `most`: the first divergences are huge
    (spec 9). A divergence that is not finite leaves its weight."""
    risen = jnp.minimum(weights + rate * jnp.maximum(divergence, 0.0), jnp.minimum(2.0 * weights + slack, most))
    return jnp.where(jnp.isfinite(divergence), jnp.maximum(risen, weights), weights)
