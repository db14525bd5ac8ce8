"""Native kernels against the pure-JAX sweeps where arguments are odd: bad numbers, held rows, shared axes, callers."""

from concurrent.futures import ThreadPoolExecutor

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from costogo import Status
from costogo.lqr import EqualityRows, InequalityRows, Limits, backward, costates, forward, interior_point, sweeps
from costogo.lqr.native import library
from test_native import assert_same, catalogue, zero

pytestmark = pytest.mark.skipif(library() is None, reason="the native kernels were not built here")

INTERIOR_POINT = sweeps._interior_point(50, 20)
LANES, BAD = 4, 1  # problems of a batch, and the one that is spoilt


def well_posed_rows(rows: EqualityRows, ng: int, seed=0) -> EqualityRows:
    """Rows that the first `ng` controls alone can satisfy."""
    rng = np.random.default_rng(seed)
    shape = rows.D.shape[:-2]
    D = 0.1 * rng.standard_normal((*shape, ng, rows.D.shape[-1]))
    D[..., :ng] += np.eye(ng)
    C, e = 0.2 * rng.standard_normal((*shape, ng, rows.C.shape[-1])), rng.standard_normal((*shape, ng))
    return jax.tree.map(jnp.asarray, EqualityRows(C, D, e, rng.random((*shape, ng)) < 0.6))


@pytest.mark.parametrize(("size", "ng"), [((2, 1, 3), 1), ((3, 5, 4), 2), ((8, 4, 3), 4), ((13, 7, 2), 3)], ids=str)
def test_rows_on_held_controls_agree(size, ng):
    """Masks and rows together, up to as many rows as controls, with regularisation."""
    model, free, fixed, rows, _ = catalogue(*size, batch=(5,))
    rows, free = well_posed_rows(rows, ng), free.at[..., :ng].set(True)
    limits = Limits.masked(free, jnp.where(free, 0.0, fixed))
    sweep = assert_same(sweeps._backward, model, limits, rows, zero(model) + 0.3, None)
    assert np.all(sweep.status == Status.CONVERGED)


def test_single_precision_bounds():
    """The interior point in float32 finds the solution of float64."""
    model, *_, x0 = catalogue(4, 1, 8, batch=(9,))
    bound = jnp.full_like(model.r, 0.2)
    arguments = (model, x0, -bound, bound, None, zero(model), None, None)
    double = INTERIOR_POINT.ways["native"](*arguments)
    single = INTERIOR_POINT.ways["native"](*jax.tree.map(lambda a: a.astype(jnp.float32), arguments))
    assert single.controls.dtype == jnp.float32
    np.testing.assert_array_equal(single.status, double.status)
    np.testing.assert_allclose(single.controls, double.controls, atol=1e-4)
    np.testing.assert_allclose(single.states, double.states, atol=1e-4 * (1 + jnp.abs(double.states).max()))


def spoil(array, value, *where):
    return array.at[(BAD, *where)].set(value)


def _with(tree, field, value):
    return eqx.tree_at(lambda t: getattr(t, field), tree, value)


def _boxed(nu, side, value):
    """A boxed sweep with one bound of one problem replaced."""
    model, *_ = catalogue(4 * nu, nu, 4, batch=(LANES,))
    limit = jnp.full_like(model.r, 0.3)
    ends = {"lower": -limit, "upper": limit}
    ends[side] = spoil(ends[side], value, 1, 0)
    return model, Limits.boxed(**ends), None, zero(model), None


def _held(value, free):
    """A masked sweep with one control held at, or free from, a value."""
    model, mask, fixed, *_ = catalogue(4, 1, 4, batch=(LANES,))
    limits = Limits.masked(mask.at[BAD, 1].set(free), spoil(fixed, value, 1, 0))
    return model, limits, None, zero(model), None


def _regularised(value):
    model, *_ = catalogue(4, 1, 4, batch=(LANES,))
    return model, None, None, spoil(zero(model), value), None


