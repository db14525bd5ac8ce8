"""The swimmer in JAX (spec constrained_gps 8.1, check 10)."""

from itertools import pairwise

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import costogo as ctg
from costogo.core.errors import CostogoError
from costogo.systems import Swimmer

STATE = jnp.array([0.3, -0.2, 0.4, 0.5, -0.7, 0.6, -0.1, 0.8, -1.2, 0.9])
TORQUE = jnp.array([0.7, -1.3])


def centres(swimmer, q):
    """Centres of the links by walking down the chain, and their angles."""
    angles, half = np.cumsum(q[2:]), swimmer.length / 2
    along = [half * np.array([np.cos(a), np.sin(a)]) for a in angles]
    places = [np.asarray(q[:2])]
    for front, back in pairwise(along):
        places.append(places[-1] - front - back)
    return np.array(places), angles


def test_velocities_of_the_links_are_those_of_their_places():
    swimmer, h = Swimmer(links=4), 1e-6
    x = jnp.concatenate([STATE[:5], jnp.array([0.2]), STATE[5:], jnp.array([-0.4])])
    q, qd = np.split(np.asarray(x), 2)
    ahead, behind = (centres(swimmer, q + s * h * qd)[0] for s in (1, -1))
    found = swimmer._velocities(jnp.asarray(q), jnp.asarray(qd))
    np.testing.assert_allclose(found[:8].reshape(4, 2), (ahead - behind) / (2 * h), atol=1e-8)
    np.testing.assert_allclose(found[8:], np.cumsum(qd[2:]), atol=1e-12)


def test_energy_and_momentum_without_a_fluid():
    """One second without torques and drag; then torques, which push nothing but the links."""
    swimmer = Swimmer(drag=0.0)
    flow = ctg.discretise(swimmer.velocity, 1e-3)

    def momentum(x):
        return jnp.sum(swimmer._velocities(*jnp.split(x, 2))[:6].reshape(3, 2), axis=0)

    def after(x, u):
        return jax.jit(lambda x: jax.lax.fori_loop(0, 1000, lambda i, x: flow(x, u, 0.0), x))(x)

    free, driven = after(STATE, jnp.zeros(2)), after(STATE, TORQUE)
    assert abs(swimmer.energy(free) - swimmer.energy(STATE)) < 1e-9
    assert abs(swimmer.energy(driven) - swimmer.energy(STATE)) > 0.1
    for end in (free, driven):
        np.testing.assert_allclose(momentum(end), momentum(STATE), atol=1e-9)


def test_power_is_that_of_the_joints_less_what_the_fluid_takes():
    swimmer = Swimmer()
    _, power = jax.jvp(swimmer.energy, (STATE,), (swimmer.velocity(STATE, TORQUE, 0.0),))
    q, qd = np.split(np.asarray(STATE), 2)
    w = np.asarray(swimmer._velocities(*jnp.split(STATE, 2)))
    _, angles = centres(swimmer, q)
    normal = np.stack([-np.sin(angles), np.cos(angles)], axis=1)
    across = np.sum(w[:6].reshape(3, 2) * normal, axis=1)
    lost = 10.0 * np.sum(across**2) + 10.0 / 12.0 * np.sum(w[6:] ** 2)
    np.testing.assert_allclose(power, TORQUE @ qd[3:] - lost, rtol=1e-10)


def test_jacobians_of_a_step():
    problem = Swimmer().problem()
    A, B = jax.jacobian(problem.dynamics, (0, 1))(STATE, TORQUE, 0.0)
    z, h = np.concatenate([STATE, TORQUE]), 1e-6

    def step(z):
        return np.asarray(problem.dynamics(jnp.asarray(z[:10]), jnp.asarray(z[10:]), 0.0))

    differences = np.stack([(step(z + h * e) - step(z - h * e)) / (2 * h) for e in np.eye(12)], axis=1)
    np.testing.assert_allclose(np.concatenate([A, B], axis=1), differences, atol=1e-5)


def test_it_learns_to_swim_from_a_sinusoid():
    """Check 10: at most 80 over 120 knots, where rest costs 120."""
    swimmer = Swimmer()
    problem, phases = swimmer.problem(), 2.0 * np.pi * swimmer.dt * np.arange(120)
    wave = jnp.asarray(np.stack([np.sin(phases), np.sin(phases - 1.5)], axis=1))
    solution = ctg.solve(problem, jnp.zeros(10), wave, solver=ctg.solvers.BoxDDP(max_iterations=60))
    assert solution.cost <= 80.0 and float(solution.states[60:, 5].mean()) > 0.85


def test_a_rod_alone_is_no_swimmer():
    with pytest.raises(CostogoError, match="links is 1"):
        Swimmer(links=1)
