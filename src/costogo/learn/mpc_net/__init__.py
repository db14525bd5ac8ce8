"""MPC-Net: distil a model-predictive controller into a network through the control Hamiltonian."""

from costogo.learn.mpc_net.learner import MPCNet, MPCNetState
from costogo.learn.mpc_net.losses import LOSSES
from costogo.learn.mpc_net.rollouts import Rollout, closed_loop, scores
from costogo.learn.mpc_net.sample import Sample
from costogo.learn.mpc_net.teacher import Task, collect

__all__ = [
    "LOSSES",
    "MPCNet",
    "MPCNetState",
    "Rollout",
    "Sample",
    "Task",
    "closed_loop",
    "collect",
    "scores",
]
