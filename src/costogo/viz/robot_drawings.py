"""Drawings of the robots that MPC-Net steers: point mass from above, ballbot in space, walker from the side."""

from itertools import pairwise

import jax
import numpy as np

from costogo.systems import Ballbot, PointMass
from costogo.systems.legged import PlanarWalker
from costogo.systems.legged.planar import CENTRE, HEIGHT, SHANK, THIGH
from costogo.viz.panel import BODY, PALE, PAPER, ROD, Box, Panel, goal, tint, track, trail, union
from costogo.viz.plots import GREY

LONGEST = 0.5  # length of the longest arrow of the point mass (m); the robots' are half and 0.7 of it
LEAST = 0.01  # shorter arrows are left out (m)
TURN = np.linspace(0.0, 2.0 * np.pi, 49)

# Point mass


def point_mass_view(system: PointMass, states: np.ndarray) -> Box:
    """Path, disc and goal with a margin."""
    radius = float(system.radius)
    places = np.concatenate([states[:, :2], [system.goal]])
    return union([(-radius, -radius, radius, radius), _bounds(places, LONGEST)])


def draw_point_mass(panel: Panel, system: PointMass, states: np.ndarray, push: np.ndarray) -> None:
    """Seen from above: path, disc in the way, goal and acceleration."""
    path, arm = states[:, :2], 9 * panel.unit
    panel.disc(0.0, 0.0, float(system.radius) / panel.unit, PALE, GREY)
    goal(panel, (arm, 0.0), (0.0, arm), system.goal)
    _path(panel, path)
    _push(panel, path[-1], LONGEST * push, 9 * panel.unit)
    panel.disc(*path[-1], 6, BODY)


def _bounds(points: np.ndarray, margin: float) -> Box:
    """Rectangle around points (n, 2)."""
    low, high = np.min(points, axis=0) - margin, np.max(points, axis=0) + margin
    return float(low[0]), float(low[1]), float(high[0]), float(high[1])


def _path(panel: Panel, points: np.ndarray) -> None:
    """All of the way so far, and the last part of it in colour."""
    trail(panel, points)
    panel.line(points, 1, tint(GREY, 0.4))


def _push(panel: Panel, start: np.ndarray, push: np.ndarray, gap: float = 0.0) -> None:
    """Arrow of a push (m in the picture) that begins at a distance from a point."""
    length = float(np.linalg.norm(push))
    if length > LEAST:
        begin = start + gap * push / length
        panel.arrow([begin, begin + push], width=3)


# Ballbot: x to the right, y into the picture, seen from above with parallel rays; z = 0 is the ground.

AZIMUTH, ELEVATION = np.deg2rad(-24.0), np.deg2rad(24.0)
RIGHT = np.array([np.cos(AZIMUTH), np.sin(AZIMUTH), 0.0])
UP = np.array([-np.sin(ELEVATION) * np.sin(AZIMUTH), np.sin(ELEVATION) * np.cos(AZIMUTH), np.cos(ELEVATION)])
TOWARDS = np.cross(RIGHT, UP)  # the one who looks
GRID = 0.5  # m between the lines on the ground
MAST = 1.6  # height of the mast above the centre of the ball, in that of the body's top


def project(points: np.ndarray) -> np.ndarray:
    """Points in space (..., 3) on the plane of the picture (..., 2)."""
    return points @ np.stack([RIGHT, UP], axis=1)


def ballbot_view(system: Ballbot, states: np.ndarray) -> Box:
    """Robot along its path, and the goal."""
    top = MAST * _body_shape(system)[1]
    low = np.pad(np.concatenate([states[:, :2], np.zeros((1, 2))]), ((0, 0), (0, 1)))
    high = low + np.array([0.0, 0.0, top])
    return union([_bounds(project(low), 0.8 * LONGEST), _bounds(project(high), 0.05)])


def ballbot_push(system: Ballbot, states: np.ndarray, controls: np.ndarray) -> np.ndarray:
    """Acceleration of the ball that the torques of the wheels add (m/s2), (n, 2)."""

    def added(x, u):
        return system.velocity(x, u, 0.0)[5:7] - system.velocity(x, 0.0 * u, 0.0)[5:7]

    return np.asarray(jax.jit(jax.vmap(added))(states, controls))


