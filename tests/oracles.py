"""Independent references in plain NumPy: dense KKT systems, finite differences, the bounded LQ set."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np

from costogo.lqr import LQModel


def random_model(seed, nx, nu, N, batch=(), cross=True):
    """A random LQ model with positive definite stage Hessians."""
    rng = np.random.default_rng(seed)
    n = nx + nu

    def psd(*shape, size):
        M = rng.standard_normal((*batch, *shape, size, size))
        return M @ np.swapaxes(M, -1, -2) / size + 0.5 * np.eye(size)

    H = psd(N, size=n)
    if not cross:
        H[..., nx:, :nx] = 0
        H[..., :nx, nx:] = 0
    terminal = psd(1, size=nx)
    normal = rng.standard_normal
    return jax.tree.map(
        jnp.asarray,
        LQModel(
            A=0.5 * normal((*batch, N, nx, nx)),
            B=normal((*batch, N, nx, nu)),
            d=normal((*batch, N, nx)),
            Q=np.concatenate([H[..., :nx, :nx], terminal], axis=-3),
            q=normal((*batch, N + 1, nx)),
            R=H[..., nx:, nx:],
            r=normal((*batch, N, nu)),
            P=H[..., nx:, :nx],
        ),
    )


def dense_lqr(model, x0, free=None, fixed=None, rows=None):
    """Solve an LQ problem as one KKT system in x_1..x_N, u_0..u_{N-1}; returns states, controls, row multipliers."""
    m = jax.tree.map(np.asarray, model)
    x0 = np.asarray(x0)
    N, nx, nu = m.B.shape
    n = N * (nx + nu)
    H, g = np.zeros((n, n)), np.zeros(n)
    X = [None] + [slice((k - 1) * nx, k * nx) for k in range(1, N + 1)]
    U = [slice(N * nx + k * nu, N * nx + (k + 1) * nu) for k in range(N)]
    A, b = [], []

    def constrain(block, offset):
        A.append(block)
        b.append(offset)

    for k in range(N):
        H[U[k], U[k]] += m.R[k]
        g[U[k]] += m.r[k]
        if k == 0:
            g[U[k]] += m.P[k] @ x0
        else:
            H[X[k], X[k]] += m.Q[k]
            g[X[k]] += m.q[k]
            H[U[k], X[k]] += m.P[k]
            H[X[k], U[k]] += m.P[k].T
        row = np.zeros((nx, n))
        row[:, X[k + 1]] = -np.eye(nx)
        row[:, U[k]] = m.B[k]
        offset = -m.d[k]
        if k == 0:
            offset = offset - m.A[k] @ x0
        else:
            row[:, X[k]] = m.A[k]
        for i in range(nx):
            constrain(row[i], offset[i])
    H[X[N], X[N]] += m.Q[N]
    g[X[N]] += m.q[N]
    if free is not None:
        for k, i in itertools.product(range(N), range(nu)):
            if not free[k, i]:
                row = np.zeros(n)
                row[U[k]][i] = 1.0
                constrain(row, fixed[k, i])
    row_places = []
    if rows is not None:
        C, D, e, mask = (np.asarray(v) for v in (rows.C, rows.D, rows.e, rows.mask))
        for k, i in zip(*np.nonzero(mask), strict=True):
            row = np.zeros(n)
            row[U[k]] = D[k, i]
            offset = -e[k, i]
            if k == 0:
                offset -= C[k, i] @ x0
            else:
                row[X[k]] = C[k, i]
            row_places.append((k, i, len(A)))
            constrain(row, offset)
    A, b = np.array(A), np.array(b)
    K = np.block([[H, A.T], [A, np.zeros((len(A), len(A)))]])
    solution = np.linalg.solve(K, np.concatenate([-g, b]))
    z, multipliers = solution[:n], solution[n:]
    states = np.concatenate([x0[None], z[: N * nx].reshape(N, nx)])
    found = {(k, i): multipliers[place] for k, i, place in row_places}
    return states, z[N * nx :].reshape(N, nu), found


def finite_difference(function, x, step=1e-6):
    """Central differences of a scalar or vector function with respect to every entry of an array."""
    x = np.asarray(x, float)
    out = []
    for index in np.ndindex(x.shape):
        e = np.zeros_like(x)
        e[index] = step
        out.append((np.asarray(function(x + e)) - np.asarray(function(x - e))) / (2 * step))
    return np.array(out).reshape(x.shape + np.shape(out[0]))


def bounded_lq_set():
    """The bounded LQ set: A (8, 8), B (8, 4), b (8,) shared, x0 (128, 8); N = 20, Q = I, R = I."""
    rng = np.random.RandomState(42)
    A = np.eye(8) + 0.2 * rng.randn(8, 8)
    B, b = rng.randn(8, 4), rng.randn(8)
    return A, B, b, rng.randn(128, 8)


def projected_residual(A, B, states, controls, limit):
    """`|u - clip(u - g)|_inf` with g the gradient of the cost with respect to the controls, by a NumPy adjoint."""
    costate = states[:, -1]
    worst = 0.0
    for k in reversed(range(controls.shape[1])):
        g = controls[:, k] + costate @ B
        worst = max(worst, np.abs(controls[:, k] - np.clip(controls[:, k] - g, -limit, limit)).max())
        costate = states[:, k] + costate @ A
    return worst


def polished_reference(A, B, b, x0, limit, controls):
    """Bounded LQ solution by an active-set iteration on the condensed dense QP, from a guess of the controls."""
    N, nu = controls.shape
    nx = len(x0)
    # States as an affine function of all controls: x_k = c_k + G_k U.
    c, G = [x0], [np.zeros((nx, N * nu))]
    for k in range(N):
        step = A @ G[-1]
        step[:, k * nu : (k + 1) * nu] += B
        G.append(step)
        c.append(A @ c[-1] + b)
    H = np.eye(N * nu) + sum(g.T @ g for g in G)
    h = sum(g.T @ v for g, v in zip(G, c, strict=True))
    u = np.clip(controls.ravel(), -limit, limit)
    low, high = u <= -limit + 1e-7, u >= limit - 1e-7
    for _ in range(200):
        free = ~(low | high)
        u = np.where(low, -limit, np.where(high, limit, 0.0))
        u[free] = np.linalg.solve(H[np.ix_(free, free)], -(h + H @ u)[free])
        g = H @ u + h
        new_low = np.where(low, g >= 0, u < -limit)
        new_high = np.where(high, g <= 0, u > limit)
        if np.array_equal(new_low, low) and np.array_equal(new_high, high):
            return u.reshape(N, nu)
        low, high = new_low, new_high
    raise AssertionError("the reference did not settle")


def condensed(model, x0, E, F, e):
    """Eliminate the states: `1/2 u'Hu + h'u` and rows `Gu + g >= 0` for the stacked controls u. All NumPy."""
    N, nx, nu = model.B.shape
    H, h = np.zeros((N * nu, N * nu)), np.zeros(N * nu)
    c, S = np.asarray(x0), np.zeros((nx, N * nu))  # x_k = c + S u
    rows, offsets = [], []
    for k in range(N):
        pick = np.zeros((nu, N * nu))
        pick[:, k * nu : (k + 1) * nu] = np.eye(nu)
        cross = pick.T @ model.P[k] @ S
        H += S.T @ model.Q[k] @ S + pick.T @ model.R[k] @ pick + cross + cross.T
        h += S.T @ (model.Q[k] @ c + model.q[k]) + pick.T @ (model.r[k] + model.P[k] @ c)
        rows.append(E[k] @ S + F[k] @ pick)
        offsets.append(E[k] @ c + e[k])
        c, S = model.A[k] @ c + model.d[k], model.A[k] @ S + model.B[k] @ pick
    H += S.T @ model.Q[N] @ S
    h += S.T @ (model.Q[N] @ c + model.q[N])
    return H, h, np.concatenate(rows), np.concatenate(offsets)
