"""Gaussian trajectory distributions (spec constrained_gps section 14, checks 1 to 7, 11): closed forms, Monte Carlo,
finite differences."""

import dataclasses

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.linalg import solve_continuous_are

import costogo as ctg
from costogo.core.status import Status
from costogo.lqr import backward
from costogo.problem import expand, open_loop, total_cost
from costogo.solvers.gaussian import GaussianTrajectory, propagate
from costogo.solvers.gaussian_ddp import GaussianDDP
from costogo.solvers.policy_terms import LikelihoodTerms, PolicyTerms, agreeing_covariance
from costogo.systems import Pendulum

N, NX, NU = 5, 3, 2
KEYS = jax.random.split(jax.random.PRNGKey(3), 20)
NOISE = 1e-4 * jnp.eye(NX)


def spd(key, n, scale=1.0):
    W = jax.random.normal(key, (n, n))
    return scale * (W @ W.T + 0.3 * jnp.eye(n))


def problem():
    """Linear dynamics, quadratic cost with a cross term, no terminal cost."""
    A = jnp.eye(NX) + 0.2 * jax.random.normal(KEYS[0], (NX, NX))
    B = jax.random.normal(KEYS[1], (NX, NU))
    H = spd(KEYS[2], NX + NU)
    g = jax.random.normal(KEYS[3], (NX + NU,))

    def cost(x, u, t):
        z = jnp.concatenate([x, u])
        return 0.5 * z @ H @ z + g @ z

    return ctg.OptimalControlProblem(lambda x, u, t: A @ x + B @ u, cost, horizon=N, nu=NU, dt=1.0)


def distribution(covariance=1.0):
    model = problem()
    controls = jax.random.normal(KEYS[4], (N, NU))
    states = [jnp.array([1.0, -0.5, 0.3])]
    for k in range(N):
        states.append(model.dynamics(states[-1], controls[k], 0.0))
    C = jnp.stack([spd(key, NU, covariance) for key in jax.random.split(KEYS[5], N)])
    S = jnp.broadcast_to(0.04 * jnp.eye(NX), (N + 1, NX, NX))
    return GaussianTrajectory(jnp.stack(states), controls, jnp.zeros((N, NU, NX)), C, S)


def linear_policy(weight, gain=None):
    """Terms of the policy `mu(x) = W x + b`, with given noise."""
    W = 0.5 * jax.random.normal(KEYS[6], (NU, NX)) if gain is None else gain
    b, covariance = jax.random.normal(KEYS[7], (NU,)), spd(KEYS[8], NU, 0.3)

    def terms_of(q):
        ones = jnp.ones(N)
        return PolicyTerms(
            q.states[:-1] @ W.T + b, jnp.broadcast_to(W, (N, NU, NX)),
            ones[:, None, None] * covariance, weight * ones,
        )  # fmt: skip

    return terms_of


@pytest.mark.parametrize("weight", [1e-6, 0.1, 0.5, 1.0, 1.5, 10.0, 1e4])
def test_covariance_in_closed_form(weight):
    """Check 1: residual of eq. 8, and SciPy's solution of the Riccati equation."""
    m = 6
    Q, M = spd(KEYS[9], m), spd(KEYS[10], m, 0.5)
    A = agreeing_covariance(Q, M, jnp.array(weight))
    residual = A @ Q @ A + (weight - 1) * A - weight * M
    assert jnp.abs(residual).max() < 1e-10 * jnp.linalg.norm(M) * max(1.0, weight)
    expected = solve_continuous_are(0.5 * (1 - weight) * np.eye(m), np.eye(m), weight * M, np.linalg.inv(Q))
    np.testing.assert_allclose(A, expected, rtol=1e-7, atol=1e-9)


