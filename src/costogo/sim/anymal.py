"""MuJoCo model of ANYmal C, written from its numbers: masses, link geometry and primitive shapes.

Legs are in the order LF, RF, LH, RH, the joints of a leg HAA (about x), HFE and KFE (about y); SI units throughout.
With `sx = +1` for front and `sy = +1` for left legs, the foot is at (spec mpc_net 8.1)

    r = (.2999 sx, .104 sy, 0) + Rx(HAA) [(.0599 sx, .08381 sy, 0)
        + Ry(HFE) [(0, .1003 sy, -.285) + Ry(KFE) (.08795 sx, .01305 sy, -.33797)]]

in the base frame. The links have the inertia of their shapes. That of the base, to which shells, computers and battery
are fused, is what remains of the composite of the spec, 52.135 kg with centre of mass (-0.0071, 0, -0.0645) m and
inertia diag(1.632, 4.841, 4.720) kg m2 in the standing pose, once the legs are taken off. For a base of that inertia to
exist, the drives sit 8 cm inside their joints and that of the knee somewhat above it: nearer to the trunk than the
robot's may be.
"""

# mujoco is compiled and has no stubs.
# pyright: reportAttributeAccessIssue=false

import mujoco
import numpy as np

from costogo.sim.models.scenery import ground
from costogo.systems.legged.anymal import (
    FOOT_OFFSET,
    HIP_OFFSET,
    LEGS,
    SHANK_OFFSET,
    THIGH_OFFSET,
    standing_joints,
)

JOINTS = ("HAA", "HFE", "KFE")

STANDING_HEIGHT = 0.575
STANDING_JOINTS = standing_joints()

BASE_MASS = 26.373
DRIVE_MASS = 2.04
HIP_MASS = 2.781  # with the drive of HFE
THIGH_MASS = 3.071  # with the drive of KFE
DRIVE_INSET = 0.08  # from a joint to the centre of its drive, along the axis
SHANK_MASS = 0.588  # with the foot
FOOT_MASS = 0.25
MASS = BASE_MASS + 4 * (HIP_MASS + THIGH_MASS + SHANK_MASS)

BASE_CENTRE = (-0.014035, 0.0, 0.006667)
BASE_INERTIA = (0.19732, 1.59980, 1.75379, 0.0, -0.026342, 0.0)  # xx, yy, zz, xy, xz, yz about its centre of mass

TORQUE_LIMIT = 80.0
HAA_RANGE = (-0.72, 0.49)  # of left legs; mirrored on the right
TIMESTEP = 0.0025

FOOT_RADIUS = 0.03

_MATERIALS = {
    "shell": ("0.74 0.10 0.09", 0.35),
    "dark": ("0.13 0.13 0.15", 0.25),
    "drive": ("0.24 0.25 0.28", 0.45),
    "metal": ("0.62 0.64 0.67", 0.55),
    "rubber": ("0.07 0.07 0.07", 0.05),
    "glow": ("0.35 0.75 0.95", 0.8),
}


