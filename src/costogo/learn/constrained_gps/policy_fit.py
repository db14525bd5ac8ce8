"""Fitting a Gaussian policy to trajectory distributions, by L-BFGS."""

from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float, Int

from costogo.core.validate import require
from costogo.nn import GaussianPolicy

LEAST_VARIANCE = 1e-6
MEMORY = 100  # steps that L-BFGS remembers: with the usual 10 the fits of a walker end further off, in the same time


class Regression(eqx.Module):
    """Rows for a policy to be fitted to: what it sees, mean and covariance `A` of the control that is wanted there (as
    its precision `A^-1` and its variances), and the weight of the row."""

    observations: Float[Array, "n no"]
    controls: Float[Array, "n nu"]
    precisions: Float[Array, "n nu nu"]
    variances: Float[Array, "n nu"]
    weights: Float[Array, " n"]


class PolicyFit(NamedTuple):
    """The policy, the objective of its mean before and after, the norm of its gradient, and the iterations taken."""

    policy: GaussianPolicy
    before: Float[Array, ""]
    after: Float[Array, ""]
    gradient: Float[Array, ""]
    iterations: Int[Array, ""]


def fit_policy(
    policy: GaussianPolicy, rows: Regression, *, iterations: int = 150, tolerance: float = 1e-6
) -> PolicyFit:
    """Minimise `sum lambda KL(pi || q)` over the policy (Levine and Koltun 2014, section 4; spec constrained_gps 5).

        sum_i lambda_i / 2 { tr(Sigma A_i^-1) - log |Sigma| + (u_i - mu(o_i))' A_i^-1 (u_i - mu(o_i)) } / sum_i lambda_i

    The two parts separate. The mean is a weighted least-squares fit, by L-BFGS from where the policy stands, until the
    gradient's norm is below `tolerance` or after `iterations`. The noise has a closed form: `Sigma_jj = sum lambda /
    sum lambda (A^-1)_jj`. Rows that are not finite are left out. Where all weights are zero the policy stays as it is.
    """
    require(iterations >= 1, f"iterations is {iterations}; pass at least 1")
    return _fit(policy, rows, iterations, tolerance, likelihood=False)


def fit_likelihood(
    policy: GaussianPolicy, rows: Regression, *, iterations: int = 150, tolerance: float = 1e-6
) -> PolicyFit:
    """Maximise `sum w E_q log pi` over the policy, one pass over its two parts (spec constrained_gps 7, B1).

    The mean is a weighted least-squares fit in the policy's present precision; then the noise is `Sigma_jj = sum w
    [(u - mu)_j^2 + A_jj] / sum w`, at least 1e-6. Rows that are not finite are left out, `precisions` are not used.
    """
    require(iterations >= 1, f"iterations is {iterations}; pass at least 1")
    return _fit(policy, rows, iterations, tolerance, likelihood=True)


@eqx.filter_jit
def _fit(policy: GaussianPolicy, rows: Regression, iterations: int, tolerance: float, likelihood: bool) -> PolicyFit:
    rows = _sound(rows)
    total = jnp.sum(rows.weights)
    share = rows.weights / jnp.where(total > 0, total, 1.0)
    dynamic, static = eqx.partition(policy, eqx.is_inexact_array)
    own = jnp.exp(-2.0 * policy.log_std)

    def apart(dynamic):
        return rows.controls - jax.vmap(eqx.combine(dynamic, static))(rows.observations)

    def loss(dynamic):
        d = apart(dynamic)
        squares = jnp.sum(own * d**2, axis=-1) if likelihood else jnp.einsum("ni,nij,nj->n", d, rows.precisions, d)
        return 0.5 * jnp.sum(share * squares)

    found, before, after, gradient, count = minimise(loss, dynamic, iterations, tolerance)
    if likelihood:
        variance = jnp.maximum(share @ (apart(found) ** 2 + rows.variances), LEAST_VARIANCE)
    else:
        precision = share @ jnp.diagonal(rows.precisions, axis1=-2, axis2=-1)
        variance = 1.0 / jnp.where(total > 0, precision, 1.0)
    log_std = jnp.where(total > 0, 0.5 * jnp.log(variance), policy.log_std).astype(policy.log_std.dtype)
    policy = eqx.tree_at(lambda p: p.log_std, eqx.combine(found, static), log_std)
    return PolicyFit(policy, before, after, gradient, count)


def _sound(rows: Regression) -> Regression:
    """Rows with anything that is not finite get weight zero, and values that do no harm."""
    parts = jax.tree.leaves(rows)
    good = jnp.all(jnp.stack([jnp.all(jnp.isfinite(a.reshape(len(a), -1)), axis=1) for a in parts]), axis=0)
    return jax.tree.map(lambda a: jnp.where(good.reshape(-1, *[1] * (a.ndim - 1)), a, 0.0), rows)


def minimise(loss, start, iterations: int, tolerance: float):
    """L-BFGS with its line search: best parameters, values before and after, gradient norm, iterations."""
    rule = optax.lbfgs(memory_size=MEMORY)
    value_and_grad = optax.value_and_grad_from_state(loss)

    def step(carry):
        at, state, _, _, count = carry
        value, gradient = value_and_grad(at, state=state)
        moves, state = rule.update(gradient, state, at, value=value, grad=gradient, value_fn=loss)
        at = optax.apply_updates(at, moves)
        gradient = optax.tree.get(state, "grad")
        return at, state, optax.tree.get(state, "value"), optax.tree.norm(gradient), count + 1

    before, gradient = jax.value_and_grad(loss)(start)
    first = (start, rule.init(start), before, optax.tree.norm(gradient), jnp.array(0, jnp.int32))
    at, _, after, norm, count = jax.lax.while_loop(
        lambda c: (c[4] < iterations) & (c[3] > tolerance) & jnp.isfinite(c[2]), step, first
    )
    # A line search that went astray leaves the policy as it was.
    better = jnp.isfinite(after) & (after <= before)
    at = jax.tree.map(lambda new, old: jnp.where(better, new, old), at, start)
    return at, before, jnp.where(better, after, before), norm, count
