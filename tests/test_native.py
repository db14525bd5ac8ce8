"""Native kernels against the pure-JAX sweeps: sizes, masks, precisions, batches, statuses, threads."""

import os
import subprocess
import sys

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from costogo import Status
from costogo.lqr import EqualityRows, InequalityRows, Limits, backward, forward, set_threads, solve_lqr, sweeps
from costogo.lqr.native import library
from oracles import random_model

pytestmark = pytest.mark.skipif(library() is None, reason="the native kernels were not built here")

SIZES = [
    (1, 1, 1),
    (2, 1, 3),
    (4, 1, 12),
    (5, 2, 7),
    (8, 4, 6),
    (3, 5, 4),
    (11, 2, 5),
    (13, 7, 3),
    (24, 24, 2),
    (40, 17, 2),
]
TOLERANCE = {"float64": 1e-10, "float32": 1e-4}


def catalogue(nx, nu, N, batch=(), dtype="float64", seed=0):
    """A well-conditioned model (A of spectral radius 0.9), a mask with held values, equality rows, a start."""
    rng = np.random.default_rng(seed)
    model = random_model(seed, nx, nu, N, batch)
    if 0 not in batch:
        A = np.asarray(model.A)
        radius = np.abs(np.linalg.eigvals(A)).max(axis=-1)[..., None, None]
        model = eqx.tree_at(lambda m: m.A, model, 0.9 * A / np.maximum(radius, 0.5))
    ng = min(2, nu)
    free = rng.random((*batch, N, nu)) < 0.7
    orthonormal = np.linalg.qr(rng.standard_normal((*batch, N, nu, nu)))[0][..., :ng, :]
    rows = EqualityRows(
        C=0.2 * rng.standard_normal((*batch, N, ng, nx)),
        D=orthonormal,
        e=rng.standard_normal((*batch, N, ng)),
        mask=rng.random((*batch, N, ng)) < 0.6,
    )
    fixed = np.where(free, 0.0, rng.standard_normal(free.shape))
    x0 = rng.standard_normal((*batch, nx))

    def cast(leaf):
        return jnp.asarray(leaf, leaf.dtype if leaf.dtype == bool else dtype)

    return jax.tree.map(cast, (model, free, fixed, rows, x0))


def assert_same(way: sweeps._TwoWays, *arguments, tolerance=1e-10):
    """Both implementations agree: statuses always, values where a problem converged."""
    native, pure = way.ways["native"](*arguments), way.ways["jax"](*arguments)
    good = np.array(True)
    for result in jax.tree.leaves(native, is_leaf=lambda n: hasattr(n, "status")):
        if hasattr(result, "status"):
            good = np.asarray(result.status) == Status.CONVERGED
    for path, ours in jax.tree_util.tree_leaves_with_path(native):
        name, theirs = jax.tree_util.keystr(path), _at(pure, path)
        assert ours.shape == theirs.shape and ours.dtype == theirs.dtype, name
        if "iterations" in name:
            continue
        ours, theirs = np.asarray(ours), np.asarray(theirs)
        # The sweep inside a failed bounded solution means nothing, its status included.
        if name != ".status" and good.ndim:
            ours, theirs = ours[good], theirs[good]
        if ours.size:
            scale = 1.0 + np.abs(theirs.astype(float)).max()
            np.testing.assert_allclose(
                ours.astype(float), theirs.astype(float), atol=tolerance * scale, rtol=0, err_msg=name
            )
    return native


def _at(tree, path):
    return dict(jax.tree_util.tree_leaves_with_path(tree))[path]


