"""Gaits, contact constraints and kinodynamic models (spec mpc_net section 14, checks 6, 8, 9)."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import costogo as ctg
from costogo import CostogoError
from costogo.mpc import RecedingHorizon, simulate
from costogo.problem import equality_values, inequality_values
from costogo.systems.legged import GAITS, PLANAR_GAITS, Anymal, Gait, PlanarWalker, SwingSpline, WalkingTask
from costogo.systems.legged.anymal import CENTRE, INERTIA, MASS, feet_in_base, standing_joints
from costogo.systems.rotations import euler_rotation
from oracles import finite_difference

ROBOTS = {"anymal": (Anymal(), GAITS["trot"]), "planar": (PlanarWalker(), PLANAR_GAITS["walk"])}
STANDING = jnp.asarray(Anymal().standing())


def random_point(robot, seed=0):
    keys = jax.random.split(jax.random.PRNGKey(seed))
    return robot.random_state(keys[0]), 20.0 * jax.random.normal(keys[1], (robot.nu,))


def test_modes_and_swings_of_the_static_walk():
    """Which feet stand when, across a switch and a cycle; a foot's swing goes from zero to its length."""
    gait = GAITS["static_walk"]
    assert gait.period == pytest.approx(1.2)
    np.testing.assert_array_equal(gait.stance(0.0), [True, True, False, True])
    # A switch belongs to the mode after it, also where rounding falls short.
    np.testing.assert_array_equal(gait.stance(0.3 - 1e-12), [False, True, True, True])
    np.testing.assert_array_equal(gait.stance(1.2 + 0.65), [True, True, True, False])
    elapsed, duration = gait.swing(0.45)
    np.testing.assert_allclose(elapsed, [0.15, 0.0, 0.0, 0.0], atol=1e-9)
    np.testing.assert_allclose(duration, [0.3, 1.0, 1.0, 1.0])
    np.testing.assert_allclose(gait.phase(0.45), [1.0, 0.0, 0.0, 0.0], atol=1e-9)


def test_a_swing_over_several_modes_is_one():
    """A foot that stays up through two modes, and across the end of the cycle, has one swing."""
    gait = Gait((0.2, 0.3, 0.4), ((True, False), (True, True), (True, False)))
    elapsed, duration = gait.swing(0.1)
    np.testing.assert_allclose([elapsed[1], duration[1]], [0.5, 0.6], atol=1e-9)
    elapsed, duration = gait.swing(0.6)
    np.testing.assert_allclose([elapsed[1], duration[1]], [0.1, 0.6], atol=1e-9)


def test_swing_spline():
    """Ground, apex, ground with the given slopes; the mean velocity takes the foot along the curve."""
    spline = SwingSpline()
    T = 0.35
    height = jax.vmap(lambda t: spline.height(t, T))
    np.testing.assert_allclose(height(jnp.array([0.0, T / 2, T])), [0.0, 0.1, 0.0], atol=1e-12)
    slope = jax.grad(lambda t: spline.height(t, T))
    np.testing.assert_allclose([slope(1e-9), slope(T - 1e-9)], [0.2, -0.4], atol=1e-6)
    times = jnp.arange(14) * 0.025
    walked = jnp.cumsum(jax.vmap(lambda t: spline.mean_velocity(t, T, 0.025))(times)) * 0.025
    np.testing.assert_allclose(walked, height(times + 0.025), atol=1e-12)
    assert spline.height(0.05, 0.1) == pytest.approx(0.1 * 0.1 / 0.15)


def test_nominal_feet():
    """Check 8: feet of the standing pose."""
    expected = [[0.368, 0.161, -0.573], [0.368, -0.161, -0.573], [-0.368, 0.161, -0.573], [-0.368, -0.161, -0.573]]
    np.testing.assert_allclose(feet_in_base(jnp.asarray(standing_joints())), expected, atol=1e-3)


