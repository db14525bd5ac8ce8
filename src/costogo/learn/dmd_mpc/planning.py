"""Sampling MPC for acting: the plan that a learner would imagine from a state, carried out."""

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from costogo.learn.dmd_mpc.imagination import ImprovedRollouts
from costogo.learn.dmd_mpc.source import Source


class Planner(eqx.Module):
    """A policy that plans in the learned model: in each elite one mirror-descent step about the policy's rollout.

        u = clip(1/K sum_k plan_k(x)[0])

    with plans of `horizon` steps that end in the agent's value; to `residual` plans the policy's control is added. The
    samples are the same in every state, so that the same state gives the same control. (Not in Algorithm 1, whose agent
    acts without planning; the authors' released code plans online, differently: spec dmd_mpc section 7.)
    """

    imagination: ImprovedRollouts
    source: Source
    key: Array
    horizon: int = eqx.field(static=True)

    def __call__(self, x: Float[Array, " no"]) -> Float[Array, " nu"]:
        """The first control of the mean plan."""
        networks = self.source.networks

        def first(network, key):
            return self.imagination.plan(self.source, network, x, self.horizon, key)[0]

        u = jnp.mean(jax.vmap(first)(networks, jax.random.split(self.key, len(networks.upper))), axis=0)
        own = self.source.agent.act(self.source.state, x) if self.imagination.residual else 0.0
        return jnp.clip(u + own, -1.0, 1.0)
