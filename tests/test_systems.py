"""Benchmark systems: equations against NumPy transcriptions in the angle, energy, symmetries, derivatives, costs."""

import dataclasses

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.test_util import check_grads

from costogo import CostogoError
from costogo.systems import SYSTEMS, CartPole, DoubleIntegrator, LinearSystem, Pendulum, get, random_matrices


def observe_pendulum(angle, rate):
    return jnp.stack([jnp.cos(angle), jnp.sin(angle), rate], axis=-1)


def observe_cartpole(position, velocity, angle, rate):
    return jnp.stack([position, velocity, jnp.cos(angle), jnp.sin(angle), rate], axis=-1)


def reference_pendulum(angle, rate, u, *, g, m, l, d=0.0, b=0.0, on_rate=False, dt=0.05, limit=2.0):
    u = np.clip(u, -limit, limit)
    slope = 3 * g / (2 * l) * np.sin(angle + b) + 3 * u / (m * l**2) - d * (rate if on_rate else angle)
    rate = rate + dt * slope
    angle = angle + dt * rate
    return np.array([np.cos(angle), np.sin(angle), rate])


def reference_cartpole(position, velocity, angle, rate, u, *, g, mc, mp, l, dt=0.05, limit=100.0):
    u = np.clip(u, -limit, limit)
    total = mc + mp
    a = (u + mp * l * rate**2 * np.sin(angle)) / total
    angular = (g * np.sin(angle) - np.cos(angle) * a) / (l * (4 / 3 - mp * np.cos(angle) ** 2 / total))
    linear = a - mp * l * angular * np.cos(angle) / total
    new = angle + dt * rate
    return np.array([position + dt * velocity, velocity + dt * linear, np.cos(new), np.sin(new), rate + dt * angular])


@eqx.filter_jit
def step(system, x, u):
    return system(jnp.asarray(x), jnp.asarray(u), 0.0)


def step_all(system, states, controls):
    return eqx.filter_vmap(step, in_axes=(None, 0, 0))(system, jnp.asarray(states), jnp.asarray(controls))


# Pendulum


def test_pendulum_by_hand():
    # g/l = 10, horizontal: slope = 15 + 3 * 1 = 18, rate = 0.9, angle = pi/2 + 0.045.
    new = step(Pendulum(), [0.0, 1.0, 0.0], [1.0])
    np.testing.assert_allclose(new, [-np.sin(0.045), np.cos(0.045), 0.9], atol=1e-14)


@pytest.mark.parametrize("acts_on", ["angle", "rate"])
def test_pendulum_against_numpy(acts_on):
    rng = np.random.default_rng(0)
    angle, rate, u = rng.uniform(-3, 3, 50), rng.uniform(-5, 5, 50), rng.uniform(-4, 4, 50)
    g, m, l, d, b = 9.1, 0.7, 1.3, 1.0, 0.1
    expected = [
        reference_pendulum(*row, g=g, m=m, l=l, d=d, b=b, on_rate=acts_on == "rate")
        for row in zip(angle, rate, u, strict=True)
    ]
    system = Pendulum(g, m, l, damping=d, bias=b, damping_acts_on=acts_on)
    np.testing.assert_allclose(step_all(system, observe_pendulum(angle, rate), u[:, None]), expected, atol=1e-13)


def test_pendulum_terms_of_the_expert_vanish_by_default():
    x, u = observe_pendulum(0.4, -1.0), jnp.array([0.3])
    on_angle = step(Pendulum(), x, u)
    np.testing.assert_array_equal(on_angle, step(Pendulum(damping_acts_on="rate"), x, u))
    np.testing.assert_allclose(on_angle, step(Pendulum(damping=0.0, bias=2 * np.pi), x, u), atol=1e-14)


def test_pendulum_sees_only_two_numbers():
    rng = np.random.default_rng(1)
    states, controls = observe_pendulum(*rng.uniform(-2, 2, (2, 20))), rng.uniform(-2, 2, (20, 1))
    scale = 1.7  # keeps g/l and m l^2
    a = step_all(Pendulum(10.0, 1.0, 1.0), states, controls)
    b = step_all(Pendulum(10.0 * scale, 1.0 / scale**2, scale), states, controls)
    np.testing.assert_allclose(a, b, atol=1e-13)
    gradient = jax.jit(jax.grad(lambda p: jnp.sum(step(Pendulum(*p), states[0], [0.7]) ** 2)))((10.0, 1.0, 1.0))
    assert abs(np.dot(gradient, (10.0, -2.0, 1.0))) < 1e-12 < abs(gradient[0])