def test_limits_of_the_covariance():
    """Check 2, and the geometric mean at one."""
    Q, M = spd(KEYS[9], 6), spd(KEYS[10], 6, 0.5)
    np.testing.assert_allclose(agreeing_covariance(Q, M, jnp.array(0.0)), jnp.linalg.inv(Q), atol=1e-5)
    assert jnp.abs(agreeing_covariance(Q, M, jnp.array(1e4)) - M).max() < 0.1
    one = agreeing_covariance(Q, M, jnp.array(1.0))
    np.testing.assert_allclose(one @ Q @ one, M, atol=1e-10)
    capped = agreeing_covariance(Q, M, jnp.array(0.0), cap=0.2)
    assert jnp.linalg.eigvalsh(capped).max() <= 0.2 + 1e-12
    assert jnp.all(jnp.isfinite(agreeing_covariance(-Q, M, jnp.array(0.5))))


def test_divergence_against_monte_carlo():
    """Check 3: never negative, zero for identical Gaussians, equal to an average over samples of both."""
    q = distribution()
    q = eqx.tree_at(lambda q: q.gains, q, 0.3 * jax.random.normal(KEYS[11], (N, NU, NX)))
    terms = linear_policy(1.0)(q)
    value = terms.divergence(q)
    k, n = 2, 400_000
    dx = jax.random.multivariate_normal(KEYS[12], jnp.zeros(NX), q.state_covariances[k], (n,))
    mu = terms.mean[k] + dx @ terms.slope[k].T
    u = mu + jax.random.multivariate_normal(KEYS[13], jnp.zeros(NU), terms.covariance[k], (n,))
    ours = q.controls[k] + dx @ q.gains[k].T
    logpdf = jax.scipy.stats.multivariate_normal.logpdf
    drawn = jnp.mean(
        logpdf(u - mu, jnp.zeros(NU), terms.covariance[k]) - logpdf(u - ours, jnp.zeros(NU), q.covariances[k])
    )
    np.testing.assert_allclose(value[k], drawn, rtol=5e-3)
    same = PolicyTerms(q.controls, q.gains, q.covariances, terms.weight)
    np.testing.assert_allclose(same.divergence(q), 0.0, atol=1e-12)
    assert np.all(value > 0)


def mean_objective(terms_of, q, states, controls):
    apart = controls - terms_of(eqx.tree_at(lambda q: q.states, q, states)).mean
    pull = jnp.einsum("ki,kij,kj->k", apart, jnp.linalg.inv(q.covariances), apart)
    cost = sum(problem().stage_cost(states[k], controls[k], 0.0) for k in range(N))
    return cost + 0.5 * jnp.sum(terms_of(q).weight * pull)


def test_mean_pass_solves_the_linear_problem():
    """Check 4: after one pass the derivative with respect to the controls vanishes (through the dynamics)."""
    q, terms_of = distribution(), linear_policy(0.7)
    solved = GaussianDDP(max_iterations=1).run(problem(), q, terms_of, noise=NOISE)

    def objective(controls):
        states = [q.states[0]]
        for k in range(N):
            states.append(problem().dynamics(states[-1], controls[k], 0.0))
        return mean_objective(terms_of, q, jnp.stack(states), controls)

    assert jnp.abs(jax.grad(objective)(q.controls)).max() > 1.0
    assert jnp.abs(jax.grad(objective)(solved.q.controls)).max() < 1e-6


def full_objective(model, terms, q, gains, covariances):
    """Spec 4.1 without the mean's cost, written out again, differentiable in gains and covariances."""
    S = propagate(model, gains, covariances, q.state_covariances[0], NOISE)
    total = 0.5 * jnp.trace(model.Q[N] @ S[N])
    for k in range(N):
        K, C = gains[k], covariances[k]
        Z = jnp.block([[S[k], S[k] @ K.T], [K @ S[k], K @ S[k] @ K.T + C]])
        H = jnp.block([[model.Q[k], model.P[k].T], [model.P[k], model.R[k]]])
        total += 0.5 * jnp.trace(Z @ H) - 0.5 * jnp.linalg.slogdet(C)[1]
        turn, d, inverse = K - terms.slope[k], q.controls[k] - terms.mean[k], jnp.linalg.inv(C)
        moment = terms.covariance[k] + jnp.outer(d, d) + turn @ S[k] @ turn.T
        logs = jnp.linalg.slogdet(C)[1] - jnp.linalg.slogdet(terms.covariance[k])[1]
        total += 0.5 * terms.weight[k] * (logs - NU + jnp.trace(inverse @ moment))
    return total


