"""Constrained guided policy search: trajectory distributions and one policy pulled into agreement."""

from costogo.learn.constrained_gps.agreement import ascend, draw_noise, policy_terms, regression
from costogo.learn.constrained_gps.dagger import Dagger, DaggerState
from costogo.learn.constrained_gps.importance import ImportanceSampledGPS, ImportanceState
from costogo.learn.constrained_gps.judged import Judged, JudgedState
from costogo.learn.constrained_gps.learner import ConstrainedGPS, GPSState, GuidedPolicySearch, VariationalGPS
from costogo.learn.constrained_gps.policy_fit import PolicyFit, Regression, fit_likelihood, fit_policy
from costogo.learn.constrained_gps.task import PolicySearch, Rollouts
from costogo.learn.constrained_gps.weighted_regression import CostWeightedRegression, WeightedRegressionState

__all__ = [
    "ConstrainedGPS",
    "CostWeightedRegression",
    "Dagger",
    "DaggerState",
    "GPSState",
    "GuidedPolicySearch",
    "ImportanceSampledGPS",
    "ImportanceState",
    "Judged",
    "JudgedState",
    "PolicyFit",
    "PolicySearch",
    "Regression",
    "Rollouts",
    "VariationalGPS",
    "WeightedRegressionState",
    "ascend",
    "draw_noise",
    "fit_likelihood",
    "fit_policy",
    "policy_terms",
    "regression",
]
