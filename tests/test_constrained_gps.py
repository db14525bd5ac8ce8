"""Constrained guided policy search on a pendulum: the loop of Algorithm 1."""

import dataclasses

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import costogo as ctg
from costogo import CostogoError
from costogo.learn import Callback, fit
from costogo.learn.constrained_gps import (
    ConstrainedGPS,
    CostWeightedRegression,
    Dagger,
    Judged,
    PolicySearch,
    VariationalGPS,
    fit_policy,
    regression,
)
from costogo.nn import GaussianPolicy

STARTS = jnp.array([[2.2, 0.0], [-2.0, 0.5]])


def problem_of(target):
    """A damped pendulum that is to be held near upright; the condition is an offset of the goal."""

    def flow(x, u, t):
        return jnp.stack([x[1], 4.0 * jnp.sin(x[0]) + 3.0 * u[0] - 0.2 * x[1]])

    def cost(x, u, t):
        return 1.0 - jnp.cos(x[0] - target) + 0.05 * x[1] ** 2 + 0.01 * u[0] ** 2

    return ctg.OptimalControlProblem(ctg.discretise(flow, 0.05, "rk4"), cost, horizon=40, nu=1, dt=0.05)


def task(**given):
    return PolicySearch(
        problem_of, jnp.zeros(2), STARTS, 0.01 * jnp.eye(2), 1e-5 * jnp.eye(2),
        lambda key: GaussianPolicy(3, 1, key=key, hidden=8, dtype=jnp.float64),
        lambda x: jnp.stack([jnp.sin(x[0]), jnp.cos(x[0]), x[1]]),
        valid=lambda x: jnp.abs(x[1]) < 30.0, **given,
    )  # fmt: skip


def learner(kind=ConstrainedGPS, **given):
    options = {"first_iterations": 40, "samples": 6, "first_fit": 60, "fit_iterations": 60, "ramp": 8, **given}
    return kind(task(), **options)


def test_policy_and_trajectories_come_together():
    """Cost of the policy close to that of the trajectories, divergence down by an order, multipliers up."""
    it, rows = learner(rate=5.0), []

    class Keep(Callback):
        def on_epoch(self, epoch, state, metrics):
            rows.append(metrics)

    state = fit(it, eqx.filter_jit(it.init)(jax.random.PRNGKey(0)), epochs=14, evaluate_every=7, callbacks=[Keep()])
    assert rows[-1]["failed"] == 0 and rows[-1]["trajectory_failures"] == 0
    assert rows[-1]["cost"] < 1.05 * rows[-1]["trajectory_cost"]
    assert rows[-1]["divergence"] < 0.1 * rows[0]["divergence"]
    np.testing.assert_array_less([row["weight"] for row in rows[:-1]], [row["weight"] for row in rows[1:]])
    np.testing.assert_allclose([rows[0]["scale"], rows[-1]["scale"]], [0.1, 1.0])
    assert np.all(np.cos(state.q.states[:, -1, 0]) > 0.95)  # upright, after whatever turns
    costs, failed = eqx.filter_jit(it.task.test)(
        state.policy, jnp.zeros(3), jnp.array([[1.8, 0.0], [-1.5, 0.0], [1.0, 40.0]])
    )
    assert not np.any(failed[:2]) and failed[2] and costs[2] == it.task.worst


def test_variational_search_also_learns_it():
    """The baseline of the spec, from the same trajectories: they find a policy that costs little more."""
    it, rows = learner(VariationalGPS), []

    class Keep(Callback):
        def on_epoch(self, epoch, state, metrics):
            rows.append(metrics)

    fit(it, eqx.filter_jit(it.init)(jax.random.PRNGKey(0)), epochs=14, evaluate_every=14, callbacks=[Keep()])
    assert rows[-1]["failed"] == 0 and rows[-1]["trajectory_failures"] == 0
    assert rows[-1]["cost"] < 1.1 * rows[-1]["trajectory_cost"]
    assert rows[0]["weight"] == rows[-1]["weight"] == 1.0


def test_the_best_of_the_last_policies_is_kept():
    """Costs of the window only count; what the state returns costs what it says; a blank has the same shapes."""
    it = Judged(learner(first_iterations=10), iterations=5, window=3)
    state, step, costs = it.init(jax.random.PRNGKey(1)), eqx.filter_jit(it.step), []
    blank = it.blank(jax.random.PRNGKey(1))
    assert [leaf.shape for leaf in jax.tree.leaves(blank)] == [leaf.shape for leaf in jax.tree.leaves(state)]
    for k in range(5):
        state, metrics = step(state)
        costs.append(float(metrics["cost"]))
        assert np.isinf(state.best_cost) == (k < 2)
        expected = min(costs[2:]) if k >= 2 else costs[-1]
        np.testing.assert_allclose(it.learner.task.evaluate(state.policy)["cost"], expected, rtol=1e-9)
    assert int(state.step) == 5


FORCES = jnp.array([3.0, -5.0])


