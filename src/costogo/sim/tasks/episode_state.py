"""How the state of a Gymnasium environment within an episode is taken out and put back, to the bit."""

# mujoco is compiled and has no stubs.
# pyright: reportAttributeAccessIssue=false

import dataclasses
from collections.abc import Mapping
from typing import Any, Protocol

import gymnasium
import mujoco
import numpy as np
from gymnasium.envs.mujoco import MujocoEnv

from costogo.core.errors import CostogoError
from costogo.core.validate import require, require_shape

INTEGRATION = int(mujoco.mjtState.mjSTATE_INTEGRATION)  # all that a step reads
# One step done again on another machine may differ by rounding, no more.
TOLERANCE = 1e-4
IDENTITY_BYTES = 256  # of a fixed size, as all arrays of a state are


class Keeper(Protocol):
    """Knows where an environment has its state. The environment has been reset with the episode's seed on loading."""

    def before_step(self, elapsed: int, action: np.ndarray) -> None:
        """Called before each step, with the steps done in the episode and the action in the environment's range."""
        ...

    def save(self) -> dict[str, np.ndarray]:
        """Arrays of fixed shapes and types."""
        ...

    def load(self, state: Mapping[str, np.ndarray], elapsed: int, observation: np.ndarray) -> None:
        """Bring the freshly reset environment to the state after `elapsed` steps, where it showed `observation`."""
        ...


def keeper_of(env: gymnasium.Env, time_limit: int) -> Keeper:
    """The keeper that fits: an environment's own `save_state` and `load_state`, Gymnasium's MuJoCo tasks, or replay."""
    if hasattr(env, "save_state") and hasattr(env, "load_state"):
        return OwnState(env)
    # A user's subclass may hold more than MuJoCo knows: those are replayed.
    if isinstance(env, MujocoEnv) and type(env).__module__.startswith("gymnasium.envs.mujoco."):
        return MujocoState(env)
    return Replay(env, time_limit)


def identity_of(env: gymnasium.Env) -> np.ndarray:
    """What tells an environment from others whose states have the same shapes, as UTF-8 bytes in an array.

    It is `env.identity` where there is one, a text that names the options as well, else the Gymnasium id, else the
    class. (Other options of a Gymnasium id show when steps are done again.)
    """
    plain = env.unwrapped
    found = getattr(plain, "identity", None) or (env.spec.id if env.spec is not None else type(plain).__name__)
    return np.frombuffer(found.encode()[:IDENTITY_BYTES].ljust(IDENTITY_BYTES, b"\0"), np.uint8)


def described(options: Any) -> str:
    """A dataclass of numbers as text, the same for NumPy's numbers and Python's."""
    return ", ".join(f"{field.name}={getattr(options, field.name):.12g}" for field in dataclasses.fields(options))


def check_identity(saved: np.ndarray, own: np.ndarray) -> None:
    """Raise unless a state is of the same environment."""
    theirs, ours = (np.asarray(a, np.uint8).tobytes().rstrip(b"\0").decode(errors="replace") for a in (saved, own))
    require(theirs == ours, f"state is of {theirs}, this environment is {ours}; load it into one of the same options")


class OwnState:
    """An environment that saves itself: `save_state() -> dict of arrays`, `load_state(dict)`."""

    def __init__(self, env: Any):
        self.env = env

    def before_step(self, elapsed: int, action: np.ndarray) -> None:
        """Nothing to note."""

    def save(self) -> dict[str, np.ndarray]:
        """The environment's arrays."""
        return {name: np.array(value) for name, value in self.env.save_state().items()}

    def load(self, state: Mapping[str, np.ndarray], elapsed: int, observation: np.ndarray) -> None:
        """Hand them back."""
        self.env.load_state(state)


