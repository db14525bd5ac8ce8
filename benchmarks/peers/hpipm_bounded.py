"""HPIPM's interior-point method on the bounded LQ sets, one problem after the other, from cold starts.

x0 is eliminated: stage 0 has no state, and only its b and r differ between the problems. They are set within the timed
work; solutions stay in HPIPM's memory, a place for each problem.
"""

import ctypes
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import numpy as np

from benchmarks.peers.hpipm import OcpQp, eliminate_x0, kernels, wheel
from benchmarks.peers.serve import Prepared, serve

TOLERANCES = dict.fromkeys(("tol_stat", "tol_eq", "tol_ineq"), 1e-8)


class Share:
    """Some of the problems, with a QP and a workspace of their own."""

    def __init__(self, given: dict[str, np.ndarray], x0: np.ndarray, mode: str, tol_comp: float):
        self._given, self._x0 = given, x0
        self.qp = _model(given, mode, tol_comp)
        self.places = [self.qp.solution() for _ in x0]
        self._solves = [self.qp.solve(place) for place in self.places]
        self._setters = self.qp.setter("b", 0), self.qp.setter("r", 0)

    def solve(self, after: Callable[[], object] = lambda: None) -> list:
        """Solve all; what `after` says of each."""
        m, qp = self._given, self.qp.qp
        nx = len(m["A"])
        b = self._x0 @ m["A"].T + m["b"]
        r = self._x0 @ m["stage"][0][nx:, :nx].T
        addresses = (range(v.ctypes.data, v.ctypes.data + v.nbytes, v.strides[0]) for v in (b, r))
        set_b, set_r = self._setters
        found = []
        for solve, at_b, at_r in zip(self._solves, *addresses, strict=True):
            set_b(ctypes.c_void_p(at_b), qp)
            set_r(ctypes.c_void_p(at_r), qp)
            solve()
            found.append(after())
        return found


def prepare(given: dict[str, np.ndarray], mode: str = "SPEED", tol_comp: float = 1e-8) -> Prepared:
    """All problems as work "solve"; "solve_2_threads" gives either half to a thread (ctypes lets go of the GIL).

    `tol_comp` bounds the product of slack and multiplier: 1e-8 leaves a weakly active control up to 1e-4 off.
    HPIPM keeps multipliers above 1e-16, so that 1e-16 times a bound is out of reach.
    """
    x0 = given["x0"]
    everything = Share(given, x0, mode, tol_comp)
    halves = [Share(given, half, mode, tol_comp) for half in np.array_split(x0, 2)]
    pool = ThreadPoolExecutor(len(halves))

    def solve_2_threads() -> list:
        return list(pool.map(Share.solve, halves))

    outcomes = everything.solve(everything.qp.outcome)
    solution = _solution(everything, x0)
    solve_2_threads()
    apart = np.concatenate([_solution(h, x)["controls"] for h, x in zip(halves, np.array_split(x0, 2), strict=True)])
    facts = {
        "solved": sum(ok for ok, _ in outcomes),
        "mean_iterations": float(np.mean([iterations for _, iterations in outcomes])),
        "threads_difference": float(np.abs(apart - solution["controls"]).max()),
        "call_us": 1e6 * everything.qp.call_seconds(),
        "kernels": kernels(),
    }
    return Prepared({"solve": everything.solve, "solve_2_threads": solve_2_threads}, solution, facts)


def _model(m: dict[str, np.ndarray], mode: str, tol_comp: float) -> OcpQp:
    (nx, nu), N = m["B"].shape, len(m["stage"])
    qp = OcpQp(eliminate_x0(nx, N), [nu] * N + [0], mode, bounded=True, iter_max=100, tol_comp=tol_comp, **TOLERANCES)
    limit = np.full(nu, float(m["u_max"]))
    for k, H in enumerate(m["stage"]):
        qp.set(k, B=m["B"], R=H[nx:, nx:], lbu=-limit, ubu=limit)
        if k:
            qp.set(k, A=m["A"], b=m["b"], Q=H[:nx, :nx], S=H[nx:, :nx])
    qp.set(N, Q=m["terminal"])
    return qp


def _solution(share: Share, x0: np.ndarray) -> dict[str, np.ndarray]:
    qp, places = share.qp, share.places
    states = [qp.states(place, x) for place, x in zip(places, x0, strict=True)]
    return {"controls": np.array([qp.controls(place) for place in places]), "states": np.array(states)}


if __name__ == "__main__":
    serve(prepare, [wheel()[0]])
