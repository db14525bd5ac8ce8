"""Costs, discretisation, slew rate and expansions against NumPy, SciPy and finite differences."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.integrate import solve_ivp
from scipy.optimize import minimize

import costogo as ctg
from costogo.problem import DiscretisedCost, defects, expand, open_loop, total_cost
from oracles import finite_difference

RNG = np.random.default_rng(0)


def forced_pendulum(x, u, t):
    return jnp.stack([x[1], -jnp.sin(x[0]) + u[0] + jnp.cos(3.0 * t)])


def _integrate(method, steps):
    """State after one second from t = 0.2, in equal steps."""
    f = ctg.discretise(forced_pendulum, 1.0 / steps, method)
    ts = 0.2 + jnp.arange(steps) / steps
    return jax.lax.scan(lambda x, t: (f(x, jnp.array([0.3]), t), None), jnp.array([1.0, 0.5]), ts)[0]


@pytest.mark.parametrize(("method", "order"), [("euler", 1), ("semi_implicit_euler", 1), ("midpoint", 2), ("rk4", 4)])
def test_order_of_discretisation(method, order):
    """Halving the step divides the error by 2^order; the reference is SciPy's, at 1e-13."""

    def right(t, x):
        return [x[1], -np.sin(x[0]) + 0.3 + np.cos(3.0 * t)]

    reference = solve_ivp(right, (0.2, 1.2), [1.0, 0.5], method="DOP853", rtol=1e-13, atol=1e-13).y[:, -1]
    errors = [np.linalg.norm(_integrate(method, n) - reference) for n in (32, 64)]
    assert abs(np.log2(errors[0] / errors[1]) - order) < 0.15


def test_semi_implicit_euler_preserves_area():
    """Symplectic: the Jacobian of one step of a frictionless oscillator has determinant one; Euler's has not."""
    for method, preserved in (("semi_implicit_euler", True), ("euler", False)):
        f = ctg.discretise(lambda x, u, t: jnp.stack([x[1], -4.0 * x[0]]), 0.1, method)
        determinant = np.linalg.det(jax.jacobian(f)(jnp.array([0.3, 0.2]), jnp.zeros(1), 0.0))
        assert (abs(determinant - 1.0) < 1e-12) == preserved


def test_substeps_are_smaller_steps_with_the_control_held():
    whole = ctg.discretise(forced_pendulum, 0.2, "rk4", substeps=2)
    half = ctg.discretise(forced_pendulum, 0.1, "rk4")
    x, u, t = jnp.array([0.4, -0.1]), jnp.array([0.7]), 0.3
    np.testing.assert_allclose(whole(x, u, t), half(half(x, u, t), u, t + 0.1), rtol=1e-14)


@pytest.mark.parametrize("kind", ["scalar", "diagonal", "matrix"])
def test_quadratic_costs(kind):
    """Every shape of weight, linear terms and references, against the formula in NumPy."""
    full = {"scalar": lambda n: 1.7 * np.eye(n), "diagonal": lambda n: np.diag(np.arange(1.0, n + 1))}
    full["matrix"] = lambda n: np.arange(1.0, n * n + 1).reshape(n, n) + np.arange(1.0, n * n + 1).reshape(n, n).T
    given = {"scalar": lambda W: 1.7, "diagonal": np.diag, "matrix": lambda W: W}[kind]
    Q, R = full[kind](3), full[kind](2)
    x, q, x_ref, u, r, u_ref = (RNG.standard_normal(n) for n in (3, 3, 3, 2, 2, 2))
    dx, du = x - x_ref, u - u_ref
    cost = ctg.QuadraticCost(given(Q), given(R), q, r, x_ref, u_ref)
    expected = 0.5 * dx @ Q @ dx + 0.5 * du @ R @ du + q @ x + r @ u
    np.testing.assert_allclose(cost(jnp.asarray(x), jnp.asarray(u), 0.0), expected, rtol=1e-13)
    terminal = ctg.QuadraticTerminalCost(given(Q), q, x_ref)
    np.testing.assert_allclose(terminal(jnp.asarray(x)), 0.5 * dx @ Q @ dx + q @ x, rtol=1e-13)
    np.testing.assert_allclose((2.0 * (cost + cost))(jnp.asarray(x), jnp.asarray(u), 0.0), 4 * expected, rtol=1e-13)
    np.testing.assert_allclose(DiscretisedCost(cost, 0.1)(x, u, 0.0), 0.1 * expected, rtol=1e-13)