@pytest.mark.parametrize("name", ROBOTS)
def test_foot_velocity_is_the_derivative_of_its_position(name):
    """Check 8: by finite differences along the motion; and affine in the control, as the method requires."""
    robot, gait = ROBOTS[name]
    x, u = random_point(robot)
    constraints = WalkingTask(robot, gait).constraints
    h = 1e-6
    moved = [robot.feet(x + s * h * robot.velocity(x, u, 0.0)) for s in (1.0, -1.0)]
    np.testing.assert_allclose(constraints.foot_motion(x, u, 0.0)[1], (moved[0] - moved[1]) / (2 * h), atol=1e-5)
    rows = lambda u: constraints(x, u, 0.1)  # noqa: E731
    np.testing.assert_allclose(rows(u) + rows(-u), 2 * rows(0 * u), atol=1e-9)


def test_standing_equilibrium():
    """Check 9: forces that balance weight and moment hold the robot; quarter weights pitch it by m g c_x / I_yy."""
    r = np.asarray(feet_in_base(jnp.asarray(standing_joints())))
    G = np.zeros((6, 12))
    for j in range(4):
        G[:3, 3 * j : 3 * j + 3] = np.eye(3)
        G[3:, 3 * j : 3 * j + 3] = np.cross(r[j], np.eye(3)).T
    weight = np.array([0.0, 0.0, -9.81 * MASS])
    forces = np.linalg.lstsq(G, -np.concatenate([weight, np.cross(CENTRE, weight)]), rcond=None)[0]
    rate = Anymal().velocity(STANDING, jnp.concatenate([jnp.asarray(forces), jnp.zeros(12)]), 0.0)
    assert np.abs(rate).max() < 1e-8
    quarter = jnp.zeros(24).at[2:12:3].set(9.81 * MASS / 4)
    pitch = Anymal().velocity(STANDING, quarter, 0.0)[7]
    # The forces act at the origin's height, the weight at the centre of mass: it is behind, so the nose rises (-y).
    np.testing.assert_allclose(pitch, 9.81 * MASS * CENTRE[0] / INERTIA[1], rtol=0.02)


def test_free_fall():
    """Check 9: without forces and spin, the centre of mass accelerates by gravity as seen from the base."""
    x = STANDING.at[:3].set(jnp.array([0.3, -0.2, 0.5])).at[9:12].set(jnp.array([0.4, 0.1, -0.3]))
    rate = Anymal().velocity(x, jnp.zeros(24), 0.0)
    np.testing.assert_allclose(rate[6:9], 0.0, atol=1e-12)
    np.testing.assert_allclose(rate[9:12], euler_rotation(x[:3]).T @ jnp.array([0.0, 0.0, -9.81]), atol=1e-12)


def test_angular_momentum_is_kept_in_flight():
    """A spinning body without contacts: momentum in the world is constant but for the weight."""
    x = STANDING.at[6:9].set(jnp.array([1.0, -0.7, 0.5])).at[9:12].set(jnp.array([0.4, 0.1, -0.3]))
    flow = ctg.discretise(Anymal().velocity, 1e-3)

    def spin(x):
        R, c, omega = euler_rotation(x[:3]), jnp.array(CENTRE), x[6:9]
        return R @ (jnp.array(INERTIA) * omega), R @ (x[9:12] + jnp.cross(omega, c))

    end = jax.lax.fori_loop(0, 200, lambda i, x: flow(x, jnp.zeros(24), 0.0), x)
    np.testing.assert_allclose(spin(end)[0], spin(x)[0], atol=1e-9)
    np.testing.assert_allclose(spin(end)[1] - spin(x)[1], [0.0, 0.0, -9.81 * 0.2], atol=1e-9)


def test_euler_rates():
    """The derivative of the rotation is the rotation of the angular velocity."""
    x, u = random_point(Anymal(), 3)
    x = x.at[:3].set(jnp.array([0.4, -0.3, 1.0]))
    rate = Anymal().velocity(x, u, 0.0)
    _, turned = jax.jvp(euler_rotation, (x[:3],), (rate[:3],))
    hat = jnp.cross(x[6:9], jnp.eye(3)).T
    np.testing.assert_allclose(turned, euler_rotation(x[:3]) @ hat, atol=1e-12)


