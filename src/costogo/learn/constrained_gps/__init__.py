"""Constrained guided policy search: trajectory distributions and one policy pulled into agreement."""

from costogo.learn.constrained_gps.agreement import ascend, draw_noise, policy_terms, regression
from costogo.learn.constrained_gps.learner import ConstrainedGPS, GPSState
from costogo.learn.constrained_gps.policy_fit import PolicyFit, Regression, fit_policy

__all__ = [
    "ConstrainedGPS",
    "GPSState",
    "PolicyFit",
    "Regression",
    "ascend",
    "draw_noise",
    "fit_policy",
    "policy_terms",
    "regression",
]