def zero(model):
    return jnp.zeros(model.B.shape[: model.batch_ndim], model.B.dtype)


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("size", SIZES, ids=str)
def test_backward_agrees(size, dtype):
    """All restrictions of the controls, with and without regularisation, in a batch that fills no group."""
    model, free, fixed, rows, _ = catalogue(*size, batch=(11,), dtype=dtype)
    bound = jnp.full_like(fixed, 0.3)
    masked, boxed = Limits.masked(free, fixed), Limits.boxed(-bound, bound)
    for limits, equality in ((None, None), (masked, None), (boxed, None), (None, rows)):
        for regularisation in (zero(model), zero(model) + 0.3):
            sweep = assert_same(
                sweeps._backward, model, limits, equality, regularisation, None, tolerance=TOLERANCE[dtype]
            )
            assert np.all(sweep.status == Status.CONVERGED)


@pytest.mark.parametrize("batch", [(), (1,), (3,), (2, 3), (0,), (17,)], ids=str)
def test_batches_agree(batch):
    """No axis, one, several, none at all; on one size of each layout."""
    for size in ((4, 1, 5), (8, 4, 3)):
        model, free, fixed, rows, x0 = catalogue(*size, batch=batch)
        sweep = assert_same(sweeps._backward, model, None, None, zero(model), None)
        assert_same(sweeps._backward, model, Limits.masked(free, fixed), rows, zero(model), None) if size[
            1
        ] > 2 else None
        states, controls = assert_same(sweeps._forward, model, sweep.gains, sweep.feedforward, x0)
        assert_same(sweeps._costates, model, states, controls)
        assert_same(sweeps._solve, model, x0, free, fixed)


@pytest.mark.parametrize("size", [(1, 1, 1), (4, 1, 8), (8, 4, 5), (13, 7, 3)], ids=str)
def test_interior_point_agrees(size):
    """Bounds, also infinite ones and equal ones; regularisation; a right, a wrong and a random guess."""
    model, _, _, _, x0 = catalogue(*size, batch=(9,))
    upper = jnp.full_like(model.r, 0.2).at[0].set(jnp.inf).at[1, 0].set(-0.1)
    lower = jnp.full_like(model.r, -0.2).at[1, 0].set(-0.1).at[2].set(-jnp.inf)
    way = sweeps._interior_point(50, 20)
    for regularisation in (zero(model), zero(model) + 0.3):
        plain = assert_same(way, model, x0, lower, upper, None, regularisation, None, None)
    assert np.all(plain.status == Status.CONVERGED) and not np.all(plain.free)
    right = jnp.where(plain.free, 0, jnp.where(plain.controls >= upper, 1, -1)).astype(jnp.int8)
    random = jnp.asarray(np.random.default_rng(0).integers(-1, 2, lower.shape), jnp.int8)
    for guess in (right, -right, random):
        found = way.ways["native"](model, x0, lower, upper, None, zero(model) + 0.3, None, guess)
        np.testing.assert_allclose(found.controls, plain.controls, atol=1e-10)
        np.testing.assert_array_equal(found.status, plain.status)
    assert np.all(way.ways["native"](model, x0, lower, upper, None, zero(model) + 0.3, None, right).iterations == 0)


def test_general_inequalities_agree():
    """Rows on states and controls; the interior point has no polish there."""
    model, _, _, _, x0 = catalogue(4, 2, 6, batch=(5,))
    rng = np.random.default_rng(1)
    E, F = rng.standard_normal((5, 6, 3, 4)), rng.standard_normal((5, 6, 3, 2))
    rows = InequalityRows(E=jnp.asarray(0.1 * E), F=jnp.asarray(F), e=jnp.ones((5, 6, 3)))
    free = jnp.full_like(model.r, jnp.inf)
    ways = sweeps._interior_point(50, 20).ways
    native, pure = (ways[way](model, x0, -free, free, rows, zero(model), None, None) for way in ("native", "jax"))
    assert np.all(native.status == Status.CONVERGED) and np.all(pure.status == Status.CONVERGED)
    # Not the sweep, whose Hessians hold the barrier's weights, up to 1e12.
    for name in ("states", "controls", "inequality_multipliers"):
        np.testing.assert_allclose(getattr(native, name), getattr(pure, name), rtol=1e-4, atol=1e-6)