def test_tracking_cost_holds_its_reference_between_knots():
    """The reference of knot k holds on [k dt, (k+1) dt), the last one for ever; rounding of k dt does not matter."""
    refs, u_refs = RNG.standard_normal((4, 2)), RNG.standard_normal((4, 1))
    cost = ctg.TrackingCost(Q=2.0, R=3.0, x_refs=jnp.asarray(refs), u_refs=jnp.asarray(u_refs), dt=0.1)
    x, u = RNG.standard_normal(2), RNG.standard_normal(1)
    for t, k in ((0.0, 0), (0.09, 0), (0.1, 1), (3 * 0.1, 3), (0.1 + 0.1 + 0.1, 3), (0.25, 2), (9.0, 3)):
        expected = np.sum((x - refs[k]) ** 2) + 1.5 * np.sum((u - u_refs[k]) ** 2)
        np.testing.assert_allclose(cost(jnp.asarray(x), jnp.asarray(u), jnp.asarray(t)), expected, rtol=1e-13)


def quartic(x, u, t):
    return jnp.sum(x**4) + 0.1 * jnp.sum(u**2) + 0.05 * jnp.sum(u**4)


def curved(x, u, t):
    return jnp.stack([x[0] + 0.2 * x[1], x[1] + 0.2 * (u[0] - jnp.sin(x[0]) + 0.1 * x[1] * u[0] + 0.1 * jnp.cos(t))])


PROBLEM = ctg.OptimalControlProblem(
    curved, quartic, lambda x: jnp.sum(x**2) + x[0] ** 3, horizon=5, control_bounds=(-np.ones(1), np.ones(1)), dt=0.2
)
X0 = np.array([1.0, -0.5])


def _numpy_cost(u, previous=0.0, weight=0.0, t0=0.0):
    """Cost of the problem above for controls (5,), with a slew-rate term, in plain NumPy."""
    x, cost = X0.copy(), 0.0
    for k in range(5):
        cost += np.sum(x**4) + 0.1 * u[k] ** 2 + 0.05 * u[k] ** 4 + 0.5 * weight * (u[k] - previous) ** 2
        rate = u[k] - np.sin(x[0]) + 0.1 * x[1] * u[k] + 0.1 * np.cos(t0 + 0.2 * k)
        x, previous = np.array([x[0] + 0.2 * x[1], x[1] + 0.2 * rate]), u[k]
    return cost + np.sum(x**2) + x[0] ** 3


def test_rollout_and_total_cost():
    u = RNG.uniform(-1, 1, (5, 1))
    states = open_loop(PROBLEM, jnp.asarray(X0), jnp.asarray(u), 0.7)
    ts = PROBLEM.times(0.7, jnp.float64)
    np.testing.assert_allclose(ts, 0.7 + 0.2 * np.arange(6))
    np.testing.assert_allclose(total_cost(PROBLEM, states, u, ts), _numpy_cost(u[:, 0], t0=0.7), rtol=1e-13)
    np.testing.assert_allclose(defects(PROBLEM, states, u, ts), 0.0, atol=1e-15)


