"""Crocoddyl's DDP on a random LQ model: one backward pass alone or with a forward pass, derivatives apart."""

import crocoddyl
import numpy as np

from benchmarks.peers.serve import Prepared, serve


def prepare(given: dict[str, np.ndarray]) -> Prepared:
    """One LQR action model per knot; solution of the model from x0, gains, and the timed parts of an iteration."""
    problem = _shooting_problem(given)
    reference = crocoddyl.SolverDDP(problem)
    reference.solve([], [], 2)
    solver = crocoddyl.SolverDDP(problem)
    controls = [np.zeros(model.nu) for model in problem.runningModels]
    solver.setCandidate(problem.rollout(controls), controls, True)
    solver.computeDirection(True)

    def sweep():
        solver.computeDirection(False)
        solver.forwardPass(1.0)

    work = {"sweep": sweep, "backward": solver.backwardPass, "derivatives": solver.calcDiff}
    # Its feedback is u = -K x.
    gains = -np.array(solver.K)
    solution = {"controls": np.array(reference.us), "states": np.array(reference.xs), "gains": gains}
    return Prepared(work, solution, {"iterations": int(reference.iter)})


def _shooting_problem(m: dict[str, np.ndarray]) -> crocoddyl.ShootingProblem:
    nx, nu = m["B"].shape[1:]
    stages = zip(m["A"], m["B"], m["Q"], m["R"], m["P"], m["d"], m["q"], m["r"], strict=False)
    models = [crocoddyl.ActionModelLQR(A, B, Q, R, P.T.copy(), d, q, r) for A, B, Q, R, P, d, q, r in stages]
    empty = np.zeros((nx, nx)), np.zeros((nx, nu)), np.zeros(nx), np.zeros(nu)
    terminal = crocoddyl.ActionModelLQR(
        empty[0], empty[1], m["Q"][-1], np.eye(nu), empty[1], empty[2], m["q"][-1], empty[3]
    )
    problem = crocoddyl.ShootingProblem(m["x0"], models, terminal)
    problem.nthreads = 1
    return problem


if __name__ == "__main__":
    serve(prepare, ["crocoddyl"])