def pushed(force, share=1.0):
    """A system that the force throws to infinity within a second if nothing holds it."""

    def flow(x, u, t):
        return x**3 + u + share * force

    def cost(x, u, t):
        return 10.0 * x[0] ** 2 + 0.01 * u[0] ** 2

    return ctg.OptimalControlProblem(ctg.discretise(flow, 0.05), cost, horizon=40, nu=1, dt=0.05)


def held(kind=ConstrainedGPS, **given):
    """A search for a policy that holds it, whatever the force."""
    search = PolicySearch(
        pushed, FORCES, jnp.zeros((2, 1)), 1e-4 * jnp.eye(1), 1e-6 * jnp.eye(1),
        lambda key: GaussianPolicy(1, 1, key=key, hidden=4, dtype=jnp.float64), lambda x: x, **given,
    )  # fmt: skip
    own = {"ramp": 3} if kind is ConstrainedGPS else {"first_scale": 0.1, "rollouts": 20}
    return kind(search, first_iterations=20, tail=5, **own)


def belongs(q, share):
    """Whether trajectories are what their controls do under a share of the force, and stay near zero. (The last knots
    have no future to care for.)"""
    played = jax.vmap(lambda force, us: ctg.problem.open_loop(pushed(force, share), jnp.zeros(1), us))(
        FORCES, q.controls
    )
    return np.array_equal(played, q.states) and np.max(np.abs(q.states[:, :-5])) < 0.2


def test_first_trajectories_by_way_of_easier_problems():
    """Under the whole force at once nothing is found; under one that grows by steps, what belongs to the whole."""
    assert not np.all(np.isfinite(eqx.filter_jit(held().first)().states))
    assert belongs(eqx.filter_jit(held(Dagger, eased=pushed).first)(), 1.0)


def test_the_force_grows_while_the_policy_learns():
    """Trajectories begin without the force and have all of it once the ramp is over; the policy then holds it too."""
    it = held(eased=pushed)
    state, step = eqx.filter_jit(it.init)(jax.random.PRNGKey(0)), eqx.filter_jit(it.step)
    assert belongs(state.q, 0.0)
    for _ in range(8):
        state, _ = step(state)
    assert belongs(state.q, 1.0)
    assert np.max(np.abs(it.task.roll_out(state.policy, FORCES, jnp.zeros((2, 1))).states)) < 1.0
    # One that is thrown off is counted, and stays as it was.
    astray = eqx.tree_at(lambda s: s.q.controls, state, state.q.controls.at[1].set(1e3))
    after, metrics = step(astray)
    assert metrics["trajectory_failures"] == 0.5
    assert np.array_equal(after.q.controls[1], astray.q.controls[1])
    assert not np.array_equal(after.q.controls[0], astray.q.controls[0])


def test_unseen_conditions_are_judged_too():
    unseen = (jnp.zeros(2), jnp.array([[1.0, 0.0], [1.0, 40.0]]))
    judged = task(unseen=unseen).evaluate(learner().task.policy(jax.random.PRNGKey(0)))
    assert judged["unseen_failed"] >= 0.5 and set(judged) == {"cost", "failed", "unseen_cost", "unseen_failed"}


def test_few_samples_of_a_knot_show_all_directions():
    """A policy fitted to one antithetic pair a knot, where states have two directions, does about as well on new
    samples as one fitted to ten. (With the same pair at all knots: almost four times worse.)"""
    errors = []
    for samples in (2, 20):
        it = learner(samples=samples)
        state = eqx.filter_jit(it.init)(jax.random.PRNGKey(0))
        rows = regression(it.task.observe, state.q, jnp.ones((2, 40)), jax.random.PRNGKey(9), 100)
        errors.append(fit_policy(state.policy, rows, iterations=1).before)
    assert errors[0] < 1.5 * errors[1]


def test_tail_is_no_example():
    """Nothing of the last knots reaches the fit, but the trajectory is drawn to the policy there: as much as elsewhere
    in the mean."""
    it = learner(first_iterations=5, tail=10)
    first = eqx.filter_jit(it.init)(jax.random.PRNGKey(0))
    state, _ = eqx.filter_jit(it.step)(first)
    assert np.ptp(state.weights[:, :-10]) > 0
    for weights in state.weights:
        np.testing.assert_allclose(weights[-10:], np.mean(weights[:-10]))
    elsewhere = eqx.tree_at(lambda q: q.controls, first.q, first.q.controls.at[:, -10:].add(100.0))
    key, ones = jax.random.PRNGKey(1), jnp.ones((2, 40))
    told = [it._fitted(first.policy, q, ones, key, 5).policy for q in (first.q, elsewhere)]
    jax.tree.map(np.testing.assert_array_equal, *told)
    with pytest.raises(CostogoError, match="tail is 40"):
        learner(first_iterations=5, tail=40).init(jax.random.PRNGKey(0))