def test_planar_walker_is_the_body_in_its_plane():
    """Rotating the world does not matter, and derivatives agree with finite differences."""
    robot = PlanarWalker()
    x, u = random_point(robot, 1)
    by_hand = finite_difference(lambda v: robot.velocity(jnp.asarray(v), u, 0.0)[3], np.asarray(x), 1e-6)
    np.testing.assert_allclose(jax.grad(lambda x: robot.velocity(x, u, 0.0)[3])(x), by_hand, atol=1e-6)
    falling = robot.velocity(x.at[3].set(0.0), jnp.zeros(8), 0.0)
    np.testing.assert_allclose(robot.rotation(x) @ falling[4:6], [0.0, -9.81], atol=1e-12)


@pytest.mark.parametrize("gait", ["trot", "static_walk"])
def test_first_plan_from_a_standing_guess(gait):
    """Check 6: from a guess that does not follow the dynamics, ten iterations meet the constraints."""
    task = WalkingTask(Anymal(), GAITS[gait])
    problem = task.problem()
    ts = problem.times(0.0, float)
    states, controls = task.guess(STANDING, ts)
    solver = ctg.SLQ(max_iterations=10)
    solution = jax.jit(lambda x: ctg.solve(problem, x, controls, states=states, solver=solver))(STANDING)
    knots = (solution.states[:-1], solution.controls, ts[:-1])
    assert problem.dt * jnp.sum(equality_values(problem, *knots) ** 2) < 5e-3
    # Ten iterations leave the walk, which starts on three feet, inside the relaxed part of the barrier at some knots.
    assert inequality_values(problem, *knots).min() > (0.0 if gait == "trot" else -30.0)
    stance = jax.vmap(task.gait.stance)(ts[:-1])
    forces = solution.controls[:, :12].reshape(-1, 4, 3)
    np.testing.assert_allclose(np.asarray(forces)[~np.asarray(stance)], 0.0, atol=0.05)


def test_planar_walker_walks_in_real_time_iterations():
    """Two seconds of one iteration per interval from a displaced start: upright, feet where they belong."""
    task = WalkingTask(PlanarWalker(), PLANAR_GAITS["walk"])
    controller = RecedingHorizon(task.problem(), solver=ctg.SLQ(), iterations=1, guess=task.guess)
    x0, t0 = task.start(jax.random.PRNGKey(2))
    run = jax.jit(lambda x, t: simulate(controller, x, 80, dynamics=task.plant(), t0=t))(x0, t0)
    assert np.all(jax.vmap(task.robot.valid)(run.states))
    assert np.abs(run.states[-1, 1]) < 0.05
    feet = jax.vmap(task.robot.feet)(run.states)
    stance = np.asarray(jax.vmap(task.gait.stance)(run.times))
    assert np.abs(np.asarray(feet[:-1, :, 1])[stance]).max() < 0.02
    forces = run.controls[:, :4].reshape(-1, 2, 2)
    assert np.asarray(forces[..., 1])[stance].min() > 0


BAD = {
    "no stance": (lambda: Gait((0.1, 0.1), ((True, True), (False, False))), ["mode 1", "stance"]),
    "lengths": (lambda: Gait((0.1,), ((True,), (True,))), ["1 durations", "2 contacts"]),
    "duration": (lambda: Gait((0.0,), ((True,),)), ["durations", "positive"]),
    "ragged": (lambda: Gait((0.1, 0.1), ((True,), (True, False))), ["different length"]),
    "feet": (lambda: WalkingTask(Anymal(), PLANAR_GAITS["walk"]), ["2 feet", "4"]),
}


@pytest.mark.parametrize("case", BAD)
def test_misuse_is_named(case):
    call, words = BAD[case]
    with pytest.raises(CostogoError) as error:
        call()
    for word in words:
        assert word in str(error.value)
