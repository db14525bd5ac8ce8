"""The bounded LQ problem sets, and an independent referee for their solutions. NumPy only: nothing here uses costogo.

    minimise  sum_{k<N} 1/2 (x_k, u_k)' H_k (x_k, u_k) + 1/2 x_N' H_N x_N
    s.t.      x_{k+1} = A x_k + B u_k + b,   -u_max <= u_k <= u_max

The first set has H = I. Its A is unstable on purpose (spectral radius 1.54): a rounding error of one control grows
by 1.54^20 along the trajectory and as much again in the gradient. So the referee works in extended precision, and
judges a solution by its states and controls together.
"""

from typing import NamedTuple

import numpy as np

HORIZON, NX, NU, PROBLEMS = 20, 8, 4, 128
EXTENDED = np.longdouble
REFINEMENTS = 4


class BoundedLQ(NamedTuple):
    """Problems that share A (nx, nx), B (nx, nu), b (nx,), stage Hessians (N, nx+nu, nx+nu) in the order (x, u), and
    terminal Hessian (nx, nx); initial states x0 (problems, nx)."""

    A: np.ndarray
    B: np.ndarray
    b: np.ndarray
    x0: np.ndarray
    stage: np.ndarray
    terminal: np.ndarray
    u_max: float


class DenseQP(NamedTuple):
    """`1/2 U'H U + (G x0 + g)'U` over all controls U (N nu,), after elimination of the states."""

    H: np.ndarray
    G: np.ndarray
    g: np.ndarray


def generate(seed: int = 42, u_max: float = 1.0, random_hessians: bool = False) -> BoundedLQ:
    """The set, drawn with NumPy's legacy generator; bounds of 1 bind on 8 % of the controls, 1e4 on none.

    With `random_hessians` every stage has its own positive semidefinite Hessian M M'/nx of rank nx < nx + nu, cross
    terms included (same dynamics, bounds and initial states). The QP in the controls stays strictly convex.
    """
    rng = np.random.RandomState(seed)
    A = np.eye(NX) + 0.2 * rng.randn(NX, NX)
    B, b = rng.randn(NX, NU), rng.randn(NX)
    x0 = rng.randn(PROBLEMS, NX)
    stage = np.broadcast_to(np.eye(NX + NU), (HORIZON, NX + NU, NX + NU))
    terminal = np.eye(NX)
    if random_hessians:
        M = rng.randn(HORIZON + 1, NX + NU, NX)
        hessians = M @ np.swapaxes(M, -1, -2) / NX
        stage, terminal = hessians[:-1], hessians[-1, :NX, :NX]
    return BoundedLQ(A, B, b, x0, stage, terminal, u_max)


def dense_qp(problem: BoundedLQ) -> DenseQP:
    """Eliminate the states: x_k = Phi_k x0 + Gamma_k U + c_k, all in extended precision."""
    A, B, b, stage, terminal = _model(problem)
    size = HORIZON * NU
    Phi, Gamma, c = np.eye(NX, dtype=EXTENDED), np.zeros((NX, size), EXTENDED), np.zeros(NX, EXTENDED)
    H, G, g = np.zeros((size, size), EXTENDED), np.zeros((size, NX), EXTENDED), np.zeros(size, EXTENDED)
    for k in range(HORIZON):
        select = np.zeros((NU, size), EXTENDED)
        select[:, k * NU : (k + 1) * NU] = np.eye(NU)
        Z = np.concatenate([Gamma, select])
        weighted = Z.T @ stage[k]
        H += weighted @ Z
        G += weighted[:, :NX] @ Phi
        g += weighted[:, :NX] @ c
        Phi, Gamma, c = A @ Phi, A @ Gamma + B @ select, A @ c + b
    weighted = Gamma.T @ terminal
    return DenseQP(H + weighted @ Gamma, G + weighted @ Phi, g + weighted @ c)


def kkt_residual(problem: BoundedLQ, controls: np.ndarray, states: np.ndarray | None = None) -> np.ndarray:
    """Projected KKT residual `|u - clip(u - g)|_inf` of each problem; controls (problems, N, nu).

    g is the gradient of the cost with respect to the controls, by an adjoint along `states` (problems, N+1, nx). Where
    states are given the residual includes their defect `|A x + B u + b - x+|`; where not, the controls are rolled out
    open loop, which turns the rounding of controls to double precision into 1e-8 even for the exact solution.
    """
    u = np.asarray(controls, EXTENDED)
    x = _rollout(problem, u) if states is None else np.asarray(states, EXTENDED)
    gradient = cost_gradient(problem, x, u)
    stationarity = np.abs(u - np.clip(u - gradient, -problem.u_max, problem.u_max)).max(axis=(1, 2))
    return np.maximum(stationarity, _defect(problem, x, u)).astype(float)


