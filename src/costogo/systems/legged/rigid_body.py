"""Dynamics of one rigid body under forces at given points."""

import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike
from jaxtyping import Array, Float

from costogo.systems.rotations import GENERATORS, cross

GRAVITY = 9.81


def body_inertia(mass: ArrayLike, centre: ArrayLike, inertia: ArrayLike) -> np.ndarray:
    """Inertia (6, 6) of angular and linear acceleration of the base origin, in the base frame.

    `[[I_c - m c^c^, m c^], [-m c^, m I]]` with the centre of mass `c` in the base frame (m) and the inertia `I_c` about
    it (kg m2).
    """
    c, mass = np.asarray(centre, float), float(np.asarray(mass))
    hat = np.tensordot(c, GENERATORS, 1)
    about = np.asarray(inertia, float)
    about = np.diag(about) if about.ndim == 1 else about
    return np.block([[about - mass * hat @ hat, mass * hat], [-mass * hat, mass * np.eye(3)]])


def body_acceleration(
    inertia: Float[Array, "6 6"],
    inverse: Float[Array, "6 6"],
    rotation: Float[Array, "3 3"],
    omega: Float[Array, " 3"],
    velocity: Float[Array, " 3"],
    points: Float[Array, "n 3"],
    forces: Float[Array, "n 3"],
) -> Float[Array, " 6"]:
    """Angular and linear acceleration of the base origin, in the base frame (spec mpc_net 8.1).

    `inertia` as of `body_inertia`; points and forces (N) in the base frame; `rotation` from base to world.
    """
    mass_c, mass = inertia[:3, 3:], inertia[5, 5]
    momentum = inertia @ jnp.concatenate([omega, velocity])
    gravity = -GRAVITY * mass * rotation[2]  # m R'g
    # m c^ is the upper right block: c x (m R'g) = (m c^)(R'g).
    moment = jnp.sum(cross(points, forces), axis=0) + mass_c @ (gravity / mass)
    # Both parts of the momentum turn with the base; the moment is about its origin, which moves.
    angular = moment - cross(omega, momentum[:3]) - cross(velocity, momentum[3:])
    linear = jnp.sum(forces, axis=0) + gravity - cross(omega, momentum[3:])
    return inverse @ jnp.concatenate([angular, linear])
