"""MuJoCo as dynamics: against MuJoCo itself, finite differences and closed forms; repeatability, batching, failures."""

import jax
import jax.numpy as jnp
import mujoco
import numpy as np
import pytest

import costogo as ctg
from costogo import CostogoError
from costogo.problem.rollout import AffineFeedback, open_loop, total_cost
from costogo.sim import BodyPush, MujocoDynamics, swimmer_model, swimmer_xml, walker_model
from costogo.sim.mujoco_engine import Engine, Pushes

PENDULUM = """<mujoco><option timestep="0.01" integrator="{integrator}"/><worldbody>
<body name="arm"><joint name="pin" axis="0 1 0"/>
<geom type="capsule" size="0.02" fromto="0 0 0 0 0 -1" mass="1"/></body>
</worldbody><actuator><motor joint="pin" ctrllimited="{limited}" ctrlrange="-2 2"/></actuator></mujoco>"""
SLIDER = """<mujoco><option timestep="0.004" gravity="0 0 0" integrator="implicitfast"/><worldbody>
<body name="cart"><joint name="rail" type="slide" axis="1 0 0"/><geom type="box" size="1 1 1" mass="2"/></body>
</worldbody><actuator><motor joint="rail"/></actuator></mujoco>"""


def pendulum(limited="true", integrator="implicitfast"):
    return PENDULUM.format(limited=limited, integrator=integrator)


def walker(**options):
    return MujocoDynamics(walker_model(), **{"substeps": 5, "threads": 2, **options})


def walker_points(count, seed=0):
    """States near standing, feet on, in and off the floor, and torques."""
    rng = np.random.default_rng(seed)
    x = np.zeros((count, 18))
    x[:, 1] = 1.21 + rng.uniform(-0.02, 0.02, count)
    x[:, 2:9] = 0.1 * rng.normal(size=(count, 7))
    x[:, [4, 7]] = -0.1 - np.abs(x[:, [4, 7]])
    x[:, 9:] = 0.3 * rng.normal(size=(count, 9))
    return x, 20.0 * rng.normal(size=(count, 6)), np.zeros(count)


def plain_step(model, x, u, substeps):
    data = mujoco.MjData(model)
    data.qpos[:], data.qvel[:], data.ctrl[:] = x[: model.nq], x[model.nq :], u
    for _ in range(substeps):
        mujoco.mj_step(model, data)
    return np.concatenate([data.qpos, data.qvel])


def differences(dynamics, x, u, h):
    """Central differences of the step, (nx, nx + nu)."""
    z = np.concatenate([x, u])
    nudges = np.concatenate([np.eye(z.size), -np.eye(z.size)]) * h + z
    nx = x.size
    out = np.asarray(dynamics.step(nudges[:, :nx], nudges[:, nx:], np.zeros(len(nudges))))
    return (out[: z.size] - out[z.size :]).T / (2 * h)


def test_step_is_that_of_mujoco():
    model = walker_model()
    x, u, t = walker_points(12)
    new = walker().step(x, u, t)
    np.testing.assert_array_equal(new, [plain_step(model, *point, 5) for point in zip(x, u, strict=True)])
    assert walker().dt == pytest.approx(0.01)


@pytest.mark.parametrize("substeps", [1, 3])
def test_jacobians_without_contact(substeps):
    dynamics = MujocoDynamics(swimmer_model(), substeps=substeps)
    rng = np.random.default_rng(1)
    x, u = rng.normal(size=10), rng.normal(size=2)
    new, A, B = dynamics.linearise(x, u, 0.0)
    np.testing.assert_array_equal(new, dynamics.step(x, u, 0.0))
    np.testing.assert_allclose(np.hstack([A, B]), differences(dynamics, x, u, 1e-5), atol=1e-7)


@pytest.mark.parametrize("substeps", [1, 5])
def test_jacobians_in_contact(substeps):
    """Both feet are 1 cm in the floor, so that no nudge changes the set of contacts."""
    dynamics = walker(substeps=substeps)
    x, u, _ = walker_points(1)
    x[0, 1:9] = [1.195, 0.02, 0.05, -0.12, 0.06, -0.08, -0.1, 0.13]
    data = mujoco.MjData(dynamics.model)
    data.qpos[:] = x[0, :9]
    mujoco.mj_forward(dynamics.model, data)
    assert data.ncon >= 2
    new, A, B = dynamics.linearise(x[0], u[0], 0.0)
    np.testing.assert_array_equal(new, dynamics.step(x[0], u[0], 0.0))
    expected = differences(dynamics, x[0], u[0], 1e-5)
    np.testing.assert_allclose(np.hstack([A, B]), expected, atol=1e-5 * np.abs(expected).max())


