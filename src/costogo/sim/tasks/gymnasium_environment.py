"""Gymnasium environments as environments of `costogo.rl`."""

# mujoco is compiled and has no stubs.
# pyright: reportAttributeAccessIssue=false

import contextlib
import difflib
import math
import warnings
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import gymnasium
import mujoco
import numpy as np

from costogo.core.errors import CostogoError, known
from costogo.core.validate import require
from costogo.sim.tasks.catalogue import TASKS, Task, never
from costogo.sim.tasks.episode_state import check_identity, check_state, identity_of, keeper_of

# Wrappers whose work is done here, or is of no use once an environment has been checked.
PEELED = (gymnasium.wrappers.OrderEnforcing, gymnasium.wrappers.PassiveEnvChecker, gymnasium.wrappers.TimeLimit)


class GymnasiumEnvironment:
    """A task of the table `TASKS`, or any Gymnasium environment with a vector to see and bounded controls.

        environment = GymnasiumEnvironment("Hopper")
        x = environment.start(seed=0)
        x, reward, terminated, truncated = environment.step(u)     # u in [-1, 1]^nu; beyond that it is clipped
        x = environment.restart()                                  # the next episode

    The action is `a = (high + low) / 2 + (high - low) / 2 u` in the bounds of the environment's Box; observations are
    float32 (no,). An episode of `time_limit` steps is truncated, never terminated. The start of an episode is drawn
    from `numpy.random.SeedSequence([seed, episode])` alone. Gymnasium's checking wrappers are left out: they cost more
    than this class does.

    Arguments: `task`, a name in `TASKS`, a `Task`, a Gymnasium id, or an environment (which is then owned by this
    object); `terminated(x, u, new)`, whether a transition ends in a terminal state, a JAX function of observations (for
    model-based methods; the task's, or never); `time_limit`, steps (default: the task's or the environment's own).

    `save` and `load` continue to the bit, also in a new object and in the middle of an episode. Gymnasium's MuJoCo
    tasks save MuJoCo's state, environments with `save_state() -> dict` and `load_state(dict)` what they say, and all
    others the actions of the episode, which are done again: such an environment must repeat itself when reset with the
    same seed. A state is of one environment (`identity_of`): `load` refuses that of another.

    Raises `CostogoError` for an unknown name, actions that are not a bounded Box of one axis, observations that are not
    a Box of one axis, no time limit, a step outside an episode, a NaN in an action, or a NaN or infinity in an
    observation or reward of the environment (naming seed, episode and step).
    """

    def __init__(
        self,
        task: str | Task | gymnasium.Env,
        terminated: Callable | None = None,
        *,
        time_limit: int | None = None,
    ):
        require(
            isinstance(task, str | Task | gymnasium.Env),
            f"task is a {type(task).__name__}; pass a name, a costogo.sim.tasks.Task or a gymnasium.Env",
        )
        require(terminated is None or callable(terminated), f"terminated is {terminated!r}; pass a function, or None")
        self.task = task if isinstance(task, Task) else TASKS.get(task) if isinstance(task, str) else None
        made = _make(self.task or task)
        self.env, own_limit = _peeled(made)
        self.name = self.task.name if self.task else _name(made)
        self.time_limit = _time_limit(time_limit, own_limit if self.task is None else self.task.time_limit, self.name)
        self.no, self.nu = _observation_size(self.name, self.env), _action_size(self.name, self.env)
        space: Any = self.env.action_space
        self._centre = 0.5 * (space.high + space.low).astype(space.dtype)
        self._scale = 0.5 * (space.high - space.low).astype(space.dtype)
        self._bonus = self.task.bonus_at_end if self.task else 0.0
        self._terminated = terminated or (self.task.terminated if self.task else never)
        self._keeper, self._identity = keeper_of(self.env, self.time_limit), identity_of(self.env)
        self._seed, self._episode, self._elapsed, self._over = -1, 0, 0, True
        self._observation = np.zeros(self.no, np.float32)
        self.info: dict[str, Any] = {}  # what the environment said about its last step

    def start(self, seed: int) -> np.ndarray:
        """Begin episode 0 of a seed; returns the first observation."""
        whole = isinstance(seed, int | np.integer) and not isinstance(seed, bool)
        require(whole and 0 <= seed < 2**63, f"seed is {seed!r}; pass an integer, zero or more, below 2^63")
        return self._reset(int(seed), 0)

    def restart(self) -> np.ndarray:
        """Begin the next episode; returns its first observation."""
        require(self._seed >= 0, f"{self.name} has not been started; call start(seed) first")
        return self._reset(self._seed, self._episode + 1)

    def step(self, u: np.ndarray) -> tuple[np.ndarray, float, bool, bool]:
        """Observation, reward, whether the episode ended in a terminal state, whether it was cut at its time limit."""
        # Plain tests: every microsecond here is paid once a step.
        u = np.asarray(u, np.float32)
        if self._over:
            raise CostogoError(f"{self.name} is not within an episode; call start(seed) or restart() first")
        if u.shape != (self.nu,) or not math.isfinite(u.dot(u)):
            self._refuse_action(u)
        action = self._centre + self._scale * np.minimum(np.maximum(u, -1.0), 1.0)
        self._keeper.before_step(self._elapsed, action)
        new, reward, ended, cut, self.info = self.env.step(action)
        self._elapsed += 1
        x, reward = np.array(new, np.float32), float(reward)
        if not math.isfinite(reward) or not math.isfinite(x.dot(x)):
            self._check_finite(x, reward)
        ended = bool(ended)
        cut = not ended and (bool(cut) or self._elapsed >= self.time_limit)
        self._over, self._observation = ended or cut, x
        return x.copy(), reward + self._bonus if ended else reward, ended, cut

    def terminated(self, x: np.ndarray, u: np.ndarray, new: np.ndarray) -> Any:
        """Whether the transition ends in a terminal state, as a JAX function: (no,), (nu,), (no,) to a Boolean."""
        return self._terminated(x, u, new)

    def save(self) -> dict[str, np.ndarray]:
        """The state of simulator and episode, as arrays of fixed shapes and types."""
        require(self._seed >= 0, f"{self.name} has not been started; call start(seed) first")
        return self._saved()

    def load(self, state: Mapping[str, np.ndarray]) -> np.ndarray:
        """Continue from a saved state; returns its observation."""
        if self._seed < 0:
            self._reset(0, 0)
        # States of older versions do not say of which environment they are.
        state = {"identity": self._identity, **state}
        check_state(state, self._saved())
        check_identity(state["identity"], self._identity)
        numbers = {name: int(state[name]) for name in ("seed", "episode", "elapsed")}
        require(
            min(numbers.values()) >= 0 and numbers["elapsed"] <= self.time_limit,
            f"state is of step {numbers['elapsed']} of episode {numbers['episode']}, with a time limit of "
            f"{self.time_limit}; pass what save() of the same task returned",
        )
        self._reset(numbers["seed"], numbers["episode"])
        observation = np.array(state["observation"], np.float32)
        inner = {name[6:]: np.asarray(value) for name, value in state.items() if name.startswith("inner.")}
        self._keeper.load(inner, numbers["elapsed"], observation)
        self._elapsed, self._over, self._observation = numbers["elapsed"], bool(state["over"]), observation
        return observation.copy()

    def close(self) -> None:
        """Free the environment's windows and files."""
        self.env.close()

    def _saved(self) -> dict[str, np.ndarray]:
        return {
            "identity": self._identity.copy(),
            "seed": np.array(self._seed, np.int64),
            "episode": np.array(self._episode, np.int64),
            "elapsed": np.array(self._elapsed, np.int64),
            "over": np.array(self._over),
            "observation": self._observation.copy(),
            **{f"inner.{name}": value for name, value in self._keeper.save().items()},
        }

    def _reset(self, seed: int, episode: int) -> np.ndarray:
        self._seed, self._episode, self._elapsed, self._over = seed, episode, 0, False
        drawn = int(np.random.SeedSequence([seed, episode]).generate_state(1)[0])
        new, self.info = self.env.reset(seed=drawn)
        x = np.array(new, np.float32)
        self._check_finite(x, 0.0)
        self._observation = x
        return x.copy()

    def _refuse_action(self, u: np.ndarray) -> None:
        require(u.shape == (self.nu,), f"u has shape {u.shape}, expected ({self.nu},); pass one action")
        where = f"at step {self._elapsed} of episode {self._episode}"
        require(bool(np.isfinite(u).all()), f"u is {u} {where}; an action must be finite: look at what computed it")

    def _check_finite(self, x: np.ndarray, reward: float) -> None:
        where = f"at step {self._elapsed} of episode {self._episode} (seed {self._seed})"
        require(x.shape == (self.no,), f"{self.name} returned an observation of shape {x.shape} {where}; mend its step")
        bad = np.flatnonzero(~np.isfinite(x))
        fix = "the simulation diverged or the environment is wrong: mend it, or make its timestep smaller"
        if bad.size:
            self._over = True
            raise CostogoError(f"{self.name} returned {x[bad[0]]} in entry {bad[0]} of its observation {where}; {fix}")
        if not math.isfinite(reward):
            self._over = True
            raise CostogoError(f"{self.name} returned the reward {reward} {where}; {fix}")


