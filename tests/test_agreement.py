"""Policy and trajectories of constrained guided policy search: averages, rows, dual steps, and check 9."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.linalg import solve_discrete_are

import costogo as ctg
from costogo import CostogoError
from costogo.learn.constrained_gps import ascend, draw_noise, fit_policy, policy_terms, regression
from costogo.nn import GaussianPolicy
from costogo.solvers import GaussianDDP, GaussianTrajectory, PolicyTerms

KEY = jax.random.PRNGKey(0)
N, NX, NU = 12, 2, 1
A, B = jnp.array([[1.0, 0.1], [0.0, 1.0]]), jnp.array([[0.0], [0.1]])
Q, R = jnp.eye(2), 0.1 * jnp.eye(1)
P = jnp.asarray(solve_discrete_are(A, B, Q, R))
LQR = -jnp.linalg.solve(R + B.T @ P @ B, B.T @ P @ A)


def problem():
    """Double integrator whose terminal cost is the stationary one: its best feedback does not depend on time."""
    return ctg.OptimalControlProblem(
        lambda x, u, t: A @ x + B @ u,
        lambda x, u, t: 0.5 * (x @ Q @ x + u @ R @ u),
        lambda x: 0.5 * x @ P @ x,
        horizon=N, nu=NU, dt=1.0,
    )  # fmt: skip


def trajectory(x0):
    states = jnp.stack([jnp.linalg.matrix_power(A, k) @ x0 for k in range(N + 1)])
    S = jnp.broadcast_to(0.05 * jnp.eye(NX), (N + 1, NX, NX))
    return GaussianTrajectory(states, jnp.zeros((N, NU)), jnp.zeros((N, NU, NX)), jnp.ones((N, NU, NU)), S)


def test_noise_has_no_mean():
    noise = draw_noise(KEY, 20, 3)
    assert noise.shape == (20, 3)
    np.testing.assert_allclose(noise.mean(axis=0), 0.0, atol=1e-15)
    np.testing.assert_allclose(draw_noise(KEY, 4, 3, 2, 5).mean(axis=-2), np.zeros((2, 5, 3)), atol=1e-15)
    with pytest.raises(CostogoError, match="samples is 5"):
        draw_noise(KEY, 5, 3)


def test_averages_of_a_policy():
    """Against a loop over knots and samples."""
    policy = GaussianPolicy(NX, NU, key=KEY, hidden=4, std=0.3, dtype=jnp.float64)
    q, noise = trajectory(jnp.array([1.0, 0.5])), draw_noise(KEY, 6, NX)
    terms = policy_terms(policy, lambda x: 2.0 * x, jnp.ones(N), noise, q)
    k = 3
    xs = [q.states[k] + np.sqrt(0.05) * s for s in noise]
    np.testing.assert_allclose(terms.mean[k], np.mean([policy(2.0 * x) for x in xs], axis=0), rtol=1e-10)
    step = 1e-6
    slopes = [
        [(policy(2.0 * (x + step * e)) - policy(2.0 * (x - step * e))) / (2 * step) for e in np.eye(NX)] for x in xs
    ]
    np.testing.assert_allclose(terms.slope[k].T, np.mean(slopes, axis=0), rtol=1e-6)
    np.testing.assert_allclose(terms.covariance[k], [[0.09]])


def test_rows_of_a_fit():
    """What the distribution wants at the sampled states, one row each."""
    q = jax.vmap(trajectory)(jnp.array([[1.0, 0.0], [0.0, 1.0]]))
    q = eqx.tree_at(lambda q: q.gains, q, jnp.broadcast_to(LQR, (2, N, NU, NX)))
    noise, weights = draw_noise(KEY, 4, NX, 2, N), jnp.arange(2.0 * N).reshape(2, N)
    rows = regression(lambda x: x, q, weights, KEY, 4)
    assert rows.observations.shape == (2 * N * 4, NX)
    row = (1 * N + 5) * 4 + 2
    x = q.states[1, 5] + np.sqrt(0.05) * noise[1, 5, 2]
    np.testing.assert_allclose(rows.observations[row], x)
    np.testing.assert_allclose(rows.controls[row], LQR @ (x - q.states[1, 5]))
    assert rows.weights[row] == N + 5
    np.testing.assert_allclose(rows.precisions[row], [[1.0]])


def test_dual_step():
    """Never down, at most doubled and a little more, capped; NaN leaves it."""
    weights = jnp.array([0.0, 1.0, 1.0, 1.0, 9e3])
    divergence = jnp.array([1e5, 0.5, -1e-9, jnp.nan, 1e6])
    np.testing.assert_allclose(ascend(weights, divergence), [0.1, 1.05, 1.0, 1.0, 1e4])
    np.testing.assert_allclose(ascend(weights, divergence, slack=0.02)[0], 0.02)


def test_agreement_on_a_linear_system():
    """Check 9: trajectories and a linear policy agree within 30 iterations, on the LQR gain."""
    x0s = jnp.array([[1.0, 0.0], [-0.5, 1.0], [0.3, -1.0]])
    noise = 1e-4 * jnp.eye(NX)
    W, covariance = jnp.zeros((NU, NX)), jnp.eye(NU)
    weights = jnp.full((3, N), 0.1)

    def improve(q, weight, W, covariance):
        def terms_of(q):
            shape = q.covariances.shape
            return PolicyTerms(
                q.states[:-1] @ W.T, jnp.broadcast_to(W, q.gains.shape), jnp.broadcast_to(covariance, shape), weight
            )

        return GaussianDDP().run(problem(), q, terms_of, noise=noise)

    run = jax.jit(jax.vmap(improve, in_axes=(0, 0, None, None)))
    q = jax.vmap(trajectory)(x0s)
    for _ in range(30):
        found = run(q, weights, W, covariance)
        q = found.q
        rows = regression(lambda x: x, q, weights, KEY, 20)
        # The policy is linear: its weighted least-squares fit is exact.
        scale = rows.weights * rows.precisions[:, 0, 0]
        moment = jnp.einsum("n,ni,nj->ij", scale, rows.observations, rows.observations)
        W = jnp.linalg.solve(moment, jnp.einsum("n,ni,nu->iu", scale, rows.observations, rows.controls)).T
        covariance = jnp.sum(rows.weights) / jnp.sum(scale) * jnp.eye(NU)
        weights = ascend(weights, found.divergence)
    np.testing.assert_allclose(W, LQR, rtol=0.01)
    assert found.divergence.max() < 1e-3


def test_a_network_agrees_too():
    """The same with a network and L-BFGS: the divergence falls by an order within a few iterations."""
    noise, samples = 1e-4 * jnp.eye(NX), draw_noise(KEY, 10, NX)
    policy = GaussianPolicy(NX, NU, key=KEY, hidden=6, dtype=jnp.float64)
    weights = jnp.full((2, N), 0.5)
    q = jax.vmap(trajectory)(jnp.array([[1.0, 0.0], [-0.5, 1.0]]))

    @eqx.filter_jit
    def improve(policy, q, weights):
        def one(q, weight):
            return GaussianDDP().run(
                problem(), q, lambda q: policy_terms(policy, lambda x: x, weight, samples, q), noise=noise
            )

        return jax.vmap(one)(q, weights)

    divergences = []
    for _ in range(8):
        found = improve(policy, q, weights)
        q, weights = found.q, ascend(weights, found.divergence)
        policy = fit_policy(policy, regression(lambda x: x, q, weights, KEY, 10)).policy
        divergences.append(float(found.divergence.mean()))
    assert divergences[-1] < 0.1 * divergences[0]
