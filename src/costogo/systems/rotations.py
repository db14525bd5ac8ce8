"""Rotations in three dimensions, written with few operations: compilers pay for each one."""

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

# Matrices of the cross products e_x x, e_y x, e_z x.
GENERATORS = np.array([
    [[0.0, 0.0, 0.0], [0.0, 0.0, -1.0], [0.0, 1.0, 0.0]],
    [[0.0, 0.0, 1.0], [0.0, 0.0, 0.0], [-1.0, 0.0, 0.0]],
    [[0.0, -1.0, 0.0], [1.0, 0.0, 0.0], [0.0, 0.0, 0.0]],
])  # fmt: skip
_SQUARES = GENERATORS @ GENERATORS


def rotation_x(angle: Array) -> Float[Array, "3 3"]:
    """Rotation about x."""
    return _rotation(0, angle)


def rotation_y(angle: Array) -> Float[Array, "3 3"]:
    """Rotation about y."""
    return _rotation(1, angle)


def rotation_z(angle: Array) -> Float[Array, "3 3"]:
    """Rotation about z."""
    return _rotation(2, angle)


def _rotation(axis: int, angle: Array) -> Float[Array, "3 3"]:
    K, square = (jnp.asarray(part[axis], angle.dtype) for part in (GENERATORS, _SQUARES))
    return jnp.eye(3, dtype=angle.dtype) + jnp.sin(angle) * K + (1.0 - jnp.cos(angle)) * square


def euler_rotation(rpy: Float[Array, " 3"]) -> Float[Array, "3 3"]:
    """Body to world, `R = Rz(yaw) Ry(pitch) Rx(roll)` with `rpy = (roll, pitch, yaw)`."""
    return rotation_z(rpy[2]) @ rotation_y(rpy[1]) @ rotation_x(rpy[0])


def euler_rates(rpy: Float[Array, " 3"], omega: Float[Array, " 3"]) -> Float[Array, " 3"]:
    """Rates of the angles for an angular velocity in the body frame (rad/s); singular at a pitch of 90 degrees."""
    sin, cos = jnp.sin(rpy[0]), jnp.cos(rpy[0])
    level = sin * omega[1] + cos * omega[2]
    return jnp.stack([omega[0] + jnp.tan(rpy[1]) * level, cos * omega[1] - sin * omega[2], level / jnp.cos(rpy[1])])


def cross(a: Float[Array, "*n 3"], b: Float[Array, "*n 3"]) -> Float[Array, "*n 3"]:
    """Cross product of vectors along the last axis."""
    return jnp.einsum("ikj,...i,...j->...k", jnp.asarray(GENERATORS, a.dtype), a, b)
