"""Uneven ground for planar models (spec constrained_gps 8.3): piecewise linear, several grounds in one model."""

from collections.abc import Sequence

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike
from jaxtyping import Array

from costogo.core.validate import as_floating, require, require_shape

RUN_UP = 3.0  # m of flat ground before a lane's start and after its end
SPACING = 30.0  # m from one lane's start to the next, at least
THICKNESS = 0.5  # m: at 20 m/s a foot needs a dozen timesteps of 2 ms to come through
HALF_WIDTH = 1.0  # m, across the plane of motion
NARROWER = 0.002  # m, every other box, lest the sides of boxes that overlap flicker when drawn
MAX_SLOPE = 45.0  # degrees: up to here no corner of a box comes out of the ground beyond its neighbour
COLOURS = ("0.80 0.81 0.82 1", "0.69 0.71 0.73 1")  # of the boxes in turn, those of the floor's tiles


class Terrain(eqx.Module):
    """Ground through `knots` (n,), rising, at `heights` (n,), and the lanes' `starts` (k,), all in m.

    The ground is piecewise linear, and goes on at the height of the first and last knot for `height` (there is nothing
    to walk on there). A lane is one ground of several that lie one behind the other along x: nothing that a walker's
    policy or dynamics sees depends on x, so a single MuJoCo model holds all grounds, and the x of the start state
    chooses one. Hence a batch of problems can have as many grounds as problems.

        terrain = Terrain.random([0, 1, 2])
        dynamics = MujocoDynamics(walker_model(terrain=terrain), substeps=5)
        start = dynamics.initial_state("stand")
        start[0] = terrain.lane(2)

    Raises `CostogoError` for knots that do not rise, slopes steeper than 45 degrees, arrays that do not fit, and starts
    beside the ground.
    """

    knots: Array
    heights: Array
    starts: Array

    def __init__(self, knots: ArrayLike, heights: ArrayLike, starts: ArrayLike = (0.0,)):
        self.knots, self.heights = as_floating("knots", knots), as_floating("heights", heights)
        self.starts = as_floating("starts", starts)
        x, z, starts = (np.asarray(a) for a in (self.knots, self.heights, self.starts))
        require(x.ndim == 1 and len(x) >= 2, f"knots has shape {x.shape}; pass at least two numbers in m")
        require_shape("heights", z.shape, x.shape, "pass one height in m for each knot")
        require(starts.ndim == 1 and len(starts) >= 1, f"starts has shape {starts.shape}; pass at least one x in m")
        finite = all(np.isfinite(a).all() for a in (x, z, starts))
        require(finite, f"knots is {x}, heights {z} and starts {starts}; pass finite numbers of m")
        require(bool((np.diff(x) > 0.0).all()), f"knots is {x}; pass numbers that rise")
        slope = float(np.rad2deg(np.arctan(np.abs(np.diff(z) / np.diff(x)).max())))
        require(slope <= MAX_SLOPE + 1e-3, f"heights make a slope of {slope:.3g} degrees; pass {MAX_SLOPE:g} at most")
        inside = bool(((starts >= x[0]) & (starts <= x[-1])).all())
        require(inside, f"starts is {starts}; pass x from {x[0]} to {x[-1]} m, where the ground is")

    @classmethod
    def random(
        cls,
        seeds: Sequence[int],
        *,
        length: float = 12.0,
        segment: float = 1.0,
        slope_degrees: float = 10.0,
        flat: float = 2.0,
    ) -> "Terrain":
        """One lane for each seed: `flat` m at height 0, then segments of `segment` m in x whose slope is uniform within
        +-`slope_degrees`, `length` m in all.

        Lane i starts at x = 30 i (further apart if they are longer than 12 m), with 3 m of level ground before its
        start and after its end; from there one straight slope, within the same limits, leads to the next lane. The
        seed alone makes the ground: it is the same in any lane.
        """
        _check_lanes(seeds, length, segment, slope_degrees, flat)
        count = round((length - flat) / segment)
        knots, heights = [], []
        spacing = max(SPACING, 2.0 * (length + RUN_UP))  # so what joins two lanes is longer than what rose in one
        for lane, seed in enumerate(seeds):
            angles = np.random.default_rng(int(seed)).uniform(-slope_degrees, slope_degrees, count)
            z = np.concatenate([[0.0], np.cumsum(segment * np.tan(np.deg2rad(angles)))])
            x = flat + segment * np.arange(count + 1)
            knots += [spacing * lane - RUN_UP, *(spacing * lane + x), spacing * lane + x[-1] + RUN_UP]
            heights += [0.0, *z, z[-1]]
        return cls(np.array(knots), np.array(heights), spacing * np.arange(len(seeds)))

    def lane(self, i: int) -> float:
        """The x (m) of the start of lane `i`."""
        count = len(self.starts)
        require(0 <= i < count, f"i is {i}; pass the number of a lane, 0 to {count - 1}")
        return float(self.starts[i])

    def height(self, x: ArrayLike) -> Array:
        """Height (m) of the ground at `x` (m), of any shape; for use with `jax.jit`, `jax.vmap` and derivatives."""
        return jnp.interp(as_floating("x", x), self.knots, self.heights)

    def mjcf(self) -> str:
        """One MJCF box for each straight piece, whose top is the ground; the contact parameters are the defaults.

        In a valley a box goes on beneath its neighbour: there that changes nothing, the ground being the higher one of
        the two planes, and without it there would be a cleft below the kink. On a crest boxes meet at the kink.

        MuJoCo finds contacts box by box, so on soft ground this is not a plane in two ways. The end of a foot less than
        its radius of 6 cm from a crest also touches the edge of the box beyond, which pushes it away from the crest,
        the more level the deeper it is pressed in (at 5 cm, almost along x, as if 1 cm deep). And a foot pressed in by
        more than its radius loses one of its two contacts (SIMBICON presses it in by 5 cm).
        """
        x, z = _straight_pieces(np.asarray(self.knots, float), np.asarray(self.heights, float))
        dx = np.diff(x)
        angles = np.arctan2(np.diff(z), dx)
        # Enough to fill a cleft down to the lower faces, but no further than beneath half of the neighbour.
        fills = THICKNESS * np.tan(0.5 * np.maximum(np.diff(angles), 0.0))
        before = np.append(0.0, np.minimum(fills, 0.5 * dx[:-1]))
        after = np.append(np.minimum(fills, 0.5 * dx[1:]), 0.0)
        ends = np.stack([x, z], axis=1)
        return "\n  ".join(_box(i, ends[i : i + 2], a, (before[i], after[i])) for i, a in enumerate(angles))


