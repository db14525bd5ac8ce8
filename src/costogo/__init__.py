"""costogo: control policies from optimal control, on JAX."""

from costogo.core import CostogoError, DerivativeError, SolveError, Status
from costogo.mpc import RecedingHorizon, simulate
from costogo.problem import (
    OptimalControlProblem,
    QuadraticCost,
    QuadraticTerminalCost,
    RelaxedBarrier,
    TrackingCost,
    discretise,
    with_slew_rate,
)
from costogo.solvers import SLQ, BoxDDP, ImplicitAdjoint, Solution, UnrolledAdjoint, solve

__all__ = [
    "SLQ",
    "BoxDDP",
    "CostogoError",
    "DerivativeError",
    "ImplicitAdjoint",
    "OptimalControlProblem",
    "QuadraticCost",
    "QuadraticTerminalCost",
    "RecedingHorizon",
    "RelaxedBarrier",
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
