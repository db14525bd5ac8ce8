"""The Riccati interior-point method against SciPy and by its own optimality conditions."""

import jax
import jax.numpy as jnp
import numpy as np
from scipy.optimize import minimize

from costogo import Status
from costogo.lqr import InequalityRows, forward, interior_point
from oracles import random_model

NX, NU, N = 3, 2, 6
MODEL = random_model(11, NX, NU, N)
X0 = jnp.array([2.0, -1.0, 1.0])
BOX = jnp.full((N, NU), 0.4)


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
    solution = interior_point(MODEL, X0, -BOX, BOX)
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
    solution = interior_point(MODEL, X0, -2 * BOX, jnp.full((N, NU), jnp.inf), InequalityRows(E, F, e))

    def rows(flat):
        states = np.asarray(_cost(flat)[1])
        return states[:-1, 0] + 2 * np.asarray(flat).reshape(N, NU)[:, 1] + 0.5

    reference = _scipy(({"type": "ineq", "fun": rows},), [(-0.8, None)] * (N * NU))
    assert solution.status == Status.CONVERGED
    np.testing.assert_allclose(solution.controls.ravel(), reference.x, atol=2e-5)
    assert np.any(solution.inequality_multipliers > 1e-3)


def test_equal_bounds_hold_the_control():
    lower = (-BOX).at[:, 0].set(0.1)
    solution = interior_point(MODEL, X0, lower, BOX.at[:, 0].set(0.1))
    assert solution.status == Status.CONVERGED
    np.testing.assert_allclose(solution.controls[:, 0], 0.1, atol=1e-14)


def test_failures_are_statuses_of_their_own_problem():
    lower = jnp.stack([-BOX, BOX, -BOX, -BOX])
    upper = jnp.stack([BOX, -BOX, BOX, BOX])
    x0 = jnp.stack([X0, X0, X0.at[0].set(jnp.nan), X0])
    models = jax.tree.map(lambda a: jnp.stack([a] * 4), MODEL)
    solution = interior_point(models, x0, lower, upper)
    single = interior_point(MODEL, X0, -BOX, BOX)
    assert list(solution.status[:3]) == [Status.CONVERGED, Status.INFEASIBLE, Status.NOT_FINITE]
    np.testing.assert_allclose(solution.controls[3], single.controls, atol=1e-12)


def test_unreachable_rows_are_infeasible():
    E, F = jnp.zeros((N, 2, NX)), jnp.zeros((N, 2, NU)).at[:, 0, 0].set(1.0).at[:, 1, 0].set(-1.0)
    rows = InequalityRows(E, F, jnp.full((N, 2), -1.0))  # u_0 >= 1 and u_0 <= -1
    solution = interior_point(MODEL, X0, -10 * BOX, 10 * BOX, rows)
    assert solution.status != Status.CONVERGED
