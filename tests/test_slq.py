"""The constrained teacher: barrier, equality rows with masks, Hamiltonian (spec mpc_net section 14)."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.optimize

import costogo as ctg
from costogo import CostogoError, RelaxedBarrier, Status
from costogo.problem import equality_values, expand, inequality_values, with_barrier
from costogo.solvers import expand_hamiltonian, hamiltonian_sample
from oracles import finite_difference

NX, NU, NG, N, DT = 6, 5, 2, 12, 0.1


def linear_problem(seed=0, masked=True):
    """Random LQ problem with equality rows, of which some are masked out at some times."""
    rng = np.random.default_rng(seed)
    A = np.eye(NX) + 0.1 * rng.standard_normal((NX, NX))
    B, C, D = rng.standard_normal((NX, NU)), 0.3 * rng.standard_normal((NG, NX)), rng.standard_normal((NG, NU))
    e, W, S = rng.standard_normal(NG), rng.standard_normal((NU, NU)), rng.standard_normal((NU, NX))
    A, B, C, D, e, R = (jnp.asarray(a) for a in (A, B, C, D, e, W @ W.T + np.eye(NU)))
    return ctg.OptimalControlProblem(
        lambda x, u, t: A @ x + B @ u,
        lambda x, u, t: DT * (0.5 * x @ x + 0.5 * u @ R @ u + 0.1 * u @ (jnp.asarray(S) @ x)),
        lambda x: 0.5 * x @ x,
        horizon=N,
        nu=NU,
        dt=DT,
        equality=lambda x, u, t: C @ x + D @ u + e,
        equality_mask=(lambda t: jnp.array([t < 0.55, (t > 0.25) & (t < 0.95)])) if masked else None,
    ), R


X0 = jnp.asarray(np.random.default_rng(7).standard_normal(NX))


@pytest.fixture(scope="module")
def linear():
    problem, R = linear_problem()
    solution = jax.jit(lambda x: ctg.solve(problem, x))(X0)
    return problem, R, solution


def test_barrier_joins_with_two_derivatives():
    """Check 1: value, slope and curvature agree at delta; a logarithm beyond; finite everywhere, with its
    derivatives."""
    barrier = RelaxedBarrier(weight=0.7, delta=0.3)
    slope, curvature = jax.grad(lambda h: barrier(h)), jax.grad(jax.grad(lambda h: barrier(h)))
    for function in (barrier, slope, curvature):
        assert abs(function(0.3 - 1e-12) - function(0.3 + 1e-12)) < 1e-8
    h = jnp.array([-1e3, -1.0, 0.0, 0.1, 0.31, 2.0])
    np.testing.assert_allclose(barrier(h[4:]), -0.7 * jnp.log(h[4:]), rtol=1e-14)
    first, second = barrier.derivatives(h)
    np.testing.assert_allclose(first, jax.vmap(slope)(h), rtol=1e-12)
    np.testing.assert_allclose(second, jax.vmap(curvature)(h), rtol=1e-12)
    assert np.all(np.isfinite(barrier(h)))
    problem = unicycle(inequality=lambda x, u, t: jnp.stack([-jnp.inf + u[0], u[1]]))
    cost = ctg.problem.barrier_cost(problem, barrier, CAR[None], jnp.ones((1, 2)), jnp.zeros(1))
    assert np.all(np.isinf(cost))  # minus infinity is a violation, not a row that is masked out


def test_linear_problem_is_solved_to_the_constrained_optimum(linear):
    """The dense KKT system of the stacked problem, masks included, in one sweep and a step."""
    problem, _, solution = linear
    assert solution.status == Status.CONVERGED
    assert solution.iterations <= 2
    ts = problem.times(0.0, float)

    def states(u):
        def step(x, k):
            new = problem.dynamics(x, k[0], k[1])
            return new, new

        return jnp.concatenate([X0[None], jax.lax.scan(step, X0, (u.reshape(N, NU), ts[:-1]))[1]])

    def cost(u):
        x = states(u)
        return jnp.sum(jax.vmap(problem.stage_cost)(x[:-1], u.reshape(N, NU), ts[:-1])) + problem.terminal_cost(x[-1])

    def rows(u):
        return equality_values(problem, states(u)[:-1], u.reshape(N, NU), ts[:-1]).reshape(-1)

    held = np.asarray(jax.vmap(problem.equality_mask)(ts[:-1])).reshape(-1)
    H, g = jax.hessian(cost)(jnp.zeros(N * NU)), jax.grad(cost)(jnp.zeros(N * NU))
    G, e = jax.jacfwd(rows)(jnp.zeros(N * NU))[held], rows(jnp.zeros(N * NU))[held]
    kkt = np.block([[H, G.T], [G, np.zeros((len(e), len(e)))]])
    answer = np.linalg.solve(kkt, -np.concatenate([g, e]))
    np.testing.assert_allclose(solution.controls.reshape(-1), answer[: N * NU], atol=1e-9)
    multipliers = np.zeros(len(held))
    multipliers[held] = answer[N * NU :]
    np.testing.assert_allclose(solution.multipliers.offset.reshape(-1), multipliers, atol=1e-8)
    np.testing.assert_allclose(solution.cost, cost(answer[: N * NU]), rtol=1e-10)


def samples(solution, k, n=100, seed=1):
    return solution.states[k] + jax.random.normal(jax.random.PRNGKey(seed), (n, NX))


def test_policy_is_stationary_and_feasible_everywhere(linear):
    """Checks 2 and 4: for any state, the policy satisfies the active rows and minimises the Hamiltonian, forms A and
    B."""
    problem, _, solution = linear
    for k in (0, 4, 8, N - 1):
        t = problem.times(0.0, float)[k]

        def one(x, k=k, t=t):
            sample = hamiltonian_sample(problem, solution, x, k)
            slope = jax.grad(lambda u: sample.value(problem, RelaxedBarrier(), u))(sample.control)
            rows = equality_values(problem, x[None], sample.control[None], t[None])[0]
            value = solution.value

            def form_a(u):
                dx = problem.dynamics(x, u, t) - solution.states[k + 1]
                to_go = 0.5 * dx @ value.hessian[k + 1] @ dx + value.gradient[k + 1] @ dx
                g = equality_values(problem, x[None], u[None], t[None])[0]
                return problem.stage_cost(x, u, t) + sample.multipliers @ g + to_go

            newton = jnp.linalg.solve(jax.hessian(form_a)(sample.control), jax.grad(form_a)(sample.control))
            expansion = expand_hamiltonian(problem, RelaxedBarrier(), sample)
            return slope, rows, newton, jnp.linalg.solve(expansion.hessian, expansion.gradient)

        slope, rows, newton_a, newton_b = jax.vmap(one)(samples(solution, k))
        assert np.abs(slope).max() < 1e-8
        assert np.abs(rows).max() < 1e-9
        assert np.abs(newton_a).max() < 1e-8
        assert np.abs(newton_b).max() < 1e-8


def test_hamiltonian_is_the_weighted_distance(linear):
    """Check 5: without barrier, H(u) - H(u*) = 1/2 |u - u*|_R^2 for every control; the expansion says the same."""
    problem, R, solution = linear
    x = samples(solution, 3, 1)[0]
    sample = hamiltonian_sample(problem, solution, x, 3)
    expansion = expand_hamiltonian(problem, RelaxedBarrier(), sample)
    for seed in range(5):
        du = jax.random.normal(jax.random.PRNGKey(seed), (NU,))
        rise = sample.value(problem, RelaxedBarrier(), sample.control + du) - sample.value(
            problem, RelaxedBarrier(), sample.control
        )
        np.testing.assert_allclose(rise, 0.5 * du @ R @ du, rtol=1e-9)
        np.testing.assert_allclose(expansion(sample.control + du), 0.5 * du @ R @ du, rtol=1e-9)


def test_the_costate_at_the_current_state_would_be_wrong(linear):
    """The trap of spec section 5: with V_x at the knot instead of the next one, the minimum moves: here by much."""
    problem, R, solution = linear
    sample = hamiltonian_sample(problem, solution, solution.states[3], 3)
    wrong = jax.grad(
        lambda u: (
            sample.value(problem, RelaxedBarrier(), u)
            + (solution.value.gradient[3] - sample.costate) @ problem.dynamics(sample.state, u, sample.time) / DT
        )
    )(sample.control)
    assert np.abs(np.linalg.solve(R, wrong)).max() > 0.1


def test_value_gradient_by_finite_differences(linear):
    """Check 7: the gradient of the cost-to-go against solves from other states."""
    problem, _, solution = linear
    cost = jax.jit(lambda x: ctg.solve(problem, x).cost)
    np.testing.assert_allclose(
        solution.value.gradient[0], finite_difference(lambda x: cost(jnp.asarray(x)), np.asarray(X0), 1e-5), rtol=1e-6
    )
    np.testing.assert_allclose(solution.value.constant[0], solution.cost, rtol=1e-10)


def unicycle(barrier=None, **given):
    """Nonlinear: a car that must keep its speed, and its turning within a soft limit."""
    options = {
        "horizon": 25,
        "nu": 2,
        "dt": 0.1,
        "equality": lambda x, u, t: jnp.array([x[3] * jnp.cos(x[2]) - 0.5 + 0.3 * u[0]]),
        "equality_mask": lambda t: jnp.array([t < 1.05]),
        "inequality": lambda x, u, t: jnp.array([1.0 - u[1], u[1] + 1.0]),
    }
    options.update(given)
    return ctg.OptimalControlProblem(
        ctg.discretise(lambda x, u, t: jnp.array([x[3] * jnp.cos(x[2]), x[3] * jnp.sin(x[2]), u[1], u[0]]), 0.1),
        ctg.QuadraticCost(Q=jnp.array([0.1, 1.0, 0.1, 0.01]), R=jnp.array([0.05, 0.05])),
        ctg.QuadraticTerminalCost(Q=5.0),
        **options,
    )


CAR = jnp.array([0.0, 1.0, 0.3, 0.8])
SOLVER = ctg.SLQ(barrier=RelaxedBarrier(0.5, 0.1))


@pytest.fixture(scope="module")
def car():
    return jax.jit(lambda x: ctg.solve(unicycle(), x, solver=SOLVER))(CAR)


def test_nonlinear_problem_converges_to_a_constrained_optimum(car):
    """Rows hold, and the Lagrangian is stationary by SciPy's independent solver on the same penalised problem."""
    problem = unicycle()
    ts = problem.times(0.0, float)
    assert car.status == Status.CONVERGED
    assert np.abs(equality_values(problem, car.states[:-1], car.controls, ts[:-1])).max() < 1e-7
    # A relaxed barrier gives way a little.
    assert -0.05 < inequality_values(problem, car.states[:-1], car.controls, ts[:-1]).min() < 0.05

    def states(u):
        return ctg.problem.open_loop(problem, CAR, u.reshape(25, 2))

    def cost(u):
        x, u = states(u), u.reshape(25, 2)
        barrier = ctg.problem.barrier_cost(problem, SOLVER.barrier, x[:-1], u, ts[:-1])
        return ctg.problem.total_cost(problem, x, u, ts) + jnp.sum(barrier)

    def rows(u):
        return equality_values(problem, states(u)[:-1], u.reshape(25, 2), ts[:-1])[:11, 0]

    found = scipy.optimize.minimize(
        jax.jit(cost), np.zeros(50), jac=jax.jit(jax.grad(cost)), method="SLSQP",
        constraints={"type": "eq", "fun": jax.jit(rows), "jac": jax.jit(jax.jacobian(rows))},
        options={"maxiter": 300, "ftol": 1e-14},
    )  # fmt: skip
    assert car.cost <= found.fun + 1e-7
    np.testing.assert_allclose(car.controls.reshape(-1), found.x, atol=1e-3)


