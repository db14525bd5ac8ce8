"""Derivatives of solutions against finite differences of re-solves (spec checks 7 to 9)."""

import dataclasses

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import costogo as ctg
from costogo import Status
from costogo.solvers import adjoint_system
from costogo.systems import Pendulum
from oracles import bounded_lq_set, finite_difference

TIGHT = ctg.BoxDDP(subproblem="clamped", tolerance=1e-11, max_iterations=200)
CLAMPED = ctg.BoxDDP(subproblem="clamped", tolerance=1e-10)
WEIGHTS = jnp.linspace(1.0, 2.0, 20)[:, None]
PHYSICS = jnp.array([10.0, 1.0, 1.0])


def pendulum_loss(physics, x0, adjoint=None, limit=2.0):
    g, m, length = physics
    system = dataclasses.replace(Pendulum(), gravity=g, mass=m, length=length)
    problem = ctg.OptimalControlProblem(
        system, system.cost(), horizon=20, control_bounds=(-jnp.full(1, limit), jnp.full(1, limit))
    )
    solution = ctg.solve(problem, x0, solver=TIGHT, adjoint=adjoint)
    return jnp.sum(WEIGHTS * solution.controls) + jnp.sum(solution.states**2), solution


@pytest.fixture(scope="module")
def unsaturated():
    """20 states whose controls are inside the bounds for at least one knot, with finite-difference gradients."""
    keys = jax.random.split(jax.random.PRNGKey(3), 20)
    x0 = jax.vmap(lambda key: Pendulum().initial_state(key, 0.25))(keys)
    value = jax.jit(jax.vmap(lambda p, x: pendulum_loss(p, x)[0], in_axes=(None, 0)))
    numeric = finite_difference(lambda p: value(jnp.asarray(p), x0), PHYSICS, 1e-5).T
    return x0, numeric


def gradients(x0, adjoint):
    function = jax.grad(lambda p, x: pendulum_loss(p, x, adjoint), has_aux=True)
    return jax.jit(jax.vmap(function, in_axes=(None, 0)))(PHYSICS, x0)


def relative(gradient, numeric):
    return np.linalg.norm(gradient - numeric, axis=1) / np.linalg.norm(numeric, axis=1)


def test_pendulum_gradients(unsaturated):
    """Spec checks 7 and 9: Lagrangian exact, Gauss-Newton close, dropped Jacobian derivative visibly wrong."""
    x0, numeric = unsaturated
    exact, solution = gradients(x0, ctg.ImplicitAdjoint())
    assert np.all(solution.status == Status.CONVERGED)
    assert relative(exact, numeric).max() < 1e-6
    paper = relative(gradients(x0, ctg.ImplicitAdjoint("gauss_newton"))[0], numeric)
    assert paper.max() < 2e-2
    public = relative(gradients(x0, ctg.ImplicitAdjoint("gauss_newton", drop_jacobian_derivative=True))[0], numeric)
    assert np.median(public) > 2 * np.median(paper)
    unrolled = gradients(x0, ctg.UnrolledAdjoint(50))[0]
    assert relative(unrolled, np.asarray(exact)).max() < 1e-4


def test_saturated_state_has_zero_gradient():
    """Spec check 8: every control at its bound, so controls do not depend on the physics at all."""
    x0 = jnp.array([0.09427096, 0.99554658, -0.36963628])

    def controls(p):
        g, m, length = p
        system = dataclasses.replace(Pendulum(), gravity=g, mass=m, length=length)
        problem = ctg.OptimalControlProblem(system, system.cost(), horizon=20, control_bounds=system.control_bounds())
        solution = ctg.solve(problem, x0, solver=TIGHT)
        # The last control acts on nothing and is zero, inside the bounds.
        return jnp.sum(solution.controls[:-1]), solution

    gradient, solution = jax.jit(jax.grad(controls, has_aux=True))(PHYSICS)
    if not np.all(solution.active[:-1]):
        pytest.fail("the state does not saturate every control; the test would show nothing")
    assert np.all(gradient == 0.0)
    value = jax.jit(lambda p: controls(p)[0])
    assert np.all(finite_difference(value, PHYSICS, 1e-5) == 0.0)