def test_failures_have_the_same_status():
    """Crossing bounds, NaN, infinity and indefinite Hessians, each in its own lane."""
    model, _, _, _, x0 = catalogue(4, 1, 8, batch=(9,))
    lower, upper = jnp.full_like(model.r, -0.2), jnp.full_like(model.r, 0.2)
    lower = lower.at[1, 3].set(1.0).at[2, 0].set(jnp.nan)
    x0 = x0.at[3].set(jnp.nan)
    broken = eqx.tree_at(
        lambda m: (m.A, m.q, m.R), model,
        (model.A.at[4, 2, 0, 0].set(jnp.nan), model.q.at[5, -1].set(jnp.inf), model.R.at[6, 7].set(-100.0)),
    )  # fmt: skip
    way = sweeps._interior_point(50, 20)
    found = assert_same(way, broken, x0, lower, upper, None, zero(model), None, None)
    expected = [0, Status.INFEASIBLE, *[Status.NOT_FINITE] * 4, Status.INDEFINITE, 0, 0]
    np.testing.assert_array_equal(found.status, expected)
    sweep = assert_same(sweeps._backward, broken, None, None, zero(model), None)
    expected = [0, 0, 0, 0, Status.NOT_FINITE, Status.NOT_FINITE, Status.INDEFINITE, 0, 0]
    np.testing.assert_array_equal(sweep.status, expected)
    clean = sweeps._backward.ways["native"](model, None, None, zero(model), None)
    np.testing.assert_array_equal(sweep.gains[7:], clean.gains[7:])
    assert not np.any(sweep.gains[4:7])


def test_skipped_problems_cost_their_results_only():
    """Skipped lanes hold zeros; the others are what they are without."""
    for size in ((4, 1, 5), (8, 4, 3)):
        model, _, fixed, _, x0 = catalogue(*size, batch=(19,))
        skip = jnp.arange(19) % 3 == 1
        whole = sweeps._backward.ways["native"](model, None, None, zero(model), None)
        part = sweeps._backward.ways["native"](model, None, None, zero(model), skip)
        np.testing.assert_array_equal(part.gains[~skip], whole.gains[~skip])
        assert not np.any(part.gains[skip])
        bound = jnp.full_like(fixed, 0.2)
        arguments = (model, x0, -bound, bound, None, zero(model))
        way = sweeps._interior_point(50, 20).ways["native"]
        np.testing.assert_array_equal(
            way(*arguments, skip, None).controls[~skip], way(*arguments, None, None).controls[~skip]
        )


def test_nested_vmaps_share_what_is_not_batched():
    """Three levels, with arrays missing at different levels: one call, read with strides."""
    model, _, _, _, _ = catalogue(4, 2, 5)
    scale = jnp.linspace(0.5, 1.0, 3)
    shift = jnp.linspace(0.0, 1.0, 2)
    starts = jnp.asarray(np.random.default_rng(0).standard_normal((4, 4)))

    def control(scale, shift, x0):
        changed = eqx.tree_at(lambda m: (m.A, m.q), model, (scale * model.A, model.q + shift))
        sweep = backward(changed)
        return forward(changed, sweep.gains, sweep.feedforward, x0)[1], solve_lqr(changed, x0).controls

    over_starts = jax.vmap(control, (None, None, 0))
    both, fused = jax.jit(jax.vmap(jax.vmap(over_starts, (None, 0, None)), (0, None, None)))(scale, shift, starts)
    assert both.shape == (3, 2, 4, 5, 2)
    np.testing.assert_allclose(both, fused, atol=1e-12)
    for index in np.ndindex(3, 2, 4):
        single = control(scale[index[0]], shift[index[1]], starts[index[2]])[0]
        np.testing.assert_allclose(both[index], single, atol=1e-12)


