"""Receding horizon: one compilation, warm starts, closed loops and their derivatives."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import costogo as ctg
from costogo import Status
from oracles import finite_difference

SOLVER = ctg.BoxDDP(subproblem="clamped", tolerance=1e-11)
TRACES = []


def dynamics(gain):
    def f(x, u, t):
        TRACES.append(1)
        return jnp.stack([x[0] + 0.1 * x[1], x[1] + 0.1 * (gain * u[0] - jnp.sin(x[0]))])

    return f


def controller(gain=1.0, iterations=None):
    problem = ctg.OptimalControlProblem(
        dynamics(gain),
        ctg.QuadraticCost(Q=jnp.array([1.0, 0.1]), R=0.01),
        horizon=8,
        control_bounds=(-2.0 * np.ones(1), 2.0 * np.ones(1)),
        dt=0.1,
    )
    return ctg.RecedingHorizon(problem, solver=SOLVER, iterations=iterations)


X0 = jnp.array([0.8, -0.2])


def test_closed_loop_of_100_steps_compiles_once():
    """Issue acceptance 4: `jit(vmap(grad))` around the controller, 100 steps from Python, one trace."""

    def first_control(gain, x, plan, t):
        u, state, info = controller(gain).step(plan, x, t)
        return u[0], (state, info.status)

    step = jax.jit(jax.vmap(jax.value_and_grad(first_control, has_aux=True), in_axes=(None, 0, 0, None)))
    plant = jax.jit(jax.vmap(dynamics(1.0), in_axes=(0, 0, None)))
    x = jnp.stack([X0, -X0, 0.5 * X0])
    plans = jax.vmap(controller().init)(x)
    counts = []
    for k in range(100):
        (u, (plans, status)), gradient = step(1.0, x, plans, 0.1 * k)
        x = plant(x, u[:, None], 0.0)
        counts.append(len(TRACES))
        assert np.all(status == Status.CONVERGED)
        assert np.all(np.isfinite(gradient))
    assert step._cache_size() == 1
    assert counts[0] == counts[-1]
    assert np.abs(x).max() < 1e-2


def test_eager_steps_compile_once():
    """Without `jit` by the user, with Python floats for time: still one trace."""
    loop = controller()
    state = loop.init(X0)
    counts = []
    for k in range(10):
        _, state, _ = loop.step(state, X0, 0.1 * k)
        counts.append(len(TRACES))
    assert counts[0] == counts[-1]


@pytest.fixture(scope="module")
def trajectory():
    return jax.jit(lambda x: ctg.simulate(controller(), x, 6, t0=1.0))(X0)


def test_simulation_is_the_loop_written_out(trajectory):
    """One scan gives what step, plant, step, plant gives; times advance by dt."""
    loop, plant = controller(), dynamics(1.0)
    x, state = X0, loop.init(X0)
    for k in range(6):
        u, state, info = loop.step(state, x, 1.0 + 0.1 * k)
        np.testing.assert_allclose(trajectory.controls[k], u, atol=1e-9)
        np.testing.assert_allclose(trajectory.info.cost[k], info.cost, atol=1e-9)
        x = plant(x, u, 0.0)
        np.testing.assert_allclose(trajectory.states[k + 1], x, atol=1e-9)
    np.testing.assert_allclose(trajectory.times, 1.0 + 0.1 * np.arange(6))
    assert np.all(trajectory.info.status == Status.CONVERGED)


def test_warm_start_is_the_plan_moved_on():
    """The next guess drops the first control and holds the last; a solver without iterations applies it as it is."""
    loop = controller()
    cold = ctg.solve(loop.problem, X0, solver=SOLVER)
    _, state, _ = loop.step(loop.init(X0), X0)
    np.testing.assert_allclose(state.plan.controls, cold.controls, atol=1e-10)
    idle = ctg.RecedingHorizon(loop.problem, solver=ctg.BoxDDP(subproblem="clamped", max_iterations=0))
    u, after, _ = idle.step(state, cold.states[1])
    np.testing.assert_allclose(u, cold.controls[1], atol=1e-10)
    np.testing.assert_allclose(after.plan.controls[:-1], cold.controls[1:], atol=1e-10)
    np.testing.assert_array_equal(after.plan.controls[-1], after.plan.controls[-2])


def test_warm_start_between_knots():
    """Half an interval later: states halfway, controls of the interval in progress, with feedback from the state."""
    loop = controller()
    solution = ctg.solve(loop.problem, X0, solver=SOLVER)
    plan = ctg.mpc.Plan(jnp.array(2.0), solution.states, solution.controls, solution.gains)
    tail = ctg.mpc.Plan.open_loop(jnp.array(2.05), jnp.full((9, 2), 7.0), jnp.full((8, 1), 0.3))
    moved = plan.move(loop.problem, tail)
    np.testing.assert_allclose(moved.states[:8], 0.5 * (solution.states[:-1] + solution.states[1:]), atol=1e-12)
    np.testing.assert_array_equal(moved.states[8], [7.0, 7.0])
    np.testing.assert_array_equal(moved.controls, solution.controls)
    later = plan.move(loop.problem, ctg.mpc.Plan.open_loop(jnp.array(2.3), tail.states, tail.controls))
    np.testing.assert_array_equal(later.controls[:5], solution.controls[3:])
    np.testing.assert_array_equal(later.controls[5:], np.full((3, 1), 0.3))
    np.testing.assert_array_equal(later.gains[5:], np.zeros((3, 1, 2)))
    x = moved.states[0] + 0.01
    u = moved.follow(loop.problem, x)[1][0]
    np.testing.assert_allclose(
        u, np.clip(moved.controls[0] + moved.gains[0] @ (x - moved.states[0]), -2, 2), atol=1e-12
    )


def test_warm_start_takes_the_interval_of_its_mode():
    """A new interval that starts after a switch of constraints takes the controls behind the switch."""
    problem = ctg.OptimalControlProblem(
        lambda x, u, t: x + 0.1 * u,
        ctg.QuadraticCost(Q=1.0, R=1.0),
        horizon=4,
        nu=1,
        dt=0.1,
        equality=lambda x, u, t: u - 1.0,
        equality_mask=lambda t: jnp.array([t >= 0.15]),
    )
    plan = ctg.mpc.Plan.open_loop(jnp.array(0.0), jnp.zeros((5, 1)), jnp.arange(4.0)[:, None])
    tail = ctg.mpc.Plan.open_loop(jnp.array(0.06), jnp.zeros((5, 1)), jnp.full((4, 1), 9.0))
    # Old intervals start at 0, .1 | .2, .3; new ones at .06 | .16, .26, .36: the one at .16 must not take that at .1.
    np.testing.assert_array_equal(plan.move(problem, tail).controls[:, 0], [0.0, 2.0, 2.0, 3.0])


def test_real_time_iteration_follows_the_converged_controller(trajectory):
    """One iteration per step: never claims convergence early, stays close to the optimum, from the plan it holds."""
    fast = jax.jit(lambda x: ctg.simulate(controller(iterations=1), x, 6, t0=1.0))(X0)
    assert fast.info.status[0] == Status.MAX_ITERATIONS
    assert fast.info.iterations.max() == 1
    np.testing.assert_allclose(fast.states[-1], trajectory.states[-1], atol=1e-2)
    assert np.abs(fast.states - trajectory.states).max() > 0.0


def test_batches_and_other_plants():
    """`vmap` over initial states and a plant that differs from the model."""
    starts = jnp.stack([X0, -X0])
    plant = dynamics(0.7)
    run = jax.jit(jax.vmap(lambda x: ctg.simulate(controller(), x, 3, dynamics=plant)))
    batch = run(starts)
    for k in range(3):
        for lane in range(2):
            np.testing.assert_allclose(
                batch.states[lane, k + 1], plant(batch.states[lane, k], batch.controls[lane, k], 0.0), atol=1e-13
            )
    # The problem is odd in (x, u): the two lanes mirror each other.
    np.testing.assert_allclose(batch.controls[0], -batch.controls[1], atol=1e-9)


def test_gradient_through_a_closed_loop():
    """Three steps of plan, act, plan: derivatives with respect to a model parameter and the initial state."""

    def loss(gain, x0):
        run = ctg.simulate(controller(gain), x0, 3, dynamics=dynamics(1.3))
        return jnp.sum(run.states**2) + 0.1 * jnp.sum(run.controls)

    function = jax.jit(jax.value_and_grad(loss, argnums=(0, 1)))
    x0 = 0.3 * X0  # inside the bounds
    gradient = function(1.0, x0)[1]
    by_gain = finite_difference(lambda g: function(jnp.asarray(g), x0)[0], np.asarray(1.0), 1e-5)
    by_state = finite_difference(lambda x: function(1.0, jnp.asarray(x))[0], x0, 1e-5)
    assert abs(by_gain) > 1e-3
    np.testing.assert_allclose(gradient[0], by_gain, rtol=1e-6)
    np.testing.assert_allclose(gradient[1], by_state, rtol=1e-6)


def test_failed_step_keeps_a_finite_plan():
    loop = controller()
    _, state, _ = loop.step(loop.init(X0), X0)
    u, after, info = loop.step(state, X0.at[0].set(jnp.nan))
    assert info.status == Status.NOT_FINITE
    np.testing.assert_array_equal(u, state.plan.controls[1])
    np.testing.assert_array_equal(after.plan.controls[:-1], state.plan.controls[1:])


def test_integers_are_numbers():
    """A state given as Python integers is simulated in floating point."""
    run = ctg.simulate(controller(), [1, 0], 2)
    assert run.states.dtype == run.times.dtype == jnp.float64
    np.testing.assert_allclose(run.states, ctg.simulate(controller(), [1.0, 0.0], 2).states, atol=1e-12)
