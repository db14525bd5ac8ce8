"""`solve`: convergence, statuses, options (spec checks 5 and 6)."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import costogo as ctg
from costogo import Status
from costogo.problem import SimulatorDynamics
from costogo.systems import CartPole, DoubleIntegrator, Pendulum
from oracles import bounded_lq_set, polished_reference, projected_residual

PENDULUM = Pendulum().problem(20)
# One control: the clamped sweep compiles in a third of the time of the interior-point subproblem.
CLAMPED = ctg.BoxDDP(subproblem="clamped")
ONE = ctg.BoxDDP(subproblem="clamped", max_iterations=1)
STATES = jax.vmap(Pendulum().initial_state)(jax.random.split(jax.random.PRNGKey(0), 100))


def batched(problem=PENDULUM, **options):
    return jax.jit(jax.vmap(lambda x0: ctg.solve(problem, x0, solver=ctg.BoxDDP(**options))))


@pytest.fixture(scope="module")
def clamped():
    return batched(subproblem="clamped", tolerance=1e-9)(STATES)


def test_pendulum_expert_converges_in_thirty_iterations():
    """Spec check 5, with the paper's tolerance and line search, from zero controls."""
    solution = batched(subproblem="clamped", tolerance=1e-3, line_search_decay=0.2, line_search_trials=5)(STATES)
    good = (solution.status == Status.CONVERGED) & (solution.iterations <= 30)
    assert np.mean(good) >= 0.95
    assert np.abs(solution.controls).max() <= 2.0 + 1e-12


def test_cost_falls_monotonically():
    """Spec check 5: the cost after n iterations never rises with n."""
    solver = ctg.BoxDDP(subproblem="clamped", max_iterations=1, tolerance=0.0)
    step = jax.jit(jax.vmap(lambda x, u: ctg.solve(PENDULUM, x, u, solver=solver)))
    controls, before = jnp.zeros((100, 20, 1)), np.full(100, np.inf)
    for _ in range(12):
        solution = step(STATES, controls)
        assert np.all(solution.cost <= before + 1e-12 * (1 + np.abs(solution.cost)))
        controls, before = solution.controls, np.asarray(solution.cost)


def test_fixed_point(clamped):
    """Spec check 6: one more iteration from the solution moves the controls by less than the tolerance."""
    once = ctg.BoxDDP(subproblem="clamped", tolerance=0.0, max_iterations=1)
    again = jax.jit(jax.vmap(lambda x, u: ctg.solve(PENDULUM, x, u, solver=once)))(STATES, clamped.controls)
    assert np.all(clamped.status == Status.CONVERGED)
    assert np.abs(again.controls - clamped.controls).max() < 1e-8


@pytest.mark.parametrize(
    "options",
    [
        {"subproblem": "interior_point"},
        {"subproblem": "clamped", "shooting": "multiple"},
        {"subproblem": "clamped", "hessian": "exact"},
        {"subproblem": "clamped", "line_search_block": 10},
    ],
)
def test_variants_agree(clamped, options):
    """Subproblem, shooting, Hessian and line-search block change the path, not the answer."""
    solution = batched(tolerance=1e-9, max_iterations=200, **options)(STATES)
    converged = np.asarray(solution.status == Status.CONVERGED)
    # Newton's Hessian is indefinite at some minima here (controls at their bounds), where steps stay regularised.
    assert np.mean(converged) >= (0.9 if "hessian" in options else 1.0)
    assert solution.defect.max() < 1e-12
    same = converged & (np.abs(solution.cost - clamped.cost) < 1e-6)
    assert np.mean(same) >= 0.9  # a nonconvex problem may have another local minimum
    np.testing.assert_allclose(solution.controls[same], clamped.controls[same], atol=1e-4)


@pytest.mark.parametrize("limit", [1.0, 1e4])
def test_bounded_lq_set(limit):
    """Issue acceptance 3: 128 problems in one vmapped call, against an independent referee."""
    A, B, b, x0 = bounded_lq_set()
    problem = ctg.OptimalControlProblem(
        lambda x, u, t: A @ x + B @ u + b,
        ctg.QuadraticCost(Q=1.0, R=1.0),
        ctg.QuadraticTerminalCost(Q=1.0),
        horizon=20,
        control_bounds=(-limit * np.ones(4), limit * np.ones(4)),
    )
    solution = jax.jit(jax.vmap(lambda x: ctg.solve(problem, x)))(x0)
    assert np.all(solution.status == Status.CONVERGED)
    states, controls = np.asarray(solution.states), np.asarray(solution.controls)
    assert projected_residual(A, B, states, controls, limit) <= 1e-8
    for i in range(0, 128, 8):
        reference = polished_reference(A, B, b, x0[i], limit, controls[i])
        np.testing.assert_allclose(controls[i], reference, atol=1e-6)