def test_bounded_lq_gradients():
    """Issue acceptance 3: A, B, b, cost, x0 and bounds, at active bounds."""
    A, B, b, x0s = bounded_lq_set()
    weights = jnp.asarray(np.random.default_rng(1).standard_normal((20, 4)))

    @jax.jit
    def loss(parameters, x0):
        A, B, b, Q, R, lower, upper = parameters
        problem = ctg.OptimalControlProblem(
            lambda x, u, t: A @ x + B @ u + b,
            ctg.QuadraticCost(Q=Q, R=R),
            ctg.QuadraticTerminalCost(Q=Q),
            horizon=20,
            control_bounds=(lower, upper),
        )
        return jnp.sum(weights * ctg.solve(problem, x0).controls)

    parameters = tuple(map(jnp.asarray, (A, B, b, np.ones(8), np.ones(4), -np.ones(4), np.ones(4))))
    gradient = jax.jit(jax.vmap(jax.grad(loss, argnums=(0, 1)), in_axes=(None, 0)))(parameters, x0s[:3])
    rng = np.random.default_rng(5)
    for lane in range(3):
        x0 = jnp.asarray(x0s[lane])
        for place in range(8):
            whole = (*parameters, x0)
            direction = rng.standard_normal(whole[place].shape)

            def along(h, place=place, direction=direction, whole=whole):
                moved = list(whole)
                moved[place] = whole[place] + h * direction
                return loss(tuple(moved[:7]), moved[7])

            numeric = (along(1e-6) - along(-1e-6)) / 2e-6
            exact = gradient[0][place][lane] if place < 7 else gradient[1][lane]
            np.testing.assert_allclose(np.sum(exact * direction), numeric, rtol=1e-5, atol=1e-5)


def simple_problem(gain, target=0.2):
    return ctg.OptimalControlProblem(
        lambda x, u, t: x + gain * u,
        lambda x, u, t: jnp.sum((x - target) ** 2 + 0.1 * u**2),
        horizon=4,
        control_bounds=(-np.ones(1), np.ones(1)),
    )


class Gain(eqx.Module):
    gain: jax.Array | float

    def __call__(self, x, u, t):
        return x + self.gain * u


def module_problem(module):
    return eqx.tree_at(lambda p: p.dynamics, simple_problem(1.0), module)


SIX = {
    "module leaf": lambda g: ctg.solve(module_problem(Gain(g)), jnp.zeros(1), solver=CLAMPED).controls[0, 0],
    "closed-over tracer": lambda g: ctg.solve(simple_problem(g), jnp.zeros(1), solver=CLAMPED).controls[0, 0],
    "Python float": lambda g: ctg.solve(module_problem(Gain(1.0 * g)), jnp.zeros(1), solver=CLAMPED).controls[0, 0],
}


@pytest.mark.parametrize("wrap", [lambda f: f, jax.jit], ids=["eager", "jitted"])
@pytest.mark.parametrize("where", list(SIX))
def test_parameters_are_reached(where, wrap):
    """Issue acceptance 6: module leaves, closed-over tracers and Python floats, eager and jitted."""
    argument = 0.3 if where == "Python float" else jnp.asarray(0.3)
    gradient = wrap(jax.grad(SIX[where]))(argument)
    numeric = finite_difference(lambda g: SIX[where](float(g)), np.asarray(0.3), 1e-6)
    assert abs(numeric) > 1e-2
    np.testing.assert_allclose(gradient, numeric, rtol=1e-5)


def test_module_as_argument():
    """Differentiating with respect to a whole module, floats included, by `jax.grad`."""
    gradient = jax.grad(lambda m: ctg.solve(module_problem(m), jnp.zeros(1), solver=CLAMPED).controls[0, 0])(Gain(0.3))
    numeric = finite_difference(lambda g: SIX["module leaf"](float(g)), np.asarray(0.3), 1e-6)
    np.testing.assert_allclose(gradient.gain, numeric, rtol=1e-5)


