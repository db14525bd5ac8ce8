"""Sampling solvers against closed forms, the LQR optimum, and what spec dmd_mpc sections 4 and 14 say of them."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import costogo as ctg
from costogo.core.errors import CostogoError
from costogo.mpc import simulate
from costogo.solvers import (
    ControlDistribution,
    ExpectedCost,
    Exponentiated,
    LiteralElites,
    LowCost,
    MirrorDescent,
    ShiftedElites,
)
from costogo.systems import CartPole, DoubleIntegrator, Pendulum

COSTS = jnp.array([3.0, -1.0, 4.0, 1.5, -5.0, 9.0, 2.0, 6.0, 0.5, 7.0])


def test_exponentiated_utility_finds_the_posterior_mean():
    """Check 1: u ~ N(mean, std^2), C = k (u - c)^2 / 2."""
    mean, std, k, c, temperature, alpha = 0.3, 0.7, 2.0, 1.1, 0.5, 0.6
    u = mean + std * jax.random.normal(jax.random.PRNGKey(0), (1_000_000, 1, 1))
    weights = Exponentiated(temperature)(0.5 * k * (u[:, 0, 0] - c) ** 2)
    target = (temperature * mean + k * std**2 * c) / (temperature + k * std**2)
    old = ControlDistribution(jnp.full((1, 1), mean), jnp.full((1, 1), std**2))
    full, part = (MirrorDescent(step_size=a, adapt=True).step(old, u, weights) for a in (1.0, alpha))
    np.testing.assert_allclose(full.mean, target, atol=1e-2)
    np.testing.assert_allclose(part.mean, (1 - alpha) * mean + alpha * target, atol=1e-2)
    # The tilted density is Gaussian as well: its variance is 1 / (1/std^2 + k/temperature).
    np.testing.assert_allclose(full.variance, 1 / (1 / std**2 + k / temperature), atol=1e-2)
    blend = (1 - alpha) * (std**2 + mean**2) + alpha * (full.variance + full.mean**2) - part.mean**2
    np.testing.assert_allclose(part.variance, blend, rtol=1e-5)


def test_low_cost_is_the_mean_of_the_elites():
    """Check 2."""
    weights = LowCost(0.25)(COSTS)  # ceil(2.5) = 3 elites
    np.testing.assert_allclose(weights, np.isin(np.arange(10), [4, 1, 8]) / 3)
    np.testing.assert_allclose(LowCost(1.0)(COSTS), np.full(10, 0.1))
    for other in (COSTS + 17.0, 3.0 * COSTS):
        np.testing.assert_array_equal(LowCost(0.25)(other), weights)
    assert LowCost(0.3)(jnp.arange(10.0)).nonzero()[0].tolist() == [0, 1, 2]  # 0.3 * 10 rounds up to 3.0000000000000004
    np.testing.assert_allclose(jnp.sum(LowCost(0.1)(jnp.zeros(100)) > 0), 10)


def test_limits_of_the_temperature():
    """Check 3."""
    np.testing.assert_allclose(Exponentiated(1e-3)(COSTS), np.arange(10) == 4, atol=1e-12)
    np.testing.assert_allclose(Exponentiated(1e9)(COSTS), np.full(10, 0.1), rtol=1e-6)
    np.testing.assert_allclose(Exponentiated(0.7)(COSTS + 1e3), Exponentiated(0.7)(COSTS), rtol=1e-6)


def test_the_literal_formula_and_its_faults():
    """Check 4: reproduces (14), the same for C and -C; convex only while all elites have one sign."""
    literal = LiteralElites(0.3)
    elites = np.array([-5.0, -1.0, 0.5])
    found = literal(COSTS)
    np.testing.assert_allclose(np.asarray(found)[[4, 1, 8]], elites / elites.sum())
    everything = LiteralElites(1.0)
    np.testing.assert_allclose(everything(COSTS), everything(-COSTS))
    assert bool(literal.nonconvex(COSTS)) and bool(everything.nonconvex(jnp.array([1.0, -1.0])))
    assert not bool(literal.nonconvex(jnp.abs(COSTS) + 1.0)) and not bool(literal.nonconvex(-jnp.abs(COSTS) - 1.0))
    worse, better = literal(jnp.array([3.0, 2.0, 1.0, 9, 9, 9, 9, 9, 9, 9]))[jnp.array([0, 2])]
    assert worse > better  # the costs are positive, so all returns are negative: the worse gets more


def test_shifted_elites_are_positive_and_ordered():
    weights = np.asarray(ShiftedElites(0.3, margin=0.1)(COSTS))
    gains = np.array([5.5, 1.5, 0.0]) / 5.5 + 0.1
    np.testing.assert_allclose(weights[[4, 1, 8]], gains / gains.sum(), rtol=1e-6)
    np.testing.assert_allclose(weights, ShiftedElites(0.3)(COSTS - 40.0), rtol=1e-5)
    np.testing.assert_allclose(ShiftedElites(0.5)(jnp.ones(4)), [0.5, 0.5, 0, 0])


@pytest.mark.parametrize(
    "utility", [LowCost(0.3), Exponentiated(2.0), ShiftedElites(0.3), ExpectedCost(), LiteralElites(0.3)]
)
def test_infinite_costs_weigh_nothing(utility):
    broken = COSTS.at[4].set(jnp.inf)
    weights = utility(broken)
    assert np.all(np.isfinite(weights)) and weights[4] == 0
    np.testing.assert_array_equal(utility(jnp.full(10, jnp.inf)), np.zeros(10))


def test_faults_of_the_weights_are_counted():
    """Costs have both signs in both iterations, or one; other utilities have no faults to count."""

    def found(offset, utility):
        cost = lambda x, u, t: jnp.sin(1e3 * u[0]) + offset  # noqa: E731
        problem = ctg.OptimalControlProblem(lambda x, u, t: x, cost, horizon=1, nu=1)
        return MirrorDescent(2, utility, samples=50).improve(problem, jnp.zeros(1), jnp.zeros((1, 1)))[2]

    assert found(0.0, LiteralElites(1.0)) == {"nonconvex": 1.0} and found(2.0, LiteralElites(1.0)) == {"nonconvex": 0.0}
    assert found(0.0, LowCost(0.5)) == {}


def test_expected_cost_descends_along_the_gradient():
    """`-E[(C - b)(u - mean)]` is minus the gradient of E[C] with respect to eta = mean / variance."""
    mean, std, k, c = 0.3, 0.7, 2.0, 1.1
    u = mean + std * jax.random.normal(jax.random.PRNGKey(1), (1_000_000,))
    weights = ExpectedCost()(0.5 * k * (u - c) ** 2)
    np.testing.assert_allclose(weights @ (u - mean), -k * (mean - c) * std**2, atol=5e-3)


def double_integrator(N=15):
    return DoubleIntegrator(force_limit=10.0).problem(N)


def test_twenty_steps_come_close_to_the_optimum():
    """Check 5: double integrator, H = 15, 100 samples, alpha = 0.9, within 10 % of the LQR optimum."""
    problem, x0 = double_integrator(), jnp.array([1.0, 0.5])
    best = ctg.solve(problem, x0).cost
    start = ctg.solve(problem, x0, solver=MirrorDescent(0)).cost

    def cost(key, utility, std):
        solver = MirrorDescent(20, utility=utility, step_size=0.9, std=std, samples=100, key=key)
        return ctg.solve(problem, x0, solver=solver).cost

    keys = jax.random.split(jax.random.PRNGKey(0), 5)
    for utility in (LowCost(0.1), Exponentiated(0.3)):
        costs = np.asarray(jax.vmap(lambda k, u=utility: cost(k, u, 0.3 if isinstance(u, LowCost) else 1.0))(keys))
        assert np.all(costs < 1.1 * best) and np.all(costs >= best - 1e-9) and start > 1.3 * best


def test_correlated_noise_has_that_correlation():
    solver = MirrorDescent(samples=100_000, correlation=0.8)
    noise = np.asarray(solver._noise(jax.random.PRNGKey(0), (6, 1), jnp.float64))[..., 0]
    lags = np.abs(np.arange(6)[:, None] - np.arange(6)[None])
    np.testing.assert_allclose(np.cov(noise.T), 0.8**lags, atol=0.02)


def test_bounds_hold_and_status_tells():
    problem, x0 = DoubleIntegrator().problem(15), jnp.array([2.0, 1.0])
    solution = ctg.solve(problem, x0, solver=MirrorDescent(10, std=2.0))
    assert np.all(np.abs(solution.controls) <= 1.0) and solution.status == ctg.Status.MAX_ITERATIONS
    assert np.all(np.isnan(solution.value.hessian)) and not np.any(solution.gains)
    broken = ctg.solve(problem, jnp.array([jnp.nan, 0.0]), solver=MirrorDescent(2))
    assert broken.status == ctg.Status.NOT_FINITE


def test_a_sample_that_diverged_does_not_spoil_the_plan():
    """In closed loop its controls are not finite; the others still make the step."""
    old = ControlDistribution(jnp.zeros((2, 1)), jnp.ones((2, 1)))
    applied = jnp.array([[[1.0], [jnp.nan]], [[0.5], [0.25]]])
    new = MirrorDescent(step_size=1.0).step(old, applied, jnp.array([0.0, 1.0]))
    np.testing.assert_array_equal(new.mean, [[0.5], [0.25]])


def test_keys_make_the_noise():
    problem, x0 = double_integrator(), jnp.array([1.0, 0.5])
    one, same = (ctg.solve(problem, x0, solver=MirrorDescent(2)).controls for _ in range(2))
    np.testing.assert_array_equal(one, same)
    other = ctg.solve(problem, x0, solver=MirrorDescent(2, key=jax.random.PRNGKey(1))).controls
    later = ctg.solve(problem, x0, solver=MirrorDescent(2), t0=0.1).controls
    assert np.any(one != other) and np.any(one != later)
    keys = jax.random.split(jax.random.PRNGKey(2), 3)
    batch = jax.vmap(lambda k: ctg.solve(problem, x0, solver=MirrorDescent(2, key=k)).controls)(keys)
    alone = ctg.solve(problem, x0, solver=MirrorDescent(2, key=keys[1])).controls
    np.testing.assert_allclose(batch[1], alone, rtol=1e-12)


def test_the_policy_is_the_shift():
    """Without iterations the plan is the policy's rollout, whatever was planned; a good policy is a good start."""
    problem, x0 = double_integrator(), jnp.array([1.0, 0.5])
    policy = lambda x, t: -jnp.array([1.5, 1.8]) @ x[:, None]  # noqa: E731
    found = ctg.solve(problem, x0, jnp.ones((15, 1)), solver=MirrorDescent(0, policy=policy))
    x = x0
    for k in range(15):
        np.testing.assert_allclose(found.controls[k], policy(x, 0.0), rtol=1e-12)
        x = problem.dynamics(x, found.controls[k], 0.0)
    for mode in ("closed_loop", "open_loop"):
        better = ctg.solve(problem, x0, solver=MirrorDescent(1, std=0.1, policy=policy, mode=mode))
        assert better.cost < found.cost
    # In closed loop the policy damps the noise, so that executed controls differ from those of the open loop.
    closed, opened = (MirrorDescent(1, policy=policy, mode=m).improve(problem, x0, found.controls)[0] for m in
                      ("closed_loop", "open_loop"))  # fmt: skip
    assert np.max(np.abs(closed.mean - opened.mean)) > 1e-3


