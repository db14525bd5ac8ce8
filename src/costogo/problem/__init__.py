"""What is to be solved: dynamics, costs, constraints, and their expansions at all knots at once."""

from costogo.problem.constraints import (
    RelaxedBarrier,
    barrier_cost,
    equality_rows,
    equality_values,
    inequality_values,
    with_barrier,
)
from costogo.problem.costs import (
    AbstractCost,
    QuadraticCost,
    QuadraticTerminalCost,
    ScaledCost,
    SumCost,
    TrackingCost,
)
from costogo.problem.dynamics import Discretised, DiscretisedCost, SimulatorDynamics, discretise
from costogo.problem.expansion import expand, linearise, value_and_jacobians, with_dynamics_curvature
from costogo.problem.problem import OptimalControlProblem
from costogo.problem.rollout import AffineFeedback, defects, open_loop, rollout, total_cost
from costogo.problem.slew_rate import with_slew_rate

__all__ = [
    "AbstractCost",
    "AffineFeedback",
    "Discretised",
    "DiscretisedCost",
    "OptimalControlProblem",
    "QuadraticCost",
    "QuadraticTerminalCost",
    "RelaxedBarrier",
    "ScaledCost",
    "SimulatorDynamics",
    "SumCost",
    "TrackingCost",
    "barrier_cost",
    "defects",
    "discretise",
    "equality_rows",
    "equality_values",
    "expand",
    "inequality_values",
    "linearise",
    "open_loop",
    "rollout",
    "total_cost",
    "value_and_jacobians",
    "with_barrier",
    "with_dynamics_curvature",
    "with_slew_rate",
]
