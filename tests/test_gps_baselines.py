"""Baselines of constrained guided policy search, on the pendulum of its own tests."""

import dataclasses
from functools import cache

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.stats import multivariate_normal

from costogo import CostogoError
from costogo.learn import fit
from costogo.learn.constrained_gps import CostWeightedRegression, Dagger, ImportanceSampledGPS, Rollouts
from costogo.learn.constrained_gps.importance import guide_log_density, importance_log_weights, importance_objective
from costogo.learn.constrained_gps.weighted_regression import cost_weights, effective_share
from costogo.solvers import GaussianTrajectory
from test_constrained_gps import task

SIZES = {
    ImportanceSampledGPS: {"guiding": 20, "rollouts": 20},
    CostWeightedRegression: {"rollouts": 80},
    Dagger: {"first_iterations": 40, "rollouts": 6, "capacity": 4000, "stride": 2},
}
KINDS = [(kind, False) for kind in SIZES] + [(ImportanceSampledGPS, True)]


def learner(kind, **given):
    return kind(task(), **{"first_iterations": 3, "samples": 6, "fit_iterations": 60, **SIZES[kind], **given})


@cache
def compiled(kind, adapt=False):
    """A learner, its methods, and its first state."""
    it = learner(kind, **({"adapt": True} if adapt else {}))
    init, step, evaluate = (eqx.filter_jit(method) for method in (it.init, it.step, it.evaluate))
    return it, step, evaluate, init(jax.random.PRNGKey(0)), init


def curve(kind, steps, adapt=False):
    """Cost before, costs after each step, metrics of the steps, last state."""
    _, step, evaluate, state, _ = compiled(kind, adapt)
    first, costs, rows = float(evaluate(state)["cost"]), [], []
    for _ in range(steps):
        state, metrics = step(state)
        costs.append(float(evaluate(state)["cost"]))
        rows.append(metrics)
    return first, np.array(costs), rows, state


def test_importance_sampling_lowers_the_cost():
    """The best policy's cost falls; the regularisation goes down a decade with a better policy, up with a worse."""
    first, costs, rows, state = curve(ImportanceSampledGPS, 12)
    assert costs[-1] < 0.8 * first
    strengths = np.array([row["regularisation"] for row in rows])
    factors = np.where([row["better"] for row in rows], 0.1, 10.0)
    np.testing.assert_allclose(strengths[1:], np.clip(strengths * factors, 1e-6, 1.0)[:-1])
    assert {0.0, 1.0} == {float(row["better"]) for row in rows}
    kept = [a == b for a, b, row in zip(costs[:-1], costs[1:], rows[1:], strict=True) if not row["better"]]
    assert all(kept)
    np.testing.assert_array_equal(state.q.controls, compiled(ImportanceSampledGPS)[3].q.controls)


def test_adapted_guides_follow_the_policy():
    """Trajectories move, and the policy improves."""
    first, costs, _, state = curve(ImportanceSampledGPS, 8, adapt=True)
    assert costs[-1] < 0.9 * first
    assert np.max(np.abs(state.q.controls - compiled(ImportanceSampledGPS, True)[3].q.controls)) > 0.1


def test_weighted_regression_lowers_the_cost():
    """At every one of the first steps; by how much in the end differs by key and by rounding (0.58 to 0.79)."""
    first, costs, rows, _ = curve(CostWeightedRegression, 12)
    played = np.array([row["policy_cost"] for row in rows])
    assert np.all(np.diff(played[:6]) < 0) and played[-1] < 0.85 * played[0] and costs[-1] < 0.9 * first
    np.testing.assert_allclose([row["effective"] for row in rows], 0.1, rtol=1e-6)


def test_dagger_learns_the_oracle():
    """The policy comes to cost what the oracle's own trajectory costs."""
    first, costs, rows, state = curve(Dagger, 8)
    it = compiled(Dagger)[0]
    free = jax.vmap(lambda c, q: jnp.sum(jax.vmap(it.task.problem_of(c).stage_cost, (0, 0, None))(
        q.states[:-1], q.controls, 0.0)))(it.task.conditions, state.q)  # fmt: skip
    assert costs[-1] < first and abs(costs[-1] / jnp.mean(free) - 1.0) < 0.01
    np.testing.assert_array_equal([row["rows"] for row in rows], [2 * 6 * 20 * (k + 2) for k in range(8)])


@pytest.mark.parametrize(("kind", "adapt"), KINDS)
def test_same_seed_same_numbers(kind, adapt):
    """And a step keeps the types of the state, as the scan of `fit` demands."""
    _, step, _, state, init = compiled(kind, adapt)
    one, two = step(state), step(init(jax.random.PRNGKey(0)))
    for a, b in zip(jax.tree.leaves(one), jax.tree.leaves(two), strict=True):
        np.testing.assert_array_equal(a, b)
    for a, b in zip(jax.tree.leaves(one[0]), jax.tree.leaves(state), strict=True):
        assert (a.shape, a.dtype) == (b.shape, b.dtype)
    assert all(metric.shape == () for metric in one[1].values())