def test_lanes_stop_at_different_times():
    """In a vmapped loop each problem keeps the result of its own last pass."""
    model, *_ = catalogue(4, 1, 5)
    limits = jnp.arange(6)

    def repeat(limit):
        def body(carry):
            count, q = carry
            return count + 1, backward(eqx.tree_at(lambda m: m.q, model, q), skip=count > limit).value_gradient

        return jax.lax.while_loop(lambda c: c[0] < limit, body, (jnp.array(0), model.q))[1]

    together = jax.jit(jax.vmap(repeat))(limits)
    for limit in limits:
        np.testing.assert_allclose(together[limit], repeat(limit), rtol=1e-12)


def test_gradients_agree():
    """Through a sweep (the pure rule) and through solve_lqr (one more native solve)."""
    model, free, fixed, _, x0 = catalogue(4, 2, 6, batch=(3,))

    def through_sweep(way, model):
        sweep = sweeps._backward.ways[way](model, None, None, zero(model), None)
        return jnp.sum(sweeps._forward.ways[way](model, sweep.gains, sweep.feedforward, x0)[1] ** 2)

    native, pure = (jax.jit(jax.grad(lambda m, way=way: through_sweep(way, m)))(model) for way in ("native", "jax"))
    for ours, theirs in zip(jax.tree.leaves(native), jax.tree.leaves(pure), strict=True):
        np.testing.assert_allclose(ours, theirs, atol=1e-10 * (1 + jnp.abs(theirs).max()))

    gradient = jax.jit(jax.grad(lambda m: jnp.sum(solve_lqr(m, x0, free, fixed).controls ** 2)))(model)

    def masked(model):
        limits = Limits.masked(free, fixed)
        sweep = sweeps._backward.ways["jax"](model, limits, None, zero(model), None)
        return jnp.sum(sweeps._forward.ways["jax"](model, sweep.gains, sweep.feedforward, x0)[1] ** 2)

    reference = jax.jit(jax.grad(masked))(model)
    for name in ("A", "B", "d", "q", "r", "P"):
        ours, theirs = getattr(gradient, name), getattr(reference, name)
        np.testing.assert_allclose(ours, theirs, atol=1e-9 * (1 + jnp.abs(theirs).max()), err_msg=name)


def test_derivatives_of_a_vmapped_sweep():
    """Batch axes of the rule's results and of the kernel's agree, whichever transformation is outside."""
    model, *_, x0 = catalogue(3, 2, 4)
    scales = jnp.linspace(0.5, 1.0, 3)

    def controls(scale, way="auto"):
        changed = eqx.tree_at(lambda m: m.A, model, scale * model.A)
        sweep = sweeps._backward.ways[way](changed, None, None, zero(model), None)
        return sweeps._forward.ways[way](changed, sweep.gains, sweep.feedforward, x0)[1]

    inside = jax.jit(jax.grad(lambda s: jnp.sum(jax.vmap(controls)(s) ** 2)))(scales)
    outside = jax.jit(jax.vmap(jax.grad(lambda s: jnp.sum(controls(s) ** 2))))(scales)
    forward_mode = jax.jit(jax.vmap(jax.jacfwd(lambda s: jnp.sum(controls(s) ** 2))))(scales)
    pure = jax.jit(jax.vmap(jax.grad(lambda s: jnp.sum(controls(s, "jax") ** 2))))(scales)
    for found in (inside, outside, forward_mode):
        np.testing.assert_allclose(found, pure, rtol=1e-10)


def test_threads_agree_bitwise():
    """Any number of threads gives the same bits."""
    for size in ((4, 1, 25), (8, 4, 20)):
        model, *_, x0 = catalogue(*size, batch=(203,))
        bound = jnp.full_like(model.r, 0.2)
        way = sweeps._interior_point(50, 20).ways["native"]
        results = []
        for threads in (1, 2, 3):
            set_threads(threads)
            sweep = sweeps._backward.ways["native"](model, None, None, zero(model), None)
            results.append((sweep, way(model, x0, -bound, bound, None, zero(model), None, None)))
        set_threads(None)
        for other in results[1:]:
            assert eqx.tree_equal(results[0], other)


