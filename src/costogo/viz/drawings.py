"""Moving pictures of the benchmark systems: one panel per recording, side by side."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
from jax.typing import ArrayLike
from PIL import Image, ImageDraw, ImageFont

from costogo.core.errors import CostogoError
from costogo.core.validate import require
from costogo.systems import CartPole, DoubleIntegrator, Pendulum
from costogo.viz.plots import COLOURS, GREY, INK

SCALE = 3  # frames are drawn this much larger and reduced, for smooth edges
TRAIL = 14  # past positions shown behind a moving tip
BODY, ROD, PUSH, PALE, PAPER = COLOURS[0], INK, COLOURS[1], "#d9dde2", "white"


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


class Panel:
    """A picture in world coordinates: metres, y upward, `reach` metres from the centre to the nearer edge."""

    def __init__(self, size: tuple[int, int], reach: float, centre: tuple[float, float] = (0.0, 0.0)):
        self.size = size
        self.image = Image.new("RGB", (size[0] * SCALE, size[1] * SCALE), PAPER)
        self.draw = ImageDraw.Draw(self.image)
        self.pixels = SCALE * 0.46 * min(size) / reach
        self.centre = centre

    def at(self, x: float, y: float) -> tuple[float, float]:
        """Pixel of a point."""
        middle = (self.size[0] * SCALE / 2, self.size[1] * SCALE * 0.54)
        return middle[0] + (x - self.centre[0]) * self.pixels, middle[1] - (y - self.centre[1]) * self.pixels

    def line(self, points: Sequence[tuple[float, float]], width: float, colour: str) -> None:
        """Polyline with round ends; `width` in pixels of the finished frame."""
        pixels = [self.at(*point) for point in points]
        self.draw.line(pixels, fill=colour, width=round(width * SCALE), joint="curve")
        for x, y in (pixels[0], pixels[-1]):
            r = width * SCALE / 2
            self.draw.ellipse((x - r, y - r, x + r, y + r), fill=colour)

    def disc(self, x: float, y: float, radius: float, colour: str, edge: str | None = None) -> None:
        """Filled circle; `radius` in pixels of the finished frame."""
        x, y = self.at(x, y)
        r = radius * SCALE
        self.draw.ellipse((x - r, y - r, x + r, y + r), fill=colour, outline=edge, width=2 * SCALE)

    def box(self, x: float, y: float, width: float, height: float, colour: str) -> None:
        """Rounded rectangle about a centre, in metres."""
        left, top = self.at(x - width / 2, y + height / 2)
        right, bottom = self.at(x + width / 2, y - height / 2)
        self.draw.rounded_rectangle((left, top, right, bottom), radius=5 * SCALE, fill=colour)

    def arrow(self, points: Sequence[tuple[float, float]], colour: str = PUSH) -> None:
        """Polyline that ends in an arrow head; nothing if it is shorter than the head."""
        (x0, y0), (x1, y1) = self.at(*points[-2]), self.at(*points[-1])
        length = np.hypot(x1 - x0, y1 - y0)
        if length < 1e-9:
            return
        self.line(points, 4, colour)
        ex, ey = (x1 - x0) / length * 11 * SCALE, (y1 - y0) / length * 11 * SCALE
        self.draw.polygon(
            [(x1 + ex, y1 + ey), (x1 - ey * 0.7, y1 + ex * 0.7), (x1 + ey * 0.7, y1 - ex * 0.7)], fill=colour
        )

    def text(self, x: float, y: float, words: str, size: int, colour: str = INK, anchor: str = "la") -> None:
        """Text at a pixel of the finished frame."""
        self.draw.text((x * SCALE, y * SCALE), words, fill=colour, font=_font(size * SCALE), anchor=anchor)

    def finish(self) -> np.ndarray:
        """The frame (height, width, 3), uint8."""
        return np.array(self.image.resize(self.size, Image.Resampling.BOX))


@cache
def _font(size: int) -> Any:
    return ImageFont.load_default(size)


def _fade(age: int) -> str:
    """Colour of a trail point, paler with age."""
    share = age / TRAIL
    body = [int(BODY[i : i + 2], 16) for i in (1, 3, 5)]
    return "#" + "".join(f"{round(c + (255 - c) * (0.35 + 0.65 * share)):02x}" for c in body)


def _trail(panel: Panel, points: np.ndarray) -> None:
    for age in range(min(TRAIL, len(points) - 1), 0, -1):
        panel.line([points[-age - 1], points[-age]], 3, _fade(age))


def _draw_cartpole(panel: Panel, system: CartPole, states: np.ndarray, push: float) -> None:
    """Cart, pole, track and force; the pole's `length` is half of it."""
    pole = 2 * float(system.length)
    tips = np.stack([states[:, 0] + pole * states[:, 3], pole * states[:, 2]], axis=1)
    _track(panel, 0.0, -0.16 * pole)
    _trail(panel, tips)
    x, tip = states[-1, 0], tips[-1]
    _cart(panel, x, 0.0, 0.5 * pole, 0.2 * pole, push)
    panel.line([(x, 0.0), tip], 7, ROD)
    panel.disc(*tip, 6, BODY)
    panel.disc(x, 0.0, 5, PAPER, ROD)