def test_infeasible_start_reaches_the_same_solution(car):
    """A trajectory that does not follow the dynamics is as good a start; its states at knot zero do not matter."""
    states = jnp.broadcast_to(jnp.array([0.0, 0.0, 0.0, 0.5]), (26, 4))
    other = jax.jit(lambda x: ctg.solve(unicycle(), x, states=states, solver=SOLVER))(CAR)
    assert other.status == Status.CONVERGED
    np.testing.assert_allclose(other.controls, car.controls, atol=1e-6)
    assert other.defect < 1e-12


def test_merit_falls_and_few_iterations_help(car):
    """One more iteration never raises the merit at a fixed penalty; after thirty the answer is close."""
    merits = []
    for n in (1, 2, 3, 4, 5, 10, 30):
        solver = ctg.SLQ(barrier=SOLVER.barrier, max_iterations=n)
        run = ctg.solve(unicycle(), CAR, solver=solver)
        assert run.status == Status.MAX_ITERATIONS
        assert run.stats.penalty == 20.0
        merits.append(float(run.cost + 20.0 * run.stats.violation))
    assert np.all(np.diff(merits) <= 0)
    assert abs(run.cost - car.cost) < 1e-3
    assert run.stats.violation < 1e-6


def test_value_and_multipliers_belong_to_the_trajectory_returned():
    """After one iteration, value, gains and multipliers are about the new states: moving them changes no policy."""
    solution = ctg.solve(unicycle(), CAR, solver=ctg.SLQ(barrier=SOLVER.barrier, max_iterations=1))
    about = ctg.problem.open_loop(unicycle(), CAR, jnp.zeros((25, 2)))
    ts = unicycle().times(0.0, float)
    model = with_barrier(
        unicycle(), SOLVER.barrier, expand(unicycle(), about, jnp.zeros((25, 2)), ts), about, jnp.zeros((25, 2)), ts
    )
    rows = ctg.problem.equality_rows(unicycle(), about, jnp.zeros((25, 2)), ts)
    sweep = ctg.lqr.backward(model, equality=rows)
    x = solution.states[3] + jnp.array([0.1, -0.2, 0.05, 0.0])
    old = sweep.value_gradient[3] + sweep.value_hessian[3] @ (x - about[3])
    new = solution.value.gradient[3] + solution.value.hessian[3] @ (x - solution.states[3])
    np.testing.assert_allclose(new, old, atol=1e-10)
    np.testing.assert_allclose(
        solution.multipliers.offset[3] + solution.multipliers.slope[3] @ (x - solution.states[3]),
        sweep.multiplier_offset[3] + sweep.multiplier_slope[3] @ (x - about[3]),
        atol=1e-10,
    )


