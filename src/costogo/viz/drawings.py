"""Moving pictures of the benchmark systems: one panel per recording, side by side."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from jax.typing import ArrayLike

from costogo.core.errors import CostogoError
from costogo.core.validate import require
from costogo.systems import Ballbot, CartPole, DoubleIntegrator, Pendulum, PointMass
from costogo.systems.legged import PlanarWalker
from costogo.viz import robot_drawings as robots
from costogo.viz.panel import BODY, PALE, PAPER, ROD, Box, Panel, track, trail, union
from costogo.viz.plots import GREY


@dataclass(frozen=True)
class Recording:
    """What one panel shows: a title, and the states (n+1, nx) and controls (n, nu) of a trajectory."""

    title: str
    states: ArrayLike
    controls: ArrayLike

    def __post_init__(self):
        states, controls = np.shape(self.states), np.shape(self.controls)
        require(
            len(states) == len(controls) == 2 and states[0] == controls[0] + 1,
            f"recording {self.title!r} has states {states} and controls {controls}; pass (n+1, nx) and (n, nu)",
        )


def _draw_cartpole(panel: Panel, system: CartPole, states: np.ndarray, push: np.ndarray) -> None:
    """Cart, pole, track and force; the pole's `length` is half of it."""
    pole = 2 * float(system.length)
    tips = np.stack([states[:, 0] + pole * states[:, 3], pole * states[:, 2]], axis=1)
    track(panel, -0.16 * pole)
    trail(panel, tips)
    x, tip = states[-1, 0], tips[-1]
    _cart(panel, x, 0.0, 0.5 * pole, 0.2 * pole, push[0])
    panel.line([(x, 0.0), tip], 7, ROD)
    panel.disc(*tip, 6, BODY)
    panel.disc(x, 0.0, 5, PAPER, ROD)


def _draw_mass(panel: Panel, system: DoubleIntegrator, states: np.ndarray, push: np.ndarray) -> None:
    """A mass on a track, its goal and the force."""
    width = 0.14 * panel.size[0] * panel.unit
    track(panel, -0.5 * width)
    panel.line([(0.0, -0.5 * width), (0.0, width)], 2, PALE)
    _cart(panel, states[-1, 0], 0.0, width, 0.5 * width, push[0])


def _cart(panel: Panel, x: float, y: float, width: float, height: float, push: float) -> None:
    panel.box(x, y, width, height, BODY)
    for side in (-0.28, 0.28):
        panel.disc(x + side * width, y - height / 2, max(0.16 * height / panel.unit, 4), ROD)
    if abs(push) > 0.02:
        start = x + np.sign(push) * (width / 2 + 4 * panel.unit)
        panel.arrow([(start, y), (start + push * 1.3 * width, y)])


def _draw_pendulum(panel: Panel, system: Pendulum, states: np.ndarray, push: np.ndarray) -> None:
    """Rod, bob and torque; angle zero is upright, positive turns clockwise in the picture."""
    length = float(system.length)
    tips = length * np.stack([states[:, 1], states[:, 0]], axis=1)
    panel.line([(0.0, 0.0), (0.0, 1.12 * length)], 2, PALE)
    trail(panel, tips)
    panel.line([(0.0, 0.0), tips[-1]], 8, ROD)
    panel.disc(*tips[-1], 15, BODY)
    panel.disc(0.0, 0.0, 6, PAPER, ROD)
    if abs(push[0]) > 0.02:
        angles = np.linspace(0.0, push[0] * 0.75 * np.pi, 24)
        panel.arrow([(0.32 * length * np.sin(a), 0.32 * length * np.cos(a)) for a in angles])


def _around(reach: float) -> Box:
    return -reach, -reach, reach, reach


def _along_track(reach: float, states: np.ndarray) -> Box:
    """What stands at the origin within `reach`, and goes to the first entry of the state."""
    furthest = 1.1 * (float(np.max(np.abs(states[:, 0]))) + 0.3 * reach)
    return union([_around(reach), (-furthest, 0.0, furthest, 0.0)])