def _draw_mass(panel: Panel, system: DoubleIntegrator, states: np.ndarray, push: float) -> None:
    """A mass on a track, its goal and the force."""
    width = 0.14 * panel.size[0] * SCALE / panel.pixels
    _track(panel, 0.0, -0.5 * width)
    panel.line([(0.0, -0.5 * width), (0.0, width)], 2, PALE)
    _cart(panel, states[-1, 0], 0.0, width, 0.5 * width, push)


def _track(panel: Panel, x: float, y: float) -> None:
    half = panel.size[0] * SCALE / panel.pixels
    panel.line([(panel.centre[0] - half, y), (panel.centre[0] + half, y)], 3, PALE)
    for mark in range(int(np.floor(panel.centre[0] - half)), int(np.ceil(panel.centre[0] + half)) + 1):
        panel.line([(mark, y), (mark, y - 6 * SCALE / panel.pixels)], 2, PALE)


def _cart(panel: Panel, x: float, y: float, width: float, height: float, push: float) -> None:
    panel.box(x, y, width, height, BODY)
    for side in (-0.28, 0.28):
        panel.disc(x + side * width, y - height / 2, max(0.16 * height * panel.pixels / SCALE, 4), ROD)
    if abs(push) > 0.02:
        start = x + np.sign(push) * (width / 2 + 4 * SCALE / panel.pixels)
        panel.arrow([(start, y), (start + push * 1.3 * width, y)])


def _draw_pendulum(panel: Panel, system: Pendulum, states: np.ndarray, push: float) -> None:
    """Rod, bob and torque; angle zero is upright, positive turns clockwise in the picture."""
    length = float(system.length)
    tips = length * np.stack([states[:, 1], states[:, 0]], axis=1)
    panel.line([(0.0, 0.0), (0.0, 1.12 * length)], 2, PALE)
    _trail(panel, tips)
    panel.line([(0.0, 0.0), tips[-1]], 8, ROD)
    panel.disc(*tips[-1], 15, BODY)
    panel.disc(0.0, 0.0, 6, PAPER, ROD)
    if abs(push) > 0.02:
        angles = np.linspace(0.0, push * 0.75 * np.pi, 24)
        panel.arrow([(0.32 * length * np.sin(a), 0.32 * length * np.cos(a)) for a in angles])


@dataclass(frozen=True)
class Drawing:
    """How a system is drawn, and the half-width in metres that it needs when it stands still."""

    draw: Callable[[Panel, Any, np.ndarray, float], None]
    reach: Callable[[Any], float]
    moves: bool


DRAWINGS: dict[type, Drawing] = {
    CartPole: Drawing(_draw_cartpole, lambda system: 2.0 * float(system.length) * 1.35, True),
    DoubleIntegrator: Drawing(_draw_mass, lambda system: 1.0, True),
    Pendulum: Drawing(_draw_pendulum, lambda system: float(system.length) * 1.3, False),
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

    The orange arrow shows the control, full size for the largest one of all recordings; a recording that ends early
    stands still. `dt` is the time between frames, by default the system's; `footer` holds a line of text per frame.
    Raises for a system that has no drawing.
    """
    drawing = DRAWINGS.get(type(system))
    if drawing is None:
        drawn = ", ".join(kind.__name__ for kind in DRAWINGS)
        raise CostogoError(f"{type(system).__name__} has no drawing. Known: {drawn}.")
    require(len(recordings) >= 1, "recordings is empty; pass at least one")
    return _frames(system, drawing, recordings, system.dt if dt is None else dt, footer, size)


def _frames(system, drawing, recordings, dt, footer, size) -> Iterator[np.ndarray]:
    tracks = [(r.title, np.asarray(r.states, float), np.asarray(r.controls, float)) for r in recordings]
    reach = drawing.reach(system)
    if drawing.moves:
        furthest = max(float(np.max(np.abs(states[:, 0]))) for _, states, _ in tracks)
        reach = max(reach, (furthest + 0.3 * reach) * min(size) / size[0] * 1.1)
    largest = max(float(np.max(np.abs(controls), initial=1e-9)) for _, _, controls in tracks)
    for k in range(max(len(states) for _, states, _ in tracks)):
        images = []
        for title, states, controls in tracks:
            push = float(controls[k, 0]) / largest if k < len(controls) else 0.0
            panel = Panel(size, reach)
            drawing.draw(panel, system, states[: k + 1], push)
            panel.text(14, 10, title, 17)
            panel.text(size[0] - 14, 12, f"{k * dt:.2f} s", 14, GREY, "ra")
            if k < len(footer):
                panel.text(14, size[1] - 12, footer[k], 13, GREY, "ld")
            images.append(panel.finish())
        yield _side_by_side(images)


def _side_by_side(images: list[np.ndarray]) -> np.ndarray:
    """Panels next to each other with a thin line between them."""
    for image in images[1:]:
        image[:, :1] = 222
    return np.concatenate(images, axis=1)