def _check_lanes(seeds: Sequence[int], length: float, segment: float, slope_degrees: float, flat: float) -> None:
    """Raise for what `Terrain.random` cannot build."""
    require(not np.isscalar(seeds), f"seeds is {seeds!r}; pass a list of integers, one for each lane")
    whole = [isinstance(seed, int | np.integer) and not isinstance(seed, bool) and seed >= 0 for seed in seeds]
    require(bool(whole) and all(whole), f"seeds is {list(seeds)}; pass at least one integer of zero or more")
    require(segment > 0.0, f"segment is {segment}; pass positive metres")
    require(flat >= 0.0, f"flat is {flat}; pass metres, zero or more")
    count = (length - flat) / segment
    fits = np.isfinite(count) and count > 0.5 and abs(count - round(count)) < 1e-6
    require(
        bool(fits),
        f"length is {length}, flat {flat} and segment {segment}; pass lengths in m so that a whole number of segments "
        "follows the flat part",
    )
    require(
        0.0 <= slope_degrees <= MAX_SLOPE,
        f"slope_degrees is {slope_degrees}; pass degrees from 0 to {MAX_SLOPE:g}",
    )


def _straight_pieces(x: np.ndarray, z: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The knots at which the slope changes. Boxes that meet in one plane would have an edge there to stumble over:
    MuJoCo finds contacts box by box, and a foot that is pressed in also touches the end of the next box."""
    slopes = np.diff(z) / np.diff(x)
    kept = np.concatenate([[True], np.abs(np.diff(slopes)) > 1e-9, [True]])
    return x[kept], z[kept]


def _box(index: int, ends: np.ndarray, angle: float, fills: tuple[float, float]) -> str:
    """A box whose top runs from the first of two `ends` (x, z) to the second, and beyond them by `fills` (m)."""
    along, up = np.array([np.cos(angle), np.sin(angle)]), np.array([-np.sin(angle), np.cos(angle)])
    start, end = ends[0] - fills[0] * along, ends[1] + fills[1] * along
    half_length = 0.5 * np.linalg.norm(end - start)
    x, z = 0.5 * (start + end) - 0.5 * THICKNESS * up
    width = HALF_WIDTH - (NARROWER if index % 2 else 0.0)
    return (
        f'<geom name="ground_{index}" type="box" size="{half_length:.12g} {width} {0.5 * THICKNESS}" '
        f'pos="{x:.12g} 0 {z:.12g}" xyaxes="{along[0]:.14g} 0 {along[1]:.14g} 0 1 0" '
        f'rgba="{COLOURS[index % 2]}" conaffinity="1"/>'
    )
