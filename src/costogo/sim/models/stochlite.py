"""Stochlite, a quadruped of 3.23 kg, on an inclined plane (spec dmd_mpc 9.3).

Legs are in the order FL, FR, BL, BR (front, back; left, right), the joints of a leg abduction (about x), hip and knee
(about y); SI units throughout. With `sx = +1` for front and `sy = +1` for left legs, the centre of the foot is at

    r = (.167 sx, .096 sy, -.005) + Rx(abduction) [(0, .052 sy, 0) + Ry(hip) [(0, .023 sy, -.146)
        + Ry(knee) (0, 0, -.172)]]

in the frame of the torso: straight legs hang down, a positive hip and a negative knee put the knee behind the foot.
Masses and the inertia of the torso are those of the spec. Deviations, where it gives nothing:
1. Links have the inertia of their shapes (capsules), and the foot takes 10 g of the shank's 55 g.
2. Foot radius 16 mm; ranges abduction [-60, 60], hip [-100, 100] and knee [-155, -5] degrees; a box on the torso that
   touches the ground.
3. Joints carry the inertia of their drives, `ARMATURE`, as geared servos do. Without it, a gain of 10 N m s/rad on a
   shank of 6e-4 kg m2 makes the servos chatter between their limits at any step above 0.1 ms, the paper's 0.2 ms
   included, where the torso then rolls 2.5 times less than it does with smaller steps. With it, the walk is that of
   smaller steps without it (rolling and reward within 1 %, 0.23 in place of 0.20 m/s), but for the power, about 50 W in
   place of 10 W.
4. Steps of 0.5 ms, twenty to a control interval, in place of fifty of 0.2 ms: against steps of 0.02 ms the speed is
   the same within 1 %, the rolling within 6 %, and the reward 3 % lower, mostly for power; with 1 ms it is 6 % lower.
5. Only the ground collides with the links, not the links with each other.
"""

# mujoco is compiled and has no stubs.
# pyright: reportAttributeAccessIssue=false

import math
from functools import cache

import mujoco
import numpy as np

from costogo.core.validate import require
from costogo.sim.models.scenery import PAINTS, ground, visual

LEGS = ("FL", "FR", "BL", "BR")
JOINTS = ("abduction", "hip", "knee")
HIP = (0.167, 0.096, -0.005)  # of the front left leg: axis of abduction in the torso
ABDUCTION, OFFSET = 0.052, 0.023  # across: from the axis of abduction to the hip, from there to the plane of the leg
THIGH, SHANK = 0.146, 0.172
FOOT_RADIUS = 0.016
WALKING_HEIGHT = 0.25  # of the torso's origin above the ground, along its normal

TORSO_MASS, ABDUCTION_MASS, THIGH_MASS, SHANK_MASS, FOOT_MASS = 1.582, 0.037, 0.320, 0.045, 0.010
MASS = TORSO_MASS + 4 * (ABDUCTION_MASS + THIGH_MASS + SHANK_MASS + FOOT_MASS)
TORSO_INERTIA = (0.00576, 0.02534, 0.03026)

KP, KD, TORQUE_LIMIT = 400.0, 10.0, 7.0  # N m/rad, N m s/rad, N m
ARMATURE = 0.01  # kg m2
FRICTION = 0.6
TIMESTEP = 0.0005
RANGES = {"abduction": (-60, 60), "hip": (-100, 100), "knee": (-155, -5)}  # degrees


