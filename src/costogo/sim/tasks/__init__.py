"""Tasks of reinforcement learning: Gymnasium's, problems of costogo as such, and a leg and a quadruped of our own."""

from costogo.core.errors import MissingExtraError

try:
    import gymnasium
    import gymnasium.envs.mujoco  # noqa: F401  its MuJoCo tasks need imageio as well
except ImportError as error:
    raise MissingExtraError("tasks of reinforcement learning need gymnasium: pip install 'costogo[sim]'") from error

from costogo.sim.tasks.catalogue import TASKS, Task
from costogo.sim.tasks.gymnasium_environment import GymnasiumEnvironment
from costogo.sim.tasks.leg import LegEnvironment, LegOptions, perturbed_leg, rms_tracking_error
from costogo.sim.tasks.leg_model import (
    foot_jacobian,
    foot_position,
    foot_target,
    joint_angles,
    leg_model,
    leg_xml,
)
from costogo.sim.tasks.stochlite import StochliteEnvironment, StochliteOptions, perturbed_stochlite
from costogo.sim.tasks.system_environment import SystemEnvironment

__all__ = [
    "TASKS",
    "GymnasiumEnvironment",
    "LegEnvironment",
    "LegOptions",
    "StochliteEnvironment",
    "StochliteOptions",
    "SystemEnvironment",
    "Task",
    "foot_jacobian",
    "foot_position",
    "foot_target",
    "joint_angles",
    "leg_model",
    "leg_xml",
    "perturbed_leg",
    "perturbed_stochlite",
    "rms_tracking_error",
]
