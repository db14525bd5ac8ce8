"""The sequential part of every solver: linear-quadratic models and the Riccati sweeps over them."""

from costogo.lqr.box_qp import BoxQPSolution, box_qp
from costogo.lqr.linalg import cholesky, cholesky_solve
from costogo.lqr.model import EqualityRows, InequalityRows, LQModel
from costogo.lqr.native import set_threads
from costogo.lqr.results import BoundedSolution, Limits, LQAdjoint, LQSolution, Sweep
from costogo.lqr.solve import solve_adjoint, solve_lqr
from costogo.lqr.sweeps import backward, control_gradient, costates, forward, interior_point, masked_solve

__all__ = [
    "BoundedSolution",
    "BoxQPSolution",
    "EqualityRows",
    "InequalityRows",
    "LQAdjoint",
    "LQModel",
    "LQSolution",
    "Limits",
    "Sweep",
    "backward",
    "box_qp",
    "cholesky",
    "cholesky_solve",
    "control_gradient",
    "costates",
    "forward",
    "interior_point",
    "masked_solve",
    "set_threads",
    "solve_adjoint",
    "solve_lqr",
]
