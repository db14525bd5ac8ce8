"""Physics, units, default costs and bounds of each benchmark system."""

from costogo.systems.ballbot import Ballbot
from costogo.systems.cartpole import CartPole
from costogo.systems.catalogue import SYSTEMS, get
from costogo.systems.double_integrator import DoubleIntegrator
from costogo.systems.linear import LinearSystem, random_matrices
from costogo.systems.pendulum import Pendulum
from costogo.systems.point_mass import PointMass
from costogo.systems.swimmer import Swimmer

__all__ = [
    "SYSTEMS",
    "Ballbot",
    "CartPole",
    "DoubleIntegrator",
    "LinearSystem",
    "Pendulum",
    "PointMass",
    "Swimmer",
    "get",
    "random_matrices",
]