def test_jacobians_of_substeps_are_chained():
    x, u, _ = walker_points(1, seed=4)
    whole, single = walker(substeps=4), walker(substeps=1)
    _, A, B = whole.linearise(x[0], u[0], 0.0)
    A_chain, B_chain, state = np.eye(18), np.zeros((18, 6)), jnp.asarray(x[0])
    for _ in range(4):
        state, A_k, B_k = single.linearise(state, u[0], 0.0)
        A_chain, B_chain = A_k @ A_chain, A_k @ B_chain + B_k
    np.testing.assert_allclose(A, A_chain, atol=1e-6 * np.abs(A).max())
    np.testing.assert_allclose(B, B_chain, atol=1e-6 * np.abs(B).max())


def test_controls_beyond_the_range_act_as_the_limit():
    dynamics = MujocoDynamics(pendulum(), substeps=2)
    x = np.array([0.3, 0.1])
    np.testing.assert_array_equal(dynamics.step(x, [5.0], 0.0), dynamics.step(x, [2.0], 0.0))
    assert np.all(dynamics.linearise(x, np.array([5.0]), 0.0)[2] == 0.0)
    np.testing.assert_array_equal(dynamics.control_bounds(), [[-2.0], [2.0]])
    np.testing.assert_array_equal(MujocoDynamics(pendulum("false")).control_bounds(), [[-np.inf], [np.inf]])


def feedback_law(dynamics, N, seed=0):
    rng = np.random.default_rng(seed)
    home = dynamics.initial_state("stand")
    parts = (
        np.tile(home, (N, 1)),
        5.0 * rng.normal(size=(N, 6)),
        -50.0 * np.tile(np.hstack([np.zeros((6, 3)), np.eye(6), np.zeros((6, 3)), 0.05 * np.eye(6)]), (N, 1, 1)),
        np.full((N, 6), -10.0),
        np.full((N, 6), 10.0),
    )
    return AffineFeedback(*(jnp.asarray(part) for part in parts))


@pytest.mark.parametrize("dtype", [jnp.float64, jnp.float32])
def test_rollout_is_a_chain_of_steps(dtype):
    """To the bit, also in single precision: the gaps of a multiple-shooting solver close."""
    dynamics, N = walker(), 30
    law = jax.tree.map(lambda a: a.astype(dtype), feedback_law(dynamics, N))
    ts = jnp.arange(N, dtype=dtype) * dynamics.dt
    x0 = jnp.asarray(dynamics.initial_state("stand"), dtype)
    states, controls = dynamics.rollout(x0, law, ts)
    assert states.dtype == controls.dtype == dtype
    np.testing.assert_array_equal(states[1:], dynamics.step(states[:-1], controls, ts))
    wanted = law.controls + jnp.einsum("kij,kj->ki", law.gains, states[:-1] - law.states)
    np.testing.assert_allclose(controls, jnp.clip(wanted, law.lower, law.upper), rtol=1e-4, atol=1e-4)
    assert jnp.any(controls == 10.0)
    assert not jnp.any(jnp.abs(controls) > 10.0)


@pytest.fixture
def calls(monkeypatch):
    """Counts calls to the host."""
    count = {"step": 0, "linearise": 0, "rollout": 0}
    for name in count:
        method = getattr(Engine, name)

        def counted(*args, _name=name, _method=method):
            count[_name] += 1
            return _method(*args)

        monkeypatch.setattr(Engine, name, counted)
    return count


