"""Any optimal control problem as a Gymnasium environment."""

from collections.abc import Callable, Mapping
from typing import Any

import gymnasium
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from costogo.core.validate import require
from costogo.problem import OptimalControlProblem
from costogo.sim.tasks.episode_state import check_state


class SystemEnvironment(gymnasium.Env):
    """A problem of costogo as a task: reward `-l(x, u, t)`, next state `f(x, u, t)`, with `t = k dt`.

        system = Pendulum()
        env = SystemEnvironment(system.problem(horizon=200), system.initial_state)
        environment = GymnasiumEnvironment(env, time_limit=200)

    The action in [-1, 1]^nu is scaled to the control bounds (those of the step, if they vary; the last ones beyond the
    horizon). `initial_state(key) -> (nx,)` draws the start of an episode with a JAX key; `observe(x, t) -> (no,)` is
    what is seen, the state by default. Neither the terminal cost nor constraints other than the bounds take part, and
    no state is terminal. Dynamics may be JAX functions or simulators with a batched `step`, such as `MujocoDynamics`.
    A step is one compiled call. `save_state` and `load_state` continue to the bit.

    Raises `CostogoError` for a problem without finite control bounds, or a start or observation that is no vector.
    """

    metadata: dict[str, Any] = {"render_modes": []}

    def __init__(
        self,
        problem: OptimalControlProblem,
        initial_state: Callable[[Array], Array],
        *,
        observe: Callable[[Array, Array], Array] | None = None,
    ):
        require(
            isinstance(problem, OptimalControlProblem),
            f"problem is a {type(problem).__name__}; pass an OptimalControlProblem",
        )
        require(callable(initial_state), f"initial_state is {initial_state!r}; pass a function of a JAX key")
        require(observe is None or callable(observe), f"observe is {observe!r}; pass a function of (x, t), or None")
        self.problem, self._draw = problem, jax.jit(initial_state)
        self.identity = f"SystemEnvironment({type(problem.dynamics).__name__}, dt={problem.dt})"
        shape = jax.eval_shape(initial_state, jax.random.key(0))
        require(len(shape.shape) == 1, f"initial_state returns shape {shape.shape}; return one state (nx,)")
        lower, upper = problem.bounds(shape.dtype)
        require(
            bool(jnp.all(jnp.isfinite(lower)) & jnp.all(jnp.isfinite(upper))),
            "problem has no finite control_bounds, to which actions are scaled; pass control_bounds=(u_min, u_max)",
        )
        self._advance = jax.jit(_step_of(problem, observe, lower, upper))
        self._observe = jax.jit(lambda x, k: _seen(observe, x, k * problem.dt))
        seen = jax.eval_shape(self._observe, shape, 0)
        require(len(seen.shape) == 1, f"observe returns shape {seen.shape}; return one vector (no,)")
        self.action_space = gymnasium.spaces.Box(-1.0, 1.0, (problem.nu,), np.float32)
        self.observation_space = gymnasium.spaces.Box(-np.inf, np.inf, seen.shape, np.float32)
        self._state, self._steps = np.zeros(shape.shape, shape.dtype), 0

    def reset(self, *, seed: int | None = None, options: dict | None = None) -> tuple[np.ndarray, dict[str, Any]]:
        """Begin an episode."""
        super().reset(seed=seed)
        key = jax.random.key(int(self.np_random.integers(2**31)))
        self._state, self._steps = np.array(self._draw(key)), 0
        return np.array(self._observe(self._state, 0), np.float32), {}

    def step(self, action: np.ndarray) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]:
        """One control interval."""
        state, seen, cost = self._advance(self._state, np.asarray(action, self._state.dtype), self._steps)
        self._state = np.array(state)
        self._steps += 1
        return np.array(seen, np.float32), -float(cost), False, False, {}

    def save_state(self) -> dict[str, np.ndarray]:
        """State (nx,) and steps done."""
        return {"state": self._state.copy(), "steps": np.array(self._steps, np.int64)}

    def load_state(self, state: Mapping[str, np.ndarray]) -> None:
        """Put back what `save_state` of an environment of the same problem took."""
        check_state(state, self.save_state())
        self._state, self._steps = np.array(state["state"]), int(state["steps"])


def _seen(observe: Callable | None, x: Array, t: Array) -> Array:
    return jnp.asarray(x if observe is None else observe(x, t), jnp.float32)


def _step_of(problem: OptimalControlProblem, observe: Callable | None, lower: Array, upper: Array) -> Callable:
    """State, action in [-1, 1]^nu and step to next state, what is seen of it, and the cost of the step."""
    dynamics = problem.dynamics.step if hasattr(problem.dynamics, "step") else problem.dynamics

    def advance(x: Array, action: Array, k: Array) -> tuple[Array, Array, Array]:
        t = (k * problem.dt) * jnp.ones((), x.dtype)
        row = jnp.minimum(k, problem.horizon - 1)
        u = lower[row] + 0.5 * (action + 1.0) * (upper[row] - lower[row])
        new = jnp.asarray(dynamics(x, u, t), x.dtype)
        return new, _seen(observe, new, (k + 1) * problem.dt), problem.stage_cost(x, u, t)

    return advance
