"""The two-link leg: the spec's equations, what the task shows and pays, delay, encoders, and that it can be done."""

import warnings

import mujoco
import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env

from costogo.core.errors import CostogoError
from costogo.sim.tasks import (
    GymnasiumEnvironment,
    LegEnvironment,
    LegOptions,
    foot_jacobian,
    foot_position,
    foot_target,
    joint_angles,
    leg_model,
    perturbed_leg,
    rms_tracking_error,
)

EXACT = LegOptions(delay=0, encoder_step=0.0)


def closed_form(q, dq, mass_factor=1.0):
    """Mass matrix and the other generalised forces, written out from spec 9.2."""
    length1, length2, m1, m2, g = 0.3, 0.3, 1.0 * mass_factor, 0.4 * mass_factor, 9.81
    I1, I2 = m1 * length1**2 / 12, m2 * length2**2 / 12
    s1, s12, c2, s2 = np.sin(q[0]), np.sin(q[0] + q[1]), np.cos(q[1]), np.sin(q[1])
    M11 = I1 + I2 + m1 * length1**2 / 4 + m2 * (length1**2 + length2**2 / 4 + length1 * length2 * c2)
    M12 = I2 + m2 * (length2**2 / 4 + length1 * length2 * c2 / 2)
    M22 = I2 + m2 * length2**2 / 4
    h = -0.5 * m2 * length1 * length2 * s2
    C = np.array([h * (2 * dq[0] * dq[1] + dq[1] ** 2), -h * dq[0] ** 2])
    gravity = g * np.array([(m1 * length1 / 2 + m2 * length1) * s1 + m2 * length2 / 2 * s12, m2 * length2 / 2 * s12])
    return np.array([[M11, M12], [M12, M22]]), C, gravity


@pytest.mark.parametrize("mass_factor", [1.0, 1.2])
def test_model_has_the_equations_of_the_spec(mass_factor):
    model, rng = leg_model(mass_factor=mass_factor), np.random.default_rng(0)
    data, mass = mujoco.MjData(model), np.zeros((2, 2))
    for _ in range(50):
        q, dq, tau = rng.uniform(-3, 3, 2), rng.uniform(-10, 10, 2), rng.uniform(-12, 12, 2)
        data.qpos[:], data.qvel[:], data.ctrl[:] = q, dq, tau
        mujoco.mj_forward(model, data)
        mujoco.mj_fullM(model, data, mass)
        M, C, g = closed_form(q, dq, mass_factor)
        np.testing.assert_allclose(mass, M, atol=1e-6)
        np.testing.assert_allclose(data.qfrc_bias, C + g, atol=1e-6)
        np.testing.assert_allclose(data.qacc, np.linalg.solve(M, tau - C - g - 0.05 * dq), rtol=1e-6, atol=1e-6)
        np.testing.assert_allclose(data.site("foot").xpos[[0, 2]], foot_position(q), atol=1e-12)


def test_kinematics_and_targets_agree_with_their_derivatives():
    rng, h = np.random.default_rng(1), 1e-6
    for _ in range(10):
        q = rng.uniform(-1, 1, 2)
        J = np.stack([(foot_position(q + d) - foot_position(q - d)) / (2 * h) for d in h * np.eye(2)], axis=1)
        np.testing.assert_allclose(foot_jacobian(q), J, atol=1e-8)
    for path in ("ellipse", "semi"):
        for phase in np.linspace(0, 2 * np.pi, 13):
            p, dp, ddp = foot_target(path, phase)
            np.testing.assert_allclose(foot_position(joint_angles(p)), p, atol=1e-12)
            ahead, behind = (foot_target(path, phase + 2 * np.pi * s * 1e-5) for s in (1, -1))
            np.testing.assert_allclose(dp, (ahead[0] - behind[0]) / 2e-5, atol=1e-6)
            np.testing.assert_allclose(ddp, (ahead[1] - behind[1]) / 2e-5, atol=1e-5)
            assert path == "ellipse" or p[1] >= -0.45 - 1e-12
    np.testing.assert_allclose(foot_target("ellipse", 0.5 * np.pi)[0], [0.0, -0.39], atol=1e-12)
    with pytest.raises(CostogoError, match="out of reach"):
        joint_angles(np.array([1.0, 0.0]))


def track(env, seed, steps=1000, stiffness=900.0, damping=60.0):
    """Distances (m) to the target under computed torque from what is measured, with the lag of torques made up for."""
    env.reset(seed=seed)
    errors, lag = [], 0.002 * env.options.delay
    for _ in range(steps):
        q, dq = env._read + lag * env._rate, env._rate
        p, dp, ddp = env.target(lag)
        J = foot_jacobian(q)
        dJ = (foot_jacobian(q + 1e-6 * dq) - J) / 1e-6
        pull = ddp + damping * (dp - J @ dq) + stiffness * (p - foot_position(q))
        M, C, g = closed_form(q, dq)
        tau = M @ np.linalg.solve(J, pull - dJ @ dq) + C + g + 0.05 * dq
        errors.append(env.step(tau / 12.0)[4]["tracking_error"])
    return errors


@pytest.mark.parametrize("path", ["ellipse", "semi"])
@pytest.mark.parametrize("options", [EXACT, LegOptions()], ids=["exact", "delay and encoders"])
def test_task_can_be_done(path, options):
    """Computed torque and feedback: within the spec's 2 cm over the whole episode, start included."""
    errors = track(LegEnvironment(path=path, options=options), seed=3)
    assert rms_tracking_error(errors) < 0.02
    assert rms_tracking_error(errors, skip=300) < 0.002