def test_what_has_no_derivative_raises():
    for name, pick in {"gains": lambda s: s.gains, "value": lambda s: s.value.hessian}.items():
        with pytest.raises(ctg.DerivativeError, match=f"solution.{name}"):
            jax.grad(lambda x, pick=pick: jnp.sum(pick(ctg.solve(simple_problem(0.5), x, solver=CLAMPED))))(
                jnp.zeros(1)
            )
    with pytest.raises(TypeError):
        jax.jvp(lambda x: ctg.solve(simple_problem(0.5), x, solver=CLAMPED).controls, (jnp.zeros(1),), (jnp.ones(1),))


def test_failed_lane_contributes_exactly_zero():
    x0 = jnp.array([[0.0], [jnp.nan], [0.2]])

    def total(g):
        solution = jax.vmap(lambda x: ctg.solve(simple_problem(g), x, solver=CLAMPED))(x0)
        return jnp.sum(solution.controls[jnp.array([0, 2])]) + 0.0 * jnp.nansum(solution.controls[1])

    def clean(g):
        return jnp.sum(
            jax.vmap(lambda x: ctg.solve(simple_problem(g), x, solver=CLAMPED).controls)(x0[jnp.array([0, 2])])
        )

    np.testing.assert_allclose(jax.grad(total)(0.3), jax.grad(clean)(0.3), rtol=1e-12)
    unconverged = jax.grad(
        lambda p: jnp.sum(
            ctg.solve(
                Pendulum(gravity=p).problem(),
                jnp.array([0.9, 0.4, 0.0]),
                solver=ctg.BoxDDP(subproblem="clamped", max_iterations=1),
            ).controls
        )
    )(10.0)
    assert unconverged == 0.0


def test_indefinite_lagrangian_falls_back():
    """The adjoint system reports that Gauss-Newton was used where the Lagrangian Hessian is indefinite."""
    problem = ctg.OptimalControlProblem(
        lambda x, u, t: x + u - 3.0 * u**2, lambda x, u, t: jnp.sum(10.0 * x + 0.1 * u**2), horizon=3, nu=1
    )
    states, controls = jnp.ones((4, 1)), jnp.zeros((3, 1))
    zeros = jnp.zeros((4, 1)), jnp.ones((3, 1))
    free = jnp.ones((3, 1), bool)
    assert not adjoint_system(problem, states, controls, free, 0.0, "lagrangian", *zeros).positive_definite
    assert adjoint_system(problem, states, controls, free, 0.0, "gauss_newton", *zeros).positive_definite


def test_initial_time_gradient():
    def loss(t0):
        problem = ctg.OptimalControlProblem(
            lambda x, u, t: x + 0.5 * u + 0.1 * jnp.sin(t),
            lambda x, u, t: jnp.sum((x - jnp.cos(t)) ** 2 + 0.1 * u**2),
            horizon=4,
            nu=1,
        )
        return jnp.sum(ctg.solve(problem, jnp.zeros(1), t0=t0, solver=CLAMPED).controls ** 2)

    numeric = finite_difference(lambda t: loss(jnp.asarray(t)), np.asarray(0.3), 1e-5)
    np.testing.assert_allclose(jax.grad(loss)(0.3), numeric, rtol=1e-6)


def scalar_problem(gain=0.5, weight=1.0, limit=1.0, target=1.0, horizon=4, dt=1.0):
    """Small, with active bounds at the start and free controls later, and time in cost and dynamics."""
    return ctg.OptimalControlProblem(
        lambda x, u, t: x + gain * u + 0.05 * jnp.sin(x) * jnp.cos(t),
        lambda x, u, t: jnp.sum(weight * (x - target - 0.1 * t) ** 2 + 0.1 * u**2),
        horizon=horizon,
        control_bounds=(-limit * jnp.ones(1), limit * jnp.ones(1)),
        dt=dt,
    )