def test_trains_in_the_common_loop():
    it, step, _, state, _ = compiled(CostWeightedRegression)
    np.testing.assert_allclose(fit(it, state, epochs=1).policy.log_std, step(state)[0].policy.log_std, rtol=1e-6)


def test_importance_weights_and_objective():
    """Against products and sums of plain numbers."""
    random = np.random.default_rng(0)
    own, sources = random.normal(size=(3, 4)), random.normal(size=(2, 3, 4))
    shares, rewards = np.array([0.25, 0.75]), random.normal(size=(3, 4))
    found = importance_log_weights(jnp.array(own), jnp.array(sources), jnp.array(shares))
    weights = np.zeros((3, 4))
    for i in range(3):
        for t in range(4):
            mixture = sum(shares[j] * np.prod(np.exp(sources[j, i, : t + 1])) for j in range(2))
            weights[i, t] = np.prod(np.exp(own[i, : t + 1])) / mixture
    np.testing.assert_allclose(found, np.log(weights), atol=1e-12)
    expected = sum(
        sum(weights[i, t] * rewards[i, t] for i in range(3)) / weights[:, t].sum() + 0.3 * np.log(weights[:, t].sum())
        for t in range(4)
    )
    np.testing.assert_allclose(importance_objective(found, jnp.array(rewards), 0.3), expected, rtol=1e-12)
    long = importance_log_weights(1e5 * jnp.ones((3, 4)), jnp.zeros((2, 3, 4)), jnp.array(shares))
    assert np.isfinite(importance_objective(long, jnp.array(rewards), 0.3))


def trajectory(random, N=3, nx=2, nu=2):
    means = (random.normal(size=shape) for shape in ((N + 1, nx), (N, nu), (N, nu, nx)))
    roots = (random.normal(size=shape) for shape in ((N, nu, nu), (N + 1, nx, nx)))
    covariances = (a @ np.swapaxes(a, 1, 2) + np.eye(a.shape[-1]) for a in roots)
    return GaussianTrajectory(*map(jnp.array, (*means, *covariances)))


def test_density_of_a_guide():
    random = np.random.default_rng(1)
    q, xs, us = trajectory(random), random.normal(size=(4, 4, 2)), random.normal(size=(4, 3, 2))
    found = guide_log_density(q, jnp.array(xs[:, :-1]), jnp.array(us))
    for i in range(4):
        for t in range(3):
            mean = q.controls[t] + q.gains[t] @ (xs[i, t] - q.states[t])
            np.testing.assert_allclose(found[i, t], multivariate_normal(mean, q.covariances[t]).logpdf(us[i, t]))


def test_rollouts_of_a_guide_follow_its_density():
    """Average of the log density over its own rollouts is minus the entropy."""
    it, _, _, state, _ = compiled(ImportanceSampledGPS)
    q = state.q
    rollouts = it.roll_guide(jax.random.PRNGKey(0), q, 400)
    found = jnp.mean(jax.vmap(guide_log_density)(q, rollouts.states[..., :-1, :], rollouts.controls))
    entropy = 0.5 * jnp.mean(jnp.log(2 * jnp.pi * jnp.e * q.covariances[..., 0, 0]))
    np.testing.assert_allclose(found, -entropy, atol=0.02)
    starts = rollouts.states[:, :, 0] - it.task.starts[:, None]
    np.testing.assert_allclose(jnp.std(starts, axis=(0, 1)), 0.1, rtol=0.1)


def test_a_diverged_rollout_does_no_harm():
    """Its knots drop out of the densities, and the optimiser still improves the objective."""
    it, _, _, state, _ = compiled(ImportanceSampledGPS)
    guiding = it.roll_guide(jax.random.PRNGKey(1), state.q, it.guiding)
    bad = Rollouts(guiding.states.at[0, 0, 20:].set(jnp.inf), guiding.controls.at[0, 0, 20:].set(jnp.nan),
                   guiding.costs.at[0, 0, 20:].set(1e3), guiding.valid)  # fmt: skip
    found, effective = it._optimised(state, state.q, bad)
    assert found.after < found.before and 0 < effective <= 1
    assert all(np.all(np.isfinite(leaf)) for leaf in jax.tree.leaves(found.policy))