SCRIPT = """
import sys, jax, numpy as np
jax.config.update("jax_enable_x64", True)
from costogo.lqr import LQModel, solve_lqr
from costogo.lqr.native import info
arrays = np.load(sys.argv[1])
x0 = arrays["x0"]
model = LQModel(**{name: arrays[name] for name in arrays.files if name != "x0"})
np.save(sys.argv[2], solve_lqr(model, x0).controls)
print(info())
"""


@pytest.mark.parametrize(
    ("variable", "value", "says"),
    [
        ("COSTOGO_RICCATI", "jax", "pure JAX"),
        ("COSTOGO_INSTRUCTIONS", "avx2", "AVX2"),
        ("COSTOGO_INSTRUCTIONS", "portable", "portable"),
        ("COSTOGO_RICCATI", "fortran", None),
    ],
)
def test_environment_chooses(variable, value, says, tmp_path):
    """Implementations and instruction sets agree; an unknown name is refused, with the known ones."""
    model, *_, x0 = catalogue(8, 4, 6, batch=(20,))
    names = ("A", "B", "d", "Q", "q", "R", "r", "P")
    np.savez(tmp_path / "given.npz", x0=x0, **{name: getattr(model, name) for name in names})
    command = [sys.executable, "-c", SCRIPT, str(tmp_path / "given.npz"), str(tmp_path / "found.npy")]
    done = subprocess.run(command, env={**os.environ, variable: value}, capture_output=True, text=True, check=False)
    if says is None:
        assert done.returncode != 0 and "auto, native, jax" in done.stderr.replace("'", "")
        return
    assert done.returncode == 0, done.stderr
    if not (value == "avx2" and "portable" in done.stdout):
        assert says in done.stdout
    np.testing.assert_allclose(np.load(tmp_path / "found.npy"), solve_lqr(model, x0).controls, atol=1e-10)


BAD = (np.nan, np.inf, -np.inf, 5e-324, 1e300, -1e8, 0.0)


@settings(max_examples=60, deadline=None, derandomize=True)
@given(
    st.sampled_from([(4, 1, 5), (8, 4, 3)]),
    st.sampled_from(["A", "B", "d", "Q", "q", "R", "r", "P"]),
    st.sampled_from(BAD),
    st.integers(0, 18),
    st.integers(0, 10_000),
)
def test_a_bad_number_stays_in_its_lane(size, name, value, lane, where):
    """Whatever stands in one problem: neighbours keep every bit, NaN and infinity are flagged, success is finite."""
    model, *_, x0 = catalogue(*size, batch=(19,))
    array = np.array(getattr(model, name))
    one = array[lane].reshape(-1)
    one[where % one.size] = value
    broken = eqx.tree_at(lambda m: getattr(m, name), model, jnp.asarray(array))
    bound = jnp.full_like(model.r, 0.3)
    others = np.arange(19) != lane
    calls = {
        "sweep": lambda m: sweeps._backward.ways["native"](m, None, None, zero(m), None),
        "boxed": lambda m: sweeps._backward.ways["native"](m, Limits.boxed(-bound, bound), None, zero(m), None),
        "bounded": lambda m: sweeps._interior_point(50, 20).ways["native"](
            m, x0, -bound, bound, None, zero(m), None, None
        ),
    }
    for call in calls.values():
        clean, result = call(model), call(broken)
        for ours, theirs in zip(jax.tree.leaves(result), jax.tree.leaves(clean), strict=True):
            np.testing.assert_array_equal(np.asarray(ours)[others], np.asarray(theirs)[others])
        if not np.isfinite(value):
            assert result.status[lane] == Status.NOT_FINITE
        if result.status[lane] == Status.CONVERGED:
            assert all(np.all(np.isfinite(np.asarray(leaf, float)[lane])) for leaf in jax.tree.leaves(result))
