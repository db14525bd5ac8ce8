"""Transitions from a learned model: branched rollouts of the policy, and rollouts improved by mirror descent."""

from typing import ClassVar, NamedTuple, Protocol

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from costogo.core.validate import require
from costogo.learn.dmd_mpc.schedules import LinearSchedule
from costogo.learn.dmd_mpc.source import Source
from costogo.nn import ProbabilisticNetwork
from costogo.problem import OptimalControlProblem
from costogo.rl import Transitions
from costogo.solvers import Exponentiated, MirrorDescent


class Imagined(NamedTuple):
    """Rows for the replay buffer, which of them to keep (those before a trajectory ended, and finite), which ended a
    trajectory because they were not finite, and faults of the weights that planned them (`solvers.utilities.faults`):
    by name the share of plans."""

    rows: Transitions
    keep: Bool[Array, " n"]
    lost: Bool[Array, " n"]
    faults: dict[str, Array] | None = None


class Imagination(Protocol):
    """A way to make transitions in the model."""

    @property
    def schedule(self) -> LinearSchedule:
        """Number of model steps, over epochs."""
        ...

    def starts(self, elites: int, horizon: int) -> int:
        """Number of start states at a horizon: a multiple of the number of elites."""
        ...

    @property
    def replays(self) -> int:
        """Trajectories from each of them."""
        ...

    def generate(self, source: Source, starts: Float[Array, "B no"], horizon: int, key: Array) -> Imagined:
        """Transitions from the start states."""
        ...