def test_gradient_of_the_cost():
    """The cost as a loss: every parameter, x0, t0 and dt, by finite differences; the gradient in x0 is the value's."""

    def cost(p):
        problem = scalar_problem(*p[:4], dt=p[6])
        solution = ctg.solve(problem, p[4:5], t0=p[5], solver=CLAMPED)
        return solution.cost + 0.3 * jnp.sum(solution.controls), solution

    def plain(p):
        solution = cost(p)[1]
        return solution.cost, solution

    p = jnp.array([0.5, 1.0, 0.8, 1.0, 0.1, 0.2, 0.5])
    for function in (cost, plain):
        both = jax.jit(jax.value_and_grad(function, has_aux=True))
        (_, solution), gradient = both(p)
        numeric = finite_difference(lambda p, both=both: both(jnp.asarray(p))[0][0], p, 1e-5)
        np.testing.assert_allclose(gradient, numeric, rtol=1e-6, atol=1e-8)
        assert np.all(np.abs(numeric) > 1e-3)
    assert 0 < np.sum(solution.active) < 4
    np.testing.assert_allclose(gradient[4], solution.value.gradient[0, 0], rtol=1e-6)


def test_cost_of_a_failed_lane_contributes_exactly_zero():
    """A NaN lane, masked by its status as documented, must not poison the gradient of shared parameters."""
    x0 = jnp.array([[0.0], [jnp.nan], [0.2]])

    @jax.jit
    def gradient(x0):
        def total(weight):
            solution = jax.vmap(lambda x: ctg.solve(scalar_problem(weight=weight), x, solver=CLAMPED))(x0)
            return jnp.sum(jnp.where(solution.status == Status.CONVERGED, solution.cost, 0.0))

        return jax.grad(total)(1.0)

    assert np.isfinite(gradient(x0))
    np.testing.assert_allclose(gradient(x0), gradient(x0[:1]) + gradient(x0[2:]), rtol=1e-12)
    stopped = ctg.BoxDDP(subproblem="clamped", max_iterations=0)
    assert jax.grad(lambda w: ctg.solve(scalar_problem(weight=w), x0[0], solver=stopped).cost)(1.0) == 0.0


def test_bounds_that_are_reached_up_to_rounding():
    """From random warm starts `u + (bound - u)` misses the bound by one rounding in many lanes; the gradient must
    still go to that bound and not to the opposite one. Three controls, the last free: the sum moves by 2."""

    def total(lower, upper, start):
        problem = ctg.OptimalControlProblem(
            lambda x, u, t: x + u,
            lambda x, u, t: jnp.sum((x - 100.0) ** 2 + 0.1 * u**2),
            horizon=3,
            control_bounds=(lower * jnp.ones(1), upper * jnp.ones(1)),
        )
        return jnp.sum(ctg.solve(problem, jnp.zeros(1), start, solver=CLAMPED).controls)

    rng = np.random.default_rng(0)
    upper, start = rng.uniform(0.1, 1.0, 500), rng.uniform(-1.0, 1.0, (500, 3, 1))
    by_lower, by_upper = jax.jit(jax.vmap(jax.grad(total, argnums=(0, 1))))(-upper, upper, start)
    np.testing.assert_allclose(by_upper, 2.0, atol=1e-12)
    np.testing.assert_allclose(by_lower, 0.0, atol=1e-12)


def test_closures_over_batched_integers_and_floats():
    """Data that `vmap` batches and the functions close over: an index into a table, and a parameter."""
    targets = jnp.array([0.1, 0.3, 0.2])

    def control(gain, index):
        problem = scalar_problem(gain, target=targets[index])
        return jnp.sum(ctg.solve(problem, jnp.zeros(1), solver=CLAMPED).controls)

    gains, indices = jnp.array([0.5, 0.6, 0.7]), jnp.array([2, 0, 1])
    both = jax.jit(jax.vmap(jax.value_and_grad(control)))
    gradient = both(gains, indices)[1]
    numeric = (both(gains + 1e-6, indices)[0] - both(gains - 1e-6, indices)[0]) / 2e-6
    assert np.abs(np.diff(numeric)).min() > 1e-2
    np.testing.assert_allclose(gradient, numeric, rtol=1e-6)
    eager = jax.vmap(jax.grad(control))(gains, indices)
    np.testing.assert_allclose(eager, gradient, rtol=1e-10)
