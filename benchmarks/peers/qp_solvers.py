"""OSQP and Clarabel on the bounded LQ sets, one problem after the other, states kept as variables (sparse)."""

from typing import NamedTuple

import clarabel
import numpy as np
import osqp
from scipy import sparse

from benchmarks.peers.serve import Prepared, serve


class SparseQP(NamedTuple):
    """`1/2 z'H z` over z = (u_0, x_1, u_1, ..., x_N) + linear terms; `dynamics z = offset + first x0` and bounds."""

    H: sparse.csc_matrix
    linear: np.ndarray  # times x0: the cross term of the first stage
    dynamics: sparse.csc_matrix
    offset: np.ndarray
    first: np.ndarray
    controls: np.ndarray  # indices of the controls in z


def prepare(given: dict[str, np.ndarray], solver: str) -> Prepared:
    """Solve every problem once, and hand the loop over to be timed."""
    qp, x0, limit = _build(given), given["x0"], float(given["u_max"])
    run = {"osqp": _osqp, "clarabel": _clarabel}[solver](qp, limit)

    def solve() -> list[tuple[np.ndarray, bool]]:
        return [run(x) for x in x0]

    found = solve()
    z = np.array([z for z, _ in found])
    nx, nu = given["B"].shape
    knots = z.reshape(len(x0), -1, nu + nx)
    states = np.concatenate([x0[:, None], knots[..., nu:]], axis=1)
    facts = {"solved": sum(ok for _, ok in found)}
    return Prepared({"solve": solve}, {"controls": knots[..., :nu], "states": states}, facts)


def _build(m: dict[str, np.ndarray]) -> SparseQP:
    (nx, nu), N = m["B"].shape, len(m["stage"])
    blocks = [m["stage"][0][nx:, nx:], *m["stage"][1:], m["terminal"]]
    # The stage blocks are in the order (x, u), as are the variables after the first control: u_0, (x_1, u_1), ..., x_N.
    H = sparse.block_diag(blocks, format="csc")
    rows = [sparse.hstack([m["B"], -sparse.identity(nx)])]
    rows += [sparse.hstack([m["A"], m["B"], -sparse.identity(nx)])] * (N - 1)
    width = N * (nx + nu)
    placed = []
    for k, row in enumerate(rows):
        before = 0 if k == 0 else nu + (k - 1) * (nx + nu)
        after = width - before - row.shape[1]
        placed.append(sparse.hstack([sparse.csc_matrix((nx, before)), row, sparse.csc_matrix((nx, after))]))
    linear = np.zeros((width, nx))
    linear[:nu] = m["stage"][0][nx:, :nx]
    first = np.zeros((N * nx, nx))
    first[:nx] = -m["A"]
    controls = (np.arange(N)[:, None] * (nx + nu) + np.arange(nu)).ravel()
    return SparseQP(H, linear, sparse.vstack(placed, format="csc"), np.tile(-m["b"], N), first, controls)


def _osqp(qp: SparseQP, limit: float):
    """Set up once; each problem only changes vectors. Cold starts, 1e-6, no polishing."""
    select = sparse.identity(qp.H.shape[0], format="csc")[qp.controls]
    bounds = np.full(len(qp.controls), limit)
    solver = osqp.OSQP()
    solver.setup(
        sparse.triu(qp.H, format="csc"), np.zeros(qp.H.shape[0]), sparse.vstack([qp.dynamics, select], format="csc"),
        np.append(qp.offset, -bounds), np.append(qp.offset, bounds), eps_abs=1e-6, eps_rel=1e-6,
        max_iter=50_000, verbose=False, warm_starting=False, polishing=False,
    )  # fmt: skip

    def run(x0: np.ndarray) -> tuple[np.ndarray, bool]:
        right = qp.offset + qp.first @ x0
        solver.update(q=qp.linear @ x0, l=np.append(right, -bounds), u=np.append(right, bounds))
        result = solver.solve()
        return result.x.copy(), result.info.status_val == 1

    return run


def _clarabel(qp: SparseQP, limit: float):
    """A solver for each problem, at its default tolerances (1e-8)."""
    select = sparse.identity(qp.H.shape[0], format="csc")[qp.controls]
    rows = sparse.vstack([qp.dynamics, select, -select], format="csc")
    bounds = np.full(2 * len(qp.controls), limit)
    cones = [clarabel.ZeroConeT(len(qp.offset)), clarabel.NonnegativeConeT(len(bounds))]
    settings = clarabel.DefaultSettings()
    settings.verbose, settings.max_threads = False, 1
    H = sparse.triu(qp.H, format="csc")

    def run(x0: np.ndarray) -> tuple[np.ndarray, bool]:
        right = np.append(qp.offset + qp.first @ x0, bounds)
        result = clarabel.DefaultSolver(H, qp.linear @ x0, rows, right, cones, settings).solve()
        return np.array(result.x), str(result.status) == "Solved"

    return run


if __name__ == "__main__":
    serve(prepare, ["osqp", "clarabel"])