class BranchedRollouts(eqx.Module):
    """The policy, with its noise, in the model from real states: what MBPO learns from (Janner et al. 2019).

    Each row draws a new elite at every step, the same number of rows for each; about `samples` model steps in all,
    spread over the steps of the schedule.
    """

    schedule: LinearSchedule
    samples: int = eqx.field(static=True, default=51_200)
    replays: ClassVar[int] = 1

    def starts(self, elites: int, horizon: int) -> int:
        """`samples / horizon`, to a multiple of the number of elites."""
        return max(1, self.samples // (horizon * elites)) * elites

    def generate(self, source: Source, starts: Float[Array, "B no"], horizon: int, key: Array) -> Imagined:
        """Rollouts of `horizon` steps."""
        elites = len(source.networks.upper)

        def step(carry, key):
            xs, alive = carry
            act, shuffle, noise = jax.random.split(key, 3)
            order = jax.random.permutation(shuffle, len(xs))
            xs, alive = xs[order], alive[order]
            us = jax.vmap(source.agent.act, in_axes=(None, 0, 0))(source.state, xs, jax.random.split(act, len(xs)))
            grouped = [
                a.reshape(elites, -1, a.shape[-1]) for a in (xs, us, jax.random.normal(noise, xs.shape, xs.dtype))
            ]
            rewards, new = jax.vmap(jax.vmap(source.predict, (None, 0, 0, 0)))(source.networks, *grouped)
            return _ended(source, xs, us, rewards.reshape(-1), new.reshape(xs.shape), alive)

        _, made = jax.lax.scan(step, (starts, jnp.ones(len(starts), bool)), jax.random.split(key, horizon))
        return jax.tree.map(lambda a: a.reshape(-1, *a.shape[2:]), made)


class ImprovedRollouts(eqx.Module):
    """Rollouts whose controls one mirror-descent step has improved: the inner loop of M-DeMoRL (paper Algorithm 1).

    Of `start_states` real states each is given one elite, the same number of states each. Around the policy's rollout
    in that member `solver` draws control sequences, scores them, and moves the plan towards the good ones; the plan is
    then replayed in the same member with its noise, and the transitions are kept up to the end of the trajectory. The
    score (spec dmd_mpc 4.5) is

        sum_h discount^h alive_h r(x_h, u_h) + discount^H alive_H V(x_H)

    with the model's mean reward, the mean of its next state, and the agent's value.

    `residual` plans in the noise that is added to the policy, `u = clip(pi(x) + d_h)`, in closed loop also when it is
    replayed: MoPAC, with `mopac_solver()`.

    A plan is a mean: its controls have less noise than the agent's, and where most rows are imagined the critics learn
    little about the controls that the agent draws. With `explore` what the agent's noise would add to its control in
    the same state is added when a plan is replayed. With few start states a call makes few rows, and batches are drawn
    from the same ones or from those of older models: each plan is replayed `replays` times. (Neither is in the paper.)
    """

    schedule: LinearSchedule
    solver: MirrorDescent = eqx.field(default_factory=lambda: MirrorDescent(1, samples=32))
    start_states: int = eqx.field(static=True, default=200)
    replays: int = eqx.field(static=True, default=1)
    residual: bool = eqx.field(static=True, default=False)
    explore: bool = eqx.field(static=True, default=False)

    def __check_init__(self):
        for name in ("start_states", "replays"):
            require(getattr(self, name) >= 1, f"{name} is {getattr(self, name)}; pass at least 1")

    def starts(self, elites: int, horizon: int) -> int:
        """`start_states`, to a multiple of the number of elites."""
        return max(1, self.start_states // elites) * elites

    def generate(self, source: Source, starts: Float[Array, "B no"], horizon: int, key: Array) -> Imagined:
        """Improved rollouts of `horizon` steps."""
        elites = len(source.networks.upper)
        grouped = starts.reshape(elites, -1, starts.shape[-1])
        keys = jax.random.split(key, grouped.shape[:2])

        def one(network, x0, key):
            plan, replay = jax.random.split(key)
            controls, faults = self._improved(source, network, x0, horizon, plan)
            keys = jax.random.split(replay, self.replays)
            return jax.vmap(lambda key: self._replayed(source, network, x0, controls, key))(keys), faults

        made, faults = jax.vmap(jax.vmap(one, in_axes=(None, 0, 0)))(source.networks, grouped, keys)
        made = jax.tree.map(lambda a: a.reshape(-1, *a.shape[4:]), made)
        return made._replace(faults=jax.tree.map(jnp.mean, faults))

    def plan(
        self, source: Source, network: ProbabilisticNetwork, x0: Float[Array, " no"], horizon: int, key: Array
    ) -> Float[Array, "H nu"]:
        """Improved controls from one state in one member; with `residual`, what is added to the policy."""
        return self._improved(source, network, x0, horizon, key)[0]

    def _improved(
        self, source: Source, network: ProbabilisticNetwork, x0: Array, horizon: int, key: Array
    ) -> tuple[Array, dict[str, Array]]:
        """The plan, and the faults of its weights."""
        problem = imagined_problem(source, network, horizon, residual=self.residual)
        policy = None if self.residual else (lambda x, t: source.agent.act(source.state, x[:-2]))
        solver = eqx.tree_at(lambda s: (s.key, s.policy), self.solver, (key, policy), is_leaf=lambda leaf: leaf is None)
        first = jnp.zeros((horizon, problem.nu), x0.dtype)
        found, _, faults = solver.improve(problem, _with_score(x0), first)
        return found.mean, faults

    def _replayed(self, source: Source, network: ProbabilisticNetwork, x0: Array, controls: Array, key: Array):
        """The plan in the model with the model's noise."""

        def step(carry, knot):
            x, alive = carry
            u, noise, key = knot
            own = source.agent.act(source.state, x) if self.residual or self.explore else 0.0
            u = u + own if self.residual else u
            u = u + source.agent.act(source.state, x, key) - own if self.explore else u
            u = jnp.clip(u, -1.0, 1.0)
            reward, new = source.predict(network, x, u, noise)
            return _ended(source, x, u, reward, new, alive)

        noise = jax.random.normal(key, (len(controls), len(x0)), x0.dtype)
        knots = (controls, noise, jax.random.split(jax.random.fold_in(key, 1), len(controls)))
        return jax.lax.scan(step, (x0, jnp.array(True)), knots)[1]


def mopac_solver(samples: int = 32) -> MirrorDescent:
    """The update of MoPAC: exponentiated utility with temperature one, a full step, noise of 0.5."""
    return MirrorDescent(1, utility=Exponentiated(1.0), step_size=1.0, std=0.5, samples=samples)


def imagined_problem(
    source: Source, network: ProbabilisticNetwork, horizon: int, *, residual: bool = False
) -> OptimalControlProblem:
    """The score of a trajectory in one member as a problem. Its state is `(x, weight, return)`: the weight
    `discount^h alive_h` of the next reward, and the weighted rewards so far; `-(return + weight V(x))` is the terminal
    cost. (The network then runs once per step, not once for the dynamics and once for the cost.)
    """
    agent, state = source.agent, source.state

    def dynamics(z, u, t):
        x, weight, total = z[:-2], z[-2], z[-1]
        u = jnp.clip(agent.act(state, x) + u, -1.0, 1.0) if residual else u
        reward, new = source.predict(network, x, u)
        left = weight * agent.discount * (1.0 - source.terminated(x, u, new))
        # What is not finite costs infinity, unless the trajectory had ended. The state stays: controls are finite.
        finite = jnp.all(jnp.isfinite(new)) & jnp.isfinite(reward)
        total = jnp.where(finite, total + weight * reward, jnp.where(weight > 0, -jnp.inf, total))
        return jnp.concatenate([jnp.where(finite, new, x), jnp.stack([jnp.where(finite, left, 0.0), total])])

    bound = 2.0 if residual else 1.0
    nu = agent.nu
    return OptimalControlProblem(
        dynamics, lambda z, u, t: jnp.zeros((), z.dtype), lambda z: -(z[-1] + z[-2] * agent.value(state, z[:-2])),
        horizon=horizon, control_bounds=(jnp.full(nu, -bound), jnp.full(nu, bound)),
    )  # fmt: skip


def _with_score(x0: Array) -> Array:
    """The state of `imagined_problem` at the start."""
    return jnp.concatenate([x0, jnp.array([1.0, 0.0], x0.dtype)])


def _ended(source: Source, x: Array, u: Array, reward: Array, new: Array, alive: Array):
    """Carry and row of a step: rows count while the trajectory is alive, and one that is not finite ends it."""
    check = source.terminated if x.ndim == 1 else jax.vmap(source.terminated)
    terminal = check(x, u, new)
    finite = jnp.all(jnp.isfinite(new), axis=-1) & jnp.all(jnp.isfinite(u), axis=-1) & jnp.isfinite(reward)
    good = alive & finite
    shown = jnp.where(good[..., None] if x.ndim > 1 else good, new, x)
    row = Transitions(x, u, jnp.where(good, reward, 0.0), shown, terminal.astype(x.dtype))
    return (shown, good & ~terminal), Imagined(row, good, alive & ~finite)
