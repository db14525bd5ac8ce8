"""HPIPM's Riccati sweep on a random LQ model: one factorisation and solve, without inequalities.

x0 is eliminated: stage 0 has no state, its b is A x0 + d and its r is r + P x0, both computed outside the timed work.
So the first of N backward steps is cheaper than ours, which also finds the gain of stage 0. Multipliers of the
dynamics are not computed, nor is the solution copied out.
"""

import numpy as np

from benchmarks.peers.hpipm import OcpQp, eliminate_x0, kernels, wheel
from benchmarks.peers.serve import Prepared, serve


def prepare(given: dict[str, np.ndarray]) -> Prepared:
    """Both of HPIPM's recursions as work: "sweep" keeps Cholesky factors of the value function, "classical" does not.

    "call" is a call of a trivial function: the part of the others that is Python.
    """
    qps = {"sweep": _model(given, 1), "classical": _model(given, 0)}
    places = {name: qp.solution() for name, qp in qps.items()}
    work = {name: qp.sweep(places[name]) for name, qp in qps.items()}
    for run in work.values():
        run()
    controls = {name: qp.controls(places[name]) for name, qp in qps.items()}
    main = qps["sweep"]
    facts = {
        "call_us": 1e6 * main.call_seconds(),
        "kernels": kernels(),
        "classical_difference": float(np.abs(controls["classical"] - controls["sweep"]).max()),
    }
    work["call"] = main.trivial()
    states = main.states(places["sweep"], given["x0"])
    return Prepared(work, {"controls": controls["sweep"], "states": states}, facts)


def _model(m: dict[str, np.ndarray], square_root: int) -> OcpQp:
    """No regularisation: HPIPM adds it to the Hessians and takes it off again in place, at every call."""
    N, nx, nu = m["B"].shape
    qp = OcpQp(
        eliminate_x0(nx, N), [nu] * N + [0], "SPEED", ric_alg=square_root, reg_prim=0.0,
        comp_res_exit=0, comp_dual_sol_eq=0,
    )  # fmt: skip
    x0 = m["x0"]
    qp.set(0, B=m["B"][0], b=m["A"][0] @ x0 + m["d"][0], R=m["R"][0], r=m["r"][0] + m["P"][0] @ x0)
    for k in range(1, N):
        qp.set(k, A=m["A"][k], B=m["B"][k], b=m["d"][k])
        qp.set(k, Q=m["Q"][k], R=m["R"][k], S=m["P"][k], q=m["q"][k], r=m["r"][k])
    qp.set(N, Q=m["Q"][N], q=m["q"][N])
    return qp


if __name__ == "__main__":
    serve(prepare, [wheel()[0]])