def anymal_xml(*, friction: float = 0.7, timestep: float = TIMESTEP) -> str:
    """MJCF of the robot on a level floor; `friction` is that of foot on floor, `timestep` in s."""
    materials = "\n".join(
        f'<material name="{name}" rgba="{rgb} 1" specular="{gloss}" shininess="{gloss}"/>'
        for name, (rgb, gloss) in _MATERIALS.items()
    )
    legs = "\n".join(_leg(leg) for leg in LEGS)
    motors = "\n".join(f'<motor name="{leg}_{j}" joint="{leg}_{j}"/>' for leg in LEGS for j in JOINTS)
    return f"""<mujoco model="ANYmal C">
<compiler angle="radian" autolimits="true"/>
<option timestep="{timestep}" integrator="implicitfast" cone="elliptic" impratio="10" gravity="0 0 -9.81"/>
<statistic extent="1.6" center="0 0 0.4"/>
<visual>
  <global offwidth="1920" offheight="1080" azimuth="130" elevation="-18"/>
  <quality shadowsize="8192" offsamples="4"/>
  <headlight ambient="0.35 0.35 0.37" diffuse="0.35 0.35 0.35" specular="0.1 0.1 0.1"/>
  <map znear="0.02" zfar="30" shadowclip="1.2"/>
  <rgba haze="0.86 0.90 0.95 1"/>
</visual>
<default>
  <geom contype="0" conaffinity="0" mass="0" material="dark"/>
  <motor ctrlrange="{-TORQUE_LIMIT} {TORQUE_LIMIT}"/>
  <default class="solid">
    <geom contype="1" friction="{friction} 0.02 0.001" condim="3" priority="1"
      solref="0.015 1" solimp="0.95 0.99 0.001"/>
  </default>
</default>
<asset>
  {ground("0.80 0.81 0.82", "0.71 0.73 0.75", "0.62 0.64 0.66", tile=0.5)}
  {materials}
</asset>
<worldbody>
  <light name="sun" pos="1.5 -1.5 5" dir="-0.25 0.3 -1" directional="true" diffuse="0.55 0.53 0.50" castshadow="true"/>
  <geom name="floor" type="plane" size="0 0 0.05" material="floor" conaffinity="1"/>
  <camera name="fixed" pos="1.7 -1.7 0.95" xyaxes="1 1 0 -0.24 0.24 1"/>
  <body name="base" pos="0 0 {STANDING_HEIGHT}">
    <freejoint name="base"/>
    <inertial pos="{_text(BASE_CENTRE)}" mass="{BASE_MASS}" fullinertia="{_text(BASE_INERTIA)}"/>
    <camera name="side" mode="trackcom" pos="1.15 -1.75 0.42" xyaxes="0.836 0.549 0 -0.15 0.229 0.962"/>
    {_torso()}
    {legs}
  </body>
</worldbody>
<actuator>
{motors}
</actuator>
</mujoco>"""


def anymal_model(*, friction: float = 0.7, mass_scale: float = 1.0, timestep: float = TIMESTEP) -> mujoco.MjModel:
    """Compiled model. `mass_scale` multiplies mass and inertia of every link, as a load or a wrong model would."""
    model = mujoco.MjModel.from_xml_string(anymal_xml(friction=friction, timestep=timestep))
    if mass_scale != 1.0:
        model.body_mass[:] *= mass_scale
        model.body_inertia[:] *= mass_scale
        mujoco.mj_setConst(model, mujoco.MjData(model))
    return model


def side(leg: str) -> tuple[int, int]:
    """Signs `(sx, sy)` of a leg: +1 for front, +1 for left."""
    return (1 if leg.endswith("F") else -1), (1 if leg.startswith("L") else -1)


def standing_state(height: float = STANDING_HEIGHT) -> np.ndarray:
    """Kinodynamic state (24,) of the standing pose over the origin, at rest, with the base at `height` (m)."""
    x = np.zeros(24)
    x[5] = height
    x[12:] = STANDING_JOINTS
    return x


def _text(values) -> str:
    return " ".join(f"{float(v):.6g}" for v in values)


def _mirror(offset, sx: int, sy: int) -> np.ndarray:
    return np.asarray(offset) * (sx, sy, 1)


def _upwards() -> np.ndarray:
    """World z in the frame of the standing robot's left front shank, where the foot is the sphere's lowest point."""
    roll, pitch = STANDING_JOINTS[0], STANDING_JOINTS[1] + STANDING_JOINTS[2]
    return np.array([-np.sin(pitch) * np.cos(roll), np.sin(roll), np.cos(pitch) * np.cos(roll)])