def stochlite_xml(
    *,
    slope: tuple[float, float] = (0.0, 0.0),
    friction: float = FRICTION,
    torque_limit: float = TORQUE_LIMIT,
    timestep: float = TIMESTEP,
) -> str:
    """MJCF text of the robot on a plane through the origin; SI units, angles in rad.

    `slope` is (roll, pitch) of the plane, `R = Ry(pitch) Rx(roll)`: with a positive pitch it falls towards +x, with a
    positive roll towards -y, and a torso of the same roll and pitch is parallel to it. `friction` is that of every
    contact. Positions (19): place (3) and quaternion (4) of the torso, then abduction, hip and knee of FL, FR, BL, BR.
    Controls (12): targets of these joints, rad, for servos with gains `KP` and `KD` and at most `torque_limit` N m.
    """
    require(
        len(slope) == 2 and all(abs(angle) < math.pi / 4 for angle in slope),
        f"slope is {slope}; pass (roll, pitch) in rad, each within 45 degrees",
    )
    require(friction >= 0.0, f"friction is {friction}; pass a coefficient, zero or more")
    require(torque_limit > 0.0, f"torque_limit is {torque_limit}; pass a positive number of N m")
    require(timestep > 0.0, f"timestep is {timestep}; pass positive seconds")
    legs = "\n".join(_leg(leg) for leg in LEGS)
    servos = "\n".join(f'  <position name="{leg}_{joint}" joint="{leg}_{joint}"/>' for leg in LEGS for joint in JOINTS)
    return f"""<mujoco model="stochlite">
<compiler angle="degree" autolimits="true"/>
<option timestep="{timestep}" integrator="implicitfast" cone="elliptic" impratio="10"/>
{visual(extent=0.7, center="0 0 0.2")}
<default>
  <geom type="capsule" contype="1" conaffinity="0" friction="{friction} 0.005 0.0001" mass="0"/>
  <joint type="hinge" armature="{ARMATURE}"/>
  <position kp="{KP}" kv="{KD}" forcerange="{-torque_limit} {torque_limit}"/>
  <default class="drawn">
    <geom contype="0" material="metal"/>
  </default>
</default>
<asset>
  {ground("0.80 0.81 0.82", "0.71 0.73 0.75", "0.62 0.64 0.66", tile=0.2)}
  {PAINTS}
</asset>
<worldbody>
  <body name="ground" quat="{_text(slope_quaternion(slope))}">
    <geom name="ground" type="plane" size="0 0 0.05" contype="0" conaffinity="1" material="floor"/>
  </body>
  <camera name="fixed" pos="0.7 -1.3 0.55" xyaxes="0.88 0.474 0 -0.16 0.3 0.94"/>
  <body name="torso" pos="0 0 {WALKING_HEIGHT}">
    <freejoint name="torso"/>
    <inertial pos="0 0 0" mass="{TORSO_MASS}" diaginertia="{_text(TORSO_INERTIA)}"/>
    <light name="sun" mode="trackcom" pos="0.5 -1 2.5" dir="-0.2 0.35 -1" directional="true" diffuse="0.5 0.5 0.5"/>
    <camera name="side" mode="trackcom" pos="0.55 -0.95 0.3" xyaxes="0.866 0.5 0 -0.13 0.225 0.966"/>
{_torso()}
{legs}
  </body>
</worldbody>
<actuator>
{servos}
</actuator>
</mujoco>"""


def stochlite_model(
    *,
    slope: tuple[float, float] = (0.0, 0.0),
    friction: float = FRICTION,
    torque_limit: float = TORQUE_LIMIT,
    timestep: float = TIMESTEP,
) -> mujoco.MjModel:
    """Compiled model; options as of `stochlite_xml`."""
    text = stochlite_xml(slope=slope, friction=friction, torque_limit=torque_limit, timestep=timestep)
    return mujoco.MjModel.from_xml_string(text)


def alter(model: mujoco.MjModel, *, slope: tuple[float, float], friction: float, mass_factor: float) -> None:
    """Give a compiled model of this robot another ground and other masses, as compiling it anew would.

    `mass_factor` multiplies mass and inertia of every link, which the controller does not know.
    """
    require(mass_factor > 0.0, f"mass_factor is {mass_factor}; pass a positive number")
    require(friction >= 0.0, f"friction is {friction}; pass a coefficient, zero or more")
    # The plane is in a body of its own, since MuJoCo ignores changes of a geom that is at its body's origin.
    model.body("ground").quat[:] = slope_quaternion(slope)
    model.geom_friction[:, 0] = friction
    masses, inertias = _nominal()
    if not np.array_equal(model.body_mass, mass_factor * masses):
        model.body_mass[:], model.body_inertia[:] = mass_factor * masses, mass_factor * inertias
        mujoco.mj_setConst(model, mujoco.MjData(model))


