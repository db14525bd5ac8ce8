"""A picture in metres, and what several drawings share."""

from collections.abc import Sequence
from functools import cache
from typing import Any

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from costogo.viz.plots import COLOURS, INK

SCALE = 3  # frames are drawn this much larger and reduced, for smooth edges
TRAIL = 14  # past positions shown behind a moving tip
BODY, ROD, PUSH, GOAL, PALE, PAPER = COLOURS[0], INK, COLOURS[1], COLOURS[2], "#d9dde2", "white"

Point = tuple[float, float] | np.ndarray
Box = tuple[float, float, float, float]  # left, bottom, right, top (m)


class Panel:
    """A picture in world coordinates (metres, y upward) that shows at least the rectangle `box`."""

    def __init__(self, size: tuple[int, int], box: Box):
        self.size = size
        self.image = Image.new("RGB", (size[0] * SCALE, size[1] * SCALE), PAPER)
        self.draw = ImageDraw.Draw(self.image)
        left, bottom, right, top = box
        self.unit = max((right - left) / size[0], (top - bottom) / size[1]) / 0.92  # metres in a pixel of the frame
        self.centre = (left + right) / 2, (bottom + top) / 2

    def at(self, x: float, y: float) -> tuple[float, float]:
        """Pixel of a point."""
        middle, pixels = (self.size[0] * SCALE / 2, self.size[1] * SCALE * 0.54), SCALE / self.unit
        return middle[0] + (x - self.centre[0]) * pixels, middle[1] - (y - self.centre[1]) * pixels

    def edges(self) -> Box:
        """Rectangle that the picture shows."""
        (x, y), width, height = self.centre, self.size[0] * self.unit, self.size[1] * self.unit
        return x - width / 2, y - 0.46 * height, x + width / 2, y + 0.54 * height

    def line(self, points: Sequence[Point] | np.ndarray, width: float, colour: str) -> None:
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

    def polygon(self, points: Sequence[Point] | np.ndarray, colour: str) -> None:
        """Filled polygon."""
        self.draw.polygon([self.at(*point) for point in points], fill=colour)

    def arrow(self, points: Sequence[Point] | np.ndarray, colour: str = PUSH, width: float = 4) -> None:
        """Polyline that ends in an arrow head; nothing if its last part has no length."""
        (x0, y0), (x1, y1) = self.at(*points[-2]), self.at(*points[-1])
        length = np.hypot(x1 - x0, y1 - y0)
        if length < 1e-9:
            return
        self.line(points, width, colour)
        head = 2.75 * width * SCALE / length
        ex, ey = (x1 - x0) * head, (y1 - y0) * head
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


def tint(colour: str, share: float) -> str:
    """A colour mixed with this share of white."""
    parts = [int(colour[i : i + 2], 16) for i in (1, 3, 5)]
    return "#" + "".join(f"{round(c + (255 - c) * share):02x}" for c in parts)


def trail(panel: Panel, points: np.ndarray, width: float = 3) -> None:
    """The last positions of a moving point, paler with age."""
    for age in range(min(TRAIL, len(points) - 1), 0, -1):
        panel.line([points[-age - 1], points[-age]], width, tint(BODY, 0.35 + 0.65 * age / TRAIL))


def track(panel: Panel, y: float) -> None:
    """Ground of a side view, with a mark at every metre."""
    left, _, right, _ = panel.edges()
    beyond = 3 * panel.unit  # its round ends are not seen
    panel.line([(left - beyond, y), (right + beyond, y)], 3, PALE)
    for mark in range(int(np.floor(left)), int(np.ceil(right)) + 1):
        panel.line([(mark, y), (mark, y - 6 * panel.unit)], 2, PALE)


def goal(panel: Panel, across: Point, along: Point, centre: Point) -> None:
    """Cross at a place to go to, with arms along two directions."""
    for arm in (np.asarray(across), np.asarray(along)):
        panel.line([np.asarray(centre) - arm, np.asarray(centre) + arm], 2.5, GOAL)


def union(boxes: Sequence[Box]) -> Box:
    """Smallest rectangle around all."""
    low, high = np.min(boxes, axis=0), np.max(boxes, axis=0)
    return float(low[0]), float(low[1]), float(high[2]), float(high[3])
