"""costogo: control policies from optimal control, on JAX."""

from costogo.core import CostogoError, DerivativeError, SolveError, Status
from costogo.mpc import RecedingHorizon, simulate
from costogo.problem import (
    OptimalControlProblem,
    QuadraticCost,
    QuadraticTerminalCost,
    TrackingCost,
    discretise,
    with_slew_rate,
)
from costogo.solvers import BoxDDP, ImplicitAdjoint, Solution, UnrolledAdjoint, solve

__all__ = [
    "BoxDDP",
    "CostogoError",
    "DerivativeError",
    "ImplicitAdjoint",
    "OptimalControlProblem",
    "QuadraticCost",
    "QuadraticTerminalCost",
    "RecedingHorizon",
    "Solution",
    "SolveError",
    "Status",
    "TrackingCost",
    "UnrolledAdjoint",
    "discretise",
    "simulate",
    "solve",
    "with_slew_rate",
]
