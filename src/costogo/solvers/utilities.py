"""Utilities of sampling MPC: from the costs of samples to their weights (spec dmd_mpc sections 4.2 and 4.3).

A utility is a function of the costs (M,) that returns weights (M,) for the mirror step. A sample whose cost is infinite
has weight zero; where all are, all weights are zero and the plan stays. A utility whose weights may be none that a plan
can follow has `nonconvex(costs)`, which says where they are not, and `faults` reports it.
"""

import math
from collections.abc import Callable

import equinox as eqx
import jax
import jax.numpy as jnp
from jax.typing import ArrayLike
from jaxtyping import Array, Float

from costogo.core.validate import is_concrete, require


def elite_count(share: float, samples: int) -> int:
    """The number of elites, `ceil(share * samples)`, at least one."""
    return max(1, math.ceil(share * samples - 1e-9))


def faults(utility: Callable, costs: Float[Array, " M"]) -> dict[str, Array]:
    """Known faults of a utility's weights for these costs, by name: one where there is a fault, else zero. Utilities
    without faults have no entries."""
    check = getattr(utility, "nonconvex", None)
    return {} if check is None else {"nonconvex": check(costs).astype(costs.dtype)}


class LowCost(eqx.Module):
    """Probability of low cost, `U = 1{C <= C_max}` with C_max the `elites`-quantile of the costs (eq. 13): the mean of
    the elites. With a step of one it is the cross-entropy method."""

    elites: float = eqx.field(static=True, default=0.1)

    def __check_init__(self):
        require(0 < self.elites <= 1, f"elites is {self.elites}; pass a share of the samples in (0, 1]")

    def __call__(self, costs: Float[Array, " M"]) -> Float[Array, " M"]:
        """Equal weights on the `ceil(elites * M)` lowest costs."""
        chosen = _chosen(costs, self.elites)
        return chosen / jnp.maximum(jnp.sum(chosen), 1.0)


class Exponentiated(eqx.Module):
    """Expected exponentiated utility, `U = exp(-C / temperature)`: path-integral control (MPPI). `temperature` has the
    unit of the cost."""

    temperature: ArrayLike = 1.0

    def __check_init__(self):
        if is_concrete(self.temperature):
            require(float(self.temperature) > 0, f"temperature is {self.temperature}; pass a positive number")

    def __call__(self, costs: Float[Array, " M"]) -> Float[Array, " M"]:
        """Softmax of the negative costs."""
        lowest = jnp.min(costs)
        any_finite = jnp.isfinite(lowest)
        raised = jnp.where(jnp.isfinite(costs), costs - jnp.where(any_finite, lowest, 0.0), jnp.inf)
        return jnp.where(any_finite, jax.nn.softmax(-jnp.where(any_finite, raised, 0.0) / self.temperature), 0.0)


class ShiftedElites(eqx.Module):
    """Elites weighted by what they earn more than the worst of them, `w_i ~ C_worst - C_i + margin (C_worst - C_best)`:
    a positive version of what eq. 14 is described as, invariant to an offset of the reward."""

    elites: float = eqx.field(static=True, default=0.1)
    margin: float = eqx.field(static=True, default=0.1)

    def __check_init__(self):
        require(0 < self.elites <= 1, f"elites is {self.elites}; pass a share of the samples in (0, 1]")
        require(self.margin > 0, f"margin is {self.margin}; pass a positive number")

    def __call__(self, costs: Float[Array, " M"]) -> Float[Array, " M"]:
        """Weights that fall linearly with the cost, over the elites."""
        chosen = _chosen(costs, self.elites)
        worst, best = (f(jnp.where(chosen > 0, costs, edge)) for f, edge in ((jnp.max, -jnp.inf), (jnp.min, jnp.inf)))
        spread = jnp.where(worst > best, worst - best, 1.0)
        share = jnp.where(chosen > 0, (worst - jnp.where(chosen > 0, costs, worst)) / spread + self.margin, 0.0)
        return share / jnp.maximum(jnp.sum(share), 1e-30)


class LiteralElites(eqx.Module):
    """Eq. 14 as printed, `sum_elites C_i u_i / sum_elites C_i`, for the ablation only.

    Costs and returns give the same weights. Where all returns are negative the worse samples get more; where signs are
    mixed, weights are negative and their sum may vanish (`nonconvex` counts that).
    """

    elites: float = eqx.field(static=True, default=0.1)

    def __check_init__(self):
        require(0 < self.elites <= 1, f"elites is {self.elites}; pass a share of the samples in (0, 1]")

    def __call__(self, costs: Float[Array, " M"]) -> Float[Array, " M"]:
        """Weights proportional to the cost, over the elites."""
        chosen = _chosen(costs, self.elites)
        kept = jnp.where(chosen > 0, costs, 0.0)
        return jnp.where(jnp.any(chosen > 0), kept / jnp.sum(kept), 0.0)

    def nonconvex(self, costs: Float[Array, " M"]) -> Array:
        """Whether the weights are no convex combination: one of them negative or not finite."""
        weights = self(costs)
        return jnp.any(~(weights >= 0.0))


class ExpectedCost(eqx.Module):
    """Expected cost, `J = E[C]` (eq. 8): signed weights `-(C_i - mean C) / M`, a policy gradient with its baseline.

    They do not sum to one, so the step size has the unit of controls squared over cost. Eq. 9 as printed is another
    formula, and not a descent (spec 4.3).
    """

    def __call__(self, costs: Float[Array, " M"]) -> Float[Array, " M"]:
        """Signed weights."""
        finite = jnp.isfinite(costs)
        mean = jnp.sum(jnp.where(finite, costs, 0.0)) / jnp.maximum(jnp.sum(finite), 1)
        return jnp.where(finite, mean - jnp.where(finite, costs, 0.0), 0.0) / len(costs)


def _chosen(costs: Array, share: float) -> Array:
    """One for the elites with a finite cost, zero for others. (By rank: equal costs do not make more of them.)"""
    _, places = jax.lax.top_k(-costs, elite_count(share, len(costs)))
    chosen = jnp.zeros_like(costs).at[places].set(1.0)
    return jnp.where(jnp.isfinite(costs), chosen, 0.0)