class MujocoState:
    """MuJoCo's integration state before the last step, and the action of that step.

    Not the state after it, because positions of bodies and contact forces lag behind `qpos` by one timestep, and some
    tasks read them before they step (the ant's forward reward). Loading does the last step again, which leaves every
    derived quantity as it was.
    """

    def __init__(self, env: Any):
        self.env, self.model, self.data = env, env.model, env.data
        self.before = physics_state(env.model, env.data)
        self.action = np.zeros(env.action_space.shape, env.action_space.dtype)

    def before_step(self, elapsed: int, action: np.ndarray) -> None:
        """Note the state and the action."""
        self.before, self.action = physics_state(self.model, self.data), action

    def save(self) -> dict[str, np.ndarray]:
        """State before the last step, its action, and the random generator."""
        return {
            "before": self.before.copy(),
            "action": np.array(self.action),
            "generator": generator_state(self.env.np_random),
        }

    def load(self, state: Mapping[str, np.ndarray], elapsed: int, observation: np.ndarray) -> None:
        """Do the last step again."""
        if elapsed > 0:
            set_physics_state(self.model, self.data, state["before"])
            self.before_step(elapsed - 1, np.array(state["action"]))
            _compare(self.env.step(self.action)[0], observation)
        set_generator_state(self.env.np_random, state["generator"])


class Replay:
    """All actions of the episode, done again on loading: right for any environment that repeats itself when seeded."""

    def __init__(self, env: gymnasium.Env, time_limit: int):
        self.env = env
        space: Any = env.action_space
        self.actions = np.zeros((time_limit, *space.shape), space.dtype)

    def before_step(self, elapsed: int, action: np.ndarray) -> None:
        """Note the action."""
        self.actions[elapsed] = action

    def save(self) -> dict[str, np.ndarray]:
        """Actions (time limit, nu), of which those of the steps done so far count."""
        return {"actions": self.actions.copy()}

    def load(self, state: Mapping[str, np.ndarray], elapsed: int, observation: np.ndarray) -> None:
        """Do them again."""
        self.actions = np.array(state["actions"])
        shown = None
        for action in self.actions[:elapsed]:
            shown = self.env.step(action)[0]
        if shown is not None:
            _compare(shown, observation)


def _compare(shown: Any, saved: np.ndarray) -> None:
    error = np.max(np.abs(np.asarray(shown, np.float32) - saved) / (1.0 + np.abs(saved)), initial=0.0)
    require(
        bool(error <= TOLERANCE),
        f"the environment does not come back to the saved observation (off by {error:.1e}); load a state of the same "
        "task with the same options, or give the environment save_state() and load_state(state)",
    )


def physics_state(model: Any, data: Any) -> np.ndarray:
    """MuJoCo's integration state: the same one and the same controls give the same step, to the bit."""
    state = np.zeros(mujoco.mj_stateSize(model, INTEGRATION))
    mujoco.mj_getState(model, data, state, INTEGRATION)
    return state


def set_physics_state(model: Any, data: Any, saved: np.ndarray) -> None:
    """Put back what `physics_state` took."""
    mujoco.mj_setState(model, data, np.array(saved, float), INTEGRATION)


def generator_state(generator: np.random.Generator) -> np.ndarray:
    """State of a PCG64 generator as (6,) uint64."""
    state: Any = generator.bit_generator.state
    require(
        state["bit_generator"] == "PCG64",
        f"the environment's generator is a {state['bit_generator']}; use Gymnasium's own, a PCG64",
    )
    halves = [part for number in (state["state"]["state"], state["state"]["inc"]) for part in divmod(number, 1 << 64)]
    return np.array([*halves, state["has_uint32"], state["uinteger"]], np.uint64)


def set_generator_state(generator: np.random.Generator, saved: np.ndarray) -> None:
    """Put back what `generator_state` took."""
    a, b, c, d, has, value = (int(part) for part in np.asarray(saved))
    generator.bit_generator.state = {
        "bit_generator": "PCG64",
        "state": {"state": (a << 64) + b, "inc": (c << 64) + d},
        "has_uint32": has,
        "uinteger": value,
    }


def check_state(state: Mapping[str, np.ndarray], expected: Mapping[str, np.ndarray]) -> None:
    """Raise unless a saved state has the arrays that this environment saves."""
    names = set(state) if isinstance(state, Mapping) else set()
    if names != set(expected):
        odd = ", ".join(sorted(names ^ set(expected)))
        raise CostogoError(f"state differs in its entries ({odd}); pass what save() of the same task returned")
    for name, value in expected.items():
        fix = "pass what save() of the same task returned"
        require_shape(f"state[{name!r}]", np.shape(state[name]), value.shape, fix)
