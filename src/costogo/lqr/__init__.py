"""The sequential part of every solver: linear-quadratic models and the Riccati sweeps over them."""

from costogo.lqr.box_qp import BoxQPSolution, box_qp
from costogo.lqr.interior_point import BoundedSolution, InequalityRows, interior_point
from costogo.lqr.linalg import cholesky, cholesky_solve
from costogo.lqr.model import EqualityRows, LQModel
from costogo.lqr.riccati import Limits, Sweep, backward, control_gradient, costates, forward, resweep
from costogo.lqr.solve import LQAdjoint, LQSolution, solve_adjoint, solve_lqr

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
    "resweep",
    "solve_adjoint",
    "solve_lqr",
]
