"""Riccati interior-point method for LQ problems with control bounds and linear inequalities, in pure JAX.

One problem; the contract stands in `sweeps`.
"""

from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array

from costogo.core.status import Status
from costogo.lqr.model import InequalityRows, LQModel
from costogo.lqr.results import BoundedSolution, Limits, Sweep
from costogo.lqr.riccati import backward, control_gradient, costates, forward, resweep

TO_BOUNDARY = 0.995


class _Rows(NamedTuple):
    """One array per family of inequalities: lower bounds, upper bounds (N, nu), general rows (N, nh)."""

    lower: Array
    upper: Array
    general: Array


class _Problem(NamedTuple):
    model: LQModel
    x0: Array
    lower: Array
    upper: Array
    rows: InequalityRows
    present: _Rows  # which inequalities exist: an infinite bound or offset does not


class _Iterate(NamedTuple):
    x: Array
    u: Array
    slack: _Rows
    dual: _Rows
    mu: Array
    iteration: Array
    ok: Array


def interior_point(
    model: LQModel,
    x0: Array,
    lower: Array,
    upper: Array,
    rows: InequalityRows,
    regularisation: Array,
    max_iterations: int,
    polish_iterations: int,
) -> BoundedSolution:
    """Bounded solution of one problem."""
    model = eqx.tree_at(lambda m: m.R, model, model.R + regularisation * jnp.eye(model.nu, dtype=model.R.dtype))
    present = _Rows(jnp.isfinite(lower), jnp.isfinite(upper), rows.e != jnp.inf)
    return _solve(_Problem(model, x0, lower, upper, rows, present), max_iterations, polish_iterations)


def _solve(problem: _Problem, max_iterations: int, polish_iterations: int) -> BoundedSolution:
    start = _start(problem)
    tolerance = jnp.finfo(problem.x0.dtype).eps ** 0.625
    scale = 1e-30 + start.mu

    def running(it: _Iterate):
        converged = (it.mu <= tolerance * scale) & (
            _residual(problem, it) <= tolerance * (1.0 + jnp.max(jnp.abs(it.u)))
        )
        return ~converged & it.ok & (it.iteration < max_iterations)

    final = jax.lax.while_loop(running, lambda it: _iterate(problem, it), start)
    general = problem.rows.e.shape[-1] > 0
    return _unpolished(problem, final, tolerance * scale) if general else _polish(problem, final, polish_iterations)


def _sweep(model: LQModel, limits: Limits | None = None) -> Sweep:
    return backward(model, limits, None, jnp.zeros((), model.B.dtype))


def _gaps(problem: _Problem, x: Array, u: Array) -> _Rows:
    """`h(w)` of every inequality; one where the bound does not exist."""
    lower = jnp.where(problem.present.lower, u - problem.lower, 1.0)
    upper = jnp.where(problem.present.upper, problem.upper - u, 1.0)
    rows = problem.rows
    general = jnp.einsum("kij,kj->ki", rows.E, x[:-1]) + jnp.einsum("kij,kj->ki", rows.F, u) + rows.e
    return _Rows(lower, upper, jnp.where(problem.present.general, general, 1.0))


def _map(function, *rows: _Rows) -> _Rows:
    return _Rows(*(function(*parts) for parts in zip(*rows, strict=True)))


