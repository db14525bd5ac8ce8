"""The continuous-time teacher as a check of the discrete one (spec mpc_net sections 4.2 to 4.5, 4.7 and 5).

An oracle in NumPy and SciPy: the projection on the null space of D, and the Riccati equations by `solve_ivp`. The
discrete sweep and Hamiltonians must tend to it at first order. The nominal trajectory is zero, so x is the deviation.
"""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.integrate
import scipy.linalg

import costogo as ctg
from costogo import RelaxedBarrier, Status
from costogo.lqr import EqualityRows, LQModel
from costogo.solvers import expand_hamiltonian, hamiltonian_sample

NX, NU, NG = 6, 5, 2
# Modes of one, two, one and no active rows. The switches are knots of both grids, exact in binary.
SWITCHES = (0.0, 0.25, 0.5, 0.75, 1.0)
COARSE, FINE = 64, 128


@dataclasses.dataclass
class ContinuousLQ:
    """Section 4.2 with `x' = A x + B u`, rows `C(t) x + D(t) u + e(t)` linear in time, and their schedule."""

    A: np.ndarray
    B: np.ndarray
    Q: np.ndarray
    P: np.ndarray
    R: np.ndarray
    q: np.ndarray
    r: np.ndarray
    last_Q: np.ndarray
    last_q: np.ndarray
    row_parts: tuple

    @classmethod
    def random(cls, seed):
        normal = np.random.default_rng(seed).standard_normal
        W, V = normal((NX + NU, NX + NU)), normal((NX, NX))
        H = W @ W.T / (NX + NU) + 0.5 * np.eye(NX + NU)
        sizes = ((NG, NX), (NG, NU), (NG,))
        return cls(
            A=0.3 * normal((NX, NX)), B=0.5 * normal((NX, NU)), Q=H[:NX, :NX], P=H[NX:, :NX], R=H[NX:, NX:],
            q=normal(NX), r=normal(NU), last_Q=V @ V.T / NX, last_q=normal(NX),
            row_parts=tuple((normal(size), 0.5 * normal(size)) for size in sizes),
        )  # fmt: skip

    def rows(self, t):
        """`C, D, e` of all rows, active or not."""
        return tuple(start + t * slope for start, slope in self.row_parts)

    def cost(self, x, u):
        """Cost density `l` of 4.2."""
        return 0.5 * x @ self.Q @ x + self.q @ x + u @ self.P @ x + 0.5 * u @ self.R @ u + self.r @ u

    def constraint(self, x, u, t):
        """`g`, masked rows included."""
        C, D, e = self.rows(t)
        return C @ x + D @ u + e


def schedule(t):
    """Which rows are active from `t` on: `[t < 1/2, 1/4 <= t < 3/4]`."""
    return [t < 0.5, (t >= 0.25) & (t < 0.75)]


