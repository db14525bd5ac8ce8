"""The simulated quadruped: geometry and masses as stated, the whole-body program, standing and trotting."""

import subprocess
import sys

import mujoco
import numpy as np
import pytest

from costogo import CostogoError
from costogo.sim import (
    EstimateNoise,
    Push,
    QuadrupedSimulation,
    Reference,
    RobotModel,
    SimulationOptions,
    TrackingGains,
    WholeBodyController,
    anymal_model,
    from_mujoco,
    standing_state,
    to_mujoco,
    track,
)
from stepping import GRAVITY, TrotInPlace, foot, stand

NOISY = SimulationOptions(noise=EstimateNoise.typical())
TOLERANCE = 1e-5


def random_state(rng: np.random.Generator) -> np.ndarray:
    x = rng.uniform(-1, 1, 24)
    x[0], x[1], x[2] = rng.uniform(-3, 3), rng.uniform(-1.5, 1.5), rng.uniform(-3, 3)
    return x


def composite(model, x: np.ndarray) -> tuple[float, np.ndarray, np.ndarray]:
    """Mass, centre and inertia about it of all links."""
    data = mujoco.MjData(model)
    data.qpos[:], _ = to_mujoco(x, np.zeros(12))
    mujoco.mj_forward(model, data)
    mass = model.body_mass.sum()
    centre = model.body_mass @ data.xipos / mass
    inertia = np.zeros((3, 3))
    for m, diagonal, place, axes in zip(model.body_mass, model.body_inertia, data.xipos, data.ximat, strict=True):
        axes, arm = axes.reshape(3, 3), place - centre
        inertia += axes @ np.diag(diagonal) @ axes.T + m * (arm @ arm * np.eye(3) - np.outer(arm, arm))
    return mass, centre, inertia


def test_feet_are_where_the_closed_form_puts_them():
    rng = np.random.default_rng(0)
    robot = RobotModel(anymal_model())
    for _ in range(20):
        x = random_state(rng)
        x[:6] = 0.0
        closed = [foot(i, x[12 + 3 * i : 15 + 3 * i]) for i in range(4)]
        np.testing.assert_allclose(robot.terms(x, np.zeros(12)).positions, closed, atol=1e-6)


def test_composite_is_that_of_the_kinodynamic_model():
    model = anymal_model()
    mass, centre, inertia = composite(model, standing_state(0.0))
    assert mass == pytest.approx(52.135, abs=0.005)
    masses = {model.body(i).name: model.body_mass[i] for i in range(1, model.nbody)}
    assert masses["base"] == pytest.approx(26.373)
    for link, expected in (("HIP", 2.781), ("THIGH", 3.071), ("SHANK", 0.588)):
        np.testing.assert_allclose([v for k, v in masses.items() if k.endswith(link)], expected)
    np.testing.assert_allclose(centre, [-0.0071, 0.0, -0.0645], atol=1e-4)
    np.testing.assert_allclose(inertia, np.diag([1.632, 4.841, 4.720]), atol=1e-3)


def test_mass_scale_multiplies_the_whole_robot():
    mass, centre, inertia = composite(anymal_model(), standing_state())
    heavy, same, scaled = composite(anymal_model(mass_scale=1.2), standing_state())
    assert heavy == pytest.approx(1.2 * mass)
    np.testing.assert_allclose(same, centre, atol=1e-12)
    np.testing.assert_allclose(scaled, 1.2 * inertia, atol=1e-9)


def test_state_survives_the_conversion_and_back():
    rng = np.random.default_rng(1)
    for _ in range(20):
        x, rates = random_state(rng), rng.normal(size=12)
        back, back_rates = from_mujoco(*to_mujoco(x, rates))
        np.testing.assert_allclose(back, x, atol=1e-12)
        np.testing.assert_array_equal(back_rates, rates)