def test_failures_stay_in_their_lane():
    """NaN and infinite starts are flagged; the other lanes are those of a clean batch."""
    x0 = STATES[:6].at[1].set(jnp.nan).at[4, 2].set(jnp.inf)
    solve = batched(subproblem="clamped")
    dirty, clean = solve(x0), solve(STATES[:6])
    assert [int(s) for s in dirty.status] == [0, Status.NOT_FINITE, 0, 0, Status.NOT_FINITE, 0]
    good = np.array([0, 2, 3, 5])
    np.testing.assert_array_equal(dirty.controls[good], clean.controls[good])


def test_statuses():
    x0 = STATES[0]
    assert ctg.solve(PENDULUM, x0, solver=ONE).status == Status.MAX_ITERATIONS
    concave = ctg.OptimalControlProblem(lambda x, u, t: x + u, ctg.QuadraticCost(Q=1.0, R=-1e12), horizon=3, nu=1)
    assert ctg.solve(concave, jnp.ones(1), solver=CLAMPED).status == Status.INDEFINITE

    @jax.jit
    def crossed(lower):
        bounds = (lower, -jnp.ones(1))
        problem = ctg.OptimalControlProblem(Pendulum(), Pendulum().cost(), horizon=20, control_bounds=bounds)
        return ctg.solve(problem, x0, solver=CLAMPED).status

    assert crossed(jnp.ones(1)) == Status.INFEASIBLE


def test_throw():
    with pytest.raises(ctg.SolveError, match="MAX_ITERATIONS after 1"):
        ctg.solve(PENDULUM, STATES[0], solver=ONE, throw=True)
    assert ctg.solve(PENDULUM, STATES[0], solver=CLAMPED, throw=True).status == 0


def test_solution_is_consistent(clamped):
    """Gains, cost-to-go and active set belong to the trajectory: the policy is stationary, V_0 is the cost."""
    assert np.all(np.abs(clamped.value.constant[:, 0] - clamped.cost) < 1e-7)
    np.testing.assert_allclose(np.abs(clamped.controls[clamped.active]), 2.0, atol=1e-12)
    assert np.all(clamped.gains[clamped.active] == 0.0)
    step = 1e-5
    moved = STATES[:1] + jnp.array([0.0, 0.0, step])
    new = batched(subproblem="clamped", tolerance=1e-9)(moved)
    predicted = clamped.cost[0] + clamped.value.gradient[0, 0, 2] * step
    np.testing.assert_allclose(new.cost[0], predicted, atol=1e-8)


def test_float32():
    solution = batched(subproblem="clamped")(STATES[:8].astype(jnp.float32))
    assert solution.controls.dtype == jnp.float32
    assert np.mean(solution.status == Status.CONVERGED) > 0.8


def test_time_enters_cost_and_dynamics():
    """`t = t0 + k dt` in both; the answer of a shifted problem is the shifted answer."""
    problem = ctg.OptimalControlProblem(
        lambda x, u, t: x + 0.1 * u + 0.01 * jnp.sin(t),
        lambda x, u, t: jnp.sum((x - jnp.cos(t)) ** 2 + 0.1 * u**2),
        horizon=5,
        nu=1,
        dt=0.5,
    )
    early = ctg.solve(problem, jnp.zeros(1), t0=1.0, solver=CLAMPED)
    u, x, cost = np.asarray(early.controls), np.zeros(1), 0.0
    for k in range(5):
        t = 1.0 + 0.5 * k
        cost += float(np.sum((x - np.cos(t)) ** 2 + 0.1 * u[k] ** 2))
        x = x + 0.1 * u[k] + 0.01 * np.sin(t)
    np.testing.assert_allclose(early.cost, cost, rtol=1e-12)
    np.testing.assert_allclose(early.states[-1], x, rtol=1e-12)


@pytest.mark.parametrize("system", [CartPole(), DoubleIntegrator()])
def test_other_systems_converge(system):
    x0 = jax.vmap(system.initial_state)(jax.random.split(jax.random.PRNGKey(1), 32))
    solution = batched(system.problem(), subproblem="clamped", max_iterations=200)(x0)
    assert np.mean(solution.status == Status.CONVERGED) >= 0.95


