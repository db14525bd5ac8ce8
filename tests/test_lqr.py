"""Riccati sweeps against dense KKT systems, finite differences and enumeration (spec checks 1 to 4)."""

import itertools

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from costogo import Status
from costogo.lqr import (
    EqualityRows,
    Limits,
    backward,
    box_qp,
    cholesky,
    cholesky_solve,
    costates,
    forward,
    solve_lqr,
)
from costogo.lqr.riccati import resweep
from oracles import dense_lqr, finite_difference, random_model

SIZES = {"nx": 3, "nu": 2, "N": 5}
SWEEP, SOLVE = jax.jit(backward), jax.jit(solve_lqr)


def _loss(solution, weights):
    return jnp.sum(weights[0] * solution.states) + jnp.sum(weights[1] * solution.controls**2)


@pytest.fixture(scope="module")
def case():
    rng = np.random.default_rng(1)
    model = random_model(0, **SIZES)
    x0 = jnp.asarray(rng.standard_normal(3))
    weights = jnp.asarray(rng.standard_normal((6, 3))), jnp.asarray(rng.standard_normal((5, 2)))
    free = jnp.asarray(rng.permutation(10).reshape(5, 2) >= 4)  # 40 % clamped
    fixed = jnp.where(free, 0.0, jnp.asarray(rng.standard_normal((5, 2))))
    return model, x0, weights, free, fixed


@pytest.mark.parametrize("masked", [False, True])
def test_solution_matches_dense_kkt(case, masked):
    """Spec checks 1 and 2, forward."""
    model, x0, _, free, fixed = case
    arguments = (free, fixed) if masked else (None, None)
    solution = solve_lqr(model, x0, *arguments)
    states, controls, _ = dense_lqr(model, x0, *arguments)
    np.testing.assert_allclose(solution.states, states, atol=1e-10)
    np.testing.assert_allclose(solution.controls, controls, atol=1e-10)


@pytest.mark.parametrize("masked", [False, True])
def test_gradients_match_finite_differences(case, masked):
    """Spec checks 1 and 2: gradients of every array of the model, x0 and the held values."""
    model, x0, weights, free, fixed = case
    free = free if masked else jnp.ones_like(free)

    @jax.jit
    def loss(model, x0, fixed):
        return _loss(solve_lqr(model, x0, free, fixed), weights)

    gradient = jax.jit(jax.grad(loss, argnums=(0, 1, 2)))(model, x0, fixed)
    for name in ("A", "B", "d", "q", "r", "P"):
        numeric = finite_difference(
            lambda a, name=name: loss(eqx.tree_at(lambda m: getattr(m, name), model, jnp.asarray(a)), x0, fixed),
            getattr(model, name),
        )
        np.testing.assert_allclose(getattr(gradient[0], name), numeric, rtol=1e-6, atol=1e-6 * np.abs(numeric).max())
    for name in ("Q", "R"):  # symmetric perturbations: the gradient of a symmetric argument is its symmetric part
        numeric = finite_difference(
            lambda a, name=name: loss(
                eqx.tree_at(lambda m: getattr(m, name), model, jnp.asarray(0.5 * (a + np.swapaxes(a, -1, -2)))),
                x0,
                fixed,
            ),
            getattr(model, name),
        )
        np.testing.assert_allclose(getattr(gradient[0], name), numeric, rtol=1e-6, atol=1e-6 * np.abs(numeric).max())
    numeric = finite_difference(lambda a: loss(model, jnp.asarray(a), fixed), x0)
    np.testing.assert_allclose(gradient[1], numeric, rtol=1e-6)
    if masked:
        numeric = finite_difference(lambda a: loss(model, x0, jnp.asarray(a)), fixed)
        np.testing.assert_allclose(gradient[2], np.where(free, 0.0, numeric), rtol=1e-6, atol=1e-7)


def test_clamped_directions_are_exactly_zero(case):
    """Spec check 2: d_u = 0 on clamped controls."""
    from costogo.lqr import solve_adjoint

    model, _, weights, free, _ = case
    adjoint = solve_adjoint(model, free, *weights)
    assert np.all(np.asarray(adjoint.controls)[~np.asarray(free)] == 0.0)
    assert np.all(np.asarray(adjoint.fixed)[np.asarray(free)] == 0.0)


