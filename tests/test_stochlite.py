"""Stochlite: its numbers, its legs and gait, the reward by hand, walking on slopes, and states that continue."""

import math

import jax.numpy as jnp
import mujoco
import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env

from costogo import CostogoError
from costogo.sim.models.stochlite import FOOT_RADIUS, LEGS, TORQUE_LIMIT, alter, stochlite_model, stochlite_xml
from costogo.sim.stochlite import (
    FOOT_BELOW,
    HIPS,
    KNEE_RANGE,
    Gait,
    Modulation,
    Motion,
    Trot,
    fallen,
    leg_angles,
    modulation,
    sense,
    servo_torques,
    slope_action,
    walking_reward,
)
from costogo.sim.tasks.stochlite import StochliteEnvironment, StochliteOptions, perturbed_stochlite

STILL = Modulation(np.zeros((4, 3)), np.zeros(3))


def degrees(*angles):
    return tuple(math.radians(angle) for angle in angles)


def feet_of(model, angles):
    """Centres of the feet (4, 3) from their axes of abduction, in the torso, by MuJoCo."""
    data = mujoco.MjData(model)
    data.qpos[7:] = np.ravel(angles)
    mujoco.mj_kinematics(model, data)
    return np.array([data.geom(f"{leg}_foot").xpos - data.body("torso").xpos for leg in LEGS]) - HIPS


def walk(env, steps, policy=slope_action, seed=0):
    """Observations, rewards, velocities and how it ended."""
    x, _ = env.reset(seed=seed)
    seen, rewards, velocities, over = [x], [], [], (False, False)
    while len(rewards) < steps and not any(over):
        x, reward, *over, info = env.step(policy(x))
        seen.append(x)
        rewards.append(reward)
        velocities.append(info["velocity"])
    return np.array(seen), np.array(rewards), np.array(velocities), tuple(over)


def test_it_has_the_numbers_of_the_spec():
    model = stochlite_model()
    assert model.nq == 19 and model.nu == 12
    np.testing.assert_allclose(model.body_mass.sum(), 3.23)
    np.testing.assert_allclose(model.body("torso").mass, 1.582)
    np.testing.assert_allclose(model.body("torso").inertia, [0.00576, 0.02534, 0.03026])
    for leg in LEGS:
        masses = [model.body(f"{leg}_{link}").mass[0] for link in ("abduction", "thigh", "shank")]
        np.testing.assert_allclose(masses, [0.037, 0.320, 0.055])
        sx, sy = 1 if leg[0] == "F" else -1, 1 if leg[1] == "L" else -1
        np.testing.assert_allclose(model.body(f"{leg}_abduction").pos, [0.167 * sx, 0.096 * sy, -0.005])
    straight = feet_of(model, np.zeros(12))
    np.testing.assert_allclose(straight, [[0.0, s * 0.075, -0.318] for s in (1, -1, 1, -1)], atol=1e-12)
    np.testing.assert_allclose(model.geom_friction[:, 0], 0.6)


def test_inverse_kinematics_is_the_inverse():
    model, rng = stochlite_model(), np.random.default_rng(0)
    for _ in range(100):
        feet = np.array([0.0, 0.0, -0.22]) + rng.uniform(-1.0, 1.0, (4, 3)) * [0.12, 0.12, 0.06]
        angles = leg_angles(feet)
        np.testing.assert_allclose(feet_of(model, angles), feet, atol=1e-12)
        assert np.all(angles[:, 2] < 0.0)  # knees behind the feet
    far = leg_angles(np.array([[0.2, 0.05, -0.6]] * 4))
    np.testing.assert_allclose(far[:, 2], KNEE_RANGE[1])
    reached = feet_of(model, far)
    np.testing.assert_allclose(reached[:, 0] / reached[:, 2], -0.2 / 0.6, atol=0.01)
    assert np.isfinite(leg_angles(np.array([[0.0, 0.0, 0.0]] * 4))).all()