def draw_ballbot(panel: Panel, system: Ballbot, states: np.ndarray, push: np.ndarray) -> None:
    """Ball, wheels and leaning body over a grid, with the goal, the path and the push of the wheels on the ball."""
    path, radius = np.pad(states[:, :2], ((0, 0), (0, 1))), float(system.ball_radius)
    centre, attitude = path[-1] + [0.0, 0.0, radius], _attitude(states[-1])
    _floor(panel)
    goal(panel, *project(1.6 * radius * np.eye(3)[:2]), (0.0, 0.0))
    _path(panel, project(path))
    panel.polygon(project(path[-1] + 0.9 * radius * _circle()), tint(GREY, 0.55))
    _wheels(panel, system, centre, attitude, before=False)
    _ball(panel, radius, path, centre)
    _wheels(panel, system, centre, attitude, before=True)
    _push(panel, project(centre), 0.5 * LONGEST * project(np.append(push, 0.0)), radius + 3 * panel.unit)
    _body(panel, system, centre, attitude)


def _floor(panel: Panel) -> None:
    """Lines on the ground over the whole picture."""
    left, bottom, right, top = panel.edges()
    corners = np.array([(left, bottom), (right, bottom), (left, top), (right, top)])
    ground = np.linalg.solve(np.stack([RIGHT[:2], UP[:2]]), corners.T).T
    step = GRID * np.ceil((right - left) / 10.0)  # a robot that is lost does not drown in lines
    low, high = step * np.floor(ground.min(axis=0) / step), step * np.ceil(ground.max(axis=0) / step)
    for x in np.arange(low[0], high[0] + step, step):
        panel.line(project(np.array([(x, low[1], 0.0), (x, high[1], 0.0)])), 1, PALE)
    for y in np.arange(low[1], high[1] + step, step):
        panel.line(project(np.array([(low[0], y, 0.0), (high[0], y, 0.0)])), 1, PALE)


def _circle(radius: float = 1.0, height: float = 0.0) -> np.ndarray:
    """Points of a level circle about the vertical axis (n, 3)."""
    return np.stack([radius * np.cos(TURN), radius * np.sin(TURN), height + 0.0 * TURN], axis=1)


def _ball(panel: Panel, radius: float, path: np.ndarray, centre: np.ndarray) -> None:
    """Ball at the end of its path, with two great circles that show it roll."""
    panel.disc(*project(centre), radius / panel.unit, PAPER, ROD)
    attitude = _rolled(path / radius)
    for circle in (_circle(), _circle()[:, [0, 2, 1]]):
        points = 0.93 * radius * circle @ attitude.T
        for first, last in pairwise(points):
            if (first + last) @ TOWARDS > 0.0:  # the side that is seen
                panel.line(project(centre + np.stack([first, last])), 1.5, GREY)


def _rolled(path: np.ndarray) -> np.ndarray:
    """Attitude (3, 3) of a ball that rolled along a path on the ground, given in radii of the ball."""
    attitude = np.eye(3)
    for dx, dy, _ in np.diff(path, axis=0):
        attitude = _rotation(np.array([-dy, dx, 0.0])) @ attitude
    return attitude


def _rotation(turn: np.ndarray) -> np.ndarray:
    """Rotation about the direction of a vector by its length (Rodrigues)."""
    angle = float(np.linalg.norm(turn))
    cross = np.cross(np.eye(3), turn / max(angle, 1e-12))
    return np.eye(3) + np.sin(angle) * cross + (1.0 - np.cos(angle)) * cross @ cross


def _body_shape(system: Ballbot) -> tuple[float, float]:
    """Radius and top (above the centre of the ball) of the upright cylinder with the body's mass and inertia."""
    mass, centre, (across, _, about) = float(system.body_mass), float(system.body_height), system.body_inertia
    radius = np.sqrt(2.0 * about / mass)
    height = np.sqrt(12.0 * (across / mass - centre**2) - 3.0 * radius**2)
    return float(radius), float(centre + height / 2)


def _attitude(state: np.ndarray) -> np.ndarray:
    """Body to world, `Rz(yaw) Ry(pitch) Rx(roll)`."""
    x, y, z = np.eye(3)
    yaw, pitch, roll = state[2:5]
    return _rotation(yaw * z) @ _rotation(pitch * y) @ _rotation(roll * x)