def _start(problem: _Problem) -> _Iterate:
    """Unconstrained optimum, with slacks moved into the interior and multipliers on one central value.

    Where it satisfies every inequality it is the answer: the multipliers start at zero, and no iteration is needed.
    """
    sweep = _sweep(problem.model)
    x, u = forward(problem.model, sweep.gains, sweep.feedforward, problem.x0)
    gaps = _gaps(problem, x, u)
    curvature = jnp.mean(jnp.diagonal(problem.model.R, axis1=-2, axis2=-1))
    violation = jnp.max(
        jnp.array([jnp.max(jnp.where(p, -g, 0.0), initial=0.0) for g, p in zip(gaps, problem.present, strict=True)])
    )
    floor = jnp.maximum(violation, 1e-2 * (1.0 + jnp.max(jnp.abs(u)) * (violation > 0)))
    interior = jnp.all(jnp.array([jnp.all((g > 0) | ~p) for g, p in zip(gaps, problem.present, strict=True)]))
    slack = _map(lambda g: jnp.where(interior, g, jnp.maximum(g, floor)), gaps)
    mu = jnp.where(interior, 0.0, jnp.maximum(curvature, 1e-8) * floor**2)
    dual = _map(lambda s, p: jnp.where(p, mu / s, 0.0), slack, problem.present)
    ok = sweep.status == Status.CONVERGED
    return _Iterate(x, u, slack, dual, mu, jnp.array(0, jnp.int32), ok)


def _residual(problem: _Problem, it: _Iterate) -> Array:
    """Largest difference between a slack and the inequality it stands for."""
    gaps = _gaps(problem, it.x, it.u)
    differences = _map(
        lambda g, s, p: jnp.max(jnp.where(p, jnp.abs(g - s), 0.0), initial=0.0), gaps, it.slack, problem.present
    )
    return jnp.max(jnp.array(differences))


def _complementarity(problem: _Problem, slack: _Rows, dual: _Rows) -> Array:
    count = sum(jnp.sum(p) for p in problem.present)
    total = sum(jnp.sum(s * z) for s, z in zip(slack, dual, strict=True))
    return total / jnp.maximum(count, 1)


def _linear_terms(problem: _Problem, it: _Iterate, centre: _Rows) -> tuple[Array, Array]:
    """Gradient of the barrier-modified cost, `q` and `r`; `centre` is `sigma mu - (ds dz)`."""
    weight = _map(lambda s, z: z / s, it.slack, it.dual)
    offset = _Rows(
        jnp.where(problem.present.lower, -problem.lower, 0.0),
        jnp.where(problem.present.upper, problem.upper, 0.0),
        jnp.where(problem.present.general, problem.rows.e, 0.0),
    )
    g = _map(
        lambda w, e, z, c, s, p: jnp.where(p, w * e - z - c / s, 0.0),
        weight, offset, it.dual, centre, it.slack, problem.present,
    )  # fmt: skip
    model, rows = problem.model, problem.rows
    q = model.q.at[:-1].add(jnp.einsum("kij,ki->kj", rows.E, g.general))
    r = model.r + g.lower - g.upper + jnp.einsum("kij,ki->kj", rows.F, g.general)
    return q, r


def _augmented(problem: _Problem, it: _Iterate) -> LQModel:
    weight = _map(lambda s, z: z / s, it.slack, it.dual)
    model, rows = problem.model, problem.rows
    diagonal = (weight.lower + weight.upper)[:, :, None] * jnp.eye(model.nu, dtype=model.R.dtype)
    WE, WF = weight.general[..., None] * rows.E, weight.general[..., None] * rows.F
    return eqx.tree_at(
        lambda m: (m.Q, m.R, m.P),
        model,
        (
            model.Q.at[:-1].add(jnp.einsum("kia,kib->kab", rows.E, WE)),
            model.R + diagonal + jnp.einsum("kia,kib->kab", rows.F, WF),
            model.P + jnp.einsum("kia,kib->kab", rows.F, WE),
        ),
    )


def _directions(problem: _Problem, it: _Iterate, centre: _Rows, x: Array, u: Array) -> tuple[_Rows, _Rows]:
    """Newton directions of slacks and multipliers, towards the target trajectory."""
    gaps = _gaps(problem, x, u)
    ds = _map(lambda g, s, p: jnp.where(p, g - s, 0.0), gaps, it.slack, problem.present)
    dz = _map(
        lambda c, s, z, g, p: jnp.where(p, (c - z * g) / s, 0.0), centre, it.slack, it.dual, gaps, problem.present
    )
    return ds, dz