def test_pendulum_energy():
    """Power equals `3 u thdot / (m l^2)`; semi-implicit Euler keeps the energy of a free swing bounded."""
    system = dataclasses.replace(Pendulum(9.0, 0.8, 1.2), dt=1e-6)

    def energy(x):
        return 0.5 * x[..., 2] ** 2 + 1.5 * 9.0 / 1.2 * x[..., 0]

    rng = np.random.default_rng(2)
    states, u = observe_pendulum(*rng.uniform(-2, 2, (2, 30))), rng.uniform(-2, 2, 30)
    power = (energy(step_all(system, states, u[:, None])) - energy(states)) / system.dt
    np.testing.assert_allclose(power, 3 * u * states[:, 2] / (0.8 * 1.2**2), atol=1e-4)

    free = dataclasses.replace(system, dt=0.05)
    swing = jax.jit(lambda x: jax.lax.scan(lambda x, _: (step(free, x, [0.0]), energy(x)), x, None, length=4000)[1])
    energies = swing(states[0])
    assert np.max(np.abs(energies - energies[0])) < 0.25 * (1.5 * 9.0 / 1.2)
    assert abs(np.mean(energies[-400:]) - np.mean(energies[:400])) < 0.01 * abs(energies[0])


# Cart-pole


def test_cartpole_by_hand():
    # Hanging still, 1 N: a = 1/1.1, angular = a / (0.5 (4/3 - 0.1/1.1)), positions keep (old velocities are zero).
    new = step(CartPole(), [0.2, 0.0, -1.0, 0.0, 0.0], [1.0])
    a = 1 / 1.1
    angular = a / (0.5 * (4 / 3 - 0.1 / 1.1))
    np.testing.assert_allclose(new, [0.2, 0.05 * (a + 0.05 * angular / 1.1), -1, 0, 0.05 * angular], atol=1e-14)


def test_cartpole_against_numpy():
    rng = np.random.default_rng(3)
    rows = rng.uniform(-1, 1, (50, 5)) * [1, 2, np.pi, 4, 150]
    expected = [reference_cartpole(*row, g=9.6, mc=1.4, mp=0.3, l=0.6) for row in rows]
    system = CartPole(9.6, 1.4, 0.3, 0.6)
    np.testing.assert_allclose(step_all(system, observe_cartpole(*rows[:, :4].T), rows[:, 4:]), expected, atol=1e-12)


def test_cartpole_power_is_force_times_velocity():
    """Energy of a cart and a uniform rod of half-length l, which the equations are derived from."""
    g, mc, mp, l = 9.8, 1.2, 0.3, 0.6

    def energy(x):
        _, v, cos, sin, rate = np.moveaxis(np.asarray(x), -1, 0)
        pole = 0.5 * mp * ((v + l * rate * cos) ** 2 + (l * rate * sin) ** 2) + 0.5 * (mp * l**2 / 3) * rate**2
        return 0.5 * mc * v**2 + pole + mp * g * l * cos

    rng = np.random.default_rng(4)
    rows = rng.uniform(-1, 1, (30, 5)) * [1, 2, np.pi, 4, 10]
    states = observe_cartpole(*rows[:, :4].T)
    system = CartPole(g, mc, mp, l, dt=1e-6)
    power = (energy(step_all(system, states, rows[:, 4:])) - energy(states)) / system.dt
    np.testing.assert_allclose(power, rows[:, 4] * rows[:, 1], atol=1e-3)


# Both


@pytest.mark.parametrize("system", [Pendulum(), CartPole()])
def test_derivatives_at_the_control_limit(system):
    """Saturation inside the dynamics: full derivative up to and at the limit, zero beyond."""
    limit = system.control_bounds()[1]
    x = system.initial_state(jax.random.PRNGKey(0))
    slope = jax.jit(jax.jacfwd(lambda u: system(x, u, 0.0)[-1]))
    inside, at_upper, at_lower, beyond = (slope(u) for u in (0.5 * limit, limit, -limit, 1.001 * limit))
    np.testing.assert_allclose(at_upper, inside, rtol=1e-12)
    np.testing.assert_allclose(at_lower, inside, rtol=1e-12)
    np.testing.assert_array_equal(beyond, 0.0)


@pytest.mark.parametrize("system", [Pendulum(damping=1.0, bias=0.1), CartPole()])
def test_derivatives_are_finite_and_match_differences(system):
    x, u = system.initial_state(jax.random.PRNGKey(1)), jnp.array([0.4])
    values = tuple(getattr(system, name) for name in system.parameter_names)

    def probe(x, u, values):
        replaced = dataclasses.replace(system, **dict(zip(system.parameter_names, values, strict=True)))
        return replaced(x, u, 0.0)

    check_grads(jax.jit(probe), (x, u, values), order=1, atol=1e-4, rtol=1e-4)
    hanging = x.at[-3:].set(jnp.array([-1.0, 0.0, 0.0]))  # where atan2 has its branch cut
    jacobians = jax.jit(jax.jacfwd(probe, (0, 1, 2)))(hanging, u, values)
    assert all(np.all(np.isfinite(leaf)) for leaf in jax.tree.leaves(jacobians))


@pytest.mark.parametrize("system", [Pendulum(), CartPole()])
def test_upright_is_an_equilibrium_and_the_minimum_of_the_cost(system):
    goal = jnp.zeros(system.nx).at[-3].set(1.0)
    u = jnp.zeros(1)
    np.testing.assert_allclose(step(system, goal, u), goal, atol=1e-15)
    slope_x, slope_u = jax.jit(jax.grad(system.cost(), (0, 1)))(goal, jnp.ones(1), 0.0)
    np.testing.assert_allclose(slope_x, 0.0, atol=1e-15)
    np.testing.assert_allclose(slope_u, 0.001, rtol=1e-12)