def _rows(field, is_set):
    """A sweep with NaN in one equality row, which is set or not."""
    model, *_, rows, _ = catalogue(4, 1, 4, batch=(LANES,))
    rows = well_posed_rows(rows, 1)
    rows = _with(rows, "mask", spoil(rows.mask, is_set, 1, 0))
    array = getattr(rows, field)
    rows = _with(rows, field, spoil(array, jnp.nan, 1, *(0,) * (array.ndim - 2)))
    return model, None, rows, zero(model), None


# The arguments of a sweep; whether the spoilt problem may converge, or None if only agreement is asked for.
SWEEPS = {
    "lower bound NaN, one control": (lambda: _boxed(1, "lower", jnp.nan), False),
    "lower bound NaN, two controls": (lambda: _boxed(2, "lower", jnp.nan), False),
    "upper bound NaN, one control": (lambda: _boxed(1, "upper", jnp.nan), False),
    "upper bound NaN, two controls": (lambda: _boxed(2, "upper", jnp.nan), False),
    "bounds cross": (lambda: _boxed(1, "lower", 1.0), True),
    "bound infinite": (lambda: _boxed(2, "lower", -jnp.inf), True),
    "held at NaN": (lambda: _held(jnp.nan, False), False),
    "held at infinity": (lambda: _held(jnp.inf, False), False),
    "free, with NaN to be held at": (lambda: _held(jnp.nan, True), True),
    "regularisation NaN": (lambda: _regularised(jnp.nan), False),
    "regularisation infinite": (lambda: _regularised(jnp.inf), False),
    "regularisation negative": (lambda: _regularised(-1e6), False),
    **{f"{field} NaN in a set row": (lambda field=field: _rows(field, True), False) for field in "CDe"},
    **{f"{field} NaN in an unset row": (lambda field=field: _rows(field, False), True) for field in "CDe"},
}


def _bounded(lower=None, upper=None, regularisation=0.0, x0=None, R=None, guess=None, rows=None, e=None):
    """A bounded problem; values replace one entry of one of its problems, `e` is a pair of knot and row and a value."""
    model, *_, start = catalogue(4, 2, 5, batch=(LANES,))
    bound, none = jnp.full_like(model.r, 0.3), zero(model)
    ends = [-bound, bound] if rows != "only" else [jnp.full_like(bound, -jnp.inf), jnp.full_like(bound, jnp.inf)]
    for i, value in enumerate((lower, upper)):
        ends[i] = ends[i] if value is None else spoil(ends[i], value, 2, 0)
    if x0 is not None:
        start = spoil(start, x0, 0)
    if R is not None:
        model = _with(model, "R", spoil(model.R, R, 2, 0, 0))
    if guess is not None:
        guess = spoil(jnp.zeros(bound.shape, jnp.int8), guess, 2, 0)
    inequality = None if rows is None else _general_rows(e)
    return model, start, *ends, inequality, spoil(none, regularisation), None, guess


def _general_rows(e):
    """Three rows per knot, far from active; one offset is replaced."""
    rng = np.random.default_rng(1)
    E, F = 0.1 * rng.standard_normal((LANES, 5, 3, 4)), rng.standard_normal((LANES, 5, 3, 2))
    rows = jax.tree.map(jnp.asarray, InequalityRows(E, F, np.full((LANES, 5, 3), 1e3)))
    return rows if e is None else _with(rows, "e", spoil(rows.e, e[1], *e[0]))