def test_printed_indices_fail(case):
    """Spec check 3 (negative): the paper's `grad f_t = d_lambda_t` and `grad x_init = d_lambda_0` are off by one."""
    from costogo.lqr import solve_adjoint

    model, x0, weights, _, _ = case
    free = jnp.ones((5, 2), bool)

    @jax.jit
    @jax.jit
    def loss(d):
        return _loss(solve_lqr(eqx.tree_at(lambda m: m.d, model, d), x0), weights)

    numeric = finite_difference(loss, model.d)
    solution = solve_lqr(model, x0)
    adjoint = solve_adjoint(model, free, weights[0], 2 * weights[1] * solution.controls)
    assert np.abs(adjoint.costates[1:] - numeric).max() < 1e-6
    assert np.abs(adjoint.costates[:-1] - numeric).max() > 0.1


def test_equality_rows_match_dense_kkt():
    """Mixed 0/1 masks over T = 20, affine multipliers; unset rows have multiplier zero."""
    rng = np.random.default_rng(3)
    nx, nu, N, ng = 4, 3, 20, 2
    model = random_model(4, nx, nu, N)
    rows = EqualityRows(
        *(jnp.asarray(rng.standard_normal(s)) for s in ((N, ng, nx), (N, ng, nu), (N, ng))),
        mask=jnp.asarray(rng.random((N, ng)) < 0.6),
    )
    x0 = jnp.asarray(rng.standard_normal(nx))
    sweep = backward(model, equality=rows)
    states, controls = forward(model, sweep.gains, sweep.feedforward, x0)
    expected_states, expected_controls, multipliers = dense_lqr(model, x0, rows=rows)
    np.testing.assert_allclose(controls, expected_controls, atol=1e-8)
    np.testing.assert_allclose(states, expected_states, atol=1e-8)
    nu_k = sweep.multiplier_offset + jnp.einsum("kij,kj->ki", sweep.multiplier_slope, states[:-1])
    for (k, i), value in multipliers.items():
        np.testing.assert_allclose(nu_k[k, i], value, atol=1e-8)
    assert np.all(np.asarray(nu_k)[~np.asarray(rows.mask)] == 0.0)
    assert len(multipliers) not in (0, N * ng)


def test_value_function_is_the_optimal_cost():
    """Hessian, gradient and constant of the cost-to-go at every knot, with defects and held controls."""
    model = random_model(5, 3, 2, 6)
    rng = np.random.default_rng(0)
    free = jnp.asarray(rng.random((6, 2)) < 0.7)
    fixed = jnp.where(free, 0.0, 0.3)
    sweep = SWEEP(model, limits=Limits.masked(free, fixed))
    for k in (0, 3):
        tail = jax.tree.map(lambda a, k=k: a[k:], model)
        for _ in range(3):
            x = jnp.asarray(rng.standard_normal(3))
            solution = SOLVE(tail, x, free[k:], fixed[k:])
            V = 0.5 * x @ sweep.value_hessian[k] @ x + sweep.value_gradient[k] @ x + sweep.value_constant[k]
            np.testing.assert_allclose(V, tail.objective(solution.states, solution.controls), rtol=1e-10)
            np.testing.assert_allclose(
                sweep.value_hessian[k] @ x + sweep.value_gradient[k], solution.costates[0], rtol=1e-8
            )


@pytest.mark.parametrize("batch", [(), (3,), (2, 3), (0,)])
def test_leading_axes(batch):
    """Any number of batch axes gives what the single problems give."""
    model = random_model(6, **SIZES, batch=batch)
    x0 = jnp.ones((*batch, 3))
    solution = SOLVE(model, x0)
    assert solution.controls.shape == (*batch, 5, 2)
    sweep = SWEEP(model)
    redo = resweep
    for _ in batch:
        redo = jax.vmap(redo)
    feedforward, gradient = jax.jit(redo)(model, sweep)
    np.testing.assert_allclose(feedforward, sweep.feedforward, atol=1e-12)
    np.testing.assert_allclose(gradient, sweep.value_gradient, atol=1e-12)
    for index in np.ndindex(batch):
        single = SOLVE(jax.tree.map(lambda a, index=index: a[index], model), x0[index])
        np.testing.assert_allclose(solution.controls[index], single.controls, atol=1e-12)
        np.testing.assert_allclose(solution.costates[index], single.costates, atol=1e-12)