def test_the_trot_has_its_phases():
    """Diagonal legs together, 2.5 Hz, 0.2 s of swing, a rise of 8 cm."""
    trot, gait = Trot(), Trot().start()
    assert trot.cycle == 40
    heights = []
    for _ in range(80):
        gait, feet = trot.advance(gait, STILL)
        heights.append(feet[:, 2] + FOOT_BELOW)
    heights = np.array(heights)
    np.testing.assert_array_equal(heights[:, 0], heights[:, 3])
    np.testing.assert_array_equal(heights[:, 1], heights[:, 2])
    np.testing.assert_array_equal(heights[:40], heights[40:])
    np.testing.assert_allclose(heights[:20, 0], heights[20:40, 1])
    np.testing.assert_array_equal((heights > 0.0).sum(axis=0), 38)  # 19 intervals between lift-off and touch-down
    np.testing.assert_allclose(heights[9], [0.08, 0.0, 0.0, 0.08])
    np.testing.assert_allclose(heights[4, 0], 0.04)


def test_feet_land_ahead_and_push_back():
    """They land `v T_st / 2 + shift` from below the hips, whatever was asked before, and then move with -v."""
    trot = Trot()
    action = modulation(np.array([0.3, 0, 0, 0, 0.2, 0, 0, 0, -0.1, 0, 0, 0, 0.5, -0.4, 0.0]))
    gait, feet = Gait(0, np.full((4, 2), 0.02)), np.zeros((4, 3))
    for _ in range(19):
        gait, feet = trot.advance(gait, action)
    np.testing.assert_allclose(feet[0, :2], [0.25 * 0.1 + 0.03, -0.1 * 0.1 + 0.02 + 0.05])
    np.testing.assert_allclose(feet[3, :2], [0.25 * 0.1, -0.1 * 0.1 - 0.05])
    gait, after = trot.advance(gait, action)
    np.testing.assert_allclose(after[0] - feet[0], [-0.0025, 0.001, feet[1, 2] - 0.01 - feet[0, 2]], atol=1e-12)
    turned, _ = trot.advance(trot.start(), Modulation(action.shifts, np.array([0.0, 0.0, 2.0])))
    np.testing.assert_allclose(turned.feet[1], [-0.01 * 2.0 * 0.146, -0.05 - 0.01 * 2.0 * 0.167])  # FR stands


def test_actions_are_cut_off_and_scaled():
    action = modulation(np.full(15, 3.0))
    np.testing.assert_allclose(action.shifts, [[0.1, 0.1 + 0.05 * s, 0.1] for s in (1, -1, 1, -1)])
    np.testing.assert_allclose(action.velocity, [0.5, 0.25, 2.0])


def test_the_reward_by_hand():
    perfect = Motion(0.25, 0.1, -0.2, np.zeros(3), 0.1, -0.2, np.array([0.25, 0.0]))
    assert walking_reward(perfect, 0.0, (0.25, 0.0, 0.0)) == pytest.approx(53.0 - 1.0 + 1.0)
    motion = Motion(0.26, 0.2, 0.0, np.array([0.1, -0.2, 0.5]), 0.1, -0.1, np.array([0.15, 0.2]))
    e = math.exp
    expected = 2 * e(-0.45) + 20 * e(-1.0) + 15 * e(-0.25) + 10 * e(-0.25) + 3 * e(-1.0) + 3 * e(-4.0) - 2.0
    assert walking_reward(motion, 40.0, (0.25, 0.0, 0.0)) == pytest.approx(expected)


def test_what_counts_as_a_fall():
    cases = [(0.52, 0.0, 0.2), (0.53, 0.0, 0.2), (0.0, -0.61, 0.2), (0.0, -0.62, 0.2), (0.0, 0.0, 0.71)]
    ends = [False, True, False, True, True]
    assert [fallen(*case) for case in cases] == ends
    assert fallen(*jnp.array(cases).T).tolist() == ends