def _torso() -> str:
    """Shapes of the base. They have no mass, it is in the inertial element; the hidden box is what hits the floor."""
    return """
    <geom name="base" class="solid" type="box" size="0.36 0.14 0.12" pos="0 0 0.01" group="4"/>
    <geom type="box" size="0.285 0.125 0.075" pos="0 0 0.02" material="shell"/>
    <geom type="box" size="0.245 0.085 0.035" pos="0 0 0.115" material="dark"/>
    <geom type="box" size="0.255 0.105 0.03" pos="0 0 -0.075" material="dark"/>
    <geom type="box" size="0.055 0.1 0.06" pos="0.325 0 0.035" euler="0 0.2 0" material="dark"/>
    <geom type="box" size="0.055 0.1 0.06" pos="-0.325 0 0.035" euler="0 -0.2 0" material="dark"/>
    <geom type="box" size="0.004 0.06 0.012" pos="0.389 0 0.055" euler="0 0.2 0" material="glow"/>
    <geom type="cylinder" size="0.048 0.035" pos="-0.17 0 0.19" material="drive"/>
    <geom type="cylinder" size="0.052 0.008" pos="-0.17 0 0.232" material="shell"/>
    <geom type="capsule" size="0.011" fromto="-0.23 0.1 0.16 0.23 0.1 0.16" material="metal"/>
    <geom type="capsule" size="0.011" fromto="-0.23 -0.1 0.16 0.23 -0.1 0.16" material="metal"/>
    <geom type="capsule" size="0.011" fromto="0.23 -0.1 0.16 0.23 0.1 0.16" material="metal"/>
    <geom type="capsule" size="0.011" fromto="-0.23 -0.1 0.16 -0.23 0.1 0.16" material="metal"/>"""


def _leg(leg: str) -> str:
    """One leg: each link is a drive and a strut, the shank a tube that ends in the foot."""
    sx, sy = side(leg)
    hip, thigh, shank, foot = (_mirror(o, sx, sy) for o in (HIP_OFFSET, THIGH_OFFSET, SHANK_OFFSET, FOOT_OFFSET))
    haa = sorted(sy * bound for bound in HAA_RANGE)
    sphere = foot + FOOT_RADIUS * _mirror(_upwards(), sx, sy)
    ankle, knee = foot * (1, 1, 0.9), np.array([0.012 * sx, 0.5 * foot[1], -0.04])
    inward = np.array([0.0, DRIVE_INSET * sy, 0.0])  # subtracted: a drive lies on the inner side of its joint
    return f"""
    <body name="{leg}_HIP" pos="{_text(hip)}">
      <joint name="{leg}_HAA" axis="1 0 0" range="{_text(haa)}"/>
      <geom type="cylinder" size="0.05 0.045" pos="{-0.05 * sx} 0 0" zaxis="1 0 0" material="drive"/>
      <geom type="box" size="0.045 0.035 0.042" pos="{_text(0.5 * thigh)}" mass="{HIP_MASS - DRIVE_MASS:.4g}"/>
      <geom type="cylinder" size="0.054 0.042" pos="{_text(thigh - inward)}" zaxis="0 1 0" mass="{DRIVE_MASS}"
        material="drive"/>
      <body name="{leg}_THIGH" pos="{_text(thigh)}">
        <joint name="{leg}_HFE" axis="0 1 0"/>
        <geom type="cylinder" size="0.056 0.014" pos="{_text(0.1 * inward)}" zaxis="0 1 0" material="shell"/>
        <geom type="capsule" size="0.034" fromto="{_text(0 * inward)} {_text(shank * (1, 1, 0.9) - 0.6 * inward)}"
          mass="{THIGH_MASS - DRIVE_MASS:.4g}" material="dark"/>
        <geom type="cylinder" size="0.052 0.042" pos="{_text(shank * (1, 1, 0.88) - inward)}" zaxis="0 1 0"
          mass="{DRIVE_MASS}" material="drive"/>
        <body name="{leg}_SHANK" pos="{_text(shank)}">
          <joint name="{leg}_KFE" axis="0 1 0"/>
          <geom type="cylinder" size="0.046 0.012" pos="{_text(-0.1 * inward)}" zaxis="0 1 0" material="shell"/>
          <geom type="capsule" size="0.021" fromto="{_text(knee * 0)} {_text(knee)}" material="metal"/>
          <geom type="capsule" size="0.017" fromto="{_text(knee)} {_text(ankle)}"
            mass="{SHANK_MASS - FOOT_MASS:.4g}" material="metal"/>
          <geom name="{leg}_FOOT" class="solid" type="sphere" size="{FOOT_RADIUS}" pos="{_text(sphere)}"
            mass="{FOOT_MASS}" material="rubber"/>
          <site name="{leg}_FOOT" pos="{_text(foot)}" size="0.005" group="4"/>
        </body>
      </body>
    </body>"""
