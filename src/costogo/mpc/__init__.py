"""Receding-horizon control and closed-loop simulation."""

from costogo.mpc.receding_horizon import ControllerState, RecedingHorizon, StepInfo, Trajectory, repeat_last, simulate

__all__ = ["ControllerState", "RecedingHorizon", "StepInfo", "Trajectory", "repeat_last", "simulate"]
