"""The swimmer and the walker: energy, momentum and drag in closed form, the spec's numbers, standing and falling."""

import jax.numpy as jnp
import mujoco
import numpy as np
import pytest
import scipy.linalg

from costogo.problem.rollout import AffineFeedback
from costogo.sim import BodyPush, MujocoDynamics, swimmer_model, walker_model
from costogo.sim.mujoco_model import keyframe_state


def energy_and_momentum(model, x):
    data = mujoco.MjData(model)
    data.qpos[:], data.qvel[:] = x[:5], x[5:]
    mujoco.mj_forward(model, data)
    mass = np.zeros((5, 5))
    mujoco.mj_fullM(model, data, mass)
    mujoco.mj_subtreeVel(model, data)
    return 0.5 * x[5:] @ mass @ x[5:], (model.body_subtreemass[0] * data.subtree_linvel[0])[:2]


def coast(dynamics, x, seconds):
    N = round(seconds / dynamics.dt)
    law = AffineFeedback.open_loop(jnp.zeros((N, dynamics.nu)), dynamics.nx)
    return np.asarray(dynamics.rollout(jnp.asarray(x), law, jnp.arange(N) * dynamics.dt)[0])


def test_swimmer_without_fluid_keeps_energy_and_momentum():
    dynamics = MujocoDynamics(swimmer_model(drag=0.0, timestep=1e-4), substeps=100)
    states = coast(dynamics, np.random.default_rng(0).normal(size=10), 1.0)
    energies, momenta = zip(*(energy_and_momentum(dynamics.model, x) for x in states), strict=True)
    np.testing.assert_allclose(energies, energies[0], rtol=2e-3)
    np.testing.assert_allclose(momenta, np.tile(momenta[0], (len(states), 1)), atol=2e-3 * np.linalg.norm(momenta[0]))


def test_swimmer_is_braked_as_stated():
    """Straight and moving sideways, `dw/dt = -drag w^2 / m`: `w = w_0 / (1 + drag w_0 t / m)`. Lengthwise 1 % of it."""
    dynamics = MujocoDynamics(swimmer_model(timestep=1e-4), substeps=100)
    np.testing.assert_allclose(dynamics.model.body_mass.sum(), 3.0)
    for axis, drag in ((6, 10.0), (5, 0.1)):
        start = np.zeros(10)
        start[axis] = 0.8
        states, t = coast(dynamics, start, 0.5), 0.01 * np.arange(51)
        np.testing.assert_allclose(states[:, axis], 0.8 / (1.0 + drag * 0.8 * t), rtol=2e-3)
    moving = coast(MujocoDynamics(swimmer_model(), substeps=5), np.random.default_rng(0).normal(size=10), 2.0)
    energies = [energy_and_momentum(dynamics.model, x)[0] for x in moving]
    assert np.all(np.diff(energies) < 0.0)


def foot_forces(model, x, u=0.0):
    """Normal forces (N) of the floor by the name of the shape that it touches."""
    data = mujoco.MjData(model)
    data.qpos[:], data.qvel[:], data.ctrl[:] = x[:9], x[9:], u
    mujoco.mj_forward(model, data)
    wrench, forces = np.zeros(6), {}
    for i, pair in enumerate(data.contact.geom):
        name = model.geom(max(pair)).name
        mujoco.mj_contactForce(model, data, i, wrench)
        forces[name] = forces.get(name, 0.0) + wrench[0]
    return forces


def standing_feedback(dynamics, N):
    """A pose with flat feet that bear the weight, and the linear-quadratic regulator of its linearisation."""
    lean, hip, knee = 0.08, 0.06, -0.1
    x = np.zeros(18)
    x[1:9] = [1.158, lean, hip, knee, lean - hip - knee, hip, knee, lean - hip - knee]
    _, A, B = (np.asarray(a) for a in dynamics.linearise(x, np.zeros(6), 0.0))
    Q, R = np.diag(np.concatenate([[1.0, 10.0, 10.0], np.ones(6), np.full(9, 0.1)])), 1e-3 * np.eye(6)
    P = scipy.linalg.solve_discrete_are(A, B, Q, R)
    K = -np.linalg.solve(R + B.T @ P @ B, B.T @ P @ A)
    limit = dynamics.control_bounds()[1]
    parts = (x, np.zeros(6), K, -limit, limit)
    return x, AffineFeedback(*(jnp.asarray(np.tile(part, (N,) + (1,) * part.ndim)) for part in parts))


