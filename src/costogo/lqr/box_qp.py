"""Box-constrained quadratic program by projected Newton."""

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from costogo.lqr.linalg import cholesky, cholesky_solve

ARMIJO = 0.1
STEP_DECAY = 0.1
STEP_TRIALS = 10


class BoxQPSolution(eqx.Module):
    """Minimiser, free set and iterations of a box QP; `ok` is False if the free block was not positive definite."""

    x: Float[Array, " n"]
    free: Bool[Array, " n"]
    iterations: Int[Array, ""]
    ok: Bool[Array, ""]


def box_qp(
    H: Float[Array, "n n"],
    g: Float[Array, " n"],
    lower: Float[Array, " n"],
    upper: Float[Array, " n"],
    start: Float[Array, " n"] | None = None,
    max_iterations: int = 20,
) -> BoxQPSolution:
    """Minimise `1/2 x'Hx + g'x` subject to `lower <= x <= upper`, H positive definite.

    Projected Newton (Tassa, Mansard and Todorov 2014; spec differentiable_mpc 5.1): a variable is clamped if it sits at
    a bound and the gradient pushes outwards; the Newton direction lives on the others; a projected Armijo line search
    tries all step sizes at once. Deviations: stops when the free set repeats under a full step or the direction is
    below the precision's square root, not at 1e-4; one variable is solved in closed form.
    """
    if H.shape[-1] == 1:
        return _scalar_box_qp(H, g, lower, upper)
    tolerance = jnp.sqrt(jnp.finfo(H.dtype).eps) * 1e-2
    start = jnp.clip(jnp.zeros_like(g) if start is None else start, lower, upper)
    alphas = jnp.asarray(STEP_DECAY, H.dtype) ** jnp.arange(STEP_TRIALS)

    def body(carry):
        x, _, ok, _, iteration = carry
        gradient = H @ x + g
        free = ~(((x <= lower) & (gradient > 0)) | ((x >= upper) & (gradient < 0)))
        direction, factor_ok = _newton_direction(H, gradient, free)
        trials = jnp.clip(x + alphas[:, None] * direction, lower, upper)
        moves = trials - x
        # Decrease in terms of the move, exact and free of cancellation: -(g'm + 1/2 m'Hm).
        decrease = -(moves @ gradient + 0.5 * jnp.sum(moves * (moves @ H), axis=1))
        accepted = (decrease >= ARMIJO * -(moves @ gradient)) & (decrease > 0)
        new = jnp.where(jnp.any(accepted), trials[jnp.argmax(accepted)], x)
        small = jnp.max(jnp.abs(direction)) <= tolerance * (1.0 + jnp.max(jnp.abs(x)))
        done = small | ~jnp.any(accepted) | ~factor_ok
        return new, free, ok & factor_ok, done, iteration + 1

    def running(carry):
        return ~carry[3] & (carry[4] < max_iterations)

    first = (start, jnp.ones_like(g, bool), jnp.array(True), jnp.array(False), jnp.array(0, jnp.int32))
    x, free, ok, done, iterations = jax.lax.while_loop(running, body, first)
    return BoxQPSolution(x=x, free=free, iterations=iterations, ok=ok & done)


def _newton_direction(H, gradient, free):
    """Newton direction on the free variables, zero on the clamped ones."""
    both = free[:, None] & free[None, :]
    L, ok = cholesky(jnp.where(both, H, jnp.eye(len(gradient), dtype=H.dtype)))
    return -cholesky_solve(L, jnp.where(free, gradient, 0.0)[:, None])[:, 0], ok


def _scalar_box_qp(H, g, lower, upper) -> BoxQPSolution:
    positive = H[0] > 0
    newton = -g / jnp.where(positive, H[0], 1.0)
    x = jnp.clip(newton, lower, upper)
    free = (newton > lower) & (newton < upper)
    return BoxQPSolution(x=x, free=free, iterations=jnp.array(1, jnp.int32), ok=positive[0])
