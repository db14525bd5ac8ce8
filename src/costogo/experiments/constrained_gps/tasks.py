"""Swimmer and walker as tasks for policy search (spec constrained_gps section 8)."""

from collections.abc import Callable, Sequence
from functools import cache
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float

from costogo.learn.constrained_gps import PolicySearch
from costogo.nn import GaussianPolicy
from costogo.problem import OptimalControlProblem, TrackingCost
from costogo.sim import Demonstration, MujocoDynamics, Simbicon, swimmer_model, walker_model

EFFORT = 1e-4  # weight of the squared torques, 1/(N m)^2
UNSEEN_KEY = 1_000_003  # starts that training never sees


class Setting(NamedTuple):
    """A task, limits of the spread of controls (eigenvalue of the covariance, (N m)^2) and states (standard
    deviations), the knots at the end of a trajectory that are no example, iterations of the first trajectories, the
    multipliers' step and first value, and iterations in which the cost grows."""

    task: PolicySearch
    covariance_cap: float
    state_limit: Float[Array, " nx"]
    tail: int
    first_iterations: int
    rate: float = 0.1
    first_weight: float = 0.1
    ramp: int = 50


def _spread(positions: float, rates: float, n: int) -> Float[Array, " nx"]:
    """One number for the n positions, one for their rates."""
    return jnp.concatenate([jnp.full(n, positions), jnp.full(n, rates)])


def _process_noise(n: int) -> Float[Array, "nx nx"]:
    """Covariance (1e-3)^2 for positions and (1e-2)^2 for rates (spec section 9)."""
    return jnp.diag(_spread(1e-3, 1e-2, n) ** 2)


@cache
def swimmer(hidden: int) -> Setting:
    """Three links, T = 120 of 0.05 s, to swim at 1 m/s from rest (spec 8.1). The policy sees all but the head's place.

    Deviation: the first trajectory starts from a sinusoid of 1 N m, the rear joint behind the front one: from rest the
    gradient leads nowhere.
    """
    dynamics, N = MujocoDynamics(swimmer_model(), substeps=5), 120

    def cost(x, u, t):
        return EFFORT * jnp.sum(u**2) + (x[5] - 1.0) ** 2

    problem = OptimalControlProblem(dynamics, cost, horizon=N, nu=2, dt=dynamics.dt)
    phases = 2.0 * np.pi * np.arange(N) * dynamics.dt
    guess = jnp.asarray(np.stack([np.sin(phases), np.sin(phases - 1.5)], axis=1))
    scales = np.array([0.5, 0.7, 0.7, 1.0, 0.7, 1.5, 3.0, 3.0])
    task = PolicySearch(
        lambda _: problem, None, jnp.zeros((1, 10)), jnp.diag(_spread(0.05, 0.05, 5) ** 2), _process_noise(5),
        lambda key: GaussianPolicy(8, 2, key=key, hidden=hidden, dtype=jnp.float64, input_std=scales, output_scale=3.0),
        lambda x: x[2:], guess=lambda _: guess, worst=float(N),
        unseen=(None, 0.05 * jax.random.normal(jax.random.PRNGKey(UNSEEN_KEY), (10, 10))),
    )  # fmt: skip
    return Setting(task, 1.0, _spread(0.2, 1.0, 5), tail=0, first_iterations=150)


SPEED, HEIGHT, PITCH_WEIGHT = 2.1, 1.1, 1.0  # m/s, m, 1/rad^2
OTHER_LEG = (3, 4, 5, 0, 1, 2)  # of each torque the one of the other leg, and of each state
OTHER_SIDE = tuple(part + i for part in (0, 9) for i in (0, 1, 2, *(3 + joint for joint in OTHER_LEG)))
STEPS, TEST_STEPS, WARM_UP, STRIDE = 200, 400, 200, 61  # control intervals; a stride is two steps


def walking_cost(x: Array, u: Array, t: Array) -> Array:
    """To walk at 2.1 m/s with the torso at 1.1 m (spec 8.2). Deviation: a weight on the pitch, without which the
    best 2 s are a fall forward (spec 15.3)."""
    tall, level = 10.0 * (x[1] - HEIGHT) ** 2, PITCH_WEIGHT * x[2] ** 2
    return EFFORT * jnp.sum(u**2) + (x[9] - SPEED) ** 2 + tall + level


def upright(x: Array) -> Bool[Array, ""]:
    """Not fallen: torso above 0.7 m, less than 1 rad from upright (spec 8.2)."""
    return (x[1] > 0.7) & (jnp.abs(x[2]) < 1.0)


@cache
def walker_dynamics() -> MujocoDynamics:
    """The walker, 0.01 s per interval. Its contact force grows over 2 cm, so differences of 1e-3 do not miss it."""
    return MujocoDynamics(walker_model(), substeps=5, difference_step=1e-3)