@pytest.mark.parametrize(("system", "weights"), [(Pendulum(), (1, 1, 0.1)), (CartPole(), (0.1, 0.1, 1, 1, 0.1))])
def test_cost_is_goal_tracking_up_to_a_constant(system, weights):
    rng = np.random.default_rng(5)
    goal = np.zeros(system.nx)
    goal[-3] = 1.0
    constant = 0.5 * goal @ goal
    x, u = rng.standard_normal((5, system.nx)), rng.standard_normal((5, 1))
    expected = 0.5 * (x - goal) ** 2 @ np.array(weights) + 0.5 * 0.001 * u[:, 0] ** 2 - constant
    costs = jax.jit(jax.vmap(system.cost(), (0, 0, None)))(x, u, 0.0)
    np.testing.assert_allclose(costs, expected, atol=1e-12)


def angle_of(states):
    return np.arctan2(states[..., -2], states[..., -3])


def sample(system, n=2000, **options):
    keys = jax.random.split(jax.random.PRNGKey(7), n)
    return np.asarray(jax.jit(jax.vmap(lambda key: system.initial_state(key, **options)))(keys))


def assert_uniform(values, limit):
    assert np.max(np.abs(values)) <= limit
    assert np.std(values) == pytest.approx(limit / np.sqrt(3), rel=0.05)
    assert abs(np.mean(values)) < 0.06 * limit


def test_initial_states_follow_the_specification():
    wide, narrow, cart = sample(Pendulum()), sample(Pendulum(), angle_range=0.6), sample(CartPole())
    assert_uniform(angle_of(wide), np.pi / 2)
    assert_uniform(angle_of(narrow), 0.6)
    assert_uniform(wide[:, 2], 1.0)
    assert_uniform(cart[:, 0], 0.5)
    assert_uniform(cart[:, 1], 0.5)
    assert_uniform(angle_of(cart), np.pi)
    assert_uniform(cart[:, 4], 1.0)


# Linear systems


def test_double_integrator_is_the_exact_solution():
    system = DoubleIntegrator(mass=2.0)
    x, u, t = [0.5, -1.0], 0.8, 0.1
    np.testing.assert_allclose(step(system, x, [u]), [0.5 - t + 0.5 * 0.4 * t**2, -1.0 + 0.4 * t], atol=1e-15)


def test_linear_system():
    A, B = random_matrices(jax.random.PRNGKey(0), 3, 2)
    system = LinearSystem(A, B, linear=jnp.arange(5.0), control_limit=np.inf)
    x, u = np.array([1.0, -2.0, 0.5]), np.array([0.3, -0.7])
    np.testing.assert_allclose(system(jnp.array(x), jnp.array(u), 0.0), A @ x + B @ u, atol=1e-14)
    cost = system.cost()(jnp.array(x), jnp.array(u), 0.0)
    assert float(cost) == pytest.approx(0.5 * x @ x + 0.5 * u @ u + np.arange(5.0) @ np.concatenate([x, u]))
    np.testing.assert_array_equal(system.control_bounds()[1], [np.inf, np.inf])


def test_random_matrices_have_the_distribution_of_the_specification():
    A, B = random_matrices(jax.random.PRNGKey(1), 60, 60)
    assert np.std(A - np.eye(60)) == pytest.approx(0.2, rel=0.05)
    assert np.std(B) == pytest.approx(1.0, rel=0.05)
    assert np.mean(np.diag(A)) == pytest.approx(1.0, abs=0.1)


# Catalogue


@pytest.mark.parametrize("name", SYSTEMS)
def test_every_system_describes_itself(name):
    system = get(name)
    assert len(system.state_names) == system.nx
    assert len(system.control_names) == system.nu
    assert all(hasattr(system, parameter) for parameter in system.parameter_names)
    problem = system.problem(5)
    assert (problem.horizon, problem.nu, problem.dt) == (5, system.nu, system.dt)
    lower, upper = system.control_bounds()
    assert lower.shape == upper.shape == (system.nu,) and np.all(lower < upper)
    x, u = jax.eval_shape(system.initial_state, jax.random.PRNGKey(0)), jnp.zeros(system.nu)
    assert x.shape == jax.eval_shape(problem.dynamics, x, u, 0.0).shape == (system.nx,)
    assert jax.eval_shape(problem.stage_cost, x, u, 0.0).shape == ()


@pytest.mark.parametrize("name", ["pendulum", "cartpole", "double_integrator"])
def test_precision_follows_the_state(name):
    system = get(name)
    x, u = jnp.zeros(system.nx, jnp.float32), jnp.zeros(system.nu, jnp.float32)
    assert step(system, x, u).dtype == jnp.float32


def test_unknown_names_are_answered_with_the_list():
    with pytest.raises(CostogoError, match=r"did you mean 'pendulum'.*cartpole"):
        get("pendlum")
    with pytest.raises(CostogoError, match="angle, rate"):
        Pendulum(damping_acts_on="velocity")