def _make(task: str | Task | gymnasium.Env) -> gymnasium.Env:
    if isinstance(task, gymnasium.Env):
        return task
    if isinstance(task, Task) and not isinstance(task.environment, str):
        return task.environment(**task.arguments)
    name, arguments = (task, {}) if isinstance(task, str) else (task.environment, dict(task.arguments))
    try:
        with _without_deprecations():
            return gymnasium.make(name, disable_env_checker=True, **arguments)
    except (gymnasium.error.DependencyNotInstalled, ImportError) as error:
        raise CostogoError(f"task {name!r} cannot be made: {error} Install what it needs, or pass another") from error
    except gymnasium.error.Error as error:
        close = difflib.get_close_matches(name, gymnasium.registry, n=3)
        known("task", name, [*TASKS, *close])
        raise CostogoError(f"task {name!r} cannot be made: {error} Pass another") from error


@contextlib.contextmanager
def _without_deprecations() -> Iterator[None]:
    """Gymnasium's models use words of MJCF that MuJoCo 4 deprecates, of which it would write a log file into the
    working directory; an old version of a task is the user's choice. Other warnings are passed on."""
    before, said = mujoco.get_mju_user_warning(), []
    mujoco.set_mju_user_warning(said.append)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)
            yield
    finally:
        mujoco.set_mju_user_warning(before)
    for message in said:
        if "deprecated" not in message:
            warnings.warn(f"MuJoCo: {message}", stacklevel=2)