SWING_UPS = [
    (Pendulum(), 40, 2, {"utility": LowCost(0.05), "std": 2.0, "correlation": 0.9, "samples": 200}),
    (Pendulum(), 40, 2, {"utility": Exponentiated(1.0), "std": 2.0, "correlation": 0.9, "samples": 200}),
    (CartPole(), 25, 4, {"utility": LowCost(0.04), "std": 30.0, "samples": 500}),
    (CartPole(), 25, 4, {"utility": Exponentiated(0.1), "std": 15.0, "correlation": 0.3, "samples": 500}),
]


@pytest.mark.parametrize(("system", "horizon", "iterations", "options"), SWING_UPS)
def test_pendulum_and_cartpole_swing_up(system, horizon, iterations, options):
    """Acceptance 5: in receding horizon, on the true model, from hanging; the last second is upright."""
    problem = ctg.OptimalControlProblem(
        system, system.cost(), horizon=horizon, control_bounds=system.control_bounds(), dt=system.dt
    )
    solver = MirrorDescent(iterations, step_size=1.0, **options)
    controller = ctg.RecedingHorizon(problem, solver=solver, iterations=iterations)
    hanging = jnp.array([-1.0, 0.0, 0.0] if isinstance(system, Pendulum) else [0.0, 0.0, -1.0, 0.0, 0.0])
    trajectory = jax.jit(lambda x0: simulate(controller, x0, 120))(hanging)
    cosine = np.asarray(trajectory.states)[:, 0 if isinstance(system, Pendulum) else 2]
    assert cosine[0] == -1.0 and np.all(cosine[-20:] > 0.9)


def test_mistakes():
    problem = double_integrator()
    constrained = ctg.OptimalControlProblem(
        problem.dynamics, problem.stage_cost, horizon=5, nu=1, equality=lambda x, u, t: u
    )
    with pytest.raises(CostogoError, match="put other constraints into the cost"):
        ctg.solve(constrained, jnp.zeros(2), solver=MirrorDescent())
    for options, message in (
        ({"samples": 1}, "samples is 1"), ({"step_size": 1.5}, "step_size is 1.5"), ({"std": 0.0}, "std is 0.0"),
        ({"correlation": 1.0}, "correlation is 1.0"),
        ({"mode": "closed"}, "did you mean 'closed_loop'"), ({"max_iterations": -1}, "max_iterations is -1"),
    ):  # fmt: skip
        with pytest.raises(CostogoError, match=message):
            MirrorDescent(**options)
    for utility, message in (
        (lambda: LowCost(0.0), "elites is 0.0"), (lambda: LowCost(2), "elites is 2"),
        (lambda: Exponentiated(0.0), "temperature is 0.0"), (lambda: ShiftedElites(margin=0.0), "margin is 0.0"),
    ):  # fmt: skip
        with pytest.raises(CostogoError, match=message):
            utility()
