"""The control Hamiltonian that a constrained solution implies, at any state (spec mpc_net sections 4.7 and 5)."""

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from costogo.problem import (
    OptimalControlProblem,
    RelaxedBarrier,
    equality_values,
    inequality_values,
    linearise,
    value_and_jacobians,
)
from costogo.solvers.solution import Solution


class HamiltonianExpansion(eqx.Module):
    """Hamiltonian per unit of time, to second order in the control about the solver's own.

    `H(u) - H(control) = gradient' du + 1/2 du' hessian du` with `du = u - control`; never absolute values, which mean
    nothing and whose differences drown in float32.
    """

    control: Float[Array, " nu"]
    gradient: Float[Array, " nu"]
    hessian: Float[Array, "nu nu"]

    def __call__(self, u: Float[Array, " nu"]) -> Float[Array, ""]:
        """`H(u) - H(control)`."""
        du = u - self.control
        return self.gradient @ du + 0.5 * du @ (self.hessian @ du)


class HamiltonianSample(eqx.Module):
    """What the Hamiltonian at one state and time needs: the frozen costate and multipliers of the paper's tuple.

        H(x, u, t) = [l(x, u, t) + dt sum_i b(h_i) + nu' g(x, u, t) + p' (f(x, u, t) - x)] / dt,

    with the costate `p = V_x,k+1` at the *next* state under the solver's policy (form B of spec section 5; the costate
    at the current state would move the minimum, in proportion to dt). `control` is the policy's.
    """

    state: Float[Array, " nx"]
    time: Float[Array, ""]
    control: Float[Array, " nu"]
    costate: Float[Array, " nx"]
    multipliers: Float[Array, " ng"]

    def value(self, problem: OptimalControlProblem, barrier: RelaxedBarrier, u: Float[Array, " nu"]) -> Array:
        """`H(u)`, all functions evaluated at the state itself (mode N)."""
        return sum(jnp.sum(part) for part in self.parts(problem, barrier, u).values())

    def parts(
        self, problem: OptimalControlProblem, barrier: RelaxedBarrier, u: Float[Array, " nu"]
    ) -> dict[str, Array]:
        """Terms of `H(u)`: "cost" and "dynamics", "equality" (ng,) and "inequality" (nh,) row by row."""
        x, t, dt = self.state, self.time, problem.dt
        h = inequality_values(problem, x[None], u[None], t[None])[0]
        seen = h != jnp.inf
        penalties = jnp.where(seen, barrier(jnp.where(seen, h, barrier.delta)), 0.0)
        return {
            "cost": jnp.asarray(problem.stage_cost(x, u, t)) / dt,
            "dynamics": self.costate @ (problem.dynamics(x, u, t) - x) / dt,
            "equality": self.multipliers * equality_values(problem, x[None], u[None], t[None])[0] / dt,
            "inequality": penalties,
        }


def hamiltonian_sample(
    problem: OptimalControlProblem,
    solution: Solution,
    x: Float[Array, " nx"],
    k: Int[Array, ""] | int = 0,
    t0: Array | float = 0.0,
) -> HamiltonianSample:
    """Costate and multipliers at state `x` and knot `k`, from the quadratic cost-to-go of a solution from `t0`.

    The policy is `u = controls[k] + gains[k] (x - states[k])`. For `x` near `states[k]`: within the spread of samples
    the cost-to-go must be close to quadratic.
    """
    dx = x - solution.states[k]
    control = solution.controls[k] + solution.gains[k] @ dx
    time = problem.times(t0, x.dtype)[k]
    following = problem.dynamics(x, control, time)
    value, rows = solution.value, solution.multipliers
    costate = value.gradient[k + 1] + value.hessian[k + 1] @ (following - solution.states[k + 1])
    return HamiltonianSample(x, time, control, costate, rows.offset[k] + rows.slope[k] @ dx)


def expand_hamiltonian(
    problem: OptimalControlProblem, barrier: RelaxedBarrier, sample: HamiltonianSample
) -> HamiltonianExpansion:
    """Second-order expansion about the policy's control.

    The Hessian is that of the cost and the Gauss-Newton one of the barrier, so that it is positive definite; curvature
    of dynamics and constraints is left out (they are affine in the control where the method is sound).
    """
    x, u, t, dt = sample.state, sample.control, sample.time, problem.dt
    gradient, push = jax.linearize(jax.grad(lambda u: jnp.asarray(problem.stage_cost(x, u, t), x.dtype)), u)
    hessian = jax.vmap(push)(jnp.eye(problem.nu, dtype=x.dtype))
    point = (x[None], u[None], t[None])
    gradient += sample.costate @ linearise(problem, *point)[2][0]
    if problem.equality is not None:
        gradient += sample.multipliers @ value_and_jacobians(problem.equality, *point)[2][0]
    if problem.inequality is not None:
        h = inequality_values(problem, *point)[0]
        seen = h != jnp.inf
        F = jnp.where(seen[:, None], value_and_jacobians(problem.inequality, *point)[2][0], 0.0)
        first, second = (dt * jnp.where(seen, b, 0.0) for b in barrier.derivatives(jnp.where(seen, h, barrier.delta)))
        gradient += first @ F
        hessian += jnp.einsum("h,hi,hj->ij", second, F, F)
    return HamiltonianExpansion(u, gradient / dt, hessian / dt)