def test_terms_agree_with_finite_differences():
    """Foot velocities and `Jdot qdot`, and that free motion conserves energy: `vdot' M v` balances the bias."""
    rng = np.random.default_rng(2)
    robot, x, rates, h = RobotModel(anymal_model()), random_state(rng), rng.normal(size=12), 1e-6
    model = robot.model
    terms = robot.terms(x, rates)
    around = []
    for sign in (-1, 1):
        qpos, qvel = to_mujoco(x, rates)
        mujoco.mj_integratePos(model, qpos, qvel, sign * h)
        around.append(robot.terms(*from_mujoco(qpos, qvel)))
    before, after = around
    np.testing.assert_allclose((after.positions - before.positions) / (2 * h), terms.velocities, atol=1e-6)
    slope = (after.jacobian - before.jacobian) @ terms.velocity / (2 * h)
    np.testing.assert_allclose(slope, terms.drift, atol=1e-5)


@pytest.mark.parametrize("contacts", [(1, 1, 1, 1), (1, 0, 0, 1), (0, 1, 1, 1), (0, 0, 0, 0)])
def test_program_keeps_its_constraints(contacts):
    rng = np.random.default_rng(3)
    robot, controller, contacts = RobotModel(anymal_model()), WholeBodyController(), np.array(contacts, bool)
    for _ in range(10):
        x = standing_state() + 0.05 * rng.normal(size=24)
        rates = 0.2 * rng.normal(size=12)
        _, u, _ = stand(0.0, x)
        command = controller(x, rates, Reference(standing_state(), u, contacts))
        assert command.solved
        terms, a = robot.terms(x, rates), command.accelerations
        left = terms.mass @ a + terms.bias
        right = np.concatenate([np.zeros(6), command.torques]) + terms.jacobian.T @ command.forces.ravel()
        np.testing.assert_allclose(left, right, atol=1e-4)
        still = (terms.jacobian @ a + terms.drift).reshape(4, 3)[contacts]
        np.testing.assert_allclose(still, 0.0, atol=1e-4)
        assert np.all(np.abs(command.forces[:, :2]) <= 0.5 * command.forces[:, 2:] + TOLERANCE)
        assert np.all(command.forces[~contacts] == 0.0)
        assert np.all(np.abs(command.torques) <= 80.0 + TOLERANCE)


def test_tight_limits_are_met_or_the_joints_held():
    x, u, contacts = stand(0.0, standing_state())
    free = WholeBodyController()(x, np.zeros(12), Reference(x, u, contacts))
    limit = 0.9 * np.abs(free.torques).max()
    tight = WholeBodyController(TrackingGains(torque_limit=limit))(x, np.zeros(12), Reference(x, u, contacts))
    assert tight.solved and np.abs(tight.torques).max() <= limit + TOLERANCE
    hopeless = WholeBodyController(TrackingGains(torque_limit=0.0, friction=0.0))
    fallback = hopeless(np.r_[x[:9], 3.0, x[10:]], np.ones(12), Reference(x, u, contacts))
    assert not fallback.solved and hopeless.failures == 1
    assert np.all(fallback.torques == 0.0)


def test_base_acceleration_is_followed():
    """With four feet on the ground and nothing to correct, the base does what the feedforward says."""
    x, u, contacts = stand(0.0, standing_state())
    wanted = np.array([0.3, -0.2, 0.1, 0.4, -0.3, 0.5])
    command = WholeBodyController()(x, np.zeros(12), Reference(x, u, contacts, wanted))
    np.testing.assert_allclose(command.accelerations[[3, 4, 5, 0, 1, 2]], wanted, atol=0.05)


def test_stands_for_five_seconds_on_a_noisy_estimate():
    simulation = QuadrupedSimulation(NOISY)
    simulation.reset(seed=0)
    record = track(simulation, stand, 5.0)
    assert not record.fallen and record.failures == 0
    assert record.survived == pytest.approx(5.0)
    assert np.abs(record.states[:, 5] - 0.575).max() < 0.02
    assert np.rad2deg(np.abs(record.states[:, :2]).max()) < 2.0
    assert np.abs(record.torques).max() <= 80.0 + TOLERANCE
    weight = simulation.model.body_mass.sum() * GRAVITY
    assert record.forces[400:, :, 2].sum(axis=1).mean() == pytest.approx(weight, rel=0.01)