def test_what_is_sensed_refers_to_the_slope():
    """A torso that was put parallel to the ground, turned in its plane, and moves in its plane."""
    slope = degrees(8.0, -12.0)
    qpos, qvel, R = np.zeros(19), np.zeros(18), np.zeros(9)
    model = stochlite_model(slope=slope)
    ground = model.body("ground").quat
    spin = np.array([math.cos(0.4), 0.0, 0.0, math.sin(0.4)])  # 0.8 rad about the normal
    mujoco.mju_mulQuat(qpos[3:7], ground, spin)
    mujoco.mju_quat2Mat(R, qpos[3:7])
    axes = R.reshape(3, 3)
    qpos[:3], qvel[:3] = axes @ [1.0, 2.0, 0.3], axes @ [0.4, 0.1, 0.0]
    qvel[3:6] = [0.1, 0.2, 0.3]
    motion = sense(qpos, qvel, slope)
    assert motion.height == pytest.approx(0.3)
    assert (motion.roll, motion.pitch) == pytest.approx((motion.slope_roll, motion.slope_pitch))
    np.testing.assert_allclose(motion.velocity, [0.4, 0.1], atol=1e-12)
    np.testing.assert_allclose(motion.observation()[3:6], [0.1, 0.2, 0.3])


def test_servos_are_those_of_the_spec():
    model = stochlite_model()
    data, rng = mujoco.MjData(model), np.random.default_rng(1)
    data.qpos[2], data.qpos[7:], data.qvel[6:] = 2.0, rng.normal(size=12) * 0.02, rng.normal(size=12) * 0.3
    data.ctrl[:] = rng.normal(size=12) * 0.02
    mujoco.mj_forward(model, data)
    torques = servo_torques(data.ctrl, data.qpos[7:], data.qvel[6:])
    np.testing.assert_allclose(data.actuator_force, torques, atol=1e-12)
    assert np.abs(torques).max() == TORQUE_LIMIT and np.abs(torques).min() < 6.0


def test_an_altered_model_is_as_if_compiled_anew():
    slope, ends = degrees(5.0, -9.0), []
    altered, fresh = stochlite_model(), stochlite_model(slope=slope, friction=0.4)
    alter(altered, slope=slope, friction=0.4, mass_factor=1.0)
    for model in (altered, fresh):
        data = mujoco.MjData(model)
        data.qpos[2] = 0.3
        mujoco.mj_step(model, data, nstep=500)
        ends.append(data.qpos.copy())
    np.testing.assert_array_equal(*ends)
    alter(altered, slope=slope, friction=0.4, mass_factor=1.5)
    np.testing.assert_allclose(altered.body_mass.sum(), 1.5 * 3.23)
    np.testing.assert_allclose(altered.body("torso").subtreemass, 1.5 * 3.23)
    alter(altered, slope=slope, friction=0.4, mass_factor=1.0)
    np.testing.assert_array_equal(altered.body_mass, fresh.body_mass)


@pytest.mark.parametrize("slope", [(0, 0), (0, -7), (0, 7), (7, 0), (0, -13), (-13, 0)])
def test_the_hand_tuned_action_walks(slope):
    """Ten seconds without a fall; the way is at least 0.17 m/s long."""
    env = StochliteEnvironment(slope=degrees(*slope))
    seen, rewards, velocities, over = walk(env, 1000)
    assert len(rewards) == 1000 and over == (False, True)
    assert np.abs(seen[:, 0] - 0.25).max() < 0.03
    assert velocities[:, 0].mean() > 0.17
    assert rewards[:-1].mean() > 37.0 and rewards[-1] == 0.0  # spec: nothing for the last step


def test_without_shifts_it_falls_where_the_slope_is_steep():
    env = StochliteEnvironment(slope=degrees(0.0, -13.0))
    _, rewards, _, over = walk(env, 1000, lambda x: slope_action(np.zeros(8), back=0.0))
    assert over == (True, False) and len(rewards) < 500 and rewards[-1] == 0.0


def test_feet_start_on_the_ground():
    env = StochliteEnvironment(slope=degrees(-6.0, 10.0))
    mujoco.mj_forward(env.model, env.data)
    feet = {env.model.geom(f"{leg}_foot").id for leg in LEGS}
    normal = env.data.body("ground").xmat.reshape(3, 3)[:, 2]
    for foot in feet:
        assert normal @ env.data.geom(foot).xpos == pytest.approx(FOOT_RADIUS, abs=1e-9)