def _wheels(panel: Panel, system: Ballbot, centre: np.ndarray, attitude: np.ndarray, before: bool) -> None:
    """The wheels that the one who looks sees before the ball, or those behind it."""
    radius, angle = float(system.wheel_radius), float(system.wheel_angle)
    distance = float(system.ball_radius) + radius
    # Level with its axis up, laid against the ball and turned to its azimuth.
    rim = radius * _circle() @ _rotation(np.array([0.0, angle - np.pi / 2, 0.0])).T
    rim = rim + distance * np.array([np.sin(angle), 0.0, np.cos(angle)])
    for i in range(3):
        wheel = rim @ (attitude @ _rotation(np.array([0.0, 0.0, i * 2.0 * np.pi / 3.0]))).T
        if (wheel.mean(axis=0) @ TOWARDS > 0.0) == before:
            panel.polygon(project(centre + wheel), tint(ROD, 0.5))
            panel.line(project(centre + wheel), 2, tint(ROD, 0.3))  # seen from the edge, it still has a width


def _body(panel: Panel, system: Ballbot, centre: np.ndarray, attitude: np.ndarray) -> None:
    """Body and mast, beside the plumb line that the mast leans from."""
    radius, top = _body_shape(system)
    plumb = np.array([[0.0, 0.0, top], [0.0, 0.0, MAST * top]])
    panel.line(project(centre + plumb), 1.5, GREY)
    bottom = 1.25 * float(system.ball_radius)
    low, high = (project(centre + _circle(radius, height) @ attitude.T) for height in (bottom, top))
    panel.polygon(low, BODY)
    for i in range(len(TURN) - 1):
        panel.polygon([low[i], low[i + 1], high[i + 1], high[i]], BODY)
    panel.polygon(high, tint(BODY, 0.35))
    first, last = project(centre + plumb @ attitude.T)
    panel.line([first, high[0]], 2, PAPER)  # ahead
    panel.line([first, last], 3, ROD)
    panel.disc(*last, 4, BODY)


# Walker


def walker_view(system: PlanarWalker, states: np.ndarray) -> Box:
    """Robot along its path, and the ground."""
    x = states[:, 1]
    return float(x.min()) - 0.5, -0.1, float(x.max()) + 0.5, HEIGHT + 0.3


def contact_forces(system: PlanarWalker, states: np.ndarray, controls: np.ndarray) -> np.ndarray:
    """Forces on the feet in the world frame (N), (n, feet, 2)."""

    def turned(x, u):
        return system.forces(u) @ system.rotation(x).T

    return np.asarray(jax.vmap(turned)(states, controls))


def draw_walker(panel: Panel, system: PlanarWalker, states: np.ndarray, push: np.ndarray) -> None:
    """Body, the right leg before the left one, the path of the feet and the forces on them."""
    track(panel, 0.0)
    legs = _legs(states)
    for leg in (0, 1):
        trail(panel, legs[:, leg, 2], 2)
    for leg, colour in ((0, tint(ROD, 0.55)), (1, ROD)):
        if leg == 1:
            _trunk(panel, states[-1])
        panel.line(legs[-1, leg], 6, colour)
        panel.disc(*legs[-1, leg, 1], 4, PAPER, colour)
        panel.disc(*legs[-1, leg, 2], 5, colour)
    for foot, force in zip(legs[-1, :, 2], push, strict=True):
        _push(panel, foot, 0.7 * LONGEST * force)


def _legs(states: np.ndarray) -> np.ndarray:
    """Hip, knee and foot of both legs in the world (n, legs, 3, 2): the kinematics of `PlanarWalker.feet`."""
    angles = states[:, None, None, 0] + np.cumsum(states[:, 6:].reshape(-1, 2, 2), axis=2)
    bones = -np.array([THIGH, SHANK])[:, None] * np.stack([np.sin(angles), np.cos(angles)], axis=-1)
    hip = np.broadcast_to(states[:, None, None, 1:3], (len(states), 2, 1, 2))
    return np.cumsum(np.concatenate([hip, bones], axis=2), axis=2)


def _trunk(panel: Panel, state: np.ndarray) -> None:
    """Body around its centre of mass; the model gives it a mass and no shape."""
    half, radius = 0.17, 0.075
    outline = radius * np.stack([np.cos(TURN), np.sin(TURN)], axis=1)
    outline[:, 0] += half * np.sign(outline[:, 0])
    c, s = np.cos(state[0]), np.sin(state[0])
    panel.polygon(state[1:3] + (outline + np.array(CENTRE)[::2]) @ np.array([[c, -s], [s, c]]), BODY)