def _name(env: gymnasium.Env) -> str:
    return env.spec.id if env.spec is not None else type(env.unwrapped).__name__


def _peeled(env: gymnasium.Env) -> tuple[gymnasium.Env, int | None]:
    """The environment without the outer wrappers that are not needed, and its time limit if it had one."""
    limit = None
    while isinstance(env, PEELED):
        if isinstance(env, gymnasium.wrappers.TimeLimit):
            limit = min(filter(None, (limit, env._max_episode_steps)))
        env = env.env
    if limit is None and env.spec is not None:
        limit = env.spec.max_episode_steps
    return env, limit


def _time_limit(given: int | None, own: int | None, name: str) -> int:
    limit = own if given is None else given
    if limit is None:
        raise CostogoError(f"{name} has no time limit; pass time_limit, the steps of an episode, such as 1000")
    whole = isinstance(limit, int | np.integer) and not isinstance(limit, bool)
    require(whole and limit >= 1, f"time_limit is {limit!r}; pass a number of steps, at least 1")
    return int(limit)


def _observation_size(name: str, env: gymnasium.Env) -> int:
    space = env.observation_space
    vector = isinstance(space, gymnasium.spaces.Box) and len(space.shape) == 1
    require(
        vector,
        f"{name} has observations {space}; pass an environment whose observations are a Box of one axis "
        "(gymnasium.wrappers.FlattenObservation makes a vector of a dictionary or an image)",
    )
    return int(space.shape[0])  # type: ignore[index]


def _action_size(name: str, env: gymnasium.Env) -> int:
    space = env.action_space
    require(
        isinstance(space, gymnasium.spaces.Box) and len(space.shape) == 1 and np.issubdtype(space.dtype, np.floating),
        f"{name} has actions {space}; pass an environment with continuous actions, a Box of one axis",
    )
    bounded = bool(np.isfinite(space.low).all() and np.isfinite(space.high).all())  # type: ignore[attr-defined]
    require(
        bounded,
        f"{name} has actions without bounds, {space}; give its Box finite low and high",
    )
    return int(space.shape[0])  # type: ignore[index]
