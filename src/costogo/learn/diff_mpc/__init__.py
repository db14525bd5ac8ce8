"""Differentiable MPC: learn cost and model of a controller through its solution."""

from costogo.learn.diff_mpc.imitation import DiffMPCImitation, ImitationState
from costogo.learn.diff_mpc.lqr_imitation import LQRImitation

__all__ = ["DiffMPCImitation", "ImitationState", "LQRImitation"]
