"""The Riccati interior-point method against SciPy and by its own optimality conditions."""

import jax
import jax.numpy as jnp
import numpy as np
from scipy.optimize import linprog, minimize

from costogo import Status
from costogo.lqr import InequalityRows, forward, interior_point, solve_lqr
from oracles import condensed, random_model

NX, NU, N = 3, 2, 6
MODEL = random_model(11, NX, NU, N)
X0 = jnp.array([2.0, -1.0, 1.0])
BOX = jnp.full((N, NU), 0.4)
SOLVE = jax.jit(interior_point)


def _cost(flat):
    u = jnp.asarray(flat).reshape(N, NU)
    states, controls = forward(MODEL, jnp.zeros((N, NU, NX)), u, X0)
    return MODEL.objective(states, controls), states


def _scipy(constraints=(), bounds=None):
    value = jax.jit(jax.value_and_grad(lambda u: _cost(u)[0]))
    options = {"ftol": 1e-14, "maxiter": 500}
    start = np.zeros(N * NU)
    return minimize(
        lambda u: tuple(map(np.asarray, value(u))), start, jac=True, method="SLSQP", bounds=bounds,
        constraints=constraints, options=options,
    )  # fmt: skip


def test_bounds_match_scipy():
    solution = SOLVE(MODEL, X0, -BOX, BOX)
    reference = _scipy(bounds=[(-0.4, 0.4)] * (N * NU))
    assert solution.status == Status.CONVERGED
    np.testing.assert_allclose(solution.controls.ravel(), reference.x, atol=2e-6)
    assert not np.all(solution.free)
    assert np.all(np.abs(solution.controls) <= 0.4)


def test_general_rows_match_scipy():
    """State-dependent rows `x_0 + 2 u_1 + 0.5 >= 0` on top of bounds."""
    E = jnp.zeros((N, 1, NX)).at[:, 0, 0].set(1.0)
    F = jnp.zeros((N, 1, NU)).at[:, 0, 1].set(2.0)
    e = jnp.full((N, 1), 0.5)
    solution = SOLVE(MODEL, X0, -2 * BOX, jnp.full((N, NU), jnp.inf), InequalityRows(E, F, e))

    def rows(flat):
        states = np.asarray(_cost(flat)[1])
        return states[:-1, 0] + 2 * np.asarray(flat).reshape(N, NU)[:, 1] + 0.5

    reference = _scipy(({"type": "ineq", "fun": rows},), [(-0.8, None)] * (N * NU))
    assert solution.status == Status.CONVERGED
    np.testing.assert_allclose(solution.controls.ravel(), reference.x, atol=2e-5)
    assert np.any(solution.inequality_multipliers > 1e-3)


def test_equal_bounds_hold_the_control():
    lower = (-BOX).at[:, 0].set(0.1)
    solution = SOLVE(MODEL, X0, lower, BOX.at[:, 0].set(0.1))
    assert solution.status == Status.CONVERGED
    np.testing.assert_allclose(solution.controls[:, 0], 0.1, atol=1e-14)


def test_failures_are_statuses_of_their_own_problem():
    lower = jnp.stack([-BOX, BOX, -BOX, -BOX])
    upper = jnp.stack([BOX, -BOX, BOX, BOX])
    x0 = jnp.stack([X0, X0, X0.at[0].set(jnp.nan), X0])
    models = jax.tree.map(lambda a: jnp.stack([a] * 4), MODEL)
    solution = SOLVE(models, x0, lower, upper)
    single = SOLVE(MODEL, X0, -BOX, BOX)
    assert list(solution.status[:3]) == [Status.CONVERGED, Status.INFEASIBLE, Status.NOT_FINITE]
    np.testing.assert_allclose(solution.controls[3], single.controls, atol=1e-12)


def test_unreachable_rows_are_infeasible():
    E, F = jnp.zeros((N, 2, NX)), jnp.zeros((N, 2, NU)).at[:, 0, 0].set(1.0).at[:, 1, 0].set(-1.0)
    rows = InequalityRows(E, F, jnp.full((N, 2), -1.0))  # u_0 >= 1 and u_0 <= -1
    solution = SOLVE(MODEL, X0, -10 * BOX, 10 * BOX, rows)
    assert solution.status != Status.CONVERGED


HARD = 12  # kinds of difficulty, eight problems of each in one batch