def test_masked_rows_do_not_act():
    """A row that no time switches on changes nothing, whatever its value, NaN included."""
    free = ctg.solve(unicycle(equality=None, equality_mask=None), CAR, solver=SOLVER)
    never = unicycle(
        equality=lambda x, u, t: jnp.array([1e3 + u[0], u[1] * jnp.nan]), equality_mask=lambda t: jnp.zeros(2)
    )
    masked = ctg.solve(never, CAR, solver=SOLVER)
    assert masked.status == Status.CONVERGED
    np.testing.assert_allclose(masked.controls, free.controls, atol=1e-9)
    np.testing.assert_array_equal(masked.multipliers.offset, 0.0)


def test_batches_flag_the_lane_that_fails():
    """A NaN start and dependent rows are statuses of their own lanes; the others keep their answers."""

    def solve(x, scale):
        twice = unicycle(
            equality=lambda x, u, t: jnp.array([u[0] - 0.1, scale * (u[0] - 0.1) + (1.0 - scale) * u[1]]),
            equality_mask=None,
        )
        return ctg.solve(twice, x, solver=SOLVER)

    starts = jnp.stack([CAR, CAR.at[0].set(jnp.nan), CAR])
    batch = jax.jit(jax.vmap(solve))(starts, jnp.array([0.0, 0.0, 1.0]))
    assert [int(s) for s in batch.status] == [Status.CONVERGED, Status.NOT_FINITE, Status.INDEFINITE]
    np.testing.assert_allclose(batch.controls[0], solve(CAR, 0.0).controls, atol=1e-10)


