"""The two-link leg of spec dmd_mpc 9.2: its MuJoCo model, its kinematics and the paths of its foot."""

# mujoco is compiled and has no stubs.
# pyright: reportAttributeAccessIssue=false

from typing import Any

import mujoco
import numpy as np

from costogo.core.errors import known
from costogo.core.validate import require
from costogo.sim.models.scenery import PAINTS, visual

LENGTHS = (0.3, 0.3)  # m, thigh and shank
MASSES = (1.0, 0.4)  # kg, with the centre of mass in the middle of the link
GRAVITY = 9.81  # m/s^2
TORQUE_LIMIT = 12.0  # N m
CENTRE = (0.0, -0.45)  # m, of the ellipse
SEMI_AXES = (0.10, 0.06)  # m
PERIOD = 1.0  # s
PATHS = ("ellipse", "semi")


def leg_xml(
    *, mass_factor: float = 1.0, damping: float = 0.05, dry_friction: float = 0.0, timestep: float = 0.0005
) -> str:
    """MJCF text of the leg, its hip fixed at the origin; SI units.

    Coordinates `q` (2), rad: `hip` from straight down and `knee` relative to the thigh, positive swings forward (+x).
    Controls (2): torques of hip and knee within +-12 N m. Links are slender rods, `I = m l^2 / 12` about y, and

        M(q) q'' + C(q, q') q' + g(q) + damping q' = tau

    as the spec writes it out. `mass_factor` scales both links, `damping` is in N m s/rad; `dry_friction` (N m, zero in
    the spec) opposes any motion of each joint. MuJoCo integrates semi-implicitly, with the damping implicit.
    """
    require(mass_factor > 0.0, f"mass_factor is {mass_factor}; pass a positive factor")
    require(damping >= 0.0, f"damping is {damping}; pass zero or more N m s/rad")
    require(dry_friction >= 0.0, f"dry_friction is {dry_friction}; pass zero or more N m")
    require(timestep > 0.0, f"timestep is {timestep}; pass positive seconds")
    joint = f'type="hinge" axis="0 -1 0" damping="{damping}" frictionloss="{dry_friction}"'
    return f"""<mujoco model="leg">
<compiler angle="radian" autolimits="true"/>
<option timestep="{timestep}" integrator="Euler" gravity="0 0 {-GRAVITY}"/>
{visual(extent=1.0, center="0 0 -0.3")}
<default>
  <geom type="capsule" contype="0" conaffinity="0"/>
  <motor ctrlrange="{-TORQUE_LIMIT} {TORQUE_LIMIT}"/>
</default>
<asset>
  {PAINTS}
</asset>
<worldbody>
  <light pos="0 -2 2" dir="0 0.7 -0.7" directional="true"/>
  <camera name="side" pos="0 -1.4 -0.3" xyaxes="1 0 0 0 0 1"/>
  <geom type="box" size="0.08 0.05 0.03" pos="0 0 0.04" material="dark"/>
  <body name="thigh">
    <joint name="hip" {joint}/>
    {_link(0, mass_factor, "near")}
    <body name="shank" pos="0 0 {-LENGTHS[0]}">
      <joint name="knee" {joint}/>
      {_link(1, mass_factor, "far")}
      <site name="foot" pos="0 0 {-LENGTHS[1]}" size="0.02"/>
    </body>
  </body>
</worldbody>
<actuator>
  <motor name="hip" joint="hip"/>
  <motor name="knee" joint="knee"/>
</actuator>
</mujoco>"""


def leg_model(**options: Any) -> mujoco.MjModel:
    """Compiled model; options as of `leg_xml`."""
    return mujoco.MjModel.from_xml_string(leg_xml(**options))


def _link(i: int, mass_factor: float, paint: str) -> str:
    mass, length = mass_factor * MASSES[i], LENGTHS[i]
    inertia = mass * length**2 / 12.0
    # About its own axis a rod has no inertia, which MuJoCo does not accept; nothing turns about that axis.
    return f"""<inertial pos="0 0 {-0.5 * length}" mass="{mass}" diaginertia="{inertia} {inertia} {1e-3 * inertia}"/>
    <geom fromto="0 0 0 0 0 {-length}" size="0.02" material="{paint}"/>"""


def foot_position(q: np.ndarray) -> np.ndarray:
    """Position (x, z) of the foot, m: `(l1 s1 + l2 s12, -l1 c1 - l2 c12)`."""
    (a, b), (c1, c2) = LENGTHS, (q[0], q[0] + q[1])
    return np.array([a * np.sin(c1) + b * np.sin(c2), -a * np.cos(c1) - b * np.cos(c2)])


def foot_jacobian(q: np.ndarray) -> np.ndarray:
    """Derivative (2, 2) of `foot_position` with respect to `q`."""
    (a, b), (c1, c2) = LENGTHS, (q[0], q[0] + q[1])
    shank = b * np.array([np.cos(c2), np.sin(c2)])
    return np.stack([a * np.array([np.cos(c1), np.sin(c1)]) + shank, shank], axis=1)


def joint_angles(p: np.ndarray) -> np.ndarray:
    """The joint angles (2) with the foot at `p` and the knee bent backwards (its angle is negative or zero)."""
    (a, b), square = LENGTHS, float(p[0] ** 2 + p[1] ** 2)
    cosine = (square - a**2 - b**2) / (2.0 * a * b)
    require(abs(cosine) <= 1.0, f"p is {p}, out of reach; pass a point within {a + b} m of the hip")
    knee = -np.arccos(cosine)
    return np.array([np.arctan2(p[0], -p[1]) - np.arctan2(b * np.sin(knee), a + b * np.cos(knee)), knee])


def foot_target(path: str, phase: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Position (m), velocity (m/s) and acceleration (m/s^2) of the target, each (2), at a phase of its period.

    On the ellipse `s = phase`; on "semi" `s = pi (1 - cos(phase)) / 2`, to and fro on its upper half; then
    `p = centre + (0.10 cos s, 0.06 sin s)`. Deviation: the spec names the semi-ellipse without a timing; this one has
    no corner, so a velocity to track exists everywhere.
    """
    known("path", path, PATHS)
    rate = 2.0 * np.pi / PERIOD
    if path == "ellipse":
        s, ds, dds = phase, rate, 0.0
    else:
        half = 0.5 * np.pi
        s, ds, dds = half * (1.0 - np.cos(phase)), half * np.sin(phase) * rate, half * np.cos(phase) * rate**2
    axes = np.array(SEMI_AXES)
    radial, tangent = axes * np.array([np.cos(s), np.sin(s)]), axes * np.array([-np.sin(s), np.cos(s)])
    return np.array(CENTRE) + radial, tangent * ds, tangent * dds - radial * ds**2
