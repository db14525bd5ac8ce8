"""Systems by name."""

from typing import Any

from costogo.core.errors import known
from costogo.systems.cartpole import CartPole
from costogo.systems.double_integrator import DoubleIntegrator
from costogo.systems.linear import LinearSystem
from costogo.systems.pendulum import Pendulum

SYSTEMS: dict[str, type] = {
    "pendulum": Pendulum,
    "cartpole": CartPole,
    "double_integrator": DoubleIntegrator,
    "linear": LinearSystem,
}


def get(name: str) -> Any:
    """The system of that name with its default parameters; an unknown name is answered with the list."""
    return SYSTEMS[known("system", name, SYSTEMS)]()