def test_smaller_steps_give_the_same_walk():
    """Steps of 0.1 ms in place of 0.5 ms: way within 1 cm, reward within 4 %."""
    results = []
    for timestep in (5e-4, 1e-4):
        env = StochliteEnvironment(slope=degrees(0.0, -9.0))
        env.model.opt.timestep, env._substeps = timestep, round(0.01 / timestep)
        _, rewards, _, _ = walk(env, 300)
        results.append((env.data.qpos[0], rewards.mean()))
    (way, reward), (fine_way, fine_reward) = results
    assert way == pytest.approx(fine_way, abs=0.01)
    assert reward == pytest.approx(fine_reward, rel=0.04)


@pytest.mark.filterwarnings("error")
def test_gymnasium_accepts_it():
    check_env(StochliteEnvironment(), skip_render_check=True)


def test_episodes_draw_slopes_and_repeat():
    env = StochliteEnvironment()
    slopes = []
    for seed in range(40):
        x, _ = env.reset(seed=seed)
        np.testing.assert_allclose(x[6:], env.slope, rtol=1e-6)
        slopes.append(np.degrees(env.slope))
    roll, pitch = np.array(slopes).T
    assert np.abs(roll).max() <= 13.0 and np.abs(roll).min() < 2.0
    assert np.abs(pitch).max() <= 13.0 and np.abs(pitch).min() >= 5.0 and pitch.min() < 0.0 < pitch.max()
    options = perturbed_stochlite(3)
    runs = [walk(StochliteEnvironment(options=options), 50, seed=7)[0] for _ in range(2)]
    np.testing.assert_array_equal(*runs)


@pytest.mark.parametrize("options", [StochliteOptions(), perturbed_stochlite(1)])
def test_saved_states_continue_to_the_bit(options):
    """In a new environment in the middle of an episode, and on through the next one."""
    first, second = StochliteEnvironment(options=options), StochliteEnvironment(options=options)
    walk(first, 57, seed=3)
    state = first.save_state()
    second.reset(seed=99)
    second.step(np.ones(15))
    second.load_state(state)
    rng = np.random.default_rng(0)
    for k in range(60):
        action = rng.uniform(-0.3, 0.3, 15)
        if k == 40:
            np.testing.assert_array_equal(first.reset()[0], second.reset()[0])
        x, y = first.step(action), second.step(action)
        np.testing.assert_array_equal(x[0], y[0])
        assert x[1:4] == y[1:4]
    for name, value in first.save_state().items():
        np.testing.assert_array_equal(value, second.save_state()[name])


def test_delay_and_noise():
    """Targets arrive late; noise is on what is seen and not in what happens."""
    plain, late, noisy = (
        StochliteEnvironment(slope=(0.0, 0.0), options=options)
        for options in (
            StochliteOptions(),
            StochliteOptions(delay=2),
            StochliteOptions(angle_noise=0.02, rate_noise=0.1, noise_seed=5),
        )
    )
    targets, seen = [], []
    for env in (plain, late, noisy):
        env.reset(seed=0)
        action = np.full(15, 0.2)
        rows = [(env.step(action)[0], env.data.ctrl.copy()) for _ in range(40)]
        seen.append(np.array([row[0] for row in rows]))
        targets.append(np.array([row[1] for row in rows]))
    np.testing.assert_array_equal(targets[1][2:], targets[0][:-2])
    np.testing.assert_array_equal(targets[2], targets[0])
    error = seen[2] - seen[0]
    assert not error[:, [0, 6, 7]].any()
    assert 0.014 < error[:, 1:3].std() < 0.026 and 0.07 < error[:, 3:6].std() < 0.13


def test_mistakes():
    with pytest.raises(CostogoError, match="slope is"):
        stochlite_xml(slope=(0.0, 1.0))
    with pytest.raises(CostogoError, match=r"action has shape \(12,\)"):
        modulation(np.zeros(12))
    with pytest.raises(CostogoError, match="finite"):
        modulation(np.full(15, np.nan))
    with pytest.raises(CostogoError, match=r"dt 0\.03"):
        Trot(dt=0.03)
    with pytest.raises(CostogoError, match=r"delay is 1\.5"):
        StochliteOptions(delay=1.5)
    with pytest.raises(CostogoError, match="mass_factor is 0"):
        StochliteOptions(mass_factor=0.0)
    with pytest.raises(CostogoError, match="command is"):
        StochliteEnvironment(command=(0.1, 0.0))
    with pytest.raises(CostogoError, match="state differs"):
        StochliteEnvironment().load_state({})