@pytest.mark.parametrize("weight", [0.2, 1.0, 5.0])
def test_covariance_pass_ends_at_a_stationary_point(weight):
    """Check 5: the gradient of the whole objective in K and C vanishes, and the objective never rose on the way."""
    q, terms_of = distribution(), linear_policy(weight)
    values = []

    @jax.jit
    def run(sweeps):
        solver = GaussianDDP(max_iterations=1, covariance_sweeps=sweeps, covariance_tolerance=1e-10)
        return solver.run(problem(), q, terms_of, noise=NOISE)

    for sweeps in (1, 2, 3, 5, 10, 200):
        solved = run(jnp.array(sweeps))
        values.append(float(solved.objective))
    assert np.all(np.diff(values) <= 1e-9)
    found, terms = solved.q, terms_of(solved.q)
    model = expand(problem(), found.states, found.controls, jnp.arange(N + 1.0))
    value = full_objective(model, terms, found, found.gains, found.covariances)
    np.testing.assert_allclose(value + solved.cost, solved.objective, rtol=1e-10)
    slopes = jax.grad(full_objective, (3, 4))(model, terms, found, found.gains, found.covariances)
    for slope in slopes:
        assert jnp.abs(slope).max() < 1e-4


def test_without_a_policy_it_is_maximum_entropy_lqr():
    """Check 6: the gains of the Riccati sweep, and `C = Quu^-1`."""
    solved = GaussianDDP(max_iterations=2).run(problem(), distribution(), noise=NOISE)
    model = expand(problem(), solved.q.states, solved.q.controls, jnp.arange(N + 1.0))
    sweep = backward(model)
    np.testing.assert_allclose(solved.q.gains, sweep.gains, atol=1e-8)
    np.testing.assert_allclose(solved.q.covariances, jnp.linalg.inv(sweep.Quu), atol=1e-8)
    np.testing.assert_allclose(sweep.feedforward, 0.0, atol=1e-8)
    assert solved.status == Status.CONVERGED
    np.testing.assert_array_equal(solved.divergence > 0, True)


def test_with_a_heavy_weight_it_is_the_policy():
    """Check 7: gains, mean and covariance tend to the policy's, at a distance inverse to the weight."""
    solver = GaussianDDP(max_iterations=4, covariance_sweeps=100, covariance_tolerance=1e-9)
    apart = []
    for weight in (1e5, 1e7):
        terms_of = linear_policy(weight)
        solved = solver.run(problem(), distribution(), terms_of, noise=NOISE)
        terms = terms_of(solved.q)
        pairs = (
            (solved.q.gains, terms.slope),
            (solved.q.controls, terms.mean),
            (solved.q.covariances, terms.covariance),
        )
        apart.append([float(jnp.abs(ours - policy).max()) for ours, policy in pairs])
    assert np.all(np.array(apart[1]) < 1e-3)
    np.testing.assert_allclose(np.array(apart[0]) / np.array(apart[1]), 100.0, rtol=0.2)
    assert solved.divergence.max() < 1e-4


