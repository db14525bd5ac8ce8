"""Learners: pure functions over explicit training states, and the loop that runs them."""

from costogo.learn.data import Demonstrations, ImitationData, demonstrate
from costogo.learn.fit import Callback, Learner, Seeds, fit

__all__ = ["Callback", "Demonstrations", "ImitationData", "Learner", "Seeds", "demonstrate", "fit"]
