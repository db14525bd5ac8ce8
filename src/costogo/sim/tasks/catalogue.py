"""The tasks of reinforcement learning as data: which simulator, when an episode ends, and the published schedules."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import gymnasium
import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from costogo.core.validate import require
from costogo.sim.stochlite import fallen
from costogo.sim.tasks.leg import LegEnvironment
from costogo.sim.tasks.stochlite import StochliteEnvironment

Terminated = Callable[[ArrayLike, ArrayLike, ArrayLike], jax.Array]


@dataclass(frozen=True)
class Task:
    """A task: how to make it, when it ends, and the numbers with which the methods of the spec are run on it.

    `environment` is a Gymnasium id, or a class or function that makes a `gymnasium.Env`; `arguments` go to it.
    `terminated(x, u, new)` is the known termination function (spec dmd_mpc 9.1), in JAX, on observations with any
    leading axes. `bonus_at_end` is added to the reward of a step that ends in a terminal state. `updates` is the number
    of gradient steps per real step, `rollout` the schedule `(first epoch, last epoch, from, to)` of MBPO's horizon,
    `first_steps` how many actions are drawn before the actor takes over; the model has four layers of `hidden` units,
    is trained every `model_every` steps, and `real_share` of a batch is real (spec 8).
    """

    name: str
    environment: str | Callable[..., gymnasium.Env]
    terminated: Terminated
    target_entropy: float
    updates: int
    arguments: Mapping[str, Any] = field(default_factory=dict)
    bonus_at_end: float = 0.0
    time_limit: int = 1000
    rollout: tuple[int, int, int, int] = (0, 1, 1, 1)
    epoch_steps: int = 1000
    epochs: int = 100
    first_steps: int = 5000
    real_share: float = 0.05
    hidden: tuple[int, ...] = (200, 200, 200, 200)
    model_every: int = 250

    def __post_init__(self):
        require(bool(self.name), "name is empty; pass a name for the task")
        require(callable(self.terminated), f"terminated is {self.terminated!r}; pass a function of (x, u, new)")
        for name in ("updates", "time_limit", "epoch_steps", "epochs", "model_every"):
            require(getattr(self, name) >= 1, f"{name} is {getattr(self, name)}; pass at least 1")
        require(0.0 <= self.real_share <= 1.0, f"real_share is {self.real_share}; pass a fraction from 0 to 1")


def never(x: ArrayLike, u: ArrayLike, new: ArrayLike) -> jax.Array:
    """No transition ends: cheetah, reacher, swimmer, leg."""
    return jnp.zeros(jnp.shape(new)[:-1], bool)


def hopper_terminated(x: ArrayLike, u: ArrayLike, new: ArrayLike) -> jax.Array:
    """Ends unless finite, all but the height within 100, height > 0.7 m, |angle| < 0.2 rad.

    Observed rates are clipped to 10, so the bound of 100 on them, which the simulator tests unclipped, is not seen.
    """
    new = jnp.asarray(new)
    upright = (new[..., 0] > 0.7) & (jnp.abs(new[..., 1]) < 0.2)
    return ~(_finite(new) & jnp.all(jnp.abs(new[..., 1:]) < 100.0, axis=-1) & upright)


def walker_terminated(x: ArrayLike, u: ArrayLike, new: ArrayLike) -> jax.Array:
    """Ends unless 0.8 m < height < 2.0 m and |angle| < 1.0 rad."""
    new = jnp.asarray(new)
    return ~((new[..., 0] > 0.8) & (new[..., 0] < 2.0) & (jnp.abs(new[..., 1]) < 1.0))


def ant_terminated(x: ArrayLike, u: ArrayLike, new: ArrayLike) -> jax.Array:
    """Ends unless finite and 0.2 m <= height <= 1.0 m."""
    new = jnp.asarray(new)
    return ~(_finite(new) & (new[..., 0] >= 0.2) & (new[..., 0] <= 1.0))


def humanoid_terminated(x: ArrayLike, u: ArrayLike, new: ArrayLike) -> jax.Array:
    """Ends unless 1.0 m <= height <= 2.0 m."""
    height = jnp.asarray(new)[..., 0]
    return ~((height >= 1.0) & (height <= 2.0))


def pendulum_terminated(x: ArrayLike, u: ArrayLike, new: ArrayLike) -> jax.Array:
    """Ends unless finite and |angle| <= 0.2 rad."""
    new = jnp.asarray(new)
    return ~(_finite(new) & (jnp.abs(new[..., 1]) <= 0.2))


def double_pendulum_terminated(x: ArrayLike, u: ArrayLike, new: ArrayLike) -> jax.Array:
    """Ends when the tip is at 1 m or lower: `0.6 cos a + 0.6 cos(a + b) <= 1`, with `new = (x, sin, cos, ...)`.

    The simulator looks at the tip where MuJoCo last computed it, inside its integrator: the two may differ where the
    tip is within a millimetre of 1 m.
    """
    new = jnp.asarray(new)
    (sin_a, sin_b), (cos_a, cos_b) = jnp.moveaxis(new[..., 1:3], -1, 0), jnp.moveaxis(new[..., 3:5], -1, 0)
    return 0.6 * cos_a + 0.6 * (cos_a * cos_b - sin_a * sin_b) <= 1.0


def stochlite_terminated(x: ArrayLike, u: ArrayLike, new: ArrayLike) -> jax.Array:
    """Height, roll and pitch come first in the observation (spec dmd_mpc 9.3)."""
    new = jnp.asarray(new)
    return jnp.asarray(fallen(new[..., 1], new[..., 2], new[..., 0]))


def _finite(new: jax.Array) -> jax.Array:
    return jnp.all(jnp.isfinite(new), axis=-1)


# Rewards are those of the -v2 environments. There the reward for being healthy was also paid in the step that ends the
# episode, which `bonus_at_end` restores; Walker2d's feet have v2's unequal friction. What still differs from -v2:
# Reacher pays for the distance after the step, not before it, and does not show the height of the finger (10 numbers,
# not 11); InvertedDoublePendulum does not show two forces that are always zero (9, not 11); contact forces of Ant and
# Humanoid are those of MuJoCo today (zero in v2 under MuJoCo 2.0); Humanoid ends at exactly 1 m and 2 m too.
# Target entropy is -nu/2, and updates are as of the nearest relative, where the spec names none (double pendulum,
# reacher, swimmer, leg).
_TABLE = (
    Task("HalfCheetah", "HalfCheetah-v5", never, -3.0, 40, rollout=(20, 150, 1, 1), epochs=400),
    Task("Hopper", "Hopper-v5", hopper_terminated, -1.0, 20, bonus_at_end=1.0, rollout=(20, 150, 1, 15), epochs=125),
    Task(
        "Walker2d",
        "Walker2d-v5",
        walker_terminated,
        -3.0,
        20,
        {"xml_file": "walker2d.xml"},
        bonus_at_end=1.0,
        rollout=(20, 150, 1, 1),
        epochs=300,
    ),
    Task(
        "Ant",
        "Ant-v5",
        ant_terminated,
        -4.0,
        20,
        {"include_cfrc_ext_in_observation": False},
        bonus_at_end=1.0,
        rollout=(20, 100, 1, 25),
        epochs=300,
    ),
    Task(
        "Humanoid",
        "Humanoid-v5",
        humanoid_terminated,
        -2.0,
        20,
        {f"include_{part}_in_observation": False for part in ("cinert", "cvel", "qfrc_actuator", "cfrc_ext")},
        bonus_at_end=5.0,
        rollout=(20, 300, 1, 25),
        epochs=300,
        hidden=(400, 400, 400, 400),
        model_every=1000,
    ),
    Task(
        "InvertedPendulum",
        "InvertedPendulum-v5",
        pendulum_terminated,
        -0.05,
        10,
        bonus_at_end=1.0,
        rollout=(1, 15, 1, 1),
        epoch_steps=250,
        epochs=80,
        first_steps=500,
    ),
    Task(
        "InvertedDoublePendulum",
        "InvertedDoublePendulum-v5",
        double_pendulum_terminated,
        -0.5,
        10,
        bonus_at_end=10.0,
        epoch_steps=250,
        epochs=80,
        first_steps=500,
    ),
    Task("Reacher", "Reacher-v5", never, -1.0, 20, time_limit=50, first_steps=1000, epochs=50),
    Task("Swimmer", "Swimmer-v5", never, -1.0, 20, first_steps=1000),
    Task("Leg", LegEnvironment, never, -1.0, 20, first_steps=1000, epochs=80),
    Task("LegSemi", LegEnvironment, never, -1.0, 20, {"path": "semi"}, first_steps=1000, epochs=80),
    Task("Stochlite", StochliteEnvironment, stochlite_terminated, -7.5, 20, first_steps=1000, epochs=60),
    Task("LegLiteral", LegEnvironment, never, -1.0, 20, {"reward": "literal"}, first_steps=1000, epochs=80),
)
TASKS: Mapping[str, Task] = {task.name: task for task in _TABLE}
