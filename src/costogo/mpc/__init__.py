"""Model predictive control in closed loop."""

from costogo.mpc.plan import Plan
from costogo.mpc.receding_horizon import ControllerState, RecedingHorizon, StepInfo, Trajectory, simulate

__all__ = ["ControllerState", "Plan", "RecedingHorizon", "StepInfo", "Trajectory", "simulate"]
