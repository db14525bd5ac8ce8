"""M-DeMoRL and its relatives: an off-policy agent fed with real and imagined transitions."""

import time
from typing import Any, ClassVar

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Int

from costogo.core.errors import CostogoError
from costogo.core.validate import require
from costogo.learn.dmd_mpc.compiled import act, add, interact, renew
from costogo.learn.dmd_mpc.imagination import Imagination, ImprovedRollouts
from costogo.learn.dmd_mpc.model_fit import Model, ModelFit
from costogo.learn.dmd_mpc.planning import Planner
from costogo.learn.dmd_mpc.schedules import constant
from costogo.learn.dmd_mpc.source import Source, Support
from costogo.nn import ProbabilisticEnsemble
from costogo.rl import Agent, Environment, Replay, Transitions

TEST_SEED = 1_000_000  # added to the epoch: starts of the evaluation


class MDeMoRLState(eqx.Module):
    """State between two epochs: epochs done, key, agent, model, both buffers, the environment's own state, and what its
    episode has earned so far."""

    step: Int[Array, ""]
    key: Array
    agent: Any
    model: Model | None
    real: Replay
    imagined: Replay
    environment: dict[str, np.ndarray]
    earned: np.ndarray


class MDeMoRL(eqx.Module):
    """Mirror-descent MPC in a learned model accelerates an off-policy agent (spec dmd_mpc section 7, Algorithm 1).

    A step is one epoch: exactly `epoch_length` steps of the real environment with the exploring agent, each followed by
    `updates` updates of the agent on batches of which `real_share` are real transitions and the others imagined. Every
    `model_every` steps the ensemble is trained on all real transitions, and `imagination` makes new ones from real
    states. `init` takes `first_steps` steps with random controls.

    What imagination makes is the switch between the methods: `ImprovedRollouts` is M-DeMoRL (and MoPAC, with
    `residual`), `BranchedRollouts` is MBPO, and without imagination it is the agent alone; then there is no model, and
    all transitions are real. `environment` is used for training, `test_environment` for evaluation: `tests`
    deterministic episodes of the policy alone, which plans nothing (spec 11, item 15).

    `capacity` bounds the real transitions. The ring of imagined ones holds what four calls make at the longest horizon,
    and at least `imagined_capacity`. A model whose error is not finite is not used: the one before stays, `diverged`
    counts it, and until one training has succeeded nothing is imagined. Imagined transitions that are not finite are
    dropped and counted in `dropped`. `clipped` is the share of imagined controls at a bound, `nonconvex` (only of
    `LiteralElites`) that of plans whose weights were no convex combination. With `bounded` the model's predictions are
    clipped to the ranges of real observations and rewards (`Support`; not in the paper).
    """

    environment: Environment = eqx.field(static=True)
    test_environment: Environment = eqx.field(static=True)
    agent: Agent
    imagination: Imagination | None
    model_fit: ModelFit = eqx.field(default_factory=ModelFit)
    hidden: tuple[int, ...] = eqx.field(static=True, default=(200,) * 4)
    members: int = eqx.field(static=True, default=7)
    elites: int = eqx.field(static=True, default=5)
    epoch_length: int = eqx.field(static=True, default=1000)
    first_steps: int = eqx.field(static=True, default=5000)
    updates: int = eqx.field(static=True, default=20)
    batch_size: int = eqx.field(static=True, default=256)
    real_share: float = eqx.field(static=True, default=0.05)
    model_every: int = eqx.field(static=True, default=250)
    capacity: int = eqx.field(static=True, default=1_000_000)
    imagined_capacity: int = eqx.field(static=True, default=100_000)
    bounded: bool = eqx.field(static=True, default=True)
    tests: int = eqx.field(static=True, default=1)

    host: ClassVar[bool] = True
    steps_per_epoch: ClassVar[int] = 1

    def __check_init__(self):
        _check_sizes(self.agent, self.environment, self.test_environment)
        names = ("epoch_length", "updates", "batch_size", "model_every", "imagined_capacity", "tests")
        for name in names:
            require(getattr(self, name) >= 1, f"{name} is {getattr(self, name)}; pass at least 1")
        require(
            self.batch_size <= self.first_steps <= self.capacity,
            f"first_steps is {self.first_steps}; pass at least the batch_size, {self.batch_size}, and at most the "
            f"capacity, {self.capacity}",
        )
        require(
            self.imagination is None or self.epoch_length % self.model_every == 0,
            f"epoch_length is {self.epoch_length}; pass a multiple of model_every, {self.model_every}",
        )
        require(0 <= self.real_share <= 1, f"real_share is {self.real_share}; pass a number from 0 to 1")

    def blank(self, key: Array) -> MDeMoRLState:
        """Fresh networks and empty buffers: what a checkpoint is read into."""
        key, agent_key, model_key, seed = jax.random.split(key, 4)
        no, nu = self.environment.no, self.environment.nu
        self.environment.start(int(jax.random.randint(seed, (), 0, 2**31 - 1)))
        model = None
        if self.imagination is not None:
            sizes = {"members": self.members, "elites": self.elites, "hidden": self.hidden}
            model = self.model_fit.init(ProbabilisticEnsemble.create(no, nu, key=model_key, **sizes))
        return MDeMoRLState(
            jnp.array(0, jnp.int32), key, self.agent.init(agent_key), model, Replay.empty(no, nu, self.capacity),
            Replay.empty(no, nu, self._ring()), dict(self.environment.save()), np.zeros(()),
        )  # fmt: skip

    def init(self, key: Array) -> MDeMoRLState:
        """A first stretch of random controls."""
        state = self.blank(key)
        x, rows, earned = self.environment.load(state.environment), [], 0.0
        random = np.random.default_rng(np.asarray(jax.random.fold_in(state.key, 0)))
        for _ in range(self.first_steps):
            u = random.uniform(-1.0, 1.0, self.environment.nu).astype(np.float32)
            x, row, over = self._real_step(x, u)
            rows.append(row)
            earned = 0.0 if over else earned + float(row.reward)
        real = add(state.real, jax.tree.map(lambda *leaves: np.stack(leaves), *rows))
        saved = (real, dict(self.environment.save()), np.array(earned))
        return eqx.tree_at(lambda s: (s.real, s.environment, s.earned), state, saved)

    def step(self, state: MDeMoRLState) -> tuple[MDeMoRLState, dict[str, Any]]:
        """One epoch of the real environment."""
        began, key = time.perf_counter(), jax.random.fold_in(state.key, 1 + int(state.step))
        # What the loop overwrites in place is a copy: the caller's state stays what it was. It is kept flat: to walk
        # the trees in every call takes a tenth of the time of an update.
        copied = jax.tree.map(lambda a: jnp.copy(a) if eqx.is_array(a) else a, (state.agent, state.real))
        leaves, tree = jax.tree.flatten(copied)
        model, imagined, found, returns, updated = state.model, state.imagined, [], [], []
        earned, x = float(state.earned), self.environment.load(state.environment)
        u = np.asarray(act(self.agent, state.agent, x, jax.random.fold_in(key, 0)))
        for i in range(self.epoch_length):
            if self.imagination is not None and i % self.model_every == 0:
                agent, real = jax.tree.unflatten(tree, leaves)
                imagine = jax.random.split(jax.random.fold_in(key, i + 1))[1]
                model, imagined, row = self._imagine(state.step, model, agent, real, imagined, imagine)
                found.append(row)
            x, row, over = self._real_step(x, u)
            earned += float(row.reward)
            if over:
                returns, earned = [*returns, earned], 0.0
            leaves, u, metrics = interact((self, tree, imagined, row, x, key, np.uint32(i + 1)), leaves)
            u = np.asarray(u)
            updated.append(metrics)
        agent, real = jax.tree.unflatten(tree, leaves)
        metrics = _means(updated) | _means(found)
        metrics |= {"train_return": float(np.mean(returns)) if returns else np.nan}
        metrics |= {"real_steps": self.first_steps + (int(state.step) + 1) * self.epoch_length}
        metrics["seconds"] = time.perf_counter() - began
        saved = dict(self.environment.save()), np.array(earned)
        return MDeMoRLState(state.step + 1, state.key, agent, model, real, imagined, *saved), metrics

    def evaluate(self, state: MDeMoRLState) -> dict[str, Any]:
        """Mean return and length of deterministic episodes."""
        x, returns, lengths = self.test_environment.start(TEST_SEED + int(state.step)), [], []
        for test in range(self.tests):
            x = x if test == 0 else self.test_environment.restart()
            total, length, over = 0.0, 0, False
            while not over:
                x, reward, terminal, cut = self.test_environment.step(np.asarray(act(self.agent, state.agent, x)))
                total, length, over = total + reward, length + 1, terminal or cut
            returns.append(total)
            lengths.append(length)
        return {"return": float(np.mean(returns)), "length": float(np.mean(lengths))}

    def policy(self, state: MDeMoRLState) -> Any:
        """The agent's policy without exploration."""
        return self.agent.policy(state.agent)

    def planner(self, state: MDeMoRLState, horizon: int = 8) -> Planner:
        """A policy that plans `horizon` steps of the learned model at each step of the environment."""
        require(horizon >= 1, f"horizon is {horizon}; pass at least 1")
        if state.model is None:
            raise CostogoError("this agent was trained without a model to plan in; pass a run of another method")
        improved = self.imagination if isinstance(self.imagination, ImprovedRollouts) else ImprovedRollouts(constant(1))
        source = self.source(state.model.ensemble, state.agent, state.real)
        return Planner(improved, source, jax.random.PRNGKey(0), horizon)

    def source(self, ensemble: Any, agent: Any, real: Replay) -> Source:
        """What imagination draws on."""
        support = Support.of(real) if self.bounded else None
        return Source(ensemble.best, self.agent, agent, self.environment.terminated, support)

    def _ring(self) -> int:
        """Rows of the ring of imagined transitions."""
        if self.imagination is None:
            return 1
        made = self.imagination
        rows = [h * made.starts(self.elites, h) * made.replays for h in range(1, made.schedule.largest + 1)]
        return max(self.imagined_capacity, 4 * max(rows))

    def _real_step(self, x: np.ndarray, u: np.ndarray) -> tuple[np.ndarray, Transitions, bool]:
        """One step: the observation to go on from, the transition, and whether the episode is over."""
        new, reward, terminal, cut = self.environment.step(u)
        over = terminal or cut
        row = Transitions(x, u, np.float32(reward), new, np.float32(terminal))
        return self.environment.restart() if over else new, row, over

    def _imagine(self, epoch: Array, model: Any, agent: Any, real: Replay, imagined: Replay, key: Array):
        """Train the model and renew the imagined transitions: not with a model that has not learned anything yet."""
        fit, draw, make = jax.random.split(key, 3)
        model, metrics = self.model_fit.run(model, real, fit)
        if not model.trained:
            return model, imagined, metrics
        imagination: Any = self.imagination
        horizon = imagination.schedule(int(epoch))
        count = imagination.starts(self.elites, horizon)
        imagined, counts = renew(self, horizon, count, model.ensemble, agent, real, imagined, draw, make)
        return model, imagined, metrics | {"horizon": float(horizon)} | {k: float(v) for k, v in counts.items()}


def _means(rows: list[dict[str, Any]]) -> dict[str, float]:
    """The mean of each metric over the rows that have it: where nothing is imagined, nothing is counted."""
    names = dict.fromkeys(name for row in rows for name in row)
    return {name: float(np.mean([row[name] for row in rows if name in row])) for name in names}


def _check_sizes(agent: Agent, environment: Environment, test_environment: Environment) -> None:
    """Raise unless agent and test environment have the sizes of the environment."""
    no, nu = environment.no, environment.nu
    for name, other, fix in (
        ("agent", agent, "pass an agent of the environment's no and nu"),
        ("test_environment", test_environment, "pass a second environment of the same task"),
    ):
        require(
            (other.no, other.nu) == (no, nu),
            f"{name} has no = {other.no} and nu = {other.nu}, the environment no = {no} and nu = {nu}; {fix}",
        )