class Oracle:
    """Sections 4.3 to 4.5: value `1/2 x'S x + s'x + c`, policy and multipliers of the continuous problem."""

    def __init__(self, lq):
        self.lq = lq
        self.pieces = {}
        y = np.concatenate([lq.last_Q.ravel(), lq.last_q, [0.0]])
        for i in reversed(range(len(SWITCHES) - 1)):
            interval = SWITCHES[i + 1], SWITCHES[i]
            active = np.array(schedule(SWITCHES[i]))
            run = scipy.integrate.solve_ivp(
                self.rate, interval, y, "DOP853", dense_output=True, args=(active,), rtol=1e-12, atol=1e-12
            )
            assert run.success
            self.pieces[SWITCHES[i]], y = run.sol, run.y[:, -1]  # the value is continuous at a switch

    def project(self, t, active):
        """Section 4.3: active rows `C, D, e`, `D^+` and the basis `P_u` with `D P_u = 0`, `P_u' R P_u = I`."""
        C, D, e = (row[active] for row in self.lq.rows(t))
        null = scipy.linalg.null_space(D) if len(D) else np.eye(NU)
        Pu = null @ np.linalg.inv(np.linalg.cholesky(null.T @ self.lq.R @ null)).T
        RD = np.linalg.solve(self.lq.R, D.T)
        return C, e, RD @ np.linalg.inv(D @ RD), Pu

    def rate(self, t, y, active):
        """Section 4.4: time derivatives of `S, s`, and of the constant, which the spec leaves out."""
        lq, (S, s, _) = self.lq, unpack(y)
        C, e, pinv, Pu = self.project(t, active)
        Ct, et = pinv @ C, pinv @ e
        A, B, h = lq.A - lq.B @ Ct, lq.B @ Pu, -lq.B @ et
        Q = lq.Q - Ct.T @ lq.P - lq.P.T @ Ct + Ct.T @ lq.R @ Ct
        q = lq.q - Ct.T @ lq.r - lq.P.T @ et + Ct.T @ lq.R @ et
        G, gamma = Pu.T @ lq.P + B.T @ S, Pu.T @ lq.r + B.T @ s
        dS = Q + A.T @ S + S @ A - G.T @ G
        ds = q + S @ h + A.T @ s - G.T @ gamma
        dc = -lq.r @ et + 0.5 * et @ lq.R @ et + s @ h - 0.5 * gamma @ gamma
        return -np.concatenate([dS.ravel(), ds, [dc]])

    def value(self, t):
        """`S, s, c` at time `t`."""
        return unpack(self.pieces[max(start for start in self.pieces if start <= t)](t))

    def policy(self, t):
        """Section 4.5: gains, feedforward, and slope and offset of the multipliers, zero for rows not active."""
        lq, (S, s, _), active = self.lq, self.value(t), np.array(schedule(t))
        C, e, pinv, Pu = self.project(t, active)
        K = -pinv @ C - Pu @ Pu.T @ (lq.P + lq.B.T @ S)
        k = -pinv @ e - Pu @ Pu.T @ (lq.r + lq.B.T @ s)
        slope, offset = np.zeros((NG, NX)), np.zeros(NG)
        slope[active] = pinv.T @ (lq.R @ pinv @ C - lq.P - lq.B.T @ S)
        offset[active] = pinv.T @ (lq.R @ pinv @ e - lq.r - lq.B.T @ s)
        return K, k, slope, offset

    def frozen(self, x, t):
        """`pi, V_x, nu` at a sample."""
        (S, s, _), (K, k, slope, offset) = self.value(t), self.policy(t)
        return k + K @ x, s + S @ x, offset + slope @ x

    def hamiltonian(self, x, u, t):
        """Section 4.7 without barrier: `l + nu'g + V_x'f`."""
        _, Vx, nu = self.frozen(x, t)
        return self.lq.cost(x, u) + nu @ self.lq.constraint(x, u, t) + Vx @ (self.lq.A @ x + self.lq.B @ u)

    def hamiltonian_slope(self, x, u, t):
        """Section 4.7: `l_u + g_u'nu + f_u'V_x`."""
        _, Vx, nu = self.frozen(x, t)
        return self.lq.P @ x + self.lq.R @ u + self.lq.r + self.lq.rows(t)[1].T @ nu + self.lq.B.T @ Vx


def unpack(y):
    """`S, s, c` from a vector of the differential equation."""
    return y[: NX * NX].reshape(NX, NX), y[NX * NX : -1], y[-1]


@pytest.fixture(scope="module")
def oracle():
    return Oracle(ContinuousLQ.random(0))


SAMPLES = np.random.default_rng(1).standard_normal((100, NX))
CONTROLS = np.random.default_rng(2).standard_normal((100, NU))


def assert_first_order(coarse, fine, limit, name):
    """Twice the grid, half the error; and little is left when the first-order part is taken out."""
    coarse, fine, size = np.asarray(coarse), np.asarray(fine), np.abs(limit).max()
    before, after = (np.abs(found - limit).max() / size for found in (coarse, fine))
    left = np.abs(2 * fine - coarse - limit).max() / size
    message = f"{name}: relative errors {before:.2e}, {after:.2e}, without first-order part {left:.1e}"
    assert after < 0.03, message
    assert 1.7 < before / after < 2.3, message
    assert left < 1e-3, message


