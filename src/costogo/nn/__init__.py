"""Networks, as Equinox modules."""

from costogo.nn.ensemble import Normaliser, ProbabilisticEnsemble, ProbabilisticNetwork
from costogo.nn.gaussian import GaussianPolicy
from costogo.nn.mixture import Affine, MixtureOfExperts
from costogo.nn.mlp import MLP
from costogo.nn.recurrent import RecurrentPolicy
from costogo.nn.tanh_gaussian import ActionValue, DeterministicPolicy, TanhGaussianPolicy

__all__ = [
    "MLP",
    "ActionValue",
    "Affine",
    "DeterministicPolicy",
    "GaussianPolicy",
    "MixtureOfExperts",
    "Normaliser",
    "ProbabilisticEnsemble",
    "ProbabilisticNetwork",
    "RecurrentPolicy",
    "TanhGaussianPolicy",
]
