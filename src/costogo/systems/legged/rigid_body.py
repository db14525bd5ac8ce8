"""Rotations and the dynamics of one rigid body under forces at given points."""

import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike
from jaxtyping import Array, Float

GRAVITY = 9.81


def rotation_x(angle: Array) -> Float[Array, "3 3"]:
    """Rotation about x."""
    c, s, zero, one = _entries(angle)
    return jnp.stack([one, zero, zero, zero, c, -s, zero, s, c]).reshape(3, 3)


def rotation_y(angle: Array) -> Float[Array, "3 3"]:
    """Rotation about y."""
    c, s, zero, one = _entries(angle)
    return jnp.stack([c, zero, s, zero, one, zero, -s, zero, c]).reshape(3, 3)


def rotation_z(angle: Array) -> Float[Array, "3 3"]:
    """Rotation about z."""
    c, s, zero, one = _entries(angle)
    return jnp.stack([c, -s, zero, s, c, zero, zero, zero, one]).reshape(3, 3)


def _entries(angle: Array) -> tuple[Array, Array, Array, Array]:
    return jnp.cos(angle), jnp.sin(angle), jnp.zeros_like(angle), jnp.ones_like(angle)


def euler_rotation(rpy: Float[Array, " 3"]) -> Float[Array, "3 3"]:
    """Base to world, `R = Rz(yaw) Ry(pitch) Rx(roll)` with `rpy = (roll, pitch, yaw)`."""
    return rotation_z(rpy[2]) @ rotation_y(rpy[1]) @ rotation_x(rpy[0])


def euler_rates(rpy: Float[Array, " 3"], omega: Float[Array, " 3"]) -> Float[Array, " 3"]:
    """Rates of the angles for an angular velocity in the base frame (rad/s); singular at a pitch of 90 degrees."""
    sin, cos = jnp.sin(rpy[0]), jnp.cos(rpy[0])
    level = sin * omega[1] + cos * omega[2]
    return jnp.stack([omega[0] + jnp.tan(rpy[1]) * level, cos * omega[1] - sin * omega[2], level / jnp.cos(rpy[1])])


def skew(a: Array) -> Array:
    """Matrix of the cross product `a x`."""
    zero = jnp.zeros_like(a[0])
    return jnp.stack([zero, -a[2], a[1], a[2], zero, -a[0], -a[1], a[0], zero]).reshape(3, 3)


def body_inertia(mass: ArrayLike, centre: ArrayLike, inertia: ArrayLike) -> np.ndarray:
    """Inertia (6, 6) of angular and linear acceleration of the base origin, in the base frame.

    `[[I_c - m c^c^, m c^], [-m c^, m I]]` with the centre of mass `c` in the base frame (m) and the inertia `I_c` about
    it (kg m2).
    """
    c, mass = np.asarray(centre, float), float(np.asarray(mass))
    hat = np.array([[0.0, -c[2], c[1]], [c[2], 0.0, -c[0]], [-c[1], c[0], 0.0]])
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
    moment = jnp.sum(jnp.cross(points, forces), axis=0) + mass_c @ (gravity / mass)
    # Both parts of the momentum turn with the base; the moment is about its origin, which moves.
    angular = moment - jnp.cross(omega, momentum[:3]) - jnp.cross(velocity, momentum[3:])
    linear = jnp.sum(forces, axis=0) + gravity - jnp.cross(omega, momentum[3:])
    return inverse @ jnp.concatenate([angular, linear])
