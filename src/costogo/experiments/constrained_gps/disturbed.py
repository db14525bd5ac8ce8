"""The walker on uneven ground and under pushes, as tasks for policy search (spec constrained_gps 8.3 and 8.4)."""

from functools import cache

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from costogo.core.validate import require
from costogo.experiments.constrained_gps.tasks import (
    WARM_UP,
    Setting,
    demonstration,
    track,
    upright,
    walking_cost,
    walking_policy,
    walking_setting,
    walks_from,
)
from costogo.problem import OptimalControlProblem
from costogo.sim import BodyPush, MujocoDynamics, Simbicon, Terrain, walker_model
from costogo.sim.simbicon import START

GROUNDS, UNSEEN_GROUNDS = (0, 1, 2), (100, 101, 102, 103)  # seeds
STEPS = 300  # control intervals of a trajectory: of 200 too few are left to learn the walk from that comes of it
# The multipliers on grounds, step and first value: a trajectory knows the slope ahead, the policy does not: agree early
MULTIPLIERS = (2.0, 0.1)
BEFORE = 1.0  # m of level ground ahead of the start
# Force (N) on the torso for the first 0.1 s, and the phase of the stride at which it comes.
PUSHES = ((250.0, 0.0), (300.0, 0.25), (-250.0, 0.5), (-300.0, 0.75))
UNSEEN_PUSHES = ((275.0, 0.12), (-250.0, 0.37), (300.0, 0.62), (-275.0, 0.87))
PUSHED, PUSH_TIME = "torso", 0.1  # body, s
RAMP = 100  # iterations in which pushes and cost grow: in 50, fewer other pushes are withstood
PITCH = 200.0  # twice the weight of the pitch, 1/rad^2, in first trajectories under a push
LEANING, LEAN_WEIGHT = 0.4, 200.0  # rad that cost nothing more, and 1/rad^2 beyond


@cache
def ground(unseen: tuple[int, ...] = UNSEEN_GROUNDS) -> Terrain:
    """All grounds, one behind the other: first those for training."""
    return Terrain.random([*GROUNDS, *unseen])


@cache
def uneven_dynamics(unseen: tuple[int, ...] = UNSEEN_GROUNDS) -> MujocoDynamics:
    """The walker on them."""
    return MujocoDynamics(walker_model(terrain=ground(unseen)), substeps=5, difference_step=1e-3)


@cache
def walks_on_ground(
    unseen: tuple[int, ...] = UNSEEN_GROUNDS,
) -> tuple[Float[Array, "grounds N+1 nx"], Float[Array, "grounds N nu"]]:
    """SIMBICON on every ground, from 1 m before its first slope on."""
    come = demonstration().states[0, 0]  # how far the walk has come after the steps that are not shown
    lanes, dynamics, shown = ground(unseen), uneven_dynamics(unseen), []
    for lane in range(len(lanes.starts)):
        start = np.concatenate([START, [Simbicon().speed], np.zeros(8)])
        start[0] = lanes.lane(lane) + 2.0 - BEFORE - come
        shown.append(Simbicon().demonstrate(dynamics, STEPS, start=start, warm_up=WARM_UP))
    return jnp.asarray(np.stack([d.states for d in shown])), jnp.asarray(np.stack([d.controls for d in shown]))