# The same for the interior point. An infinite offset is tried in the first, a middle and the last row.
BOUNDED = {
    "indefinite": (lambda: _bounded(R=-50.0), False),
    "indefinite, with rows": (lambda: _bounded(R=-50.0, rows="too"), False),
    "bounds cross": (lambda: _bounded(lower=1.0), False),
    "bounds cross, with rows": (lambda: _bounded(lower=1.0, rows="too"), False),
    "bounds cross, with NaN in a row": (lambda: _bounded(lower=1.0, rows="too", e=((0, 0), jnp.nan)), False),
    "bounds both infinite": (lambda: _bounded(lower=jnp.inf, upper=jnp.inf), False),
    "bound NaN": (lambda: _bounded(upper=jnp.nan), False),
    "x0 NaN": (lambda: _bounded(x0=jnp.nan), False),
    "x0 infinite": (lambda: _bounded(x0=jnp.inf), False),
    "regularisation NaN": (lambda: _bounded(regularisation=jnp.nan), False),
    "regularisation infinite": (lambda: _bounded(regularisation=jnp.inf), False),
    **{
        f"e {value} at {place}": (lambda place=place, value=value: _bounded(rows="only", e=(place, value)), False)
        for place in ((0, 0), (2, 1), (4, 2))
        for value in (jnp.nan, -jnp.inf)
    },
    **{
        f"e infinite at {place}": (lambda place=place: _bounded(rows="only", e=(place, jnp.inf)), True)
        for place in ((0, 0), (2, 1), (4, 2))
    },
}


def _check(way, make, converges):
    """The same statuses, all neighbours solved, and success of the spoilt problem only where it may be."""
    arguments = make()
    native, pure = way.ways["native"](*arguments), way.ways["jax"](*arguments)
    np.testing.assert_array_equal(native.status, pure.status, err_msg="statuses of native and pure")
    neighbours = np.arange(LANES) != BAD
    assert np.all(np.asarray(native.status)[neighbours] == Status.CONVERGED)
    if converges is not None:
        assert (native.status[BAD] == Status.CONVERGED) == converges, f"both say status {native.status[BAD]}"


@pytest.mark.parametrize("case", SWEEPS)
def test_statuses_of_a_spoilt_sweep(case):
    """Odd bounds, held values, rows and regularisation of a backward sweep."""
    _check(sweeps._backward, *SWEEPS[case])


@pytest.mark.parametrize("case", BOUNDED)
def test_statuses_of_a_spoilt_bounded_problem(case):
    """Odd bounds, rows, starts and Hessians of a bounded problem."""
    _check(INTERIOR_POINT, *BOUNDED[case])


@pytest.mark.parametrize("held", [{"lower": 0.0, "upper": 0.0}, {"guess": -1}], ids=["equal bounds", "guess"])
def test_active_set_holds_an_indefinite_control(held):
    """Where the problem is convex on the active set, the native path finds it; the pure one starts without bounds."""
    arguments = _bounded(R=-50.0, **held)
    found = INTERIOR_POINT.ways["native"](*arguments)
    assert found.status[BAD] == Status.CONVERGED and not found.free[BAD, 2, 0]
    model, x, u = jax.tree.map(lambda leaf: leaf[BAD], (arguments[0], found.states, found.controls))
    gradient = sweeps.control_gradient(model, x, u, costates(model, x, u))
    assert np.abs(gradient[found.free[BAD]]).max() < 1e-9
    assert held == {"lower": 0.0, "upper": 0.0} or gradient[2, 0] > 0
    assert INTERIOR_POINT.ways["jax"](*arguments).status[BAD] == Status.INDEFINITE


@pytest.mark.parametrize("way", ["native", "jax"])
@pytest.mark.parametrize("seed", range(20))
def test_a_dependent_row_is_a_failure(way, seed):
    """Two rows of one direction, whose factorisation ends on rounding: never a success."""
    model, *_ = catalogue(2, 3, 2, seed=seed)
    row = np.random.default_rng(seed).standard_normal((2, 1, 3))
    D, ones = jnp.asarray(np.concatenate([row, 3 * row], axis=1)), jnp.ones((2, 2))
    rows = EqualityRows(jnp.zeros((2, 2, 2)), D, ones, ones > 0)
    assert sweeps._backward.ways[way](model, None, rows, zero(model), None).status == Status.INDEFINITE