def test_one_call_for_a_batch(calls):
    """Leading axes, nested vmaps, arguments that only some of them map over: one call each, and the loop's answers."""
    dynamics = walker()
    x, u, t = walker_points(12)
    x, u, t = x.reshape(2, 3, 2, 18), u.reshape(2, 3, 2, 6), t.reshape(2, 3, 2)
    plain = dynamics.linearise(x, u, t)
    nested = jax.jit(jax.vmap(jax.vmap(dynamics.linearise)))(x, u, t)
    middle = jax.jit(jax.vmap(jax.vmap(dynamics.linearise, in_axes=1), in_axes=(0, 0, 0)))(x, u, t)
    assert calls["linearise"] == 3
    one = dynamics.linearise(x[1, 2, 0], u[1, 2, 0], t[1, 2, 0])
    for a, b, c, d in zip(plain, nested, middle, one, strict=True):
        np.testing.assert_array_equal(a, b)
        np.testing.assert_array_equal(jnp.swapaxes(a, 1, 2), c)
        np.testing.assert_array_equal(a[1, 2, 0], d)
    shared = jax.vmap(jax.vmap(dynamics.step, in_axes=(0, None, None)), in_axes=(None, 0, None))(
        x[0, 0], u[0, :, 0], 0.0
    )
    assert calls["step"] == 1
    each = [[dynamics.step(a, b, 0.0) for a in x[0, 0]] for b in u[0, :, 0]]
    np.testing.assert_array_equal(shared, each)


def test_one_call_for_a_batch_of_rollouts(calls):
    dynamics, N = walker(), 8
    law, ts = feedback_law(dynamics, N), jnp.arange(N) * dynamics.dt
    x0 = jnp.asarray(walker_points(6)[0]).reshape(2, 3, 18)
    states, controls = jax.jit(jax.vmap(jax.vmap(lambda x: dynamics.rollout(x, law, ts))))(x0)
    assert calls["rollout"] == 1
    assert states.shape == (2, 3, N + 1, 18)
    for i in range(2):
        for j in range(3):
            alone = dynamics.rollout(x0[i, j], law, ts)
            np.testing.assert_array_equal(states[i, j], alone[0])
            np.testing.assert_array_equal(controls[i, j], alone[1])


def test_empty_batch():
    new, A, B = walker().linearise(np.zeros((0, 18)), np.zeros((0, 6)), np.zeros(0))
    assert (new.shape, A.shape, B.shape) == ((0, 18), (0, 18, 18), (0, 18, 6))


def test_history_and_threads_leave_no_trace():
    """The same bits alone, in any order, after other simulations and failures, on one thread or several."""
    x, u, t = walker_points(24)
    first = MujocoDynamics(walker_model(), substeps=5, threads=1)
    new, A, B = first.linearise(x, u, t)
    order = np.random.default_rng(3).permutation(24)
    for dynamics in (first, walker(threads=3)):
        dynamics.step(np.full((5, 18), 3.0), np.full((5, 6), 50.0), np.zeros(5))  # in contact, and far off
        dynamics.step(np.full((3, 18), np.nan), np.zeros((3, 6)), np.zeros(3))
        dynamics.with_pushes([BodyPush("torso", 0.0, (500.0, 0.0, 0.0))]).step(x, u, t)
        for _ in range(3):
            again = dynamics.linearise(x[order], u[order], t)
            for a, b in zip((new, A, B), again, strict=True):
                np.testing.assert_array_equal(a[order], b)
            np.testing.assert_array_equal(new[order], dynamics.step(x[order], u[order], t))


def test_failures_stay_in_their_problem(tmp_path, monkeypatch, capfd):
    """NaN, infinite and huge arguments, and a simulation that diverges on the way; MuJoCo prints and writes nothing."""
    monkeypatch.chdir(tmp_path)
    dynamics = walker()
    x, u, t = walker_points(7)
    good = dynamics.linearise(x, u, t)
    bad_x, bad_u = x.copy(), u.copy()
    bad_x[1, 3], bad_x[2, 12], bad_x[4, 9:] = np.nan, 1e12, 9e9
    bad_u[5, 0], bad_u[6, 2] = np.inf, np.nan
    out = dynamics.linearise(bad_x, bad_u, t)
    fine, failed = np.array([0, 3]), np.array([1, 2, 4, 5, 6])
    for a, b in zip(good, out, strict=True):
        np.testing.assert_array_equal(a[fine], b[fine])
        assert np.all(np.isnan(b[failed]))
    np.testing.assert_array_equal(dynamics.step(x, u, t), good[0])
    assert not list(tmp_path.iterdir())
    assert capfd.readouterr() == ("", "")


