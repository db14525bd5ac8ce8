"""Physics, units, default costs and bounds of each benchmark system."""

from costogo.systems.cartpole import CartPole
from costogo.systems.catalogue import SYSTEMS, get
from costogo.systems.double_integrator import DoubleIntegrator
from costogo.systems.linear import LinearSystem, random_matrices
from costogo.systems.pendulum import Pendulum

__all__ = ["SYSTEMS", "CartPole", "DoubleIntegrator", "LinearSystem", "Pendulum", "get", "random_matrices"]
