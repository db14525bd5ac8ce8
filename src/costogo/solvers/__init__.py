"""Solvers of optimal control problems, and the derivatives of their solutions."""

from costogo.solvers.adjoint import ImplicitAdjoint, UnrolledAdjoint, adjoint_system
from costogo.solvers.api import solve
from costogo.solvers.box_ddp import BoxDDP
from costogo.solvers.gaussian import GaussianTrajectory
from costogo.solvers.gaussian_ddp import DistributionSolution, GaussianDDP
from costogo.solvers.hamiltonian import (
    HamiltonianExpansion,
    HamiltonianSample,
    expand_hamiltonian,
    hamiltonian_sample,
)
from costogo.solvers.hoist import hoist
from costogo.solvers.mirror_descent import ControlDistribution, MirrorDescent
from costogo.solvers.policy_terms import LikelihoodTerms, PolicyTerms
from costogo.solvers.slq import SLQ
from costogo.solvers.solution import Multipliers, QuadraticValue, Solution, SolveStats
from costogo.solvers.utilities import ExpectedCost, Exponentiated, LiteralElites, LowCost, ShiftedElites

__all__ = [
    "SLQ",
    "BoxDDP",
    "ControlDistribution",
    "DistributionSolution",
    "ExpectedCost",
    "Exponentiated",
    "GaussianDDP",
    "GaussianTrajectory",
    "HamiltonianExpansion",
    "HamiltonianSample",
    "ImplicitAdjoint",
    "LikelihoodTerms",
    "LiteralElites",
    "LowCost",
    "MirrorDescent",
    "Multipliers",
    "PolicyTerms",
    "QuadraticValue",
    "ShiftedElites",
    "Solution",
    "SolveStats",
    "UnrolledAdjoint",
    "adjoint_system",
    "expand_hamiltonian",
    "hamiltonian_sample",
    "hoist",
    "solve",
]
