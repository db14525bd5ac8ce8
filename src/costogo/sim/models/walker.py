"""Planar walker of seven links on soft ground (spec constrained_gps 8.2, with the findings of its section 15).

The numbers are those of spec 8.2: seven capsules of 1000 kg/m^3, 23.68 kg, joint damping 0.1, armature 0.01,
ranges hip [-60, 120], knee [-150, 0] and ankle [-45, 45] degrees. Deviations:
1. Contacts are MuJoCo's, of capsules, in place of two points per foot with a softplus force (as spec 15 does).
2. The legs are set apart by 18 cm across the plane, so that they can be told apart when drawn. Nothing moves across
   the plane, so the motion in it is the same.
3. Hinges stop at their ranges by MuJoCo's soft limits.
"""

# mujoco is compiled and has no stubs.
# pyright: reportAttributeAccessIssue=false

from typing import Any

import mujoco
import numpy as np

from costogo.core.validate import require
from costogo.sim.models.scenery import PAINTS, ground, visual
from costogo.sim.models.terrain import Terrain

# Capsules of 1000 kg/m^3: length between the centres of the ends and radius (m), with the mass that results (kg).
TORSO = (0.4, 0.05)  # 3.665
THIGH = (0.45, 0.05)  # 4.058
SHANK = (0.5, 0.04)  # 2.781
FOOT = (0.2, 0.06)  # 3.167
STRAIGHT_HEIGHT = 0.5 * TORSO[0] + THIGH[0] + SHANK[0] + 0.1  # torso's centre, as the spec counts it: ankles at 0.1 m
STANDING_HEIGHT = STRAIGHT_HEIGHT - 0.1 + FOOT[1]  # with straight legs and the soles touching the floor
SPREAD = 0.09  # m, of the legs across the plane
RANGES = {"hip": (-60.0, 120.0), "knee": (-150.0, 0.0), "ankle": (-45.0, 45.0)}  # degrees
SIDES = ("right", "left")
DROP = 2.0  # m, from the lowest ground of a terrain to the plane below it


def walker_xml(
    *,
    torque_limit: float = 100.0,
    friction: float = 0.9,
    contact_time: float = 0.05,
    contact_depth: float = 0.02,
    joint_damping: float = 0.1,
    timestep: float = 0.002,
    terrain: Terrain | None = None,
) -> str:
    """MJCF text of the walker; SI units, angles in rad.

    State (18): `x`, height `z` and `pitch` of the torso (about +y: positive leans forward), then hip, knee and ankle of
    the right and of the left leg (about -y: positive swings the thigh forward and lifts the toes, a bent knee is
    negative), and the rates of all nine. Controls (6): torques of the same six joints, N m, within +-`torque_limit`.
    Five timesteps make the spec's dt of 0.01 s. The keyframe `stand` has straight legs and soles that touch the floor.

    `friction` is that of all shapes, `contact_time` (s) the time constant of a contact (`solref`): 0.05 is soft enough
    for trajectory optimisation to move feet on and off the ground, 0.02, MuJoCo's own, is not (spec 15.3). Over the
    first `contact_depth` (m) its force grows from nothing (`solimp`): with MuJoCo's own, a foot that strikes is stopped
    by a jump of force, and derivatives there are 3 (by differences of 1e-3) to 23 times (1e-4) larger. Such ground is
    soft: in a walk the feet sink in by up to 3 cm. `joint_damping` (N m s/rad) is that of all six joints. Only the
    floor collides with the links, not the links with each other. With a `terrain` its boxes take the place of the floor
    (spec 8.3), which lies far below.
    """
    require(torque_limit > 0.0, f"torque_limit is {torque_limit}; pass a positive number of N m")
    require(friction >= 0.0, f"friction is {friction}; pass a coefficient, zero or more")
    require(contact_time > 0.0, f"contact_time is {contact_time}; pass positive seconds")
    require(contact_depth > 0.0, f"contact_depth is {contact_depth}; pass positive metres")
    require(joint_damping >= 0.0, f"joint_damping is {joint_damping}; pass N m s/rad, zero or more")
    require(timestep > 0.0, f"timestep is {timestep}; pass positive seconds")
    require(
        terrain is None or isinstance(terrain, Terrain),
        f"terrain is a {type(terrain).__name__}; pass a costogo.sim.Terrain, or None for a plane",
    )
    legs = "\n".join(_leg(side) for side in SIDES)
    motors = "\n".join(f'  <motor name="{s}_{j}" joint="{s}_{j}"/>' for s in SIDES for j in RANGES)
    return f"""<mujoco model="walker">
<compiler angle="degree" autolimits="true"/>
<option timestep="{timestep}" integrator="implicitfast"/>
{visual(extent=2.0, center="0 0 0.8")}
<default>
  <geom type="capsule" contype="1" conaffinity="0" density="1000" friction="{friction} 0.005 0.0001"
    solref="{contact_time} 1" solimp="0 0.95 {contact_depth}"/>
  <motor ctrlrange="{-torque_limit} {torque_limit}"/>
  <default class="drawn">
    <geom contype="0" mass="0" material="metal"/>
  </default>
  <default class="hinge">
    <joint type="hinge" axis="0 -1 0" damping="{joint_damping}" armature="0.01"/>
  </default>
</default>
<asset>
  {ground("0.80 0.81 0.82", "0.71 0.73 0.75", "0.62 0.64 0.66", tile=0.5)}
  {PAINTS}
</asset>
<worldbody>
  {_floor(terrain)}
  <camera name="fixed" pos="2 -5 1.2" xyaxes="1 0 0 0 0.05 1"/>
  <body name="torso" pos="0 0 {STRAIGHT_HEIGHT}">
    <joint name="x" type="slide" axis="1 0 0"/>
    <joint name="z" type="slide" axis="0 0 1" ref="{STRAIGHT_HEIGHT}"/>
    <joint name="pitch" type="hinge" axis="0 1 0"/>
    <light name="sun" mode="trackcom" pos="0 -2 3.75" dir="0.2 0.35 -1" directional="true" diffuse="0.5 0.5 0.5"/>
    <camera name="side" mode="trackcom" pos="0.9 -3.1 -0.2" xyaxes="0.96 0.28 0 -0.03 0.1 1"/>
{_torso()}
{legs}
  </body>
</worldbody>
<actuator>
{motors}
</actuator>
<keyframe>
  <key name="stand" qpos="0 {STANDING_HEIGHT} 0 0 0 0 0 0 0"/>
</keyframe>
</mujoco>"""