def test_the_line_search_never_raises_its_objective():
    """Check 11: pendulum, with a policy that wants something else; a batch of starts in one program, as one by one."""
    pendulum = Pendulum()
    task = dataclasses.replace(pendulum.problem(20), control_bounds=None, nu=1)
    ts = task.times(0.0, jnp.dtype(float))

    def start(x0):
        states = open_loop(task, x0, jnp.zeros((20, 1)))
        S = jnp.broadcast_to(1e-3 * jnp.eye(3), (21, 3, 3))
        return GaussianTrajectory(states, jnp.zeros((20, 1)), jnp.zeros((20, 1, 3)), jnp.ones((20, 1, 1)), S)

    def terms_of(q):
        slope = jnp.broadcast_to(jnp.array([[0.0, 1.0, 0.5]]), (20, 1, 3))
        return PolicyTerms(
            q.states[:-1, 1:2] + 0.5 * q.states[:-1, 2:], slope, jnp.ones((20, 1, 1)), 0.1 * jnp.ones(20)
        )

    def step(q):
        return GaussianDDP(max_iterations=1).run(task, q, terms_of, noise=1e-6 * jnp.eye(3)).q

    def mean_value(q, covariances):
        apart = (q.controls - terms_of(q).mean)[:, 0]
        return total_cost(task, q.states, q.controls, ts) + 0.05 * jnp.sum(apart**2 / covariances[:, 0, 0])

    x0s = jax.vmap(pendulum.initial_state)(jax.random.split(jax.random.PRNGKey(1), 3))
    batched, value = jax.jit(jax.vmap(step)), jax.jit(jax.vmap(mean_value))
    at, changes = jax.vmap(start)(x0s), []
    alone, one = jax.tree.map(lambda a: a[1], at), jax.jit(step)
    for _ in range(8):
        new = batched(at)
        changes.append(value(new, at.covariances) - value(at, at.covariances))
        at, alone = new, one(alone)
    assert np.max(changes) <= 1e-9 and np.min(changes) < -1.0
    np.testing.assert_allclose(alone.controls, at.controls[1], rtol=1e-6, atol=1e-8)


def test_variational_terms_end_at_a_stationary_point():
    """B1 of the spec: gains and covariances that minimise cost - entropy - E log pi, written out with autodiff."""
    q, agreement = distribution(), linear_policy(1.0)

    def terms_of(q):
        terms = agreement(q)
        return LikelihoodTerms(terms.mean, terms.slope, terms.covariance, terms.weight)

    solved = GaussianDDP(max_iterations=2).run(problem(), q, terms_of, noise=NOISE)
    found, terms = solved.q, terms_of(solved.q)
    model = expand(problem(), found.states, found.controls, jnp.arange(N + 1.0))

    def objective(controls, gains, covariances):
        states = [q.states[0]]
        for k in range(N):
            states.append(problem().dynamics(states[-1], controls[k], 0.0))
        S = propagate(model, gains, covariances, q.state_covariances[0], NOISE)
        total = sum(problem().stage_cost(states[k], controls[k], 0.0) for k in range(N))
        total += 0.5 * jnp.trace(model.Q[N] @ S[N])
        for k in range(N):
            K, C, mu = gains[k], covariances[k], agreement(eqx.tree_at(lambda q: q.states, q, jnp.stack(states))).mean
            Z = jnp.block([[S[k], S[k] @ K.T], [K @ S[k], K @ S[k] @ K.T + C]])
            H = jnp.block([[model.Q[k], model.P[k].T], [model.P[k], model.R[k]]])
            turn, d = K - terms.slope[k], controls[k] - mu[k]
            spread = C + jnp.outer(d, d) + turn @ S[k] @ turn.T
            total += 0.5 * jnp.trace(Z @ H) - 0.5 * jnp.linalg.slogdet(C)[1]
            total += 0.5 * jnp.trace(jnp.linalg.inv(terms.covariance[k]) @ spread)
        return total

    at = (found.controls, found.gains, found.covariances)
    np.testing.assert_allclose(objective(*at), solved.objective, rtol=1e-10)
    for slope in jax.grad(objective, (0, 1, 2))(*at):
        assert jnp.abs(slope).max() < 1e-6