@pytest.mark.parametrize("t", [0.1, 0.4, 0.6, 0.9])
def test_continuous_policy_is_stationary_and_feasible(oracle, t):
    """Check 2: at 100 random states, in the modes of one, two, one and no rows."""
    active = np.array(schedule(t))
    for x in SAMPLES:
        u = oracle.frozen(x, t)[0]
        assert np.abs(oracle.hamiltonian_slope(x, u, t)).max() < 1e-9
        assert np.abs(oracle.lq.constraint(x, u, t)[active]).max(initial=0.0) < 1e-9


@pytest.mark.parametrize("t", [0.1, 0.4, 0.6, 0.9])
def test_continuous_value_obeys_hamilton_jacobi_bellman(oracle, t):
    """`-V_t = H(x, pi(x))`: stationarity holds for any S and s, this only for the solution of 4.4."""
    step = 1e-4

    def value(x, t):
        S, s, c = oracle.value(t)
        return 0.5 * x @ S @ x + s @ x + c

    for x in SAMPLES:
        fall = -(value(x, t + step) - value(x, t - step)) / (2 * step)
        np.testing.assert_allclose(fall, oracle.hamiltonian(x, oracle.frozen(x, t)[0], t), rtol=1e-6, atol=1e-5)


def step_matrices(lq, dt, exact):
    """One interval of the dynamics: Euler, or exact for a control held constant."""
    if not exact:
        return np.eye(NX) + dt * lq.A, dt * lq.B
    both = scipy.linalg.expm(dt * np.block([[lq.A, lq.B], [np.zeros((NU, NX + NU))]]))
    return both[:NX, :NX], both[:NX, NX:]


def sweep(lq, N, exact):
    """The library's backward sweep on N intervals, functions of time taken at their start."""
    dt, times = 1.0 / N, np.arange(N) / N
    A, B = step_matrices(lq, dt, exact)
    C, D, e = (np.stack(rows) for rows in zip(*(lq.rows(t) for t in times), strict=True))
    mask = np.array([schedule(t) for t in times])

    def each(a):
        return jnp.asarray(np.broadcast_to(a, (N, *a.shape)))

    model = LQModel(
        A=each(A), B=each(B), d=jnp.zeros((N, NX)), R=each(dt * lq.R), r=each(dt * lq.r), P=each(dt * lq.P),
        Q=jnp.concatenate([each(dt * lq.Q), lq.last_Q[None]]), q=jnp.concatenate([each(dt * lq.q), lq.last_q[None]]),
    )  # fmt: skip
    return ctg.lqr.backward(model, equality=EqualityRows(*(jnp.asarray(a) for a in (C, D, e, mask))))


def at_time(swept, t):
    """Policy, value and multipliers (per unit of time) of a sweep at the knot of time `t`."""
    N = len(swept.feedforward)
    k = round(t * N)
    return {
        "gains": swept.gains[k],
        "feedforward": swept.feedforward[k],
        "value hessian": swept.value_hessian[k],
        "value gradient": swept.value_gradient[k],
        "value constant": swept.value_constant[k],
        "multiplier slope": N * swept.multiplier_slope[k],
        "multiplier offset": N * swept.multiplier_offset[k],
    }


@pytest.mark.parametrize("exact", [False, True], ids=["euler", "exact"])
def test_sweep_tends_to_the_riccati_equations(oracle, exact):
    """Section 5 against 4.4 and 4.5 at the start and at both switches with active rows; D and the mask vary in time."""
    coarse, fine = (sweep(oracle.lq, N, exact) for N in (COARSE, FINE))
    assert coarse.status == fine.status == Status.CONVERGED
    for t in (0.0, 0.25, 0.5):
        K, k, slope, offset = oracle.policy(t)
        limits = dict(zip(at_time(fine, t), (K, k, *oracle.value(t), slope, offset), strict=True))
        for name, limit in limits.items():
            assert_first_order(at_time(coarse, t)[name], at_time(fine, t)[name], limit, f"{name} at {t}")


def discrete(lq, N):
    """The problem of section 5 on N intervals with Euler's method, and its solution."""
    dt = 1.0 / N
    problem = ctg.OptimalControlProblem(
        lambda x, u, t: x + dt * (lq.A @ x + lq.B @ u),
        lambda x, u, t: dt * lq.cost(x, u),
        lambda x: 0.5 * x @ lq.last_Q @ x + lq.last_q @ x,
        horizon=N,
        nu=NU,
        dt=dt,
        equality=lambda x, u, t: lq.constraint(x, u, t),
        equality_mask=lambda t: jnp.array(schedule(t)),
    )
    solution = jax.jit(lambda x: ctg.solve(problem, x))(jnp.asarray(SAMPLES[0]))
    assert solution.status == Status.CONVERGED
    return problem, solution


