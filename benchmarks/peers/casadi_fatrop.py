"""CasADi's interface to fatrop on pendulum and cart-pole: one interior-point solve after the other."""

import time

import casadi as ca
import numpy as np

from benchmarks.peers.serve import Prepared, serve
from benchmarks.plants import CONTROL_WEIGHT, PLANTS, Plant, rollout


def prepare(given: dict[str, np.ndarray], plant: str, iterations: int) -> Prepared:
    """Build the solver for a plant (time counted as compile time) and solve once from rollouts of zero controls."""
    problem, x0 = PLANTS[plant], given["x0"]
    start = time.perf_counter()
    solver, bounds = _solver(problem, iterations)
    build = time.perf_counter() - start
    guesses = [_guess(problem, x) for x in x0]

    def solve() -> list[dict]:
        return [solver(x0=guess, p=x, **bounds) for guess, x in zip(guesses, x0, strict=True)]

    controls, solved, counts = [], 0, []
    for guess, x in zip(guesses, x0, strict=True):
        controls.append(_controls(problem, solver(x0=guess, p=x, **bounds)["x"]))
        solved += bool(solver.stats()["success"])
        counts.append(int(solver.stats()["iter_count"]))
    facts = {"solved": solved, "iterations": float(np.median(counts)), "compile_s": build}
    return Prepared({"solve": solve}, {"controls": np.array(controls)}, facts)


def _solver(plant: Plant, iterations: int) -> tuple[ca.Function, dict]:
    """Variables x_0, u_0, x_1, ..., x_{N-1}. The last control has no effect but its own cost: it is zero, left out."""
    nx, N = len(plant.weights), plant.horizon
    x = [ca.SX.sym(f"x{k}", nx) for k in range(N)]
    u = [ca.SX.sym(f"u{k}") for k in range(N - 1)]
    start = ca.SX.sym("start", nx)
    weights, linear = ca.DM(plant.weights), ca.DM(plant.linear)
    cost = sum(0.5 * ca.dot(weights, xk**2) + ca.dot(linear, xk) for xk in x)
    cost += sum(0.5 * CONTROL_WEIGHT * uk**2 for uk in u)
    gaps = [x[k + 1] - ca.vertcat(*plant.step(ca.vertsplit(x[k]), u[k], ca)) for k in range(N - 1)]
    # fatrop wants the constraints of a knot after its dynamics.
    rows = [gaps[0], x[0] - start, *gaps[1:]]
    variables = [v for k in range(N) for v in ([x[k], u[k]] if k < N - 1 else [x[k]])]
    nlp = {"x": ca.vertcat(*variables), "f": cost, "g": ca.vertcat(*rows), "p": start}
    options = {
        "structure_detection": "auto",
        "equality": [True] * (nx * N),
        "expand": True,
        "print_time": False,
        "fatrop": {"max_iter": iterations, "print_level": 0},
    }
    free = np.inf * np.ones(nx)
    upper = np.concatenate([*[np.append(free, plant.limit)] * (N - 1), free])
    return ca.nlpsol("solver", "fatrop", nlp, options), {"lbx": -upper, "ubx": upper, "lbg": 0, "ubg": 0}


def _guess(plant: Plant, x0: np.ndarray) -> np.ndarray:
    states = rollout(plant, x0[None], np.zeros((1, plant.horizon - 1)))[0]
    return np.append(np.column_stack([states[:-1], np.zeros(plant.horizon - 1)]).ravel(), states[-1])


def _controls(plant: Plant, solution: ca.DM) -> np.ndarray:
    nx = len(plant.weights)
    found = np.array(solution).ravel()[:-nx].reshape(-1, nx + 1)[:, -1]
    return np.append(np.clip(found, -plant.limit, plant.limit), 0.0)


if __name__ == "__main__":
    serve(prepare, ["casadi"])