def test_walker_has_the_numbers_of_the_spec():
    model = walker_model()
    np.testing.assert_allclose(model.body_mass.sum(), 23.677, atol=1e-3)
    np.testing.assert_allclose(model.body_mass[1:5], [3.665, 4.058, 2.781, 3.167], atol=1e-3)
    assert (model.nq, model.nv, model.nu, model.njnt) == (9, 9, 6, 9)
    np.testing.assert_allclose(np.rad2deg(model.jnt_range[3:6]), [[-60, 120], [-150, 0], [-45, 45]])
    np.testing.assert_allclose(np.rad2deg(model.jnt_range[6:]), [[-60, 120], [-150, 0], [-45, 45]])
    np.testing.assert_array_equal(model.actuator_ctrlrange, [[-100.0, 100.0]] * 6)
    np.testing.assert_allclose(model.dof_damping, [0] * 3 + [0.1] * 6)
    np.testing.assert_allclose(model.dof_armature, [0] * 3 + [0.01] * 6)
    assert model.qpos0[1] == pytest.approx(1.25)


def test_walker_frames():
    """Positive hip: thigh forward. Positive pitch: head forward. The keyframe: soles on the floor."""
    model = walker_model()
    data = mujoco.MjData(model)
    data.qpos[:] = [0.0, 1.25, 0.0, 0.3, -0.2, 0.1, 0.0, 0.0, 0.0]
    mujoco.mj_kinematics(model, data)
    ankle = data.body("right_foot").xpos
    expected = np.array([0.45 * np.sin(0.3) + 0.5 * np.sin(0.1), 1.05 - 0.45 * np.cos(0.3) - 0.5 * np.cos(0.1)])
    np.testing.assert_allclose(ankle[[0, 2]], expected, atol=1e-12)
    data.qpos[:] = [0.0, 1.25, 0.3, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0]
    mujoco.mj_kinematics(model, data)
    assert data.body("left_foot").xpos[0] < -0.3
    stand = keyframe_state(model, "stand")
    assert not foot_forces(model, stand + 1e-9 * (np.arange(18) == 1))
    assert set(foot_forces(model, stand - 1e-3 * (np.arange(18) == 1))) == {"right_foot", "left_foot"}


def test_walker_stands_on_its_feet():
    """Under the regulator it comes to rest, and the floor bears its weight, on the feet alone."""
    dynamics, N = MujocoDynamics(walker_model(), substeps=5), 300
    start, law = standing_feedback(dynamics, N)
    states, controls = (np.asarray(a) for a in dynamics.rollout(jnp.asarray(start), law, jnp.arange(N) * dynamics.dt))
    assert np.all(np.abs(states[:, 1] - start[1]) < 0.05)
    assert np.all(np.abs(states[-1, 9:]) < 1e-4)
    forces = foot_forces(dynamics.model, states[-1], controls[-1])
    assert set(forces) == {"right_foot", "left_foot"}
    np.testing.assert_allclose(sum(forces.values()), 23.677 * 9.81, rtol=1e-3)


def test_limp_walker_falls():
    """It ends in a squat, at the limits of its joints."""
    dynamics = MujocoDynamics(walker_model(), substeps=5)
    states = coast(dynamics, dynamics.initial_state("stand") + 0.01, 2.0)
    assert states[-1, 1] < 0.7  # fallen (spec 8.2)
    assert states[:, 1].min() > 0.0  # not through the floor
    slack = np.deg2rad(3.0)  # limits are soft
    lower, upper = dynamics.model.jnt_range[3:].T
    assert np.all((states[-1, 3:9] > lower - slack) & (states[-1, 3:9] < upper + slack))


def test_push_on_the_walker_in_flight():
    """Spec 8.4: 400 N for 100 ms on the torso give 40 N s, and turn the body."""
    push = BodyPush("torso", 0.02, (400.0, 0.0, 0.0))
    dynamics = MujocoDynamics(walker_model(timestep=1e-4), substeps=100, pushes=[push])
    start = dynamics.initial_state("stand") + 2.0 * (np.arange(18) == 1)
    final = coast(dynamics, start, 0.15)[-1]
    data = mujoco.MjData(dynamics.model)
    data.qpos[:], data.qvel[:] = final[:9], final[9:]
    mujoco.mj_forward(dynamics.model, data)
    mujoco.mj_subtreeVel(dynamics.model, data)
    np.testing.assert_allclose(23.677 * data.subtree_linvel[0][0], 40.0, rtol=1e-2)
    assert abs(final[11]) > 0.5
