"""mpc.pytorch, the differentiable-MPC authors' code: batched solves, and its implicit derivative."""

import numpy as np
import torch
from mpc import mpc

from benchmarks.peers.serve import Prepared, serve
from benchmarks.plants import CONTROL_WEIGHT, PLANTS

# Line search of the paper's experiments: decay and number of trials.
LINE_SEARCH = {"pendulum": (0.2, 5), "cartpole": (0.5, 2), "x1": (0.5, 10)}


class PlantModule(torch.nn.Module):
    """Pendulum or cart-pole."""

    def __init__(self, name: str):
        super().__init__()
        self.plant = PLANTS[name]

    def forward(self, x: torch.Tensor, u: torch.Tensor) -> torch.Tensor:
        """Next states (batch, nx)."""
        return torch.stack(self.plant.step(x.unbind(1), u[:, 0], torch), dim=1)


class WeaklyNonlinear(torch.nn.Module):
    """Dynamics of experiment X1."""

    def __init__(self, A: np.ndarray, B: np.ndarray):
        super().__init__()
        self.A, self.B = (torch.nn.Parameter(torch.as_tensor(M)) for M in (A, B))

    def forward(self, x: torch.Tensor, u: torch.Tensor) -> torch.Tensor:
        """Next states (batch, nx)."""
        return x @ self.A.T + u @ self.B.T + 0.05 * torch.sin(x)


def prepare(given: dict[str, np.ndarray], plant: str, iterations: int) -> Prepared:
    """Solve from zero controls with a fixed number of iterations, in double precision on one thread."""
    torch.set_num_threads(1)
    torch.set_default_dtype(torch.float64)
    return _imitation(given, iterations) if plant == "x1" else _plant(given["x0"], plant, iterations)


def _plant(x0: np.ndarray, name: str, iterations: int) -> Prepared:
    plant = PLANTS[name]
    quadratic = torch.tensor([*plant.weights, CONTROL_WEIGHT])
    cost = _cost(quadratic, torch.tensor([*plant.linear, 0.0]), plant.horizon, len(x0))
    layer = _layer(name, x0.shape[1], 1, plant.horizon, len(x0), plant.limit, iterations)
    start, dynamics = torch.as_tensor(x0), PlantModule(name)

    def solve() -> torch.Tensor:
        return layer(start, cost, dynamics)[1].detach()

    controls = solve().numpy()[..., 0].T
    return Prepared({"solve": solve}, {"controls": controls}, {})


def _imitation(given: dict[str, np.ndarray], iterations: int) -> Prepared:
    dynamics = WeaklyNonlinear(given["A"], given["B"])
    batch, nx = given["x0"].shape
    nu, horizon = given["B"].shape[1], int(given["horizon"])
    cost = _cost(torch.ones(nx + nu), torch.zeros(nx + nu), horizon, batch)
    layer = _layer("x1", nx, nu, horizon, batch, 1.0, iterations)
    start = torch.as_tensor(given["x0"])

    def forward() -> torch.Tensor:
        return layer(start, cost, dynamics)[1]

    controls = forward()
    loss, parameters = controls.sum(), list(dynamics.parameters())

    def backward() -> tuple[torch.Tensor, ...]:
        return torch.autograd.grad(loss, parameters, retain_graph=True)

    A, B = (g.numpy() for g in backward())
    solution = {"controls": controls.detach().numpy().swapaxes(0, 1), "A": A, "B": B}
    return Prepared({"forward": forward, "backward": backward}, solution, {})


def _cost(quadratic: torch.Tensor, linear: torch.Tensor, horizon: int, batch: int) -> mpc.QuadCost:
    n = len(quadratic)
    return mpc.QuadCost(torch.diag(quadratic).repeat(horizon, batch, 1, 1), linear.expand(horizon, batch, n))


def _layer(name: str, nx: int, nu: int, horizon: int, batch: int, limit: float, iterations: int) -> mpc.MPC:
    decay, trials = LINE_SEARCH[name]
    bound = torch.full((horizon, batch, nu), limit)
    return mpc.MPC(
        nx, nu, horizon, u_lower=-bound, u_upper=bound, lqr_iter=iterations, n_batch=batch, verbose=-1, eps=0.0,
        grad_method=mpc.GradMethods.AUTO_DIFF, linesearch_decay=decay, max_linesearch_iter=trials,
        exit_unconverged=False, detach_unconverged=False, backprop=True, not_improved_lim=iterations,
    )  # fmt: skip


if __name__ == "__main__":
    serve(prepare, ["mpc", "torch"])