def walker_model(**options: Any) -> mujoco.MjModel:
    """Compiled model; options as of `walker_xml`."""
    return mujoco.MjModel.from_xml_string(walker_xml(**options))


def _floor(terrain: Terrain | None) -> str:
    """A plane at height zero, or a terrain and a plane below it, for what falls off."""
    height = 0.0 if terrain is None else float(np.min(terrain.heights)) - DROP
    plane = f'<geom name="floor" type="plane" size="0 0 0.05" pos="0 0 {height}" material="floor" conaffinity="1"/>'
    return plane if terrain is None else f"{terrain.mjcf()}\n  {plane}"


def _torso() -> str:
    """The capsule that has the mass, and hull, hips and head, which are only drawn."""
    return f"""    <geom name="torso" fromto="0 0 {-0.5 * TORSO[0]} 0 0 {0.5 * TORSO[0]}" size="{TORSO[1]}"
      material="shell"/>
    <geom class="drawn" type="ellipsoid" size="0.075 0.1 0.16" pos="0 0 0.06" material="shell"/>
    <geom class="drawn" size="0.045" fromto="0 {-SPREAD} {-0.5 * TORSO[0]} 0 {SPREAD} {-0.5 * TORSO[0]}"
      material="dark"/>
    <geom class="drawn" type="sphere" size="0.085" pos="0.01 0 0.34" material="shell"/>
    <geom class="drawn" type="ellipsoid" size="0.035 0.065 0.03" pos="0.068 0 0.35" material="dark"/>"""


def _leg(side: str) -> str:
    """A leg: its frames hang at hip, knee and ankle."""
    y, paint = (-SPREAD, "near") if side == "right" else (SPREAD, "far")
    hip, knee, ankle = (f'name="{side}_{joint}" class="hinge" range="{a} {b}"' for joint, (a, b) in RANGES.items())
    return f"""    <body name="{side}_thigh" pos="0 {y} {-0.5 * TORSO[0]}">
      <joint {hip}/>
      <geom name="{side}_thigh" fromto="0 0 0 0 0 {-THIGH[0]}" size="{THIGH[1]}" material="{paint}"/>
      {_disc(0.058)}
      <body name="{side}_shank" pos="0 0 {-THIGH[0]}">
        <joint {knee}/>
        <geom name="{side}_shank" fromto="0 0 0 0 0 {-SHANK[0]}" size="{SHANK[1]}" material="{paint}"/>
        {_disc(0.054)}
        <body name="{side}_foot" pos="0 0 {-SHANK[0]}">
          <joint {ankle}/>
          <geom name="{side}_foot" fromto="0 0 0 {FOOT[0]} 0 0" size="{FOOT[1]}" material="dark"/>
        </body>
      </body>
    </body>"""


def _disc(radius: float) -> str:
    return f'<geom class="drawn" type="cylinder" size="{radius} 0.052" zaxis="0 1 0"/>'