def test_horizon_one_and_many_controls():
    """Horizon 1, and more controls than the unrolled factorisation takes."""
    for nx, nu, N in ((2, 1, 1), (3, 15, 3)):
        model, x0 = random_model(7, nx, nu, N), jnp.ones(nx)
        np.testing.assert_allclose(SOLVE(model, x0).controls, dense_lqr(model, x0)[1], atol=1e-10)


def test_status_is_per_problem():
    """An indefinite and a NaN problem are flagged; their neighbour in the batch is untouched."""
    model = random_model(8, **SIZES, batch=(3,))
    R = model.R.at[0].multiply(-20.0)
    bad = eqx.tree_at(lambda m: (m.R, m.q), model, (R, model.q.at[1, 2].set(jnp.nan)))
    sweep = backward(bad)
    assert list(sweep.status) == [Status.INDEFINITE, Status.NOT_FINITE, Status.CONVERGED]
    single = backward(jax.tree.map(lambda a: a[2], model))
    np.testing.assert_allclose(sweep.feedforward[2], single.feedforward, atol=1e-13)


def test_costates_are_derivatives_of_the_cost():
    """Eq. (7): the first costate is the derivative of the cost with respect to x0 at fixed controls."""
    model, x0 = random_model(9, **SIZES), jnp.arange(3.0)
    u = jnp.asarray(np.random.default_rng(0).standard_normal((5, 2)))

    def cost(x0):
        states, controls = forward(model, jnp.zeros((5, 2, 3)), u, x0)
        return model.objective(states, controls)

    states, _ = forward(model, jnp.zeros((5, 2, 3)), u, x0)
    np.testing.assert_allclose(costates(model, states, u)[0], jax.grad(cost)(x0), rtol=1e-12)


def test_cholesky():
    """Unrolled and LAPACK sizes; an indefinite matrix is flagged and the factor stays finite."""
    rng = np.random.default_rng(0)
    for n in (1, 5, 12, 13):
        M = rng.standard_normal((n, n))
        M = jnp.asarray(M @ M.T + np.eye(n))
        L, ok = cholesky(M)
        assert ok
        np.testing.assert_allclose(L @ L.T, M, rtol=1e-12, atol=1e-12)
        np.testing.assert_allclose(M @ cholesky_solve(L, M), M, rtol=1e-9, atol=1e-9)
        L, ok = cholesky(M - 1e3 * jnp.eye(n))
        assert not ok
        assert np.all(np.isfinite(L))


def test_box_qp_matches_enumeration():
    """Spec check 4: 200 random problems in three variables against every possible active set."""
    rng = np.random.default_rng(0)
    M = rng.standard_normal((200, 3, 3))
    H = M @ M.transpose(0, 2, 1) + 0.1 * np.eye(3)
    g = 3 * rng.standard_normal((200, 3))
    lower, upper = -rng.random((200, 3)), rng.random((200, 3))
    solution = jax.jit(jax.vmap(box_qp))(H, g, lower, upper)
    assert np.all(solution.ok)
    for i in range(200):
        best, value = None, np.inf
        for choice in itertools.product((-1, 0, 1), repeat=3):
            choice = np.array(choice)
            x = np.where(choice < 0, lower[i], np.where(choice > 0, upper[i], 0.0))
            f = choice == 0
            if f.any():
                x[f] = np.linalg.solve(H[i][np.ix_(f, f)], -(g[i] + H[i] @ x)[f])
            inside = np.all(x >= lower[i] - 1e-12) and np.all(x <= upper[i] + 1e-12)
            cost = 0.5 * x @ H[i] @ x + g[i] @ x
            if inside and cost < value:
                best, value = x, cost
        np.testing.assert_allclose(solution.x[i], best, atol=1e-8)