def test_rollout_that_diverges():
    """From the knot on at which the simulation fails, states are NaN, and controls after it; others go on."""
    dynamics = MujocoDynamics(pendulum("false"))
    controls = np.zeros((2, 6, 1))
    controls[0, 3] = 1e12  # beyond what MuJoCo takes
    states, applied = jax.vmap(
        lambda u: dynamics.rollout(jnp.array([0.3, 0.0]), AffineFeedback.open_loop(u, 2), jnp.arange(6.0))
    )(jnp.asarray(controls))
    assert np.all(np.isfinite(states[0, :4]))
    assert np.all(np.isnan(states[0, 4:]))
    assert np.all(np.isfinite(applied[0, :4]))
    assert np.all(np.isnan(applied[0, 4:]))
    assert np.all(np.isfinite(states[1]))


def test_pushes_deliver_their_impulse():
    """A cart of 2 kg: force times duration over mass, though the push begins and ends inside timesteps."""
    push = BodyPush("cart", 0.0131, (60.0, 5.0, 0.0), 0.0222)
    dynamics = MujocoDynamics(SLIDER, substeps=3, pushes=[push])
    ts = jnp.arange(5) * dynamics.dt
    law = AffineFeedback.open_loop(jnp.zeros((5, 1)), 2)
    states, _ = dynamics.rollout(jnp.zeros(2), law, ts)
    assert states[1, 1] == 0.0  # 12 ms: not begun
    np.testing.assert_allclose(states[-1, 1], 60.0 * 0.0222 / 2.0, rtol=1e-12)
    np.testing.assert_array_equal(dynamics.with_pushes([]).rollout(jnp.zeros(2), law, ts)[0], np.zeros((6, 2)))


def test_each_problem_with_its_own_push(calls):
    dynamics, N = MujocoDynamics(SLIDER), 10
    law, ts = AffineFeedback.open_loop(jnp.zeros((N, 1)), 2), jnp.arange(N) * 0.004

    def final_speed(force, start):
        pushed = dynamics.with_pushes(
            [BodyPush("cart", start, force, 0.008), BodyPush("cart", 0.0, -0.5 * force, 0.008)]
        )
        return pushed.rollout(jnp.zeros(2), law, ts)[0][-1, 1]

    forces = jnp.array([[100.0, 0.0, 0.0], [-40.0, 0.0, 0.0], [0.0, 9.0, 0.0]])
    speeds = jax.jit(jax.vmap(final_speed))(forces, jnp.array([0.0, 0.016, 0.02]))
    np.testing.assert_allclose(speeds, 0.5 * forces[:, 0] * 0.008 / 2.0, rtol=1e-12)
    assert calls["rollout"] == 1


def swimming(dynamics, N):
    def cost(x, u, t):
        return 1e-4 * jnp.sum(u**2) + (x[5] - 1.0) ** 2

    ts = np.arange(N) * dynamics.dt
    guess = 0.5 * np.stack([np.cos(8.0 * ts), np.cos(8.0 * ts - 2.5)], axis=1)
    bounds = dynamics.control_bounds()
    return ctg.OptimalControlProblem(dynamics, cost, horizon=N, control_bounds=bounds, dt=dynamics.dt), jnp.asarray(
        guess
    )


def test_solve_swims(calls):
    """Two starts at once by box DDP: the cost falls, and a derivative through the simulator raises."""
    dynamics = MujocoDynamics(swimmer_model(), substeps=5)
    problem, guess = swimming(dynamics, 40)
    starts = jnp.stack([dynamics.initial_state(), dynamics.initial_state() + 0.05])
    solver = ctg.BoxDDP(max_iterations=15)
    together = jax.vmap(lambda x: ctg.solve(problem, x, guess, solver=solver))(starts)
    assert calls["linearise"] <= 17  # once per iteration, for both
    before = total_cost(problem, open_loop(problem, starts[0], guess), guess, problem.times(0.0, float))
    assert np.all(together.cost < 0.6 * before)
    assert np.all(jnp.abs(together.controls) <= 10.0)
    with pytest.raises(ctg.DerivativeError, match="simulator dynamics"):
        jax.grad(lambda x: ctg.solve(problem, x, guess, solver=solver).cost)(starts[0])