def test_limit_on_the_spread_of_the_states():
    """Standard deviations stay below it, correlations are kept."""
    q, model = distribution(), expand(problem(), distribution().states, distribution().controls, jnp.arange(N + 1.0))
    free = propagate(model, q.gains, q.covariances, q.state_covariances[0], NOISE)
    limit = 0.5 * jnp.sqrt(jnp.diagonal(free[1]))
    held = propagate(model, q.gains, q.covariances, q.state_covariances[0], NOISE, limit)
    np.testing.assert_allclose(held[1], 0.25 * free[1], rtol=1e-12)
    assert np.all(jnp.sqrt(jnp.diagonal(held[1:], axis1=1, axis2=2)) <= limit * (1 + 1e-12))


def test_bad_input():
    with pytest.raises(ctg.CostogoError, match="covariance_sweeps is 0"):
        GaussianDDP(covariance_sweeps=0)
    with pytest.raises(ctg.CostogoError, match="noise has shape"):
        GaussianDDP().run(problem(), distribution(), noise=jnp.zeros(NX))
    short = jax.tree.map(lambda a: a[:-1], distribution())
    with pytest.raises(ctg.CostogoError, match=r"q.controls has shape \(4, 2\)"):
        GaussianDDP().run(problem(), short, noise=NOISE)


def test_gains_of_given_covariances():
    """The sweep minimises over the gains: no others do better."""
    q, terms = distribution(), linear_policy(0.7)(distribution())
    model = expand(problem(), q.states, q.controls, jnp.arange(N + 1.0))
    fit = GaussianDDP()._with_gains(model, terms, q, q.covariances, NOISE)
    slope = jax.grad(full_objective, 3)(model, terms, fit.q, fit.q.gains, fit.q.covariances)
    assert jnp.abs(slope).max() < 1e-9


@pytest.mark.parametrize("knots", [[2], range(N)], ids=["one", "all"])
def test_indefinite_knots_keep_the_gains(knots):
    """No gains are best where a control costs less the larger it is: those before stay, and the status says so."""
    hessian = jnp.ones(N).at[jnp.array([*knots])].set(-5.0)

    def cost(x, u, t):
        return 0.5 * x @ x + 0.5 * hessian[t.astype(int)] * u @ u

    model, q = dataclasses.replace(problem(), stage_cost=cost), distribution()
    q = eqx.tree_at(lambda q: q.gains, q, 0.1 * jnp.ones_like(q.gains))
    found = GaussianDDP().run(model, q, noise=NOISE)
    assert found.status == Status.INDEFINITE
    assert jnp.array_equal(found.q.gains, q.gains)
    np.testing.assert_allclose(found.q.covariances, q.covariances, rtol=1e-12)
    assert all(bool(jnp.all(jnp.isfinite(leaf))) for leaf in jax.tree.leaves(found.q))


def test_a_distribution_that_is_not_finite_is_told():
    q = eqx.tree_at(lambda q: q.states, distribution(), replace_fn=lambda x: x.at[2, 0].set(jnp.nan))
    assert GaussianDDP().run(problem(), q, noise=NOISE).status == Status.NOT_FINITE


def test_problems_it_does_not_solve():
    bounded = dataclasses.replace(problem(), control_bounds=(-jnp.ones(NU), jnp.ones(NU)))
    with pytest.raises(ctg.CostogoError, match="GaussianDDP handles no control_bounds"):
        GaussianDDP().run(bounded, distribution(), noise=NOISE)
    with pytest.raises(ctg.CostogoError, match="state_limit has shape"):
        GaussianDDP(state_limit=jnp.ones(NX + 1)).run(problem(), distribution(), noise=NOISE)
    for name in ("covariance_cap", "state_limit"):
        with pytest.raises(ctg.CostogoError, match=f"{name} is -1"):
            GaussianDDP(**{name: -1.0})