def _hard_set():
    """Bounds and costs over many orders of magnitude, degenerate bounds, an unstable A, one-sided bounds."""
    rng = np.random.default_rng(2)
    model = jax.tree.map(lambda a: np.array(a).reshape(HARD, 8, *a.shape[1:]), random_model(3, NX, NU, N, (8 * HARD,)))
    x0 = 3 * rng.standard_normal((HARD, 8, NX))
    optimum = np.asarray(jax.jit(solve_lqr)(jax.tree.map(jnp.asarray, model), x0).controls)
    lower, upper = -0.3 * np.ones((HARD, 8, N, NU)), 0.3 * np.ones((HARD, 8, N, NU))
    for kind, limit in enumerate((1e-8, 1e-3, 2.0, 1e8)):
        lower[kind], upper[kind] = -limit, limit
    lower[4], upper[4] = -np.inf, 0.1
    lower[5], upper[5] = -10.0, np.maximum(optimum[5], -10.0)  # weakly active
    lower[6], upper[6] = 2.0, 3.0  # zero is not feasible
    lower[7], upper[7] = -np.array([1e-6, 1e6]), np.array([1e-6, 1e6])
    for kind, factor in ((8, 1e-10), (9, 1e10)):
        for field in (model.Q, model.q, model.R, model.r, model.P):
            field[kind] *= factor
    model.A[10] *= 6.0  # spectral radius of several
    for field in (model.q, model.r, model.d):
        field[11] = 0.0
    x0[11] = 0.0  # the answer is zero
    return jax.tree.map(jnp.asarray, (model, x0, lower, upper))


def test_scales_and_degenerate_bounds():
    """Every problem converges, to a point whose projected gradient (NumPy) vanishes relative to its size."""
    model, x0, lower, upper = _hard_set()
    solution = SOLVE(model, x0, lower, upper)
    assert np.all(solution.status == Status.CONVERGED)
    m, x, u = jax.tree.map(np.asarray, (model, solution.states, solution.controls))
    assert np.all((u >= lower) & (u <= upper))
    costate = np.einsum("...ij,...j->...i", m.Q[..., N, :, :], x[..., N, :]) + m.q[..., N, :]
    for k in reversed(range(N)):
        A, B, Q, R, P = (v[..., k, :, :] for v in (m.A, m.B, m.Q, m.R, m.P))
        xk, uk = x[..., k, :], u[..., k, :]
        g = np.einsum("...ij,...j->...i", R, uk) + np.einsum("...ij,...j->...i", P, xk) + m.r[..., k, :]
        g += np.einsum("...ij,...i->...j", B, costate)
        # Newton's step of one control: the curvature of the cost-to-go in u.
        step = g / np.einsum("...ii->...i", R)
        moved = np.abs(uk - np.clip(uk - step, lower[..., k, :], upper[..., k, :]))
        assert np.all(moved <= 1e-6 * np.abs(u).max(axis=(-1, -2))[..., None] + 1e-300), k
        costate = np.einsum("...ij,...i->...j", A, costate) + np.einsum("...ij,...j->...i", Q, xk) + m.q[..., k, :]
        costate += np.einsum("...ij,...i->...j", P, uk)


def test_random_rows_solved_or_infeasible():
    """100 problems with state-dependent rows: the status agrees with a linear program on feasibility, and the
    solved ones satisfy the KKT conditions of the condensed problem in NumPy, as far as the method reaches."""
    count, ng = 100, 2
    model = random_model(21, NX, NU, N, (count,))
    rng = np.random.default_rng(4)
    x0 = 2 * rng.standard_normal((count, NX))
    E, F = rng.standard_normal((count, N, ng, NX)), rng.standard_normal((count, N, ng, NU))
    rows = InequalityRows(*map(jnp.asarray, (E, F, np.ones((count, N, ng)))))
    box = jnp.ones((count, N, NU))
    solution = SOLVE(model, jnp.asarray(x0), -box, box, rows)
    numbers = jax.tree.map(np.asarray, model)
    feasible = 0
    for i in range(count):
        H, h, G, g = condensed(jax.tree.map(lambda a, i=i: a[i], numbers), x0[i], E[i], F[i], np.ones((N, ng)))
        program = linprog(np.zeros(N * NU), A_ub=-G, b_ub=g, bounds=[(-1, 1)] * (N * NU))
        if program.status == 2:
            assert solution.status[i] == Status.INFEASIBLE
            continue
        feasible += 1
        assert solution.status[i] == Status.CONVERGED
        u, z = np.asarray(solution.controls[i]).ravel(), np.asarray(solution.inequality_multipliers[i]).ravel()
        gap = G @ u + g
        assert min(gap.min(), z.min(), (1 - np.abs(u)).min()) >= -1e-8
        assert np.abs(gap * z).max() <= 1e-7 * (1 + np.abs(h).max())
        gradient = H @ u + h - G.T @ z
        # The bounds' multipliers are not returned: they are the two parts of the gradient, and complementary.
        low, high = np.maximum(gradient, 0.0), np.maximum(-gradient, 0.0)
        # Known limit: with weights z/s beyond 1e10 on state rows the sweep loses digits, and rows are not polished.
        assert np.abs(low * (1 + u) + high * (1 - u)).max() <= 1e-4 * (1 + np.abs(h).max())
    assert 20 < feasible < 80
