"""MuJoCo as dynamics of any problem; a simulated quadruped, and the whole-body controller that tracks plans on it."""

from costogo.core.errors import MissingExtraError

try:
    import daqp  # noqa: F401
    import mujoco  # noqa: F401
except ImportError as error:
    raise MissingExtraError("simulating robots needs mujoco and daqp: pip install 'costogo[sim]'") from error

from costogo.sim.anymal import LEGS, MASS, anymal_model, anymal_xml, standing_state
from costogo.sim.estimation import Estimate, EstimateNoise
from costogo.sim.kinematics import RobotModel, from_mujoco, to_mujoco
from costogo.sim.models import Terrain, swimmer_model, swimmer_xml, walker_model, walker_xml
from costogo.sim.mujoco_dynamics import BodyPush, MujocoDynamics
from costogo.sim.quadruped import Push, QuadrupedSimulation, SimulationOptions
from costogo.sim.rendering import frame_stride, quadruped_positions, render
from costogo.sim.simbicon import Demonstration, Simbicon
from costogo.sim.tracking import Record, track
from costogo.sim.whole_body import Command, Reference, TrackingGains, WholeBodyController

__all__ = [
    "LEGS",
    "MASS",
    "BodyPush",
    "Command",
    "Demonstration",
    "Estimate",
    "EstimateNoise",
    "MujocoDynamics",
    "Push",
    "QuadrupedSimulation",
    "Record",
    "Reference",
    "RobotModel",
    "Simbicon",
    "SimulationOptions",
    "Terrain",
    "TrackingGains",
    "WholeBodyController",
    "anymal_model",
    "anymal_xml",
    "frame_stride",
    "from_mujoco",
    "quadruped_positions",
    "render",
    "standing_state",
    "swimmer_model",
    "swimmer_xml",
    "to_mujoco",
    "track",
    "walker_model",
    "walker_xml",
]
