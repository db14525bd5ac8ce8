"""The linear-quadratic model that every sequential computation works on."""

from collections.abc import Callable

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float


class LQModel(eqx.Module):
    """Linear dynamics and quadratic cost at N intervals, in absolute or deviation coordinates.

        x_{k+1} = A_k x_k + B_k u_k + d_k
        l_k = 1/2 x'Q_k x + q_k'x + u'P_k x + 1/2 u'R_k u + r_k'u,    k < N
        phi = 1/2 x'Q_N x + q_N'x

    `Q` and `R` are symmetric (of others an implementation may read either triangle). Every array may have any number
    of leading batch axes, the same for all.
    """

    A: Float[Array, "*batch N nx nx"]
    B: Float[Array, "*batch N nx nu"]
    d: Float[Array, "*batch N nx"]
    Q: Float[Array, "*batch N+1 nx nx"]
    q: Float[Array, "*batch N+1 nx"]
    R: Float[Array, "*batch N nu nu"]
    r: Float[Array, "*batch N nu"]
    P: Float[Array, "*batch N nu nx"]

    @property
    def horizon(self) -> int:
        """Number of intervals N."""
        return self.B.shape[-3]

    @property
    def nx(self) -> int:
        """Number of states."""
        return self.B.shape[-2]

    @property
    def nu(self) -> int:
        """Number of controls."""
        return self.B.shape[-1]

    @property
    def batch_ndim(self) -> int:
        """Number of leading batch axes."""
        return self.B.ndim - 3

    def objective(self, states: Float[Array, "*batch N+1 nx"], controls: Float[Array, "*batch N nu"]) -> Array:
        """Value of the quadratic cost, one per problem."""
        quadratic = jnp.einsum("...ki,...kij,...kj->...", states, self.Q, states)
        quadratic += jnp.einsum("...ki,...kij,...kj->...", controls, self.R, controls)
        cross = jnp.einsum("...ki,...kij,...kj->...", controls, self.P, states[..., :-1, :])
        linear = jnp.sum(self.q * states, axis=(-2, -1)) + jnp.sum(self.r * controls, axis=(-2, -1))
        return 0.5 * quadratic + cross + linear


class EqualityRows(eqx.Module):
    """Equality constraints `C_k x + D_k u + e_k = 0`, of which only the rows with `mask` set are enforced.

    Fixed shapes for every contact mode: an unset row is ignored and its multiplier is zero.
    """

    C: Float[Array, "*batch N ng nx"]
    D: Float[Array, "*batch N ng nu"]
    e: Float[Array, "*batch N ng"]
    mask: Bool[Array, "*batch N ng"]


class InequalityRows(eqx.Module):
    """Linear inequalities `E_k x_k + F_k u_k + e_k >= 0`, k < N; a row with `e` infinite is not there."""

    E: Float[Array, "*batch N nh nx"]
    F: Float[Array, "*batch N nh nu"]
    e: Float[Array, "*batch N nh"]


def over_batch(function: Callable, batch_ndim: int) -> Callable:
    """Apply `function`, written for one problem, over leading batch axes of all its array arguments."""
    for _ in range(batch_ndim):
        function = jax.vmap(function)
    return function
