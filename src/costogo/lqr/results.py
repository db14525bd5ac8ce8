"""What the functions of this layer take and return besides the model."""

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int


class Sweep(eqx.Module):
    """Result of a backward sweep: an affine policy `u = k + K x` and the quadratic cost-to-go at each knot.

    `V(x) = 1/2 x' value_hessian x + value_gradient' x + value_constant`. `free` marks controls not held at a bound.
    `multiplier_offset + multiplier_slope x` are the multipliers of equality rows (shape ng = 0 without rows).
    `decrease` holds the linear and the quadratic coefficient of the predicted change of cost under a step `alpha k`:
    `alpha decrease[0] + alpha^2/2 decrease[1]`. `factor` is the Cholesky factor of the (masked) `Quu`.
    """

    gains: Float[Array, "*batch N nu nx"]
    feedforward: Float[Array, "*batch N nu"]
    value_hessian: Float[Array, "*batch N+1 nx nx"]
    value_gradient: Float[Array, "*batch N+1 nx"]
    value_constant: Float[Array, "*batch N+1"]
    Quu: Float[Array, "*batch N nu nu"]
    Qux: Float[Array, "*batch N nu nx"]
    factor: Float[Array, "*batch N nu nu"]
    free: Bool[Array, "*batch N nu"]
    multiplier_offset: Float[Array, "*batch N ng"]
    multiplier_slope: Float[Array, "*batch N ng nx"]
    decrease: Float[Array, "*batch 2"]
    status: Int[Array, "*batch"]


class Limits(eqx.Module):
    """How controls are restricted at each knot.

    With `box=False`: controls with `free` unset are held at `fixed`. With `box=True`: the control minimises the local
    quadratic between `lower` and `upper` (the clamped sweep of box DDP), and `free` is found.
    """

    lower: Float[Array, "*batch N nu"]
    upper: Float[Array, "*batch N nu"]
    free: Bool[Array, "*batch N nu"]
    box: bool = eqx.field(static=True, default=False)

    @staticmethod
    def masked(free: Array, fixed: Array) -> "Limits":
        """Hold the controls that are not free at `fixed`."""
        return Limits(lower=fixed, upper=fixed, free=free)

    @staticmethod
    def boxed(lower: Array, upper: Array) -> "Limits":
        """Keep the feedforward within bounds."""
        return Limits(lower=lower, upper=upper, free=jnp.ones_like(lower, bool), box=True)


class LQSolution(eqx.Module):
    """States (N+1, nx), controls (N, nu) and costates (N+1, nx) of a linear-quadratic problem."""

    states: Float[Array, "*batch N+1 nx"]
    controls: Float[Array, "*batch N nu"]
    costates: Float[Array, "*batch N+1 nx"]


class LQAdjoint(eqx.Module):
    """Solution of the adjoint LQR: directions `d_x`, `d_u`, their costates, and the cotangent of held controls."""

    states: Float[Array, "*batch N+1 nx"]
    controls: Float[Array, "*batch N nu"]
    costates: Float[Array, "*batch N+1 nx"]
    fixed: Float[Array, "*batch N nu"]
    status: Int[Array, "*batch"]


class BoundedSolution(eqx.Module):
    """Solution of an inequality-constrained LQ problem.

    `sweep` is the masked sweep on the final active set: its gains and cost-to-go are those of the constrained
    problem near the solution. `free` is False on controls at a bound with a multiplier of the right sign.
    """

    states: Float[Array, "*batch N+1 nx"]
    controls: Float[Array, "*batch N nu"]
    free: Bool[Array, "*batch N nu"]
    inequality_multipliers: Float[Array, "*batch N nh"]
    sweep: Sweep
    status: Int[Array, "*batch"]
    iterations: Int[Array, "*batch"]
