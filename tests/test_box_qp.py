"""Projected Newton on box QPs beyond the enumeration of test_lqr (spec check 4): scales, edges, failures."""

import jax
import numpy as np
import pytest

from costogo.lqr import box_qp

SOLVE = jax.jit(jax.vmap(box_qp))


def problems(n, condition, count=300):
    """Random problems whose Hessians have roughly the given condition number; bounds of order one."""
    rng = np.random.default_rng(n)
    M = rng.standard_normal((count, n, n))
    scale = np.logspace(0, np.log10(condition) / 2, n)
    H = scale[:, None] * (M @ M.transpose(0, 2, 1) + 0.1 * np.eye(n)) * scale
    return H, 3 * rng.standard_normal((count, n)) * scale, -rng.random((count, n)), rng.random((count, n))


def residual(H, g, lower, upper, x):
    """Projected gradient residual in units of x; zero at the minimiser and nowhere else, as H is positive definite."""
    gradient = np.einsum("bij,bj->bi", H, x) + g
    return np.abs(x - np.clip(x - gradient / np.einsum("bii->bi", H), lower, upper))


@pytest.mark.parametrize("condition", [1.0, 1e6])
@pytest.mark.parametrize("n", [1, 3, 6])
def test_optimality(n, condition):
    H, g, lower, upper = problems(n, condition)
    solution = SOLVE(H, g, lower, upper)
    assert np.all(solution.ok)
    assert residual(H, g, lower, upper, np.asarray(solution.x)).max() < 1e-10
    inside = (solution.x > lower) & (solution.x < upper)
    assert np.all(solution.free[inside])
    assert 0.1 < np.mean(inside) < 0.9


@pytest.mark.parametrize("n", [1, 3])
def test_special_bounds(n):
    """Infinite bounds give the linear solve; equal bounds hold their value; a bound at the optimum changes nothing."""
    H, g, lower, _ = problems(n, 1.0)
    free = np.linalg.solve(H, -g[..., None])[..., 0]
    unbounded = SOLVE(H, g, np.full_like(g, -np.inf), np.full_like(g, np.inf))
    np.testing.assert_allclose(unbounded.x, free, rtol=1e-9, atol=1e-12)
    assert np.all(unbounded.free)
    np.testing.assert_array_equal(SOLVE(H, g, lower, lower).x, lower)
    touching = SOLVE(H, g, np.full_like(g, -np.inf), free)
    assert np.all(touching.ok)
    np.testing.assert_allclose(touching.x, free, rtol=1e-7, atol=1e-9)


@pytest.mark.parametrize("n", [1, 3])
def test_failures_are_flagged(n):
    """An indefinite and a NaN Hessian are not ok; the neighbours are."""
    H, g, lower, upper = problems(n, 1.0)
    clean = SOLVE(H, g, lower, upper)
    H = H.copy()
    H[0], H[1, 0, 0] = -H[0], np.nan
    wide = np.full_like(g[:2], 1e3)  # no bound saves the indefinite one
    solution = SOLVE(H, g, np.concatenate([-wide, lower[2:]]), np.concatenate([wide, upper[2:]]))
    assert not solution.ok[:2].any()
    assert np.all(solution.ok[2:])
    np.testing.assert_array_equal(solution.x[2:], clean.x[2:])
