"""Differentiable MPC: learn cost and model of a controller through its solution."""

from costogo.learn.diff_mpc.imitation import DiffMPCImitation, ImitationState

__all__ = ["DiffMPCImitation", "ImitationState"]