@cache
def demonstration(steps: int = STEPS) -> Demonstration:
    """SIMBICON from its third stride on, two strides longer than a trajectory of so many intervals."""
    return Simbicon().demonstrate(walker_dynamics(), steps + 2 * STRIDE, warm_up=WARM_UP)


def from_phase(phase: float, steps: int = STEPS) -> tuple[Float[Array, "N+1 nx"], Float[Array, "N nu"]]:
    """So many intervals of the demonstration from a phase of its first stride on (0 to 1), as if it began at x = 0."""
    shown, start = demonstration(steps), round(STRIDE * phase)
    states = shown.states[start : start + steps + 1].copy()
    states[:, 0] -= states[0, 0]
    return jnp.asarray(states), jnp.asarray(shown.controls[start : start + steps])


def track(condition: tuple[Array, Array], dt: float, pitch: float = 20.0) -> TrackingCost:
    """The cost of the first trajectories: 10 on positions, 1 on rates (spec 8.2), 0.01 on torques; not where it is,
    which the policy does not see. `pitch` is twice the weight of the pitch. With a weight on torques as small as the
    task's the gains are in the hundreds, and no small network has such."""
    states, controls = condition
    weights = _spread(20.0, 2.0, 9).at[0].set(0.0).at[2].set(pitch)
    return TrackingCost(weights, 0.02, states, controls, dt)


@cache
def walker(hidden: int, *, symmetric: bool = False) -> Setting:
    """Seven links, T = 200 of 0.01 s from four phases of the demonstration, judged over 4 s (spec 8.2)."""
    dynamics = walker_dynamics()
    problem = OptimalControlProblem(dynamics, walking_cost, horizon=STEPS, nu=6, dt=dynamics.dt)
    return walking_setting(
        lambda _: problem, walks_from((0.0, 0.25, 0.5, 0.75)), unseen_walks(), observe=lambda x: x[1:],
        policy=walking_policy(hidden, symmetric=symmetric),
        first_cost=lambda c: track(c, dynamics.dt), valid=upright,
    )  # fmt: skip


def walking_setting(
    problem_of: Callable[[Any], OptimalControlProblem],
    conditions: Any,
    unseen: tuple[Any, Array],
    multipliers: tuple[float, float] = (0.04, 0.02),
    **given: Any,
) -> Setting:
    """What all tasks of the walker share. Conditions begin with the states and controls of a demonstration.

    The `multipliers` (step, first value) are small: where they outweigh the cost, a trajectory takes over gains that do
    not keep it up, and the policy learns from what nobody can do.
    """
    task = PolicySearch(
        problem_of, conditions, conditions[0][:, 0], 0.02**2 * jnp.eye(18), _process_noise(9), unseen=unseen,
        guess=lambda c: c[1], worst=4.0 * TEST_STEPS, test_steps=TEST_STEPS, **given,
    )  # fmt: skip
    return Setting(task, 25.0, _spread(0.1, 1.0, 9), 40, 20, *multipliers)


def walks_from(phases: Sequence[float], steps: int = STEPS) -> tuple[Float[Array, "n N+1 nx"], Float[Array, "n N nu"]]:
    """The demonstration from each of several phases on."""
    states, controls = zip(*(from_phase(phase, steps) for phase in phases), strict=True)
    return jnp.stack(states), jnp.stack(controls)


def unseen_walks() -> tuple[tuple[Array, Array], Array]:
    """Conditions and starts at four other phases, each state 0.02 (rad, m, per s) off in a direction of its own."""
    conditions = walks_from((0.12, 0.37, 0.62, 0.87))
    starts = conditions[0][:, 0]
    return conditions, starts + 0.02 * jax.random.normal(jax.random.PRNGKey(UNSEEN_KEY), starts.shape)


def walking_policy(hidden: int, *, first: int = 1, symmetric: bool = False) -> Callable[[Array], GaussianPolicy]:
    """Policies, by their keys, that see the walker from state `first` on: all but x, in units of their spread in the
    demonstration. A `symmetric` one does the same with either leg."""
    seen = demonstration().states[:, first:]  # here, not first in a trace: what is cached must hold numbers
    mean, std = seen.mean(axis=0), np.maximum(seen.std(axis=0), 0.05)
    symmetry = (np.array(OTHER_SIDE)[first:] - first, OTHER_LEG) if symmetric else None
    return lambda key: GaussianPolicy(
        len(mean), 6, key=key, hidden=hidden, dtype=jnp.float64, input_mean=mean, input_std=std, output_scale=20.0,
        symmetry=symmetry,
    )  # fmt: skip