def test_rows_and_held_controls_together():
    """Equality rows on top of clamped controls, against one dense KKT system."""
    rng = np.random.default_rng(12)
    nx, nu, N, ng = 3, 4, 6, 2
    model = random_model(13, nx, nu, N)
    rows = EqualityRows(
        *(jnp.asarray(rng.standard_normal(s)) for s in ((N, ng, nx), (N, ng, nu), (N, ng))),
        mask=jnp.asarray(rng.random((N, ng)) < 0.6),
    )
    free = jnp.asarray(np.arange(N * nu).reshape(N, nu) % 4 != 1)
    fixed = jnp.where(free, 0.0, jnp.asarray(rng.standard_normal((N, nu))))
    x0 = jnp.asarray(rng.standard_normal(nx))
    sweep = jax.jit(backward)(model, limits=Limits.masked(free, fixed), equality=rows)
    states, controls = forward(model, sweep.gains, sweep.feedforward, x0)
    expected_states, expected_controls, multipliers = dense_lqr(model, x0, free, fixed, rows)
    np.testing.assert_allclose(states, expected_states, atol=1e-8)
    np.testing.assert_allclose(controls, expected_controls, atol=1e-8)
    found = sweep.multiplier_offset + jnp.einsum("kij,kj->ki", sweep.multiplier_slope, states[:-1])
    for (k, i), value in multipliers.items():
        np.testing.assert_allclose(found[k, i], value, atol=1e-8)


def test_predicted_decrease():
    """The change of cost under a step `alpha k` with feedback is the quadratic that `decrease` says, exactly."""
    model = random_model(14, **SIZES)
    model = eqx.tree_at(lambda m: m.d, model, jnp.zeros_like(model.d))
    sweep = backward(model)
    for alpha in (0.3, 1.0):
        states, controls = forward(model, sweep.gains, alpha * sweep.feedforward, jnp.zeros(3))
        predicted = alpha * sweep.decrease[0] + 0.5 * alpha**2 * sweep.decrease[1]
        np.testing.assert_allclose(model.objective(states, controls), predicted, rtol=1e-10)
    np.testing.assert_allclose(sweep.value_constant[0], sweep.decrease[0] + 0.5 * sweep.decrease[1], rtol=1e-10)


def test_regularisation_shortens_the_step_and_not_the_model():
    """Horizon 1: `k = -(Quu + mu I)^-1 qu`, and the cost-to-go is that of the true cost under this policy."""
    model = random_model(15, 2, 3, 1)
    sweep = backward(model, regularisation=0.7)
    shifted = eqx.tree_at(lambda m: m.R, model, model.R + 0.7 * jnp.eye(3))
    x0 = jnp.array([0.4, -1.0])
    states, controls = forward(model, sweep.gains, sweep.feedforward, x0)
    np.testing.assert_allclose(controls, dense_lqr(shifted, x0)[1], atol=1e-10)
    V = 0.5 * x0 @ sweep.value_hessian[0] @ x0 + sweep.value_gradient[0] @ x0 + sweep.value_constant[0]
    np.testing.assert_allclose(V, model.objective(states, controls), rtol=1e-10)


def test_gradients_of_a_batch_with_failed_lanes():
    """Lanes with NaN or indefinite data leave the gradients of the others as they are."""
    model = random_model(16, **SIZES, batch=(3,))
    bad = eqx.tree_at(lambda m: (m.R, m.q), model, (model.R.at[0].multiply(-20.0), model.q.at[1, 2].set(jnp.nan)))

    @jax.jit
    def gradient(model):
        return jax.grad(lambda m: jnp.sum(solve_lqr(m, jnp.ones((3, 3))).controls[2]))(model)

    for dirty, clean in zip(jax.tree.leaves(gradient(bad)), jax.tree.leaves(gradient(model)), strict=True):
        np.testing.assert_allclose(dirty[2], clean[2], rtol=1e-12, atol=1e-14)