@pytest.mark.parametrize("share", [0.1, 0.5])
def test_cost_weights_have_the_share(share):
    """Of any unit of cost; the cheapest has weight one, and weights fall as costs rise; equal costs weigh the same."""
    costs = 1e4 + jnp.exp(3 * jax.random.normal(jax.random.PRNGKey(0), (60, 5)))
    weights = cost_weights(costs, share)
    np.testing.assert_allclose(effective_share(weights), share, rtol=1e-6)
    np.testing.assert_allclose(jnp.max(weights, axis=0), 1.0)
    order = jnp.argsort(costs, axis=0)
    assert np.all(np.diff(jnp.take_along_axis(weights, order, axis=0), axis=0) <= 0)
    np.testing.assert_allclose(np.log(weights[order[1, 0], 0]) / np.log(weights[order[2, 0], 0]),
                               np.diff(costs[order[:2, 0], 0])[0] / (costs[order[2, 0], 0] - costs[order[0, 0], 0]),
                               rtol=1e-6)  # fmt: skip
    np.testing.assert_allclose(cost_weights(1e-6 * costs, share), weights, rtol=1e-3, atol=1e-12)
    np.testing.assert_array_equal(cost_weights(jnp.ones((4, 2)), share), 1.0)
    stray = effective_share(cost_weights(costs.at[0].set(1e12), share))
    np.testing.assert_allclose(stray, share, rtol=1e-6)


def test_dagger_asks_the_oracle():
    """Answers, densities and knots, row by row; a state that is not finite is not asked about."""
    it, q = learner(Dagger, stride=3, tail=4), compiled(Dagger)[3].q
    played = it.roll_guide(jax.random.PRNGKey(2), q, 2)
    played = eqx.tree_at(lambda r: r.states, played, played.states.at[1, 1, 6].set(jnp.nan))
    asked = it._asked(jax.random.PRNGKey(3), q, played)
    rows = [(c, t, i) for c in range(2) for t in range(0, 36, 3) for i in range(2)]
    for row, (c, t, i) in enumerate(rows):
        x = played.states[c, i, t]
        assert asked.knots[row] == c * 40 + t
        if (c, t, i) == (1, 6, 1):
            assert asked.log_density[row] == -np.inf
            continue
        np.testing.assert_allclose(asked.observations[row], it.task.observe(x))
        np.testing.assert_allclose(asked.controls[row], q.controls[c, t] + q.gains[c, t] @ (x - q.states[c, t]))
        density = multivariate_normal(q.states[c, t], q.state_covariances[c, t]).logpdf(x)
        np.testing.assert_allclose(asked.log_density[row], density, rtol=1e-6)
    weights = np.array(asked.weights(80))
    assert len(weights) == len(rows) and weights[rows.index((1, 6, 1))] == 0
    for knot in np.unique(asked.knots):
        assert weights[asked.knots == knot].max() == 1.0


def test_dagger_keeps_a_sample_of_all():
    """Rows of no weight leave first, and old and new rows are as likely to stay."""
    it, q = learner(Dagger, capacity=300, stride=1), compiled(Dagger)[3].q
    asked = [it._asked(k, q, it.roll_guide(k, q, 5)) for k in jax.random.split(jax.random.PRNGKey(4))]  # 400 rows each
    far = dataclasses.replace(asked[0], log_density=asked[0].log_density - 1e3)

    def held(data):
        empty = jax.tree.map(lambda a: jnp.zeros((300, *a.shape[1:]), a.dtype), data[0])
        lessons = eqx.tree_at(lambda d: d.log_density, empty, jnp.full(300, -jnp.inf))
        for new in data:
            lessons = it._kept(lessons, new, q)
        return lessons

    both = held(asked)
    old = np.mean(np.isin(both.rank, asked[0].rank))
    assert len(both.rank) == 300 and 0.35 < old < 0.65
    assert not np.any(np.isin(held([asked[1], far]).log_density, far.log_density))
    assert not np.any(np.isin(held([far, asked[1]]).log_density, far.log_density))


@pytest.mark.parametrize(
    ("kind", "wrong", "answer"),
    [
        (Dagger, {"first_iterations": 0}, "first_iterations is 0; pass at least 1"),
        (Dagger, {"samples": 3}, "samples is 3; pass an even"),
        (Dagger, {"first_scale": 2.0}, "first_scale is 2.0"),
        (Dagger, {"capacity": 0}, "capacity is 0; pass at least 1"),
        (Dagger, {"stride": 0}, "stride is 0; pass at least 1"),
        (CostWeightedRegression, {"share": 1.0}, "share is 1.0; pass a number in"),
        (CostWeightedRegression, {"rollouts": 19}, "rollouts is 19; pass at least 20"),
        (ImportanceSampledGPS, {"guiding": 0}, "guiding is 0; pass at least 1"),
        (ImportanceSampledGPS, {"reward_scale": 0.0}, "reward_scale is 0.0; pass a positive"),
        (ImportanceSampledGPS, {"regularisation": 2.0}, "regularisation is 2.0; pass a number in"),
    ],
)
def test_mistakes(kind, wrong, answer):
    with pytest.raises(CostogoError, match=answer):
        learner(kind, **wrong)


def test_tail_must_leave_something():
    with pytest.raises(CostogoError, match="tail is 40; pass 0 to 39"):
        learner(CostWeightedRegression, tail=40).examples(40)