def cost_gradient(problem: BoundedLQ, x: np.ndarray, u: np.ndarray) -> np.ndarray:
    """Gradient of the cost with respect to the controls, (problems, N, nu)."""
    A, B, _, stage, terminal = _model(problem)
    costate = x[:, -1] @ terminal
    gradient = np.zeros_like(u)
    for k in reversed(range(HORIZON)):
        slope = np.concatenate([x[:, k], u[:, k]], axis=1) @ stage[k]
        gradient[:, k] = slope[:, NX:] + costate @ B
        costate = slope[:, :NX] + costate @ A
    return gradient


def polished_reference(problem: BoundedLQ, guess: np.ndarray | None = None) -> np.ndarray:
    """Solutions (problems, N, nu), exact to rounding: dense KKT solves on the active set.

    Starts from the active set of `guess` (default: Clarabel's solution), and exchanges the worst constraint until the
    controls keep their bounds and the multipliers their signs to 1e-12.
    """
    qp = dense_qp(problem)
    guess = clarabel_guess(problem, qp) if guess is None else guess
    linear = problem.x0 @ qp.G.T + qp.g
    solutions = [_polish(qp.H, h, problem.u_max, u.ravel()) for h, u in zip(linear, guess, strict=True)]
    return np.array(solutions).reshape(-1, HORIZON, NU).astype(float)


def clarabel_guess(problem: BoundedLQ, qp: DenseQP) -> np.ndarray:
    """Solutions of the dense QP by Clarabel: one to four digits, enough to guess the active set."""
    import clarabel
    from scipy import sparse

    settings = clarabel.DefaultSettings()
    settings.verbose = False
    size = HORIZON * NU
    H = sparse.csc_matrix(np.triu(qp.H.astype(float)))
    rows = sparse.vstack([sparse.identity(size), -sparse.identity(size)], format="csc")
    limits, cones = np.full(2 * size, problem.u_max), [clarabel.NonnegativeConeT(2 * size)]
    linear = (problem.x0 @ qp.G.T + qp.g).astype(float)
    found = [clarabel.DefaultSolver(H, h, rows, limits, cones, settings).solve().x for h in linear]
    return np.array(found).reshape(-1, HORIZON, NU)


def gradient_x0(problem: BoundedLQ, solution: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Derivative of `sum(weights * controls)` with respect to x0 (problems, nx), active set of the solution frozen."""
    qp = dense_qp(problem)
    gradients = []
    for u, w in zip(solution.reshape(len(solution), -1), weights.reshape(len(weights), -1), strict=True):
        free = np.abs(u) < problem.u_max
        adjoint = _refined_solve(qp.H[np.ix_(free, free)], w[free])
        gradients.append(-adjoint @ qp.G[free])
    return np.array(gradients).astype(float)


def _model(problem: BoundedLQ) -> tuple[np.ndarray, ...]:
    parts = problem.A, problem.B, problem.b, problem.stage, problem.terminal
    return tuple(np.asarray(part, EXTENDED) for part in parts)


def _rollout(problem: BoundedLQ, u: np.ndarray) -> np.ndarray:
    A, B, b, _, _ = _model(problem)
    states = [problem.x0.astype(EXTENDED)]
    for k in range(HORIZON):
        states.append(states[-1] @ A.T + u[:, k] @ B.T + b)
    return np.stack(states, axis=1)


def _defect(problem: BoundedLQ, x: np.ndarray, u: np.ndarray) -> np.ndarray:
    """Largest violation of the initial state and the dynamics, one per problem."""
    A, B, b, _, _ = _model(problem)
    gaps = np.abs(x[:, :-1] @ A.T + u @ B.T + b - x[:, 1:]).max(axis=(1, 2))
    return np.maximum(gaps, np.abs(x[:, 0] - problem.x0).max(axis=1))


def _polish(H: np.ndarray, h: np.ndarray, limit: float, guess: np.ndarray) -> np.ndarray:
    """Active-set iteration on one QP with `-limit <= u <= limit`. `side` is -1, 0, +1: at lower, free, at upper."""
    side = np.sign(guess) * (np.abs(guess) >= limit - 1e-4 * max(1.0, limit))
    for _ in range(20 * len(guess)):
        free = side == 0
        u = side * EXTENDED(limit)
        u[free] = _refined_solve(H[np.ix_(free, free)], -(h + H @ u)[free])
        # At a bound the gradient must push outwards; free controls must lie inside.
        wrong = np.where(free, np.abs(u) - limit, side * (H @ u + h))
        worst = int(np.argmax(wrong))
        if wrong[worst] <= 1e-12:
            return u
        side[worst] = np.sign(u[worst]) if free[worst] else 0
    raise ArithmeticError("the active set did not settle")


def _refined_solve(H: np.ndarray, rhs: np.ndarray) -> np.ndarray:
    """Solve in double precision and refine with residuals in extended precision, 8 digits a step."""
    inverse = np.linalg.inv(H.astype(float))
    solution = np.zeros(len(rhs), EXTENDED)
    for _ in range(REFINEMENTS):
        solution = solution + inverse @ (rhs - H @ solution)
    return solution