@cache
def _nominal() -> tuple[np.ndarray, np.ndarray]:
    """Mass and inertia of every body, as compiled."""
    model = stochlite_model()
    return model.body_mass.copy(), model.body_inertia.copy()


def slope_quaternion(slope: tuple[float, float]) -> np.ndarray:
    """Quaternion (4,), w first, of `Ry(pitch) Rx(roll)` for (roll, pitch) in rad."""
    roll, pitch = 0.5 * float(slope[0]), 0.5 * float(slope[1])
    a, b, c, d = math.cos(roll), math.sin(roll), math.cos(pitch), math.sin(pitch)
    return np.array([a * c, b * c, a * d, -b * d])


def _text(values) -> str:
    return " ".join(f"{float(v):.17g}" for v in values)


def _torso() -> str:
    """The box that collides, and the rest, which is only drawn."""
    x, _, z = HIP
    tubes = "\n".join(
        f'    <geom class="drawn" type="cylinder" size="0.03 0.034" pos="{sx * (x - 0.036)} {sy * 0.062} {z}" '
        'zaxis="1 0 0" material="dark"/>'
        for sx in (1, -1)
        for sy in (1, -1)
    )
    return f"""    <geom name="torso" type="box" size="0.17 0.055 0.03" material="shell"/>
    <geom class="drawn" type="ellipsoid" size="0.165 0.06 0.05" pos="0 0 0.012" material="shell"/>
    <geom class="drawn" type="box" size="0.075 0.035 0.012" pos="-0.02 0 0.056" material="dark"/>
    <geom class="drawn" type="box" size="0.02 0.045 0.030" pos="0.172 0 0.004" material="dark"/>
    <geom class="drawn" type="sphere" size="0.01" pos="0.188 0.022 0.008"/>
    <geom class="drawn" type="sphere" size="0.01" pos="0.188 -0.022 0.008"/>
{tubes}"""


def _leg(leg: str) -> str:
    """A leg: its frames are at its joints."""
    sx, sy = (1 if leg[0] == "F" else -1), (1 if leg[1] == "L" else -1)
    paint = "far" if sy > 0 else "near"
    abduction, hip, knee = (
        f'name="{leg}_{joint}" axis="{"1 0 0" if joint == "abduction" else "0 1 0"}" range="{low} {high}"'
        for joint, (low, high) in RANGES.items()
    )
    return f"""    <body name="{leg}_abduction" pos="{sx * HIP[0]} {sy * HIP[1]} {HIP[2]}">
      <joint {abduction}/>
      <geom fromto="0 0 0 0 {sy * ABDUCTION} 0" size="0.02" mass="{ABDUCTION_MASS}" material="dark"/>
      <body name="{leg}_thigh" pos="0 {sy * ABDUCTION} 0">
        <joint {hip}/>
        <geom class="drawn" type="cylinder" size="0.034 0.014" zaxis="0 1 0"/>
        <geom name="{leg}_thigh" fromto="0 {sy * OFFSET} 0 0 {sy * OFFSET} {-THIGH}" size="0.016" mass="{THIGH_MASS}"
          material="{paint}"/>
        <body name="{leg}_shank" pos="0 {sy * OFFSET} {-THIGH}">
          <joint {knee}/>
          <geom class="drawn" type="cylinder" size="0.019 0.018" zaxis="0 1 0"/>
          <geom name="{leg}_shank" fromto="0 0 0 0 0 {-SHANK}" size="0.009" mass="{SHANK_MASS}" material="{paint}"/>
          <geom name="{leg}_foot" type="sphere" size="{FOOT_RADIUS}" pos="0 0 {-SHANK}" mass="{FOOT_MASS}"
            material="dark"/>
        </body>
      </body>
    </body>"""