def test_frames_of_the_reference():
    """A robot that faces elsewhere takes on another pitch and height, with forces given in its turned base frame."""
    start = standing_state()
    start[2:5] = 2.0, 1.0, 2.0
    wanted = start.copy()
    wanted[1], wanted[5] = 0.1, 0.55
    _, u, contacts = stand(0.0, start)
    simulation = QuadrupedSimulation()
    simulation.reset(start)
    record = track(simulation, lambda t, x: (wanted, u, contacts), 2.0)
    np.testing.assert_allclose(record.final[:6], wanted[:6], atol=0.01)


@pytest.mark.parametrize("seed", [0, 1])
def test_trots_in_place_on_a_noisy_estimate(seed):
    """Feet leave the ground by 9 cm and land when they should; the base stays level and where it is."""
    simulation = QuadrupedSimulation(NOISY)
    simulation.reset(seed=seed)
    record = track(simulation, TrotInPlace(), 6.0)
    assert not record.fallen and record.failures == 0
    assert np.abs(record.states[:, 5] - 0.575).max() < 0.02
    assert np.rad2deg(np.abs(record.states[:, :2]).max()) < 3.0
    assert np.abs(record.states[:, 3:5]).max() < 0.15
    assert np.abs(record.torques).max() <= 80.0 + TOLERANCE
    robot = RobotModel(simulation.model)
    heights = np.array([robot.terms(x, np.zeros(12)).positions[:, 2] for x in record.states[::20]])
    assert np.all(heights.max(axis=0) > 0.08)
    carries = record.forces[..., 2] > 1.0
    assert np.mean(carries == record.contacts) > 0.95


def test_trot_needs_its_footholds():
    """What holds the trot up is the reference's feedback of the footholds, not help from outside."""
    record = track(QuadrupedSimulation(), TrotInPlace(placement=False), 6.0)
    assert record.fallen and record.survived < 6.0


def test_same_seed_same_run():
    options = SimulationOptions(noise=EstimateNoise.typical(), latency=2, pushes=(Push(0.6, (0.0, 10.0, 0.0)),))
    simulation, runs = QuadrupedSimulation(options), []
    for seed in (4, 4, 5):
        simulation.reset(seed=seed)
        runs.append(track(simulation, TrotInPlace(), 1.0))
    for name in ("states", "estimates", "torques", "forces"):
        np.testing.assert_array_equal(getattr(runs[0], name), getattr(runs[1], name))
        assert not np.array_equal(getattr(runs[0], name), getattr(runs[2], name))


def test_push_adds_its_impulse():
    """In free fall with no torque, the momentum changes by the impulse, whatever the grid of the steps."""
    aloft = standing_state(1.5)
    momenta = []
    for pushes in ((), (Push(0.0111, (3.0, -20.0, 5.0), duration=0.0333),)):
        simulation = QuadrupedSimulation(SimulationOptions(pushes=pushes))
        simulation.reset(aloft)
        for _ in range(40):
            simulation.step(np.zeros(12))
        mujoco.mj_subtreeVel(simulation.model, simulation.data)
        momenta.append(simulation.model.body_subtreemass[1] * simulation.data.subtree_linvel[1])
    np.testing.assert_allclose(momenta[1] - momenta[0], [3.0, -20.0, 5.0], atol=0.05)


def test_push_displaces_a_standing_robot():
    simulation = QuadrupedSimulation(SimulationOptions(pushes=(Push(0.5, (0.0, 15.0, 0.0)),)))
    record = track(simulation, stand, 1.0)
    assert np.abs(record.states[:200, 4]).max() < 1e-3
    assert not record.fallen and record.states[:, 4].max() > 5e-3