@cache
def terrain(
    hidden: int,
    conditions: int = len(GROUNDS),
    *,
    symmetric: bool = False,
    unseen: tuple[int, ...] = UNSEEN_GROUNDS,
) -> Setting:
    """Walking over slopes within +-10 degrees that the policy does not see, learned on the first `conditions` of three
    grounds, judged over 4 s on those and on the `unseen` (seeds), by default four (spec 8.3).

    Deviations: it starts 1 m before the first slope, so that 4 m of the 5 m of a trajectory are uneven; the policy does
    not see the torso's height, which on slopes says where it is; the first trajectories track SIMBICON on the same
    ground.
    """
    require(
        1 <= conditions <= len(GROUNDS), f"conditions is {conditions}; pass the number of grounds, 1 to {len(GROUNDS)}"
    )
    lanes, dynamics, walks = ground(unseen), uneven_dynamics(unseen), walks_on_ground(unseen)

    def from_ground(x: Array) -> Array:
        return x.at[1].add(-lanes.height(x[0]))

    def cost(x: Array, u: Array, t: Array) -> Array:
        return walking_cost(from_ground(x), u, t)

    problem = OptimalControlProblem(dynamics, cost, horizon=STEPS, nu=6, dt=dynamics.dt)
    trained = jax.tree.map(lambda a: a[:conditions], walks)
    tested = jax.tree.map(lambda a: a[len(GROUNDS) :], walks)
    return walking_setting(
        lambda _: problem, trained, (tested, tested[0][:, 0]), observe=lambda x: x[2:],
        policy=walking_policy(hidden, first=2, symmetric=symmetric),
        first_cost=lambda c: track(c, dynamics.dt), multipliers=MULTIPLIERS,
        valid=lambda x: upright(from_ground(x)),
    )  # fmt: skip


def random_pushes(count: int, seed: int = 0) -> tuple[tuple[float, float], ...]:
    """Pushes of 250 to 300 N, forward or back, at any phase: forces (N) and phases (0 to 1)."""
    draw = np.random.default_rng(seed)
    forces = draw.uniform(250.0, 300.0, count) * draw.choice([-1.0, 1.0], count)
    return tuple(zip(forces.tolist(), draw.uniform(0.0, 1.0, count).tolist(), strict=True))


def recovering_cost(x: Array, u: Array, t: Array) -> Array:
    """The walking cost, and one on leaning far: that of pitch alone does not keep a pushed walker from falling."""
    return walking_cost(x, u, t) + LEAN_WEIGHT * jnp.maximum(jnp.abs(x[2]) - LEANING, 0.0) ** 2


@cache
def pushed_dynamics() -> MujocoDynamics:
    """The walker, with a push of no force at the start."""
    push = BodyPush(PUSHED, 0.0, np.zeros(3), PUSH_TIME)
    return MujocoDynamics(walker_model(), substeps=5, difference_step=1e-3, pushes=[push])


def under(force: Float[Array, ""]) -> MujocoDynamics:
    """The walker under a horizontal push of that force (N)."""
    return eqx.tree_at(lambda d: d.pushes[0].force, pushed_dynamics(), jnp.zeros(3).at[0].set(force))


@cache
def push(
    hidden: int,
    conditions: int = len(PUSHES),
    *,
    symmetric: bool = False,
    unseen: tuple[tuple[float, float], ...] = UNSEEN_PUSHES,
) -> Setting:
    """Walking on after a push of 250 to 300 N and 0.1 s on the torso, learned with the first `conditions` of four
    pushes, judged over 4 s on those and on the `unseen`, by default four (spec 8.4). First trajectories track the walk
    without a push.

    Deviations: the push grows to its force by steps, as tracked under all of it at once trajectories fall and stay
    down; a cost on leaning, as the walking cost alone does not mind a fall; no push above 300 N.
    """
    require(
        1 <= conditions <= len(PUSHES), f"conditions is {conditions}; pass the number of pushes, 1 to {len(PUSHES)}"
    )

    dt = pushed_dynamics().dt  # here, not first in a trace: what is cached must hold numbers

    def problem_of(condition, share=1.0):
        return OptimalControlProblem(under(share * condition[2]), recovering_cost, horizon=STEPS, nu=6, dt=dt)

    trained, tested = _pushes(PUSHES[:conditions]), _pushes(unseen)
    return walking_setting(
        problem_of, trained, (tested, tested[0][:, 0]), observe=lambda x: x[1:],
        policy=walking_policy(hidden, symmetric=symmetric),
        first_cost=lambda c: track(c[:2], dt, pitch=PITCH),
        eased=problem_of, valid=upright,
    )._replace(ramp=RAMP)  # fmt: skip


def _pushes(pushes: tuple[tuple[float, float], ...]) -> tuple[Array, Array, Array]:
    """The demonstration from the phase of each push on, and the forces."""
    forces, phases = zip(*pushes, strict=True)
    return *walks_from(phases, STEPS), jnp.array(forces)