def test_the_tail_does_as_the_policy_does():
    """Beside a policy of a constant torque, the tail of a trajectory has that torque only if it is drawn to it."""
    it = learner(tail=10)
    first, torque = eqx.filter_jit(it.init)(jax.random.PRNGKey(0)), 0.5
    head = (jnp.zeros_like(first.policy.head.weight), jnp.full_like(first.policy.head.bias, torque))
    constant = eqx.tree_at(lambda p: (p.head.weight, p.head.bias), first.policy, head)
    off = []
    for weight in (0.0, 100.0):
        begun = eqx.tree_at(lambda s: (s.policy, s.weights), first, (constant, first.weights.at[:, -10:].set(weight)))
        off.append(np.max(np.abs(eqx.filter_jit(it.step)(begun)[0].q.controls[:, -10:] - torque)))
    assert off[1] < 0.1 * off[0]


def test_the_first_fit_is_short():
    """It has iterations of its own: with more of them the policy of the first state is closer to its examples."""
    shortly, long = (learner(first_iterations=5, first_fit=n) for n in (2, 40))
    policies = [eqx.filter_jit(it.init)(jax.random.PRNGKey(0)).policy for it in (shortly, long)]
    rest = [eqx.filter_jit(dataclasses.replace(it, fit_iterations=1).init) for it in (shortly, long)]
    for policy, init in zip(policies, rest, strict=True):
        jax.tree.map(np.testing.assert_array_equal, policy, init(jax.random.PRNGKey(0)).policy)
    q, see = eqx.filter_jit(shortly.init)(jax.random.PRNGKey(0)).q, shortly.task.observe
    off = [
        float(jnp.mean((jax.vmap(jax.vmap(lambda x, p=p: p(see(x))))(q.states[:, :-1]) - q.controls) ** 2))
        for p in policies
    ]
    assert off[1] < 0.5 * off[0]


def test_same_seed_same_numbers():
    it = learner(first_iterations=5)
    init, step = eqx.filter_jit(it.init), eqx.filter_jit(it.step)
    one, two = (step(init(jax.random.PRNGKey(4)))[0] for _ in range(2))
    for a, b in zip(jax.tree.leaves(one), jax.tree.leaves(two), strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize(
    ("wrong", "answer"),
    [
        ({"ramp": 0}, "ramp is 0"),
        ({"first_fit": 0}, "first_fit is 0"),
        ({"first_scale": 2.0}, "first_scale is 2.0"),
        ({"samples": 3}, "samples is 3"),
    ],
)
def test_mistakes(wrong, answer):
    with pytest.raises(CostogoError, match=answer):
        learner(**wrong)


def test_conditions_and_starts_must_match():
    with pytest.raises(CostogoError, match="conditions have a leaf of length 3"):
        dataclasses.replace(task(), conditions=jnp.zeros(3))


def test_unseen_starts_must_fit():
    with pytest.raises(CostogoError, match="unseen starts has shape"):
        dataclasses.replace(task(), unseen=(None, jnp.zeros((2, 7))))
    with pytest.raises(CostogoError, match="unseen conditions have a leaf of length 3, their starts 2 rows"):
        dataclasses.replace(task(), unseen=(jnp.zeros(3), jnp.zeros((2, task().starts.shape[1]))))


@pytest.mark.parametrize("method", [ConstrainedGPS, CostWeightedRegression])
def test_trajectories_that_are_lost(method):
    """All lost: an error that names condition and knot. One lost: a warning, and the search goes on."""
    lost = {"guess": lambda force: jnp.where(force < 0, 1e3, 0.0) * jnp.ones((40, 1))}
    with pytest.raises(CostogoError, match="condition 0 is not from knot"):
        held(method, guess=lambda force: jnp.full((40, 1), 1e3)).init(jax.random.PRNGKey(0))
    search = held(method, eased=pushed, **lost)
    with pytest.warns(UserWarning, match="condition 1 is not from knot"):
        state = search.init(jax.random.PRNGKey(0))
    state, _ = eqx.filter_jit(search.step)(state)
    assert all(np.all(np.isfinite(leaf)) for leaf in jax.tree.leaves(eqx.filter(state.policy, eqx.is_inexact_array)))


def demonstrated(knots, dt):
    """A search whose first trajectories track a demonstration."""
    cost = ctg.TrackingCost(1.0, 0.1, jnp.zeros((knots, 1)), jnp.zeros((40, 1)), dt)
    return held(first_cost=lambda force: cost)


def test_a_demonstration_must_have_length_and_rate_of_the_problem():
    with pytest.raises(CostogoError, match=r"guess has shape \(39, 1\), expected \(40, 1\)"):
        held(guess=lambda force: jnp.zeros((39, 1))).init(jax.random.PRNGKey(0))
    with pytest.raises(CostogoError, match=r"tracks 41 states 0\.1 s apart, the problem has 40 intervals of 0\.05 s"):
        demonstrated(41, 0.1).init(jax.random.PRNGKey(0))
    with pytest.raises(CostogoError, match="x_refs has 31 knots and u_refs 40"):
        demonstrated(31, 0.05)
