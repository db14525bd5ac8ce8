"""Gaussian policies and their fit (spec constrained_gps section 5; check 8)."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.stats import multivariate_normal

from costogo import CostogoError
from costogo.learn.constrained_gps import Regression, fit_policy
from costogo.nn import GaussianPolicy

KEY = jax.random.PRNGKey(0)


def policy(no=3, nu=2, hidden=5, **given):
    return GaussianPolicy(no, nu, key=KEY, hidden=hidden, dtype=jnp.float64, **given)


def rows(n=400, noise=0.0, no=3, nu=2):
    """Controls of another policy of the same kind, with random precisions and weights."""
    keys = jax.random.split(jax.random.PRNGKey(1), 5)
    teacher = GaussianPolicy(no, nu, key=keys[0], hidden=5, dtype=jnp.float64)
    observations = jax.random.normal(keys[1], (n, no))
    controls = jax.vmap(teacher)(observations) + noise * jax.random.normal(keys[2], (n, nu))
    W = jax.random.normal(keys[3], (n, nu, nu))
    precisions = W @ jnp.swapaxes(W, 1, 2) + 0.5 * jnp.eye(nu)
    return Regression(observations, controls, precisions, jnp.zeros((n, nu)), jax.random.uniform(keys[4], (n,)))


def test_number_of_parameters():
    """Check 8: 17 inputs, 50 units, 6 outputs are 1206 numbers of the mean."""
    walker = policy(17, 6, 50)
    count = sum(leaf.size for leaf in jax.tree.leaves((walker.hidden, walker.head)))
    assert count == 1206


def test_density_and_samples():
    """Against SciPy, and moments of many draws."""
    it = policy(std=jnp.array([0.5, 2.0]), input_mean=1.0, input_std=2.0, output_scale=3.0)
    o, u = jnp.array([0.3, -1.0, 2.0]), jnp.array([0.4, -0.7])
    np.testing.assert_allclose(it.log_density(o, u), multivariate_normal(it(o), it.covariance).logpdf(u))
    z = np.logaddexp(0.0, it.hidden.weight @ ((o - 1.0) / 2.0) + it.hidden.bias)
    np.testing.assert_allclose(it(o), 3.0 * (it.head.weight @ z + it.head.bias))
    drawn = jax.vmap(lambda key: it.sample(key, o))(jax.random.split(KEY, 40_000))
    np.testing.assert_allclose(drawn.mean(axis=0), it(o), atol=0.05)
    np.testing.assert_allclose(np.cov(drawn.T), it.covariance, atol=0.1)


def test_a_symmetric_policy():
    """The mirrored observation gets the mirrored control, before and after a fit; the plain one knows no mirror."""
    o, there, back = jnp.array([0.3, -1.0, 2.0]), np.array([0, 2, 1]), np.array([1, 0])
    it = policy(symmetry=(there, back), input_mean=jnp.array([0.1, 0.2, 0.3]))
    for one in (it, fit_policy(it, rows(), iterations=5).policy):
        np.testing.assert_allclose(one(o[there]), one(o)[back])
    assert np.abs(policy()(o[there]) - policy()(o)[back]).max() > 0.01


def test_fit_recovers_a_policy():
    """Weighted least squares without residual: the error falls by orders; the noise is the closed form."""
    data = rows()
    fit = fit_policy(policy(), data, iterations=400)
    assert fit.after < 1e-4 * fit.before
    share = data.weights / data.weights.sum()
    expected = 1.0 / np.einsum("n,njj->j", share, data.precisions)
    np.testing.assert_allclose(jnp.diag(fit.policy.covariance), expected)
    for part in ("normalise", "output"):
        assert eqx.tree_equal(getattr(fit.policy, part), getattr(policy(), part))


def test_fit_is_stationary_in_the_whole_objective():
    """With residuals: the gradient of the printed objective, noise included, vanishes."""
    data = rows(noise=0.3)
    fit = fit_policy(policy(hidden=2), data, iterations=3000, tolerance=1e-7)

    def objective(it):
        share = data.weights / data.weights.sum()
        apart = data.controls - jax.vmap(it)(data.observations)
        spread = jnp.einsum("nij,ji->n", data.precisions, it.covariance)
        pulled = jnp.einsum("ni,nij,nj->n", apart, data.precisions, apart)
        return 0.5 * jnp.sum(share * (spread - 2.0 * jnp.sum(it.log_std) + pulled))

    before, after = (
        np.concatenate([np.ravel(leaf) for leaf in jax.tree.leaves(eqx.filter_grad(objective)(it))])
        for it in (policy(hidden=2), fit.policy)
    )
    assert np.abs(before).max() > 0.1
    assert np.abs(after).max() < 1e-4


def test_rows_that_are_not_finite_are_left_out():
    data = rows()
    spoiled = eqx.tree_at(lambda d: d.controls, data, data.controls.at[:7].set(jnp.nan))
    without = eqx.tree_at(lambda d: d.weights, data, data.weights.at[:7].set(0.0))
    found, expected = (fit_policy(policy(), d, iterations=20) for d in (spoiled, without))
    assert np.isfinite(found.after) and found.after < 0.5 * found.before
    np.testing.assert_allclose(found.policy.head.weight, expected.policy.head.weight, rtol=1e-6)


def test_no_weight_no_change():
    data = eqx.tree_at(lambda d: d.weights, rows(), jnp.zeros(400))
    fit = fit_policy(policy(), data)
    assert fit.iterations == 0
    assert eqx.tree_equal(fit.policy, policy())


@pytest.mark.parametrize(
    ("wrong", "answer"),
    [
        (lambda: policy(hidden=0), "hidden is 0"),
        (lambda: policy(std=0.0), "std is 0.0"),
        (lambda: policy(input_std=-1.0), "input_std is -1.0"),
        (
            lambda: policy(symmetry=((0, 1), (0, 1))),
            r"of the observations is \(0, 1\); pass the place, 0 to 2",
        ),
        (lambda: policy(symmetry=((1, 2, 0), (0, 1))), r"symmetry of the observations is \(1, 2, 0\)"),
        (lambda: policy(symmetry=((0, 1, 2), (0, 0))), r"symmetry of the controls is \(0, 0\); .* 0 to 1"),
        (lambda: fit_policy(policy(), rows(), iterations=0), "iterations is 0"),
    ],
)
def test_mistakes(wrong, answer):
    with pytest.raises(CostogoError, match=answer):
        wrong()