@dataclass(frozen=True)
class Drawing:
    """How a system is drawn.

    `draw(panel, system, states, arrows)` puts the last of the states on the panel; those before it are the past.
    `view(system, states)` is the rectangle of the picture's plane that a trajectory needs (m). `arrows(system, states,
    controls)` are the vectors shown as arrows, (n, ..., d), by default the controls; `draw` gets them in units of the
    longest one of all recordings.
    """

    draw: Callable[[Panel, Any, np.ndarray, np.ndarray], None]
    view: Callable[[Any, np.ndarray], Box]
    arrows: Callable[[Any, np.ndarray, np.ndarray], np.ndarray] = lambda system, states, controls: controls


DRAWINGS: dict[type, Drawing] = {
    CartPole: Drawing(_draw_cartpole, lambda system, states: _along_track(2.7 * float(system.length), states)),
    DoubleIntegrator: Drawing(_draw_mass, lambda system, states: _along_track(1.0, states)),
    Pendulum: Drawing(_draw_pendulum, lambda system, states: _around(1.3 * float(system.length))),
    PointMass: Drawing(robots.draw_point_mass, robots.point_mass_view),
    Ballbot: Drawing(robots.draw_ballbot, robots.ballbot_view, robots.ballbot_push),
    PlanarWalker: Drawing(robots.draw_walker, robots.walker_view, robots.contact_forces),
}


def film(
    system: Any,
    recordings: Sequence[Recording],
    *,
    dt: float | None = None,
    footer: Sequence[str] = (),
    size: tuple[int, int] = (420, 340),
) -> Iterator[np.ndarray]:
    """Frames (height, panels * width, 3), uint8, one per time step, of trajectories of a system side by side.

    Orange arrows show the control, or the push it gives (`Drawing.arrows`), full size for the largest one of all
    recordings; a recording that ends early stands still. `dt` is the time between frames, by default the system's;
    `footer` holds a line of text per frame. Raises for a system that has no drawing, and for one that has no `dt` if
    none is given.
    """
    drawing = DRAWINGS.get(type(system))
    name = type(system).__name__
    if drawing is None:
        drawn = ", ".join(kind.__name__ for kind in DRAWINGS)
        raise CostogoError(f"{name} has no drawing. Known: {drawn}.")
    require(len(recordings) >= 1, "recordings is empty; pass at least one")
    dt = getattr(system, "dt", None) if dt is None else dt
    require(dt is not None, f"{name} has no time step of its own; pass dt, the seconds between frames")
    return _frames(system, drawing, recordings, dt, footer, size)


def _frames(system, drawing, recordings, dt, footer, size) -> Iterator[np.ndarray]:
    tracks = [(r.title, np.asarray(r.states, float), np.asarray(r.controls, float)) for r in recordings]
    box = union([drawing.view(system, states) for _, states, _ in tracks])
    arrows = _scaled([np.asarray(drawing.arrows(system, states[:-1], controls)) for _, states, controls in tracks])
    for k in range(max(len(states) for _, states, _ in tracks)):
        images = []
        for (title, states, _), vectors in zip(tracks, arrows, strict=True):
            panel = Panel(size, box)
            drawing.draw(panel, system, states[: k + 1], vectors[min(k, len(vectors) - 1)])
            panel.text(14, 10, title, 17)
            panel.text(size[0] - 14, 12, f"{k * dt:.2f} s", 14, GREY, "ra")
            if k < len(footer):
                panel.text(14, size[1] - 12, footer[k], 13, GREY, "ld")
            images.append(panel.finish())
        yield _side_by_side(images)


def _scaled(arrows: list[np.ndarray]) -> list[np.ndarray]:
    """Vectors in units of the longest of all; a row of zeros follows the last one of each recording."""
    largest = max(float(np.max(np.linalg.norm(vectors, axis=-1), initial=1e-9)) for vectors in arrows)
    return [np.concatenate([vectors, np.zeros((1, *vectors.shape[1:]))]) / largest for vectors in arrows]


def _side_by_side(images: list[np.ndarray]) -> np.ndarray:
    """Panels next to each other with a thin line between them."""
    for image in images[1:]:
        image[:, :1] = 222
    return np.concatenate(images, axis=1)
