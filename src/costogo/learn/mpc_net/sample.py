"""Teacher samples: what the student learns from."""

import equinox as eqx
from jaxtyping import Array, Float


class Sample(eqx.Module):
    """One row: what the student sees, the Hamiltonian's expansion about the teacher's control, and where it came from.

    `costate` and `multipliers` allow the exact Hamiltonian to be evaluated later; `state` and `time` name the place.
    """

    observation: Float[Array, " no"]
    control: Float[Array, " nu"]
    gradient: Float[Array, " nu"]
    hessian: Float[Array, "nu nu"]
    state: Float[Array, " nx"]
    time: Float[Array, ""]
    costate: Float[Array, " nx"]
    multipliers: Float[Array, " ng"]