class NumpyIntegrator(SimulatorDynamics):
    """A double integrator behind a callback: the interface of a simulator outside JAX."""

    def step(self, xs, us, ts):
        shape = jax.ShapeDtypeStruct(xs.shape, xs.dtype)

        def run(xs, us):
            return np.stack([xs[..., 0] + 0.1 * xs[..., 1], xs[..., 1] + 0.1 * us[..., 0]], axis=-1)

        return jax.pure_callback(run, shape, xs, us, vmap_method="broadcast_all")

    def linearise(self, xs, us, ts):
        A = jnp.broadcast_to(jnp.array([[1.0, 0.1], [0.0, 1.0]]), (*xs.shape, 2))
        B = jnp.broadcast_to(jnp.array([[0.0], [0.1]]), (*xs.shape, 1))
        return self.step(xs, us, ts), A, B


def test_simulator_dynamics():
    cost = ctg.QuadraticCost(Q=1.0, R=0.1)
    bounds = (-np.ones(1), np.ones(1))
    outside = ctg.OptimalControlProblem(NumpyIntegrator(), cost, horizon=10, control_bounds=bounds)
    inside = ctg.OptimalControlProblem(
        lambda x, u, t: jnp.stack([x[0] + 0.1 * x[1], x[1] + 0.1 * u[0]]), cost, horizon=10, control_bounds=bounds
    )
    x0 = jnp.array([[1.0, 0.0], [0.0, 2.0]])
    there = jax.vmap(lambda x: ctg.solve(outside, x, solver=CLAMPED))(x0)
    here = jax.vmap(lambda x: ctg.solve(inside, x, solver=CLAMPED))(x0)
    assert np.all(there.status == 0)
    np.testing.assert_allclose(there.controls, here.controls, atol=1e-9)
    with pytest.raises(ctg.DerivativeError, match="simulator dynamics"):
        jax.grad(lambda x: ctg.solve(outside, x, solver=CLAMPED).cost)(x0[0])


def small(stage_cost, **options):
    return ctg.OptimalControlProblem(lambda x, u, t: x + u, stage_cost, horizon=3, nu=1, **options)


def test_derivative_that_is_not_finite():
    """The cost is finite at the start and its derivative is not (a norm at zero): NOT_FINITE, at once."""
    solution = ctg.solve(
        small(lambda x, u, t: jnp.linalg.norm(x) + jnp.sum(u**2)), jnp.zeros(1), solver=CLAMPED
    )  # fmt: skip
    assert solution.status == Status.NOT_FINITE
    assert solution.iterations <= 1


@pytest.mark.parametrize("bounds", [None, (-1.0, 1.0)])
def test_a_stationary_maximum_is_not_a_solution(bounds):
    """`-u^2` has zero gradient at zero: INDEFINITE, not CONVERGED. Started off it, the solver never claims success."""
    solve = jax.jit(
        lambda x: ctg.solve(
            small(lambda x, u, t: jnp.sum(x**2) - 4.0 * jnp.sum(u**2), control_bounds=bounds), x, solver=CLAMPED
        )
    )
    assert solve(jnp.zeros(1)).status == Status.INDEFINITE
    assert solve(jnp.ones(1)).status != Status.CONVERGED


def test_derivative_of_the_wrong_sign_stalls():
    """The value is (u - 1)^2, its derivative points uphill: no step is accepted, the start is kept."""

    def cost(x, u, t):
        value = jnp.sum((u - 1.0) ** 2)
        false = value - 4.0 * jnp.sum((u - 1.0) * jax.lax.stop_gradient(u - 1.0))
        return jax.lax.stop_gradient(value - false) + false

    solution = ctg.solve(small(cost), jnp.zeros(1), solver=CLAMPED)
    assert solution.status == Status.STALLED
    np.testing.assert_array_equal(solution.controls, 0.0)


def test_no_control_cost_at_all():
    """Nothing depends on the last control: Quu is zero there, regularisation carries the solve."""
    solution = ctg.solve(small(lambda x, u, t: jnp.sum((x - 0.3) ** 2)), jnp.ones(1), solver=CLAMPED)
    assert solution.status == Status.CONVERGED
    np.testing.assert_allclose(solution.states[1:3], 0.3, atol=1e-6)


def test_throw_inside_jit_and_empty_batches():
    solve = jax.jit(lambda x: ctg.solve(PENDULUM, x, solver=CLAMPED, throw=True))
    assert solve(STATES[0]).status == Status.CONVERGED
    with pytest.raises(Exception, match="did not converge"):
        jax.block_until_ready(solve(STATES[0] * jnp.nan))
    empty = batched(small(lambda x, u, t: jnp.sum(x**2 + u**2)), subproblem="clamped")(jnp.zeros((0, 1)))
    assert empty.controls.shape == (0, 3, 1)