def _step_length(it: _Iterate, ds: _Rows, dz: _Rows) -> Array:
    """Largest step in (0, 1] that keeps slacks and multipliers nonnegative."""
    ratios = [
        jnp.min(jnp.where(dv < 0, -v / jnp.where(dv < 0, dv, -1.0), jnp.inf), initial=jnp.inf)
        for v, dv in zip((*it.slack, *it.dual), (*ds, *dz), strict=True)
    ]
    return jnp.min(jnp.array(ratios))


def _iterate(problem: _Problem, it: _Iterate) -> _Iterate:
    """One predictor-corrector iteration: one full sweep and one linear half."""
    model = _augmented(problem, it)
    zero = _map(jnp.zeros_like, it.slack)
    q, r = _linear_terms(problem, it, zero)
    model = eqx.tree_at(lambda m: (m.q, m.r), model, (q, r))
    sweep = _sweep(model)
    x, u = forward(model, sweep.gains, sweep.feedforward, problem.x0)
    ds, dz = _directions(problem, it, zero, x, u)
    alpha = jnp.minimum(1.0, _step_length(it, ds, dz))
    affine = _complementarity(
        problem, _map(lambda s, d: s + alpha * d, it.slack, ds), _map(lambda z, d: z + alpha * d, it.dual, dz)
    )
    mu = _complementarity(problem, it.slack, it.dual)
    sigma = jnp.clip(affine / jnp.where(mu > 0, mu, 1.0), 0.0, 1.0) ** 3
    centre = _map(lambda a, b, p: jnp.where(p, sigma * mu - a * b, 0.0), ds, dz, problem.present)

    q, r = _linear_terms(problem, it, centre)
    model = eqx.tree_at(lambda m: (m.q, m.r), model, (q, r))
    feedforward, _ = resweep(model, sweep)
    x, u = forward(model, sweep.gains, feedforward, problem.x0)
    ds, dz = _directions(problem, it, centre, x, u)
    alpha = jnp.minimum(1.0, TO_BOUNDARY * _step_length(it, ds, dz))
    slack = _map(lambda s, d: s + alpha * d, it.slack, ds)
    dual = _map(lambda z, d: z + alpha * d, it.dual, dz)
    new = _Iterate(
        x=it.x + alpha * (x - it.x),
        u=it.u + alpha * (u - it.u),
        slack=slack,
        dual=dual,
        mu=_complementarity(problem, slack, dual),
        iteration=it.iteration + 1,
        ok=(sweep.status == Status.CONVERGED) & jnp.all(jnp.isfinite(u)) & jnp.all(jnp.isfinite(x)),
    )
    kept = jax.tree.map(lambda a, b: jnp.where(new.ok, a, b), new, it)
    return kept._replace(iteration=new.iteration, ok=new.ok)


def _well_posed(problem: _Problem) -> Array:
    """Whether the bounds are numbers that do not cross: elsewhere an active set may settle and mean nothing."""
    return jnp.all(problem.lower <= problem.upper)


def _failure(problem: _Problem, it: _Iterate) -> Array:
    """Status of a problem that did not reach its tolerance."""
    rows = eqx.tree_at(lambda r: r.e, problem.rows, jnp.where(problem.present.general, problem.rows.e, 0.0))
    finite = [jnp.all(jnp.isfinite(leaf)) for leaf in jax.tree.leaves((problem.model, rows, problem.x0))]
    finite += [~jnp.any(jnp.isnan(problem.lower)), ~jnp.any(jnp.isnan(problem.upper))]
    crossed = jnp.any(problem.lower > problem.upper)
    # A sweep that fails later than the first one is a symptom: the barrier grew without bound.
    indefinite = ~it.ok & (it.iteration == 0)
    infeasible = crossed | (~indefinite & (_residual(problem, it) > 1e-3))
    status = jnp.where(indefinite, Status.INDEFINITE, Status.MAX_ITERATIONS)
    status = jnp.where(infeasible, Status.INFEASIBLE, status)
    return jnp.where(jnp.all(jnp.array(finite)), status, Status.NOT_FINITE)


