"""Ballbot and point mass (spec mpc_net 8.7)."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import costogo as ctg
from costogo.mpc import RecedingHorizon, simulate
from costogo.solvers import SLQ
from costogo.systems import Ballbot, PointMass

STATE = jnp.array([0.0, 0.0, 0.3, 0.1, -0.05, 0.2, 0.1, 0.5, -0.1, 0.2])


def test_ballbot_keeps_its_energy():
    """One second without torques: kinetic and potential energy to 1e-6 of what they are."""
    robot = Ballbot()
    flow = ctg.discretise(robot.velocity, 2.5e-4)
    end = jax.jit(lambda x: jax.lax.fori_loop(0, 4000, lambda i, x: flow(x, jnp.zeros(3), 0.0), x))(STATE)
    assert np.abs(end[3:5]).max() > 0.5  # it did fall
    assert abs(robot.energy(end) - robot.energy(STATE)) < 1e-6


def test_ballbot_work_of_the_wheels():
    """The energy grows by torque times the turning rate of the wheels."""
    robot, torque = Ballbot(), jnp.array([0.7, -0.4, 0.3])
    _, power = jax.jvp(robot.energy, (STATE,), (robot.velocity(STATE, torque, 0.0),))
    np.testing.assert_allclose(power, torque @ (robot._wheel_jacobian(STATE[:5]) @ STATE[5:]), rtol=1e-10)


def test_ballbot_is_lagrange():
    """Equations of motion against those from the Lagrangian itself, all derivatives by autodiff."""
    robot, u = Ballbot(), jnp.array([0.7, -0.4, 0.3])
    q, qd = STATE[:5], STATE[5:]

    def lagrangian(q, qd):
        return 0.5 * qd @ robot.mass_matrix(q) @ qd - robot.potential(q)

    M = jax.hessian(lagrangian, 1)(q, qd)
    drift = jax.jacfwd(jax.grad(lagrangian, 1), 0)(q, qd) @ qd
    force = robot._wheel_jacobian(q).T @ u
    qdd = np.linalg.solve(M, force + jax.grad(lagrangian, 0)(q, qd) - drift)
    np.testing.assert_allclose(robot.velocity(STATE, u, 0.0)[5:], qdd, rtol=1e-9, atol=1e-10)


def test_ballbot_mass_matrix_and_poles():
    """Positive definite at random attitudes; two unstable modes upright, of one speed; three wheels reach all of it."""
    robot = Ballbot()
    for seed in range(5):
        q = 0.4 * jax.random.normal(jax.random.PRNGKey(seed), (5,))
        assert np.linalg.eigvalsh(robot.mass_matrix(q)).min() > 0
    A, B = jax.jacobian(lambda x, u: robot.velocity(x, u, 0.0), (0, 1))(jnp.zeros(10), jnp.zeros(3))
    poles = np.linalg.eigvals(A).real
    assert np.sum(poles > 1.0) == 2
    reach = np.concatenate([np.linalg.matrix_power(A, k) @ B for k in range(4)], axis=1)
    assert np.linalg.matrix_rank(reach) == 10


def test_ballbot_yaw_does_not_matter():
    """Turning the world turns the motion: accelerations seen from the heading are the same."""
    robot, u = Ballbot(), jnp.array([0.7, -0.4, 0.3])
    turned = STATE.at[2].add(0.9)
    c, s = np.cos(0.9), np.sin(0.9)
    turn = jnp.array([[c, -s], [s, c]])
    turned = turned.at[5:7].set(turn @ STATE[5:7])
    a, b = robot.velocity(STATE, u, 0.0), robot.velocity(turned, u, 0.0)
    np.testing.assert_allclose(b[5:7], turn @ a[5:7], atol=1e-12)
    np.testing.assert_allclose(b[7:], a[7:], atol=1e-12)
    np.testing.assert_allclose(robot.observe(turned, 0.0)[5:7], robot.observe(STATE, 0.0)[5:7], atol=1e-12)


@pytest.mark.parametrize("system", [Ballbot(), PointMass()], ids=["ballbot", "point_mass"])
def test_mpc_brings_it_home(system):
    """Real-time iterations from three random starts: valid throughout, and closer to the goal at the end."""
    barrier = ctg.RelaxedBarrier(1.0, 0.2)
    controller = RecedingHorizon(system.problem(), solver=SLQ(barrier=barrier), iterations=1, guess=system.guess)
    starts = jax.vmap(lambda key: system.start(key)[0])(jax.random.split(jax.random.PRNGKey(0), 3))
    run = jax.jit(jax.vmap(lambda x: simulate(controller, x, 30, dynamics=system.plant())))(starts)
    assert np.all(jax.vmap(jax.vmap(system.valid))(run.states))
    goal = np.array(getattr(system, "goal", (0.0, 0.0)))
    distance = np.linalg.norm(run.states[..., :2] - goal, axis=-1)
    assert np.all(distance[:, -1] < np.maximum(0.25 * distance[:, 0], 0.2))


def test_point_mass_passes_on_the_side_of_its_start():
    """Two homotopy classes: mirrored starts give mirrored paths."""
    system = PointMass()
    controller = RecedingHorizon(
        system.problem(), solver=SLQ(barrier=ctg.RelaxedBarrier(1.0, 0.2)), iterations=1, guess=system.guess
    )
    run = jax.jit(lambda x: simulate(controller, x, 20).states)
    above, below = (run(jnp.array([-2.0, y, 0.0, 0.0])) for y in (0.2, -0.2))
    np.testing.assert_allclose(above * jnp.array([1.0, -1.0, 1.0, -1.0]), below, atol=1e-9)
    assert above[:, 1].max() > 0.5
