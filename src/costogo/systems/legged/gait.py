"""Contact schedules: which feet stand when, and how high the others are to swing."""

from typing import NamedTuple

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike
from jaxtyping import Array, Bool, Float

from costogo.core.validate import require

# A knot that rounding puts just before a switch belongs to the mode after it.
ROUNDING = 1e-6


class Swing(NamedTuple):
    """Per foot: time since lift-off and length of the swing (s); zero and one in stance."""

    elapsed: Array
    duration: Array


class Gait(eqx.Module):
    """Periodic contact schedule: mode `m` lasts `durations[m]` seconds with the feet `contacts[m]` on the ground.

    At a switch the mode after it holds. `offset` shifts the schedule in time. Raises `CostogoError` for durations that
    are not positive and for a mode without a stance foot.
    """

    durations: tuple[float, ...] = eqx.field(static=True)
    contacts: tuple[tuple[bool, ...], ...] = eqx.field(static=True)
    offset: ArrayLike = 0.0

    def __check_init__(self):
        require(len(self.durations) >= 1, "durations is empty; pass the seconds of at least one mode")
        require(
            len(self.durations) == len(self.contacts),
            f"{len(self.durations)} durations and {len(self.contacts)} contacts; pass one row of contacts per mode",
        )
        require(min(self.durations) > 0, f"durations are {self.durations}; pass positive seconds")
        require(
            len({len(row) for row in self.contacts}) == 1, f"contacts have rows of different length: {self.contacts}"
        )
        for m, row in enumerate(self.contacts):
            require(any(row), f"mode {m} of the gait has no stance foot; this model has no flight phase")

    @property
    def feet(self) -> int:
        """Number of feet."""
        return len(self.contacts[0])

    @property
    def period(self) -> float:
        """Length of the cycle (s)."""
        return float(sum(self.durations))

    def _mode(self, t: ArrayLike) -> tuple[Array, Array]:
        """Number of the mode at `t`, and the time since it began."""
        ends = np.cumsum(self.durations)
        phase = jnp.mod(jnp.asarray(t) + self.offset + ROUNDING, self.period)
        mode = jnp.minimum(jnp.searchsorted(jnp.asarray(ends, phase.dtype), phase, side="right"), len(ends) - 1)
        return mode, phase - jnp.asarray(ends - self.durations, phase.dtype)[mode] - ROUNDING

    def stance(self, t: ArrayLike) -> Bool[Array, " feet"]:
        """Which feet are on the ground at `t`."""
        return jnp.asarray(self.contacts)[self._mode(t)[0]]

    def swing(self, t: ArrayLike) -> Swing:
        """Where each foot is in its swing at `t`."""
        before, duration = self._swings()
        mode, elapsed = self._mode(t)
        length = jnp.asarray(duration, elapsed.dtype)[mode]
        since = jnp.where(length > 0, jnp.asarray(before, elapsed.dtype)[mode] + elapsed, 0.0)
        return Swing(jnp.maximum(since, 0.0), jnp.where(length > 0, length, 1.0))

    def phase(self, t: ArrayLike) -> Float[Array, " feet"]:
        """Time variables of the paper: 0 in stance, half a sine over the swing."""
        elapsed, duration = self.swing(t)
        return jnp.where(self.stance(t), 0.0, jnp.sin(jnp.pi * jnp.clip(elapsed / duration, 0.0, 1.0)))

    def _swings(self) -> tuple[np.ndarray, np.ndarray]:
        """For each mode and foot in the air: time from lift-off to the start of the mode, and length of the swing."""
        n = len(self.durations)
        before, duration = np.zeros((n, self.feet)), np.zeros((n, self.feet))
        for m in range(n):
            for foot in range(self.feet):
                if self.contacts[m][foot]:
                    continue
                first = last = m
                while not self.contacts[(first - 1) % n][foot] and m - first < n - 1:
                    first -= 1
                while not self.contacts[(last + 1) % n][foot] and last - first < n - 1:
                    last += 1
                before[m, foot] = sum(self.durations[i % n] for i in range(first, m))
                duration[m, foot] = sum(self.durations[i % n] for i in range(first, last + 1))
        return before, duration


class SwingSpline(eqx.Module):
    """Height of a swinging foot above the ground: two cubics from lift-off over the apex to touch-down.

    Slopes `lift_off`, 0 and `touch_down` (m/s) at their ends; `apex` m. A swing shorter than `short` seconds is scaled
    down (spec mpc_net 8.2; values of the public ANYmal controller).
    """

    apex: ArrayLike = 0.1
    lift_off: ArrayLike = 0.2
    touch_down: ArrayLike = -0.4
    short: ArrayLike = 0.15

    def height(self, elapsed: Array, duration: Array) -> Array:
        """Height (m) `elapsed` seconds after lift-off."""
        half = 0.5 * duration
        rising = elapsed < half
        s = jnp.clip(jnp.where(rising, elapsed, elapsed - half) / half, 0.0, 1.0)
        up = self.apex * (3.0 - 2.0 * s) * s**2 + half * self.lift_off * s * (1.0 - s) ** 2
        down = self.apex * (1.0 + 2.0 * s) * (1.0 - s) ** 2 - half * self.touch_down * (1.0 - s) * s**2
        return jnp.minimum(1.0, duration / self.short) * jnp.where(rising, up, down)

    def mean_velocity(self, elapsed: Array, duration: Array, dt: ArrayLike) -> Array:
        """Mean vertical velocity over the next `dt` seconds, or until touch-down."""
        later = jnp.minimum(elapsed + dt, duration)
        return (self.height(later, duration) - self.height(elapsed, duration)) / dt