def test_slew_rate_with_a_cost_that_is_not_quadratic():
    """The augmented problem's value by hand, and its solution by SciPy on the original problem."""
    problem = ctg.with_slew_rate(PROBLEM, 2.0)
    z0 = jnp.array([*X0, 0.4])
    u = RNG.uniform(-1, 1, (5, 1))
    states = open_loop(problem, z0, jnp.asarray(u))
    value = total_cost(problem, states, jnp.asarray(u), problem.times(0.0, jnp.float64))
    np.testing.assert_allclose(value, _numpy_cost(u[:, 0], 0.4, 2.0), rtol=1e-13)

    solution = ctg.solve(problem, z0, solver=ctg.BoxDDP(subproblem="clamped"))
    options = {"ftol": 1e-15, "gtol": 1e-9}
    reference = minimize(_numpy_cost, np.zeros(5), args=(0.4, 2.0), bounds=[(-1, 1)] * 5, options=options)
    assert solution.status == ctg.Status.CONVERGED
    np.testing.assert_allclose(solution.controls[:, 0], reference.x, atol=1e-5)
    assert solution.cost <= reference.fun + 1e-10


@pytest.mark.parametrize("hessian", ["gauss_newton", "exact"])
def test_expansion(hessian):
    """Jacobians, gradients, Hessians and gaps by central differences; "exact" adds the curvature of the dynamics."""
    states, controls = RNG.standard_normal((6, 2)), RNG.uniform(-1, 1, (5, 1))
    ts = np.asarray(PROBLEM.times(0.3, jnp.float64))
    model = expand(PROBLEM, jnp.asarray(states), jnp.asarray(controls), jnp.asarray(ts), hessian)
    terminal = jax.grad(PROBLEM.terminal_cost)
    costate = np.asarray(terminal(states[5]))
    np.testing.assert_allclose(model.q[5], costate, rtol=1e-12)
    np.testing.assert_allclose(model.Q[5], finite_difference(terminal, states[5]), atol=1e-7)
    for k in reversed(range(5)):
        x, u, t = states[k], controls[k], ts[k]
        A = finite_difference(lambda x, u=u, t=t: curved(x, u, t), x).T
        B = finite_difference(lambda u, x=x, t=t: curved(x, u, t), u).T
        np.testing.assert_allclose(model.A[k], A, atol=1e-8)
        np.testing.assert_allclose(model.B[k], B, atol=1e-8)
        np.testing.assert_allclose(model.d[k], np.asarray(curved(x, u, t)) - states[k + 1], atol=1e-13)
        weight = costate if hessian == "exact" else 0.0 * costate

        def lagrangian(z, t=t, weight=weight):
            return jax.grad(lambda z: quartic(z[:2], z[2:], t) + weight @ curved(z[:2], z[2:], t))(z)

        H = finite_difference(lagrangian, np.concatenate([x, u]))
        np.testing.assert_allclose(model.Q[k], H[:2, :2], atol=1e-7)
        np.testing.assert_allclose(model.R[k], H[2:, 2:], atol=1e-7)
        np.testing.assert_allclose(model.P[k], H[2:, :2], atol=1e-7)
        gradient = jax.grad(quartic, argnums=(0, 1))(x, u, t)
        np.testing.assert_allclose(model.q[k], gradient[0], rtol=1e-12)
        np.testing.assert_allclose(model.r[k], gradient[1], rtol=1e-12)
        costate = np.asarray(gradient[0]) + A.T @ costate


@pytest.mark.parametrize("shape", ["scalar", "vector", "knots", "one-sided", "lists"])
def test_shapes_of_bounds(shape):
    low, high = {
        "scalar": (-1.0, 2.0),
        "vector": (np.array([-1.0, -2.0]), np.array([1.0, 2.0])),
        "knots": (-np.ones((3, 2)), np.arange(6.0).reshape(3, 2)),
        "one-sided": (-np.inf, np.array([1.0, np.inf])),
        "lists": ([-1.0, -2.0], [1.0, 2.0]),
    }[shape]
    problem = ctg.OptimalControlProblem(
        lambda x, u, t: x, lambda x, u, t: 0.0, horizon=3, nu=2, control_bounds=(low, high)
    )
    lower, upper = problem.bounds(jnp.float64)
    np.testing.assert_array_equal(lower, np.broadcast_to(low, (3, 2)))
    np.testing.assert_array_equal(upper, np.broadcast_to(high, (3, 2)))