BAD = {
    "bounds": (lambda: ctg.solve(unicycle(control_bounds=(-1.0, 1.0)), CAR, solver=ctg.SLQ()), ["SLQ", "inequality="]),
    "mask alone": (lambda: unicycle(equality=None), ["equality_mask", "without equality"]),
    "mask no function": (lambda: unicycle(inequality_mask=3), ["inequality_mask", "3"]),
    "mask shape": (lambda: ctg.solve(unicycle(equality_mask=lambda t: jnp.ones(3)), CAR), ["equality_mask", "(3,)"]),
    "states shape": (lambda: ctg.solve(unicycle(), CAR, states=jnp.zeros((5, 4))), ["states", "(5, 4)", "(26, 4)"]),
    "states for BoxDDP": (
        lambda: ctg.solve(unicycle(equality=None, equality_mask=None, inequality=None), CAR, states=jnp.zeros((26, 4))),
        ["BoxDDP", "states"],
    ),
    "barrier": (lambda: RelaxedBarrier(weight=0.0), ["weight", "0.0", "positive"]),
    "penalty": (lambda: ctg.SLQ(penalty=-1.0), ["penalty", "-1.0"]),
    "iterations": (lambda: ctg.SLQ(max_iterations=-1), ["max_iterations", "-1"]),
}


@pytest.mark.parametrize("case", BAD)
def test_misuse_names_argument_value_and_fix(case):
    call, words = BAD[case]
    with pytest.raises(CostogoError) as error:
        call()
    for word in words:
        assert word in str(error.value)


def test_derivative_is_refused():
    with pytest.raises(ctg.DerivativeError, match="SLQ has no derivative"):
        jax.grad(lambda x: ctg.solve(unicycle(), x, solver=SOLVER).cost)(CAR)
