"""Mirror-descent MPC in a learned model, feeding an off-policy agent; and the methods it is compared with."""

from costogo.learn.dmd_mpc.imagination import BranchedRollouts, Imagination, ImprovedRollouts, mopac_solver
from costogo.learn.dmd_mpc.learner import MDeMoRL, MDeMoRLState
from costogo.learn.dmd_mpc.model_fit import Model, ModelFit
from costogo.learn.dmd_mpc.planning import Planner
from costogo.learn.dmd_mpc.schedules import LinearSchedule, constant
from costogo.learn.dmd_mpc.source import Source

__all__ = [
    "BranchedRollouts",
    "Imagination",
    "ImprovedRollouts",
    "LinearSchedule",
    "MDeMoRL",
    "MDeMoRLState",
    "Model",
    "ModelFit",
    "Planner",
    "Source",
    "constant",
    "mopac_solver",
]
