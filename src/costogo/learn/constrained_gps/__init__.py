"""Constrained guided policy search: trajectory distributions and one policy pulled into agreement."""

from costogo.learn.constrained_gps.agreement import ascend, draw_noise, policy_terms, regression
from costogo.learn.constrained_gps.learner import ConstrainedGPS, GPSState, GuidedPolicySearch, VariationalGPS
from costogo.learn.constrained_gps.policy_fit import PolicyFit, Regression, fit_likelihood, fit_policy
from costogo.learn.constrained_gps.task import PolicySearch, Rollouts

__all__ = [
    "ConstrainedGPS",
    "GPSState",
    "GuidedPolicySearch",
    "PolicyFit",
    "PolicySearch",
    "Regression",
    "Rollouts",
    "VariationalGPS",
    "ascend",
    "draw_noise",
    "fit_likelihood",
    "fit_policy",
    "policy_terms",
    "regression",
]
