"""Soft actor-critic."""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from costogo.nn import ActionValue, TanhGaussianPolicy
from costogo.rl.agent import ActorCritic, TargetRange, Trained, critic_loss, duplicate, least, polyak
from costogo.rl.replay import Transitions


class SACState(eqx.Module):
    """Actor, two critics and the logarithm of the temperature, each with its optimiser; targets of the critics."""

    actor: Trained
    critics: Trained
    targets: tuple[ActionValue, ActionValue]
    log_temperature: Trained
    seen: TargetRange


class SAC(ActorCritic):
    """Soft actor-critic with two critics and automatic temperature (Haarnoja et al. 2018; spec dmd_mpc section 6).

        y = r + discount (1 - terminal) (min_j Qbar_j(x', a') - alpha log pi(a' | x'))
        critics: 1/2 (Q_j(x, u) - y)^2      actor: alpha log pi(a | x) - min_j Q_j(x, a)
        temperature: -log alpha (log pi(a | x) + target_entropy)

    with a, a' drawn from the policy. Order within an update: critics, actor with the new critics, temperature, Polyak
    averages of the critics at rate `polyak`. `target_entropy` (nats) is `-nu` unless given. An agent acts on
    observations (no,) with controls in [-1, 1]^nu.
    """

    target_entropy: float | None = eqx.field(static=True, default=None)

    def init(self, key: Array) -> SACState:
        """Fresh networks, temperature one."""
        actor, *critics = jax.random.split(key, 3)
        policy = TanhGaussianPolicy(self.no, self.nu, key=actor, hidden=self.hidden)
        pair = tuple(ActionValue(self.no, self.nu, key=k, hidden=self.hidden) for k in critics)
        make = Trained.create
        return SACState(
            make(policy, self.optimiser), make(pair, self.optimiser), duplicate(pair),
            make(jnp.zeros((), jnp.float32), self.optimiser), TargetRange.empty(),
        )  # fmt: skip

    def act(self, state: SACState, x: Float[Array, " no"], key: Array | None = None) -> Float[Array, " nu"]:
        """A draw from the policy if a key is given, else its mean, squashed."""
        actor = state.actor.parameters
        return actor(x) if key is None else actor.sample(x, jax.random.normal(key, (self.nu,), jnp.float32))[0]

    def update(self, state: SACState, key: Array, batch: Transitions) -> tuple[SACState, dict[str, Array]]:
        """One step of critics, actor and temperature on a batch (n rows)."""
        noise = jax.random.normal(key, (2, *batch.u.shape), jnp.float32)
        alpha = jnp.exp(state.log_temperature.parameters)
        y = self._target(state, alpha, batch, noise[0])
        loss, gradient = eqx.filter_value_and_grad(critic_loss)(state.critics.parameters, batch, y)
        critics = state.critics.step(gradient, self.optimiser)
        (_, entropy), gradient = eqx.filter_value_and_grad(_actor_loss, has_aux=True)(
            state.actor.parameters, critics.parameters, alpha, batch.x, noise[1]
        )
        actor = state.actor.step(gradient, self.optimiser)
        aim = -self.nu if self.target_entropy is None else self.target_entropy
        temperature = state.log_temperature.step(entropy - aim, self.optimiser)
        targets = polyak(state.targets, critics.parameters, self.polyak)
        metrics = {"critic_loss": loss, "entropy": entropy, "temperature": alpha, "q": jnp.mean(y)}
        return SACState(actor, critics, targets, temperature, state.seen.add(y)), metrics

    def _target(self, state: SACState, alpha: Array, batch: Transitions, noise: Array) -> Array:
        """Soft Bellman backup `y` of every row."""
        u, log_density = jax.vmap(state.actor.parameters.sample)(batch.new, noise)
        q = jax.vmap(least, in_axes=(None, 0, 0))(state.targets, batch.new, u)
        return batch.reward + self.discount * (1.0 - batch.terminal) * (q - alpha * log_density)


def _actor_loss(actor: TanhGaussianPolicy, critics: Any, alpha: Array, xs: Array, noise: Array) -> tuple[Array, Array]:
    """Loss, and the entropy of the policy on the batch."""
    us, log_density = jax.vmap(actor.sample)(xs, noise)
    q = jax.vmap(least, in_axes=(None, 0, 0))(critics, xs, us)
    return jnp.mean(alpha * log_density - q), -jnp.mean(log_density)
