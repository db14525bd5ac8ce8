"""Planar swimmer: links in a viscous plane, which push off from the fluid across themselves only."""

from typing import Any, ClassVar

import equinox as eqx
import jax
import jax.numpy as jnp
from jax.typing import ArrayLike
from jaxtyping import Array, Float

from costogo.core.validate import require
from costogo.problem import OptimalControlProblem, discretise
from costogo.systems.mechanics import acceleration


class Swimmer(eqx.Module):
    """Chain of `links` equal rods in a plane without gravity (spec constrained_gps 8.1).

    Coordinates `q = (x, y, heading, joints)`: centre of the head (m), its angle and those between neighbours (rad);
    state: `q` and its rates, 10 numbers for three links. Control: torques of the joints (N m). Each rod feels at its
    centre the force `-drag l (v . n) n` across itself and the moment `-drag l^3 / 12 omega`; along itself it glides.

    `effort |u|^2 + (xd - speed)^2` is the cost of a knot. Masses kg, lengths m.
    """

    mass: ArrayLike = 1.0
    length: ArrayLike = 1.0
    drag: ArrayLike = 10.0
    speed: ArrayLike = 1.0
    effort: ArrayLike = 1e-4
    links: int = eqx.field(static=True, default=3)
    dt: float = eqx.field(static=True, default=0.05)

    substeps: ClassVar[int] = 5

    def __check_init__(self):
        require(self.links >= 2, f"links is {self.links}; pass at least 2, so that there is a joint")

    @property
    def nu(self) -> int:
        """Joints."""
        return self.links - 1

    @property
    def nx(self) -> int:
        """Coordinates and their rates."""
        return 2 * (self.links + 2)

    def _bodies(self, q: Array, qd: Array) -> tuple[Array, Array, Array]:
        """Directions (n, 2), velocities of the centres (n, 2) and turning rates (n,) of the links."""
        angles, rates = jnp.cumsum(q[2:]), jnp.cumsum(qd[2:])
        along = jnp.stack([jnp.cos(angles), jnp.sin(angles)], axis=1)
        across = jnp.stack([-along[:, 1], along[:, 0]], axis=1)
        # Half of a link behind its own centre, and half of the next one.
        half = 0.5 * self.length * rates[:, None] * across
        behind = jnp.concatenate([jnp.zeros((1, 2), q.dtype), jnp.cumsum(half[:-1] + half[1:], axis=0)])
        return across, qd[:2] - behind, rates

    def _velocities(self, q: Array, qd: Array) -> Float[Array, " w"]:
        """Velocities of the centres, then turning rates."""
        _, centres, rates = self._bodies(q, qd)
        return jnp.concatenate([centres.ravel(), rates])

    def _inertia(self, dtype: Any) -> Float[Array, "w w"]:
        masses = jnp.full(2 * self.links, self.mass)
        moments = jnp.full(self.links, self.mass * self.length**2 / 12.0)
        return jnp.diag(jnp.concatenate([masses, moments])).astype(dtype)

    def energy(self, x: Float[Array, " nx"]) -> Array:
        """Kinetic energy (J)."""
        w = self._velocities(*jnp.split(x, 2))
        return 0.5 * w @ self._inertia(x.dtype) @ w

    def _fluid(self, q: Array, qd: Array) -> Float[Array, " w"]:
        """Forces and moments of the fluid on the links."""
        across, centres, rates = self._bodies(q, qd)
        force = -self.drag * self.length * jnp.sum(centres * across, axis=1, keepdims=True) * across
        return jnp.concatenate([force.ravel(), -self.drag * self.length**3 / 12.0 * rates])

    def velocity(self, x: Float[Array, " nx"], u: Float[Array, " nu"], t: Array) -> Float[Array, " nx"]:
        """Time derivative of the state."""
        q, qd = jnp.split(x, 2)
        _, pull = jax.vjp(lambda rates: self._velocities(q, rates), qd)
        (force,) = pull(self._fluid(q, qd))
        still = lambda q: jnp.zeros((), q.dtype)  # noqa: E731 - no potential
        turning = acceleration(
            self._velocities, self._inertia(x.dtype), jnp.zeros_like, still, q, qd, force.at[3:].add(u)
        )
        return jnp.concatenate([qd, turning])

    def cost(self, x: Float[Array, " nx"], u: Float[Array, " nu"], t: Array) -> Array:
        """To swim at `speed` along x."""
        return self.effort * jnp.sum(u**2) + (x[self.links + 2] - self.speed) ** 2

    def problem(self, horizon: int = 120) -> OptimalControlProblem:
        """The cost at every knot, without a terminal one; semi-implicit Euler with five substeps."""
        dynamics = discretise(self.velocity, self.dt, "semi_implicit_euler", substeps=self.substeps)
        return OptimalControlProblem(dynamics, self.cost, horizon=horizon, nu=self.nu, dt=self.dt)