@pytest.mark.parametrize("way", ["native", "jax"])
def test_success_is_finite_from_a_bad_start(way):
    """A masked solve from NaN or infinity does not report success."""
    model, free, fixed, _, x0 = catalogue(4, 1, 5, batch=(LANES,))
    for value in (jnp.nan, jnp.inf):
        solution, status = sweeps._solve.ways[way](model, spoil(x0, value, 0), free, fixed)
        finite = np.all(np.isfinite(solution.controls), axis=(1, 2))
        np.testing.assert_array_equal(finite | (np.asarray(status) != Status.CONVERGED), True)


def test_shared_arguments_at_every_level():
    """Three vmaps, each over other arguments and one over a second axis: the same as one problem at a time."""
    model, *_ = catalogue(4, 2, 5)
    rng = np.random.default_rng(0)
    bounds, starts = jnp.array([0.1, 0.4]), jnp.asarray(rng.standard_normal((4, 3)))
    shifts, skips = jnp.linspace(0.0, 1.0, 2), jnp.array([True, False])

    def run(bound, start, shift, skip):
        changed = eqx.tree_at(lambda m: m.q, model, model.q + shift)
        limit = jnp.full_like(model.r, bound)
        bounded = interior_point(changed, start, -limit, limit, skip=skip)
        sweep = backward(changed, limits=Limits.boxed(-limit, limit))
        states, controls = forward(model, sweep.gains, sweep.feedforward, start)
        return bounded.controls, costates(changed, states, controls)

    nested = jax.vmap(run, (None, None, 0, 0))
    nested = jax.jit(jax.vmap(jax.vmap(nested, (None, 1, None, None)), (0, None, None, None)))
    controls, adjoints = nested(bounds, starts, shifts, skips)
    assert controls.shape == (2, 3, 2, 5, 2)
    single = jax.jit(run)
    for i, j, k in np.ndindex(2, 3, 2):
        expected, adjoint = single(bounds[i], starts[:, j], shifts[k], jnp.array(False))
        np.testing.assert_allclose(adjoints[i, j, k], adjoint, atol=1e-12)
        np.testing.assert_allclose(controls[i, j, k], 0.0 if skips[k] else expected, atol=1e-12)


def test_empty_batch_of_bounded_problems():
    """No problems at all: empty results, and no call of a kernel on nothing."""
    model, *_, x0 = catalogue(4, 1, 5, batch=(2, 0))
    bound = jnp.full_like(model.r, 0.2)
    found = INTERIOR_POINT.ways["native"](model, x0, -bound, bound, None, zero(model), None, None)
    assert found.controls.shape == (2, 0, 5, 1) and found.status.shape == (2, 0)


def test_too_many_batch_axes_is_an_error():
    """More axes than a kernel keeps strides for: an exception that says so."""
    model, *_ = catalogue(2, 1, 2, batch=(1,) * 17)
    with pytest.raises(Exception, match="16 batch axes"):
        jax.block_until_ready(sweeps._backward.ways["native"](model, None, None, zero(model), None))


def test_concurrent_callers_agree():
    """Several Python threads share the kernels' threads; each gets its own results."""
    model, *_, x0 = catalogue(8, 4, 10, batch=(64,))
    bound = jnp.full_like(model.r, 0.2)

    def solve(scale):
        limit = scale * bound
        return INTERIOR_POINT.ways["native"](model, x0, -limit, limit, None, zero(model), None, None).controls

    scales = jnp.linspace(0.5, 2.0, 8)
    alone = [np.asarray(solve(scale)) for scale in scales]
    with ThreadPoolExecutor(4) as pool:
        for _ in range(5):
            for together, expected in zip(pool.map(solve, scales), alone, strict=True):
                np.testing.assert_array_equal(together, expected)
