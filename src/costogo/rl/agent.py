"""What off-policy agents share: initialisation, acting, updates from a batch, values."""

from collections.abc import Callable, Sequence
from typing import Any, Protocol

import equinox as eqx
import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float

from costogo.core.validate import require
from costogo.nn import ActionValue
from costogo.rl.replay import Transitions

TARGETS = 1000  # updates over which the range of critic targets is remembered


class Agent(Protocol):
    """An off-policy agent: pure functions over an explicit state. It acts on observations (no,) with controls in
    [-1, 1]^nu; `discount` is that of its values, per step."""

    @property
    def no(self) -> int:
        """Size of an observation."""
        ...

    @property
    def nu(self) -> int:
        """Size of a control."""
        ...

    @property
    def discount(self) -> float:
        """Weight of the value one step later."""
        ...

    def init(self, key: Array) -> Any:
        """State before the first update."""
        ...

    def act(self, state: Any, x: Float[Array, " no"], key: Array | None = None) -> Float[Array, " nu"]:
        """A control for one observation: with exploration if a key is given, else the best known one."""
        ...

    def update(self, state: Any, key: Array, batch: Transitions) -> tuple[Any, dict[str, Array]]:
        """One gradient step on a batch, and its metrics."""
        ...

    def policy(self, state: Any) -> Callable[[Array], Array]:
        """The policy without exploration, `x -> u`."""
        ...

    def value(self, state: Any, x: Float[Array, " no"]) -> Float[Array, ""]:
        """Value of a state under the policy, within the range of recent critic targets."""
        ...


class ActorCritic(eqx.Module):
    """Settings of agents of an actor and critics, and what follows from them. The state of such an agent has `actor`
    and `critics` (a tuple), each `Trained`, and `seen`, a `TargetRange`."""

    no: int = eqx.field(static=True)
    nu: int = eqx.field(static=True)
    hidden: tuple[int, ...] = eqx.field(static=True, default=(256, 256))
    discount: float = eqx.field(static=True, default=0.99)
    polyak: float = eqx.field(static=True, default=0.005)
    learning_rate: float = eqx.field(static=True, default=3e-4)

    def __check_init__(self):
        require(min(self.no, self.nu) >= 1, f"no and nu are {self.no} and {self.nu}; pass at least 1 for each")
        require(min(self.hidden, default=1) >= 1, f"hidden is {self.hidden}; pass at least 1 unit for each layer")
        require(0 <= self.discount <= 1, f"discount is {self.discount}; pass a number from 0 to 1")
        require(0 < self.polyak <= 1, f"polyak is {self.polyak}; pass a number in (0, 1]")
        require(self.learning_rate > 0, f"learning_rate is {self.learning_rate}; pass a positive number")

    @property
    def optimiser(self) -> optax.GradientTransformation:
        """Adam, the same for all parts."""
        return optax.adam(self.learning_rate)

    def policy(self, state: Any) -> Any:
        """The policy without exploration."""
        return state.actor.parameters

    def value(self, state: Any, x: Float[Array, " no"]) -> Float[Array, ""]:
        """`min_j Q_j(x, pi(x))` of the policy without exploration, within the range of recent targets."""
        return state.seen.clip(least(state.critics.parameters, x, state.actor.parameters(x)))


class TargetRange(eqx.Module):
    """Least and largest critic target of each of the last updates. Terminal values of imagined trajectories are clipped
    to it: a critic that was trained for a moment only says anything far from its data (spec dmd_mpc 11, item 11)."""

    ranges: Float[Array, "updates 2"]
    count: Array

    @staticmethod
    def empty() -> "TargetRange":
        """Before the first update: no value is known but zero."""
        return TargetRange(jnp.zeros((TARGETS, 2), jnp.float32), jnp.array(0, jnp.int32))

    def add(self, targets: Array) -> "TargetRange":
        """Remember the targets of one update."""
        pair = jnp.stack([jnp.min(targets), jnp.max(targets)])
        # The first update fills all places: zeros would widen the range.
        filled = jnp.where(self.count == 0, pair, self.ranges)
        return TargetRange(filled.at[self.count % TARGETS].set(pair), self.count + 1)

    def clip(self, value: Array) -> Array:
        """The value within the range."""
        return jnp.clip(value, jnp.min(self.ranges[:, 0]), jnp.max(self.ranges[:, 1]))


class Trained(eqx.Module):
    """Parameters with the state of their optimiser."""

    parameters: Any
    optimiser: Any

    @staticmethod
    def create(parameters: Any, optimiser: optax.GradientTransformation) -> "Trained":
        """Before the first step."""
        return Trained(parameters, optimiser.init(eqx.filter(parameters, eqx.is_inexact_array)))

    def step(self, gradient: Any, optimiser: optax.GradientTransformation) -> "Trained":
        """One step of the optimiser."""
        updates, state = optimiser.update(gradient, self.optimiser)
        return Trained(eqx.apply_updates(self.parameters, updates), state)


def least(critics: Sequence[ActionValue], x: Float[Array, " no"], u: Float[Array, " nu"]) -> Float[Array, ""]:
    """`min_j Q_j(x, u)`."""
    first, *others = (critic(x, u) for critic in critics)
    for q in others:
        first = jnp.minimum(first, q)
    return first


def critic_loss(critics: Sequence[ActionValue], batch: Transitions, y: Float[Array, " n"]) -> Float[Array, ""]:
    """`sum_j 1/2 (Q_j(x, u) - y)^2`, the mean over the rows."""
    errors = [jax.vmap(critic)(batch.x, batch.u) - y for critic in critics]
    return sum(0.5 * jnp.mean(error**2) for error in errors)


def duplicate(parameters: Any) -> Any:
    """Equal parameters in arrays of their own: buffers that are donated must not be shared."""
    return jax.tree.map(lambda leaf: jnp.copy(leaf) if eqx.is_array(leaf) else leaf, parameters)


def polyak(target: Any, source: Any, rate: float) -> Any:
    """`(1 - rate) target + rate source`, leaf by leaf."""
    arrays, static = eqx.partition(target, eqx.is_inexact_array)
    new = jax.tree.map(lambda t, s: t + rate * (s - t), arrays, eqx.filter(source, eqx.is_inexact_array))
    return eqx.combine(new, static)
