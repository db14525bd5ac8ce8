"""Networks, as Equinox modules."""

from costogo.nn.mlp import MLP
from costogo.nn.recurrent import RecurrentPolicy

__all__ = ["MLP", "RecurrentPolicy"]
