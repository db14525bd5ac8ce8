"""Deep deterministic policy gradient."""

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from costogo.core.validate import require
from costogo.nn import ActionValue, DeterministicPolicy
from costogo.rl.agent import ActorCritic, TargetRange, Trained, critic_loss, duplicate, least, polyak
from costogo.rl.replay import Transitions


class DDPGState(eqx.Module):
    """Actor and critic, each with its optimiser and its target; `critics` is a tuple of one."""

    actor: Trained
    critics: Trained
    target_actor: DeterministicPolicy
    targets: tuple[ActionValue]
    seen: TargetRange


class DDPG(ActorCritic):
    """Deep deterministic policy gradient (Lillicrap et al. 2016), with Gaussian exploration.

        y = r + discount (1 - terminal) Qbar(x', pibar(x'))
        critic: 1/2 (Q(x, u) - y)^2      actor: -Q(x, pi(x))

    Order within an update: critic, actor with the new critic, Polyak averages of both at rate `polyak`. Exploration
    acts with `clip(pi(x) + noise w, -1, 1)`, w standard normal; `noise` is in units of the controls, which are in
    [-1, 1]^nu. Deviations from the paper: independent noise instead of an Ornstein-Uhlenbeck process, one learning rate
    for both networks, no weight decay and no batch normalisation.
    """

    noise: float = eqx.field(static=True, default=0.1)

    def __check_init__(self):
        require(self.noise >= 0, f"noise is {self.noise}; pass a standard deviation, zero or more")

    def init(self, key: Array) -> DDPGState:
        """Fresh networks; the targets start equal to them."""
        keys = jax.random.split(key)
        actor = DeterministicPolicy(self.no, self.nu, key=keys[0], hidden=self.hidden)
        critics = (ActionValue(self.no, self.nu, key=keys[1], hidden=self.hidden),)
        return DDPGState(
            Trained.create(actor, self.optimiser), Trained.create(critics, self.optimiser),
            *duplicate((actor, critics)), TargetRange.empty(),
        )  # fmt: skip

    def act(self, state: DDPGState, x: Float[Array, " no"], key: Array | None = None) -> Float[Array, " nu"]:
        """The actor's control, with exploration if a key is given."""
        u = state.actor.parameters(x)
        if key is None:
            return u
        return jnp.clip(u + self.noise * jax.random.normal(key, u.shape, u.dtype), -1.0, 1.0)

    def update(self, state: DDPGState, key: Array, batch: Transitions) -> tuple[DDPGState, dict[str, Array]]:
        """One step of critic and actor on a batch (n rows); nothing is drawn, `key` is not used."""
        y = self._target(state, batch)
        loss, gradient = eqx.filter_value_and_grad(critic_loss)(state.critics.parameters, batch, y)
        critics = state.critics.step(gradient, self.optimiser)
        gradient = eqx.filter_grad(_actor_loss)(state.actor.parameters, critics.parameters, batch.x)
        actor = state.actor.step(gradient, self.optimiser)
        old, new = (state.target_actor, state.targets), (actor.parameters, critics.parameters)
        metrics = {"critic_loss": loss, "q": jnp.mean(y)}
        return DDPGState(actor, critics, *polyak(old, new, self.polyak), state.seen.add(y)), metrics

    def _target(self, state: DDPGState, batch: Transitions) -> Array:
        """Bellman backup `y` of every row."""
        u = jax.vmap(state.target_actor)(batch.new)
        q = jax.vmap(least, in_axes=(None, 0, 0))(state.targets, batch.new, u)
        return batch.reward + self.discount * (1.0 - batch.terminal) * q


def _actor_loss(actor: DeterministicPolicy, critics: tuple[ActionValue], xs: Array) -> Array:
    us = jax.vmap(actor)(xs)
    return -jnp.mean(jax.vmap(least, in_axes=(None, 0, 0))(critics, xs, us))