def test_estimate_is_delayed_and_as_noisy_as_stated():
    simulation = QuadrupedSimulation(SimulationOptions(latency=3))
    truths = [simulation.state()]
    for _ in range(10):
        simulation.step(np.zeros(12))
        truths.append(simulation.state())
    np.testing.assert_array_equal(simulation.estimate().x, truths[-4])
    noise = EstimateNoise(linear_velocity=0.1, joint_velocity=0.3, correlation=0.01)
    simulation = QuadrupedSimulation(SimulationOptions(noise=noise))
    simulation.reset(seed=7)
    errors, rates = [], []
    for _ in range(3000):
        simulation.step(np.zeros(12))
        estimate = simulation.estimate()
        errors.append(estimate.x - simulation.state())
        rates.append(estimate.joint_velocities - simulation.joint_velocities())
    errors, rates = np.array(errors), np.array(rates)
    assert np.all(np.delete(errors, [9, 10, 11], axis=1) == 0.0)
    np.testing.assert_allclose(errors[:, 9:12].std(axis=0), 0.1, rtol=0.15)
    np.testing.assert_allclose(rates.std(axis=0), 0.3, rtol=0.15)
    v = errors[:, 9]
    assert np.mean(v[1:] * v[:-1]) / np.mean(v**2) == pytest.approx(np.exp(-0.25), abs=0.06)


def test_fallen():
    simulation = QuadrupedSimulation()
    assert not simulation.fallen()
    for index, value in ((0, 0.6), (1, -0.6), (5, 0.8), (5, 0.3)):
        x = standing_state()
        x[index] = value
        simulation.reset(x)
        assert simulation.fallen()
    simulation = QuadrupedSimulation(height=0.2)  # the base lies on the floor, its height no error
    x = standing_state(0.2)
    x[12:] = np.tile([0.0, 1.4, -2.6], 4)
    simulation.reset(x)
    for _ in range(200):
        simulation.step(np.zeros(12))
    assert abs(simulation.state()[5] - 0.2) < 0.2 and simulation.fallen()


def test_controller_is_asked_every_so_often():
    calls = []

    def controller(t, x):
        calls.append(t)
        return stand(t, x)

    record = track(QuadrupedSimulation(), controller, 0.1, every=8)
    np.testing.assert_allclose(calls, 0.02 * np.arange(5), atol=1e-9)
    assert record.states.shape == (40, 24) and record.forces.shape == (40, 4, 3)


def test_misuse_names_argument_value_and_fix():
    simulation = QuadrupedSimulation()
    x, u, contacts = stand(0.0, standing_state())
    with pytest.raises(CostogoError, match=r"torques has shape \(3,\).*12 joint torques"):
        simulation.step(np.zeros(3))
    with pytest.raises(CostogoError, match=r"torques is .*nan.*finite"):
        simulation.step(np.full(12, np.nan))
    with pytest.raises(CostogoError, match=r"x has shape \(12,\)"):
        simulation.reset(np.zeros(12))
    with pytest.raises(CostogoError, match=r"reference.u has shape \(12,\)"):
        WholeBodyController()(x, np.zeros(12), Reference(x, u[:12], contacts))
    with pytest.raises(CostogoError, match="latency is -1"):
        SimulationOptions(latency=-1)
    with pytest.raises(CostogoError, match=r"friction is 0\.0"):
        SimulationOptions(friction=0.0)
    with pytest.raises(CostogoError, match=r"position is -1\.0"):
        EstimateNoise(position=-1.0)
    with pytest.raises(CostogoError, match="every is 0"):
        track(simulation, stand, 1.0, every=0)


def test_importing_costogo_does_not_import_mujoco():
    probe = "import sys, costogo; print([m for m in ('mujoco', 'daqp') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", probe], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_renders_the_robot():
    simulation = QuadrupedSimulation()
    frames = simulation.render(np.stack([standing_state(), standing_state(1.0)]), width=160, height=120)
    assert frames.shape == (2, 120, 160, 3) and frames.dtype == np.uint8
    red = (frames[0, ..., 0] > 90) & (frames[0, ..., 1] < 60)
    assert red.mean() > 0.005  # the shell
    assert not np.array_equal(frames[0], frames[1])
