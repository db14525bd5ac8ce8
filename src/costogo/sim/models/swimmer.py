"""Planar swimmer of three links (spec constrained_gps 8.1) in MuJoCo's fluid model.

MuJoCo's fluid forces act on the box with a body's inertia, of length l and thickness b here. With density
`rho = 2 drag / (b l)` they are, for velocities `v` along and `w` across a link and its rate `omega`,

    F_w = -drag |w| w,   F_v = -drag (b / l) |v| v,   M = -drag (l^3 / 32) (1 + (b / l)^4) |omega| omega.

Deviations from the spec, whose own swimmer in JAX is a system of its own:
1. Drag grows with the square of the velocity, not linearly: the two agree at 1 m/s across a link.
2. There is some drag along a link, `b / l` = 1 % of that across, where the spec has none.
3. The moment of drag on a link is quadratic too, with l^3 / 32 (the integral of drag along the link) in place of
   l^3 / 12.
4. Torques are limited to +-`torque_limit`, which the spec leaves open. From rest over T = 120, box DDP reaches a
   cost of 11.6 (120 without motion): it pushes off at the limit, then swims at 0.99 m/s with 2.8 N m rms.
5. Integrator implicitfast in place of semi-implicit Euler.
"""

# mujoco is compiled and has no stubs.
# pyright: reportAttributeAccessIssue=false

import mujoco

from costogo.core.validate import require
from costogo.sim.models.scenery import PAINTS, ground, visual

LINK_LENGTH = 1.0  # m
LINK_MASS = 1.0  # kg
DRAG = 10.0  # N s^2/m^2, across a link
THICKNESS = 0.01  # m, of the box that the fluid sees; with the length it sets the drag along a link
RADIUS = 0.055  # m, of what is drawn


def swimmer_xml(*, torque_limit: float = 10.0, drag: float = DRAG, timestep: float = 0.01) -> str:
    """MJCF text of the swimmer; SI units.

    State (10): `x, y` of the head link's centre (m), its heading (rad), angles of the two joints (rad), and their
    rates. Controls (2): joint torques, N m. No gravity; every link has l = 1 m, m = 1 kg, I = m l^2 / 12. Five
    timesteps make the spec's dt of 0.05 s.
    """
    require(torque_limit > 0.0, f"torque_limit is {torque_limit}; pass a positive number of N m")
    require(drag >= 0.0, f"drag is {drag}; pass a number of N s^2/m^2, zero or more")
    require(timestep > 0.0, f"timestep is {timestep}; pass positive seconds")
    density = 2.0 * drag / (THICKNESS * LINK_LENGTH)
    return f"""<mujoco model="swimmer">
<compiler angle="radian" autolimits="true"/>
<option timestep="{timestep}" integrator="implicitfast" gravity="0 0 0" density="{density}"/>
{visual(extent=3.0, center="-1 0 0")}
<default>
  <geom type="capsule" contype="0" conaffinity="0" mass="0" material="shell"/>
  <motor ctrlrange="{-torque_limit} {torque_limit}"/>
</default>
<asset>
  {ground("0.36 0.62 0.74", "0.31 0.57 0.70", "0.45 0.69 0.79", tile=0.5)}
  {PAINTS}
</asset>
<worldbody>
  <light name="sun" pos="0 -2 6" dir="0.15 0.3 -1" directional="true" diffuse="0.5 0.5 0.5" castshadow="true"/>
  <geom name="floor" type="plane" size="0 0 0.05" pos="0 0 -0.25" material="floor"/>
  <camera name="fixed" pos="1 0 6" xyaxes="1 0 0 0 1 0"/>
  <body name="head">
    <joint name="x" type="slide" axis="1 0 0"/>
    <joint name="y" type="slide" axis="0 1 0"/>
    <joint name="heading" type="hinge" axis="0 0 1"/>
    {_inertia()}
    <camera name="side" mode="trackcom" pos="-1 -2.6 2.9" xyaxes="1 0 0 0 0.745 0.667"/>
    <geom name="head" {_line(0.5, -0.5)} size="{RADIUS}" material="near"/>
    <geom type="ellipsoid" size="0.17 0.085 0.075" pos="0.42 0 0" material="near"/>
    <geom type="sphere" size="0.022" pos="0.52 0.045 0.045" material="dark"/>
    <geom type="sphere" size="0.022" pos="0.52 -0.045 0.045" material="dark"/>
    <body name="middle" pos="{-LINK_LENGTH} 0 0">
      <joint name="front" type="hinge" axis="0 0 1" pos="{0.5 * LINK_LENGTH} 0 0"/>
      {_inertia()}
      {_knuckle()}
      <geom name="middle" {_line(0.5, -0.5)} size="{RADIUS}"/>
      <body name="tail" pos="{-LINK_LENGTH} 0 0">
        <joint name="rear" type="hinge" axis="0 0 1" pos="{0.5 * LINK_LENGTH} 0 0"/>
        {_inertia()}
        {_knuckle()}
        <geom name="tail" {_line(0.5, -0.35)} size="{RADIUS}" material="far"/>
        <geom type="ellipsoid" size="0.17 0.015 0.09" pos="-0.42 0 0" material="far"/>
      </body>
    </body>
  </body>
</worldbody>
<actuator>
  <motor name="front" joint="front"/>
  <motor name="rear" joint="rear"/>
</actuator>
</mujoco>"""


def swimmer_model(**options: float) -> mujoco.MjModel:
    """Compiled model; options as of `swimmer_xml`."""
    return mujoco.MjModel.from_xml_string(swimmer_xml(**options))


def _inertia() -> str:
    """A thin rod, given as the box whose sides the fluid model computes from it; shapes are only drawn."""
    across = LINK_MASS * LINK_LENGTH**2 / 12.0
    along = LINK_MASS * THICKNESS**2 / 6.0
    return f'<inertial pos="0 0 0" mass="{LINK_MASS}" diaginertia="{along:.8g} {across:.10g} {across:.10g}"/>'


def _knuckle() -> str:
    return f'<geom type="cylinder" size="{1.25 * RADIUS} {RADIUS}" pos="{0.5 * LINK_LENGTH} 0 0" material="metal"/>'


def _line(start: float, end: float) -> str:
    return f'fromto="{start * LINK_LENGTH} 0 0 {end * LINK_LENGTH} 0 0"'