def test_observation_and_reward_are_those_of_the_spec():
    for reward, (a, b) in {"scaled": (0.05, 0.5), "literal": (1.0, 1.0)}.items():
        env = LegEnvironment(reward=reward, options=EXACT)
        env.reset(seed=0)
        for _ in range(600):
            x, r, terminated, truncated, info = env.step(np.array([0.3, -0.2]))
        q, dq = env.data.qpos, env.data.qvel
        phase = 2 * np.pi * 600 * 0.002
        p, dp, _ = foot_target("ellipse", phase)
        e, de = foot_position(q) - p, foot_jacobian(q) @ dq - dp
        expected = np.concatenate([np.cos(q), np.sin(q), dq / 10, e, de, [np.sin(phase), np.cos(phase)]])
        np.testing.assert_allclose(x, expected, atol=1e-6)
        assert r == pytest.approx(0.8 * np.exp(-(e @ e) / a**2) + 0.2 * np.exp(-(de @ de) / b**2))
        assert info["tracking_error"] == pytest.approx(np.linalg.norm(e))
        assert not terminated and not truncated


def test_starts_lie_about_the_path():
    env, start = LegEnvironment(options=EXACT), joint_angles(foot_target("ellipse", 0.0)[0])
    offsets = []
    for seed in range(200):
        env.reset(seed=seed)
        offsets.append(env.data.qpos - start)
        np.testing.assert_array_equal(env.data.qvel, 0.0)
    assert 0.09 < np.max(np.abs(offsets)) <= 0.1
    assert np.all(np.min(offsets, axis=0) < -0.09)


def test_torques_arrive_late():
    """With a delay of d steps the motion is that of the same torques after d steps of none."""
    first = LegEnvironment(options=LegOptions(delay=3, encoder_step=0.0))
    second = LegEnvironment(options=EXACT)
    first.reset(seed=1)
    second.reset(seed=1)
    torques = np.random.default_rng(0).uniform(-1, 1, (20, 2))
    for k in range(20):
        first.step(torques[k])
        second.step(torques[k - 3] if k >= 3 else np.zeros(2))
        np.testing.assert_array_equal(first.data.qpos, second.data.qpos)


def test_encoders_round_angles_and_rates():
    step = 2 * np.pi / (4096 * 6)
    env = LegEnvironment(options=LegOptions(delay=0))
    env.reset(seed=2)
    before = env.data.qpos.copy()
    for _ in range(50):
        x = env.step(np.array([0.4, 0.1]))[0]
        q = step * np.round(env.data.qpos / step)
        rate = (q - step * np.round(before / step)) / 0.002
        np.testing.assert_allclose(x[:4], np.concatenate([np.cos(q), np.sin(q)]), atol=1e-6)
        np.testing.assert_allclose(x[4:6], rate / 10, atol=1e-6)
        before = env.data.qpos.copy()


def test_perturbations_act():
    draws = [perturbed_leg(seed) for seed in range(20)]
    assert draws[0] == perturbed_leg(0) and len(set(draws)) == 20
    assert all(0.8 <= d.mass_factor <= 1.2 and 0.4 <= d.dry_friction <= 0.9 and 5 <= d.delay <= 10 for d in draws)
    moved = []
    for friction in (0.0, 5.0):  # more than the weight of the leg
        env = LegEnvironment(options=LegOptions(dry_friction=friction, delay=0))
        env.reset(seed=0)
        start = env.data.qpos.copy()
        for _ in range(100):
            env.step(np.zeros(2))
        moved.append(np.max(np.abs(env.data.qpos - start)))
    assert moved[0] > 0.5 and moved[1] < 0.02  # MuJoCo's friction is soft: it creeps
    worst = max(rms_tracking_error(track(LegEnvironment(options=d), 0, 300, 100.0, 20.0)) for d in draws[:3])
    assert worst < 0.1  # it can be held, though not tracked as well


def test_leg_continues_to_the_bit():
    """With everything on that has a memory: torques on their way, encoders, noise."""
    actions = np.random.default_rng(0).uniform(-1, 1, (120, 2))
    options = perturbed_leg(4)
    one = GymnasiumEnvironment(LegEnvironment(options=options), time_limit=100)
    one.start(7)
    for u in actions[:40]:
        one.step(u)
    saved = one.save()
    two = GymnasiumEnvironment(LegEnvironment(options=options), time_limit=100)
    np.testing.assert_array_equal(two.load(saved), saved["observation"])
    for u in actions[40:100]:
        (x, *rest), (y, *others) = one.step(u), two.step(u)
        np.testing.assert_array_equal(x, y)
        assert rest == others
    assert rest[1:] == [False, True]
    np.testing.assert_array_equal(one.restart(), two.restart())


def test_leg_is_an_environment_by_gymnasiums_own_check():
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        check_env(LegEnvironment(), skip_render_check=True)
    assert not [str(w.message) for w in caught if "spec" not in str(w.message)]


def test_bad_input_is_refused():
    for make in (
        lambda: LegEnvironment(path="elipse"),
        lambda: LegEnvironment(reward="scalde"),
        lambda: LegEnvironment(options={}),
        lambda: LegOptions(delay=-1),
        lambda: LegOptions(mass_factor=0.0),
        lambda: LegOptions(rate_noise=-1.0),
        lambda: rms_tracking_error([]),
        lambda: leg_model(timestep=0.0),
    ):
        with pytest.raises(CostogoError):
            make()