def _unpolished(problem: _Problem, it: _Iterate, tolerance: Array) -> BoundedSolution:
    q, r = _linear_terms(problem, it, _map(jnp.zeros_like, it.slack))
    sweep = _sweep(eqx.tree_at(lambda m: (m.q, m.r), _augmented(problem, it), (q, r)))
    free = (it.slack.lower >= it.dual.lower) & (it.slack.upper >= it.dual.upper)
    done = it.ok & (it.mu <= tolerance) & _well_posed(problem)
    status = jnp.where(done, Status.CONVERGED, _failure(problem, it)).astype(jnp.int32)
    return BoundedSolution(it.x, it.u, free, it.dual.general, sweep, status, it.iteration)


def _polish(problem: _Problem, it: _Iterate, max_iterations: int) -> BoundedSolution:
    """Primal-dual active-set iteration from the interior-point guess; every step is one masked sweep."""
    model = problem.model
    equal = problem.lower == problem.upper

    def evaluate(at_lower, at_upper):
        free = ~(at_lower | at_upper)
        fixed = jnp.where(at_lower, problem.lower, jnp.where(at_upper, problem.upper, 0.0))
        sweep = _sweep(model, Limits.masked(free, fixed))
        x, u = forward(model, sweep.gains, sweep.feedforward, problem.x0)
        gradient = control_gradient(model, x, u, costates(model, x, u))
        # Rounding must not make a weakly active bound flicker.
        slack = 1e2 * jnp.finfo(u.dtype).eps * (1.0 + jnp.abs(u))
        tiny = 1e2 * jnp.finfo(u.dtype).eps * (1.0 + jnp.max(jnp.abs(model.r)) + jnp.max(jnp.abs(gradient)))
        low = jnp.where(at_lower, gradient >= -tiny, (u < problem.lower - slack) & ~at_upper) | equal
        high = (jnp.where(at_upper, gradient <= tiny, (u > problem.upper + slack) & ~at_lower)) & ~equal
        return sweep, x, u, low, high

    def body(carry):
        at_lower, at_upper, _, count, _ = carry
        result = evaluate(at_lower, at_upper)
        low, high = result[3:]
        settled = jnp.all(low == at_lower) & jnp.all(high == at_upper)
        return low, high, settled, count + 1, result

    at_lower = ((it.dual.lower > it.slack.lower) & problem.present.lower) | equal
    at_upper = (it.dual.upper > it.slack.upper) & problem.present.upper & ~at_lower
    empty = jax.tree.map(lambda s: jnp.zeros(s.shape, s.dtype), jax.eval_shape(evaluate, at_lower, at_upper))
    guess = (at_lower, at_upper, jnp.array(False), jnp.array(0, jnp.int32), empty)
    # The last pass is the one whose set repeats, so its sweep belongs to that set; a failed problem takes one pass.
    at_lower, at_upper, settled, count, (sweep, x, u, _, _) = jax.lax.while_loop(
        lambda c: ~c[2] & (c[3] < jnp.where(it.ok, max_iterations, 1)), body, guess
    )
    done = settled & it.ok & (sweep.status == Status.CONVERGED) & _well_posed(problem)
    status = jnp.where(done, Status.CONVERGED, _failure(problem, it)).astype(jnp.int32)
    u = jnp.where(done, jnp.clip(u, problem.lower, problem.upper), it.u)
    x = jnp.where(done, x, it.x)
    multipliers = jnp.zeros((*u.shape[:-1], 0), u.dtype)
    return BoundedSolution(x, u, ~(at_lower | at_upper), multipliers, sweep, status, it.iteration + count - 1)
