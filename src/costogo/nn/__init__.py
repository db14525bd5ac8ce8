"""Networks, as Equinox modules."""

from costogo.nn.gaussian import GaussianPolicy
from costogo.nn.mixture import Affine, MixtureOfExperts
from costogo.nn.mlp import MLP
from costogo.nn.recurrent import RecurrentPolicy

__all__ = ["MLP", "Affine", "GaussianPolicy", "MixtureOfExperts", "RecurrentPolicy"]