FREE = "<mujoco><worldbody><body><freejoint name='float'/><geom size='1'/></body></worldbody></mujoco>"
FILTERED = pendulum().replace('<motor joint="pin"', '<general dyntype="filter" dynprm="1" joint="pin"')


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: MujocoDynamics("absent.xml"), "model is 'absent.xml'.*no such file; pass the path"),
        (lambda: MujocoDynamics("<mujoco><joint/></mujoco>"), "model does not compile.*joint.*mend the MJCF"),
        (lambda: MujocoDynamics(3), "model is a int; pass a mujoco.MjModel"),
        (lambda: MujocoDynamics(FREE), r"free or ball joints \(float\).*slide and hinge"),
        (lambda: MujocoDynamics(FILTERED), "1 actuator states.*without dyntype"),
        (lambda: MujocoDynamics(swimmer_xml().split("<actuator>")[0] + "</mujoco>"), "no actuators; add"),
        (lambda: MujocoDynamics(SLIDER, substeps=0), "substeps is 0; pass an integer"),
        (lambda: MujocoDynamics(SLIDER, substeps=1.5), "substeps is 1.5; pass an integer"),
        (lambda: MujocoDynamics(SLIDER, threads=0), "threads is 0; pass an integer"),
        (lambda: MujocoDynamics(SLIDER, difference_step=0.0), "difference_step is 0.0; pass a small"),
        (lambda: MujocoDynamics(SLIDER, pushes=[BodyPush("car", 0.0, (1, 0, 0))]), "unknown body 'car'; did you"),
        (lambda: MujocoDynamics(SLIDER, pushes=[(0.0, 1.0)]), "pushes holds .*BodyPush"),
        (lambda: BodyPush("cart", 0.0, (1.0, 0.0)), r"force has shape \(2,\), expected \(3,\)"),
        (lambda: BodyPush("cart", 0.0, (1.0, 0.0, 0.0), 0.0), "duration is 0.0; pass positive seconds"),
        (lambda: BodyPush("cart", (0.0, 1.0), (1.0, 0.0, 0.0)), r"start has shape \(2,\)"),
        (lambda: MujocoDynamics(SLIDER).initial_state("stand"), "keyframe is 'stand', and .* none; pass None"),
        (lambda: walker().initial_state("sit"), "unknown keyframe 'sit'.*Known: stand"),
        (lambda: MujocoDynamics(SLIDER).step(jnp.zeros(3), jnp.zeros(1), 0.0), r"xs has shape \(3,\), expected .*2\)"),
        (lambda: MujocoDynamics(SLIDER).step(jnp.zeros(2), jnp.zeros(2), 0.0), r"us has shape \(2,\), expected .*1\)"),
        (
            lambda: MujocoDynamics(SLIDER).rollout(
                jnp.zeros(2), AffineFeedback.open_loop(jnp.zeros((4, 1)), 2), jnp.zeros(3)
            ),
            r"feedback.states has shape \(4, 2\), expected \(3, 2\); pass one row",
        ),
        (lambda: swimmer_model(torque_limit=0.0), "torque_limit is 0.0; pass a positive"),
        (lambda: walker_model(contact_time=-1.0), "contact_time is -1.0; pass positive"),
        (lambda: walker_model(joint_damping=-1.0), "joint_damping is -1.0; pass N m s/rad, zero or more"),
    ],
)  # fmt: skip
def test_misuse_names_argument_and_remedy(make, message):
    with pytest.raises(CostogoError, match=message):
        make()


def test_rk4_steps_and_does_not_linearise():
    dynamics = MujocoDynamics(pendulum(integrator="RK4"))
    assert np.all(np.isfinite(dynamics.step(jnp.array([0.1, 0.0]), jnp.zeros(1), 0.0)))
    with pytest.raises(CostogoError, match=r'RK4.*write <option integrator="implicitfast"/>'):
        dynamics.linearise(jnp.array([0.1, 0.0]), jnp.zeros(1), 0.0)


def test_fatal_error_of_mujoco_is_nan():
    """Here one that the public interface forestalls: MuJoCo's refusal to differentiate RK4."""
    engine = MujocoDynamics(pendulum(integrator="RK4"), threads=2).engine
    arguments = (np.full((4, 2), 0.1), np.zeros((4, 1)), np.zeros(4), Pushes((), *np.zeros((3, 4, 0))))
    assert all(np.all(np.isnan(part)) for part in engine.linearise(*arguments))
    assert np.all(np.isfinite(engine.step(*arguments)[0]))


def test_the_model_given_is_left_alone():
    model = walker_model()
    dynamics = MujocoDynamics(model)
    assert model.opt.disableflags == 0
    before = dynamics.step(*walker_points(1))
    model.body_mass[1] *= 5.0
    np.testing.assert_array_equal(dynamics.step(*walker_points(1)), before)