def newton_step(function, u):
    """Minimum of a quadratic function, from any point, and its Hessian."""
    hessian = jax.hessian(function)(u)
    return u - jnp.linalg.solve(hessian, jax.grad(function)(u)), hessian


def forms(problem, solution):
    """Both forms of section 5 over dt, at all times and samples: values, minima, Hessians; and the tuple of B."""
    V = solution.value

    def one(k, x, u):
        sample = hamiltonian_sample(problem, solution, x, k)
        expansion = expand_hamiltonian(problem, RelaxedBarrier(), sample)

        def to_go(x):
            dx = x - solution.states[k + 1]
            return 0.5 * dx @ V.hessian[k + 1] @ dx + V.gradient[k + 1] @ dx

        def form_a(u):  # less V_{k+1}(x), which no control moves
            cost, rows = problem.stage_cost(x, u, sample.time), problem.equality(x, u, sample.time)
            following = problem.dynamics(x, u, sample.time)
            return (cost + sample.multipliers @ rows + to_go(following) - to_go(x)) / problem.dt

        def form_b(u):
            return sample.value(problem, RelaxedBarrier(), u)

        (best_a, curved_a), (best_b, curved_b) = newton_step(form_a, u), newton_step(form_b, u)
        return {
            "A": form_a(u), "A minimum": best_a, "A hessian": curved_a,
            "B": form_b(u), "B minimum": best_b, "B hessian": curved_b,
            "expansion": expansion(u), "expansion hessian": expansion.hessian,
            "expansion minimum": sample.control - jnp.linalg.solve(expansion.hessian, expansion.gradient),
            "control": sample.control, "costate": sample.costate, "multipliers": sample.multipliers / problem.dt,
        }  # fmt: skip

    samples = jax.vmap(one, (None, 0, 0))
    knots = jnp.array([round(t * problem.horizon) for t in TIMES])
    return jax.jit(jax.vmap(samples, (0, None, None)))(knots, SAMPLES, CONTROLS)


TIMES = (0.0, 0.375, 0.625)


@pytest.fixture(scope="module")
def grids(oracle):
    return [forms(*discrete(oracle.lq, N)) for N in (COARSE, FINE)]


def continuous_limits(oracle, t):
    """What `forms` tends to at time `t`: the Hamiltonian of 4.7 and its control, costate and multipliers."""
    control, costate, multipliers = (np.stack(a) for a in zip(*(oracle.frozen(x, t) for x in SAMPLES), strict=True))

    def values(controls):
        return np.array([oracle.hamiltonian(x, u, t) for x, u in zip(SAMPLES, controls, strict=True)])

    value = values(CONTROLS)
    return {
        "A": value, "B": value, "expansion": value - values(control), "A hessian": oracle.lq.R,
        "control": control, "costate": costate, "multipliers": multipliers,
    }  # fmt: skip


@pytest.mark.parametrize("i", range(len(TIMES)))
def test_discrete_hamiltonians_tend_to_the_continuous_one(oracle, grids, i):
    """Forms A and B over dt and the tuple of the samples, at random states and controls.

    The minima are the policy on any grid: that is not left to the limit, where the costate of the current knot would
    do as well.
    """
    coarse, fine = (jax.tree.map(lambda a: np.asarray(a[i]), grid) for grid in grids)
    for name, limit in continuous_limits(oracle, TIMES[i]).items():
        assert_first_order(coarse[name], fine[name], limit, f"{name} at {TIMES[i]}")
    for name in ("B hessian", "expansion hessian"):
        np.testing.assert_allclose(fine[name], np.broadcast_to(oracle.lq.R, fine[name].shape), atol=1e-9)
    for name in ("A minimum", "B minimum", "expansion minimum"):
        np.testing.assert_allclose(coarse[name], coarse["control"], atol=1e-8)
