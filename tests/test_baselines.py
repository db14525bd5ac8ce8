"""Demonstrations, minibatch order, and the two baselines: system identification and the recurrent policy."""

import dataclasses
import functools

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from costogo import CostogoError
from costogo.learn import Demonstrations, ImitationData, Seeds, demonstrate, fit
from costogo.learn.baselines import LSTMImitation, SystemIdentification, next_state_errors
from costogo.learn.data import Minibatches
from costogo.systems import LinearSystem, Pendulum, random_matrices

KEY = jax.random.PRNGKey(0)


class Trajectory(eqx.Module):
    states: jax.Array
    controls: jax.Array


def act(system, x0, horizon):
    """A trajectory under oscillating controls whose phase depends on the initial state."""
    controls = 0.9 * jnp.sin(jnp.arange(horizon)[:, None] + jnp.arange(system.nu) + 3 * x0[-1])

    def step(x, u):
        new = system(x, u, 0.0)
        return new, new

    _, states = jax.lax.scan(step, x0, controls)
    return Trajectory(jnp.concatenate([x0[None], states]), controls)


@eqx.filter_jit
def excited(system, keys, horizon=8):
    x0s = jax.vmap(system.initial_state)(keys)
    trajectories = jax.vmap(lambda x0: act(system, x0, horizon))(x0s)
    return Demonstrations(x0s=x0s, controls=trajectories.controls, states=trajectories.states)


def seeded_keys(seed, n):
    return np.asarray(jax.random.split(jax.random.PRNGKey(seed), n))


def split(system, train, horizon=8):
    return ImitationData(*(excited(system, seeded_keys(seed, n), horizon) for seed, n in enumerate((train, 4, 4))))


def leaves_equal(a, b):
    return all(np.array_equal(p, q) for p, q in zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True))


# Data


@pytest.mark.parametrize(("n", "steps"), [(10, 1), (32, 1), (50, 2), (100, 4)])
def test_an_epoch_visits_every_row_once(n, steps):
    batches = Minibatches(n, min(32, n))
    assert batches.per_epoch == steps
    rows, weights = jax.jit(jax.vmap(batches.rows, (None, 0)))(KEY, jnp.arange(3 * steps))
    rows, weights = (np.reshape(a, (3, -1)) for a in (rows, weights))
    epochs = [r[w > 0] for r, w in zip(rows, weights, strict=True)]
    for epoch in epochs:
        assert sorted(epoch) == list(range(n))
    assert not np.array_equal(epochs[0], epochs[1])
    assert np.all(rows[weights == 0] == n)
    np.testing.assert_array_equal(np.unique(weights[:, :n]), 1.0)  # the padding comes last


def test_the_order_depends_on_key_and_epoch_only():
    batches = Minibatches(50, 32)
    np.testing.assert_array_equal(batches.rows(KEY, 7)[0], jax.jit(Minibatches(50, 32).rows)(KEY, jnp.array(7))[0])
    assert not np.array_equal(batches.rows(KEY, 7)[0], batches.rows(jax.random.PRNGKey(1), 7)[0])


def test_demonstrations_say_what_is_wrong():
    x0s, controls, states = np.zeros((4, 3)), np.zeros((4, 5, 1)), np.zeros((4, 6, 3))
    with pytest.raises(CostogoError, match="states"):
        Demonstrations(x0s, controls, states[:, :-1])
    with pytest.raises(CostogoError, match="x0s"):
        Demonstrations(x0s[:3], controls, states)
    with pytest.raises(CostogoError, match="empty"):
        Demonstrations(x0s[:0], controls[:0], states[:0])
    data = ImitationData(*[Demonstrations(x0s, controls, states)] * 3)
    with pytest.raises(CostogoError, match="train size is 5"):
        data.with_train_size(5)
    smaller = data.with_train_size(2)
    assert (len(smaller.train), len(smaller.test)) == (2, 4)


def test_demonstrate_lets_the_expert_act_from_every_state():
    pendulum, keys = Pendulum(), seeded_keys(0, 7)
    expected = excited(pendulum, keys)
    found = demonstrate(lambda x0: act(pendulum, x0, 8), expected.x0s)
    assert (len(found), found.states.shape, found.controls.shape) == (7, (7, 9, 3), (7, 8, 1))
    np.testing.assert_allclose(found.states, expected.states, atol=1e-13)


# System identification


def replace_physics(system):
    return lambda parameters: dataclasses.replace(system, **parameters)


def annealed(rate, steps):
    return optax.adam(optax.cosine_decay_schedule(rate, steps))


def test_the_next_state_error_is_zero_for_the_truth_only():
    pendulum = Pendulum()
    data = excited(pendulum, seeded_keys(0, 7))
    errors = eqx.filter_jit(next_state_errors)
    assert np.max(errors(pendulum, data)) < 1e-28
    # Gravity 11 in place of 10 adds 1.5 sin th to the acceleration.
    first = jax.tree.map(np.asarray, data)
    slip = 0.05 * 1.5 * first.states[:, :-1, 1]
    rate = first.states[:, 1:, 2] + slip
    angle = np.arctan2(first.states[:, :-1, 1], first.states[:, :-1, 0]) + 0.05 * rate
    wrong = np.stack([np.cos(angle), np.sin(angle), rate], axis=-1)
    expected = np.mean((wrong - first.states[:, 1:]) ** 2, axis=(1, 2))
    np.testing.assert_allclose(errors(dataclasses.replace(pendulum, gravity=11.0), data), expected, rtol=1e-10)


def test_sysid_recovers_a_linear_system():
    A, B = random_matrices(jax.random.PRNGKey(3), 3, 2)
    truth = LinearSystem(A, B)
    # One step each, so that the growth of an unstable system does not hide the rest.
    data = split(truth, 60, horizon=1)
    start = {"A": jnp.eye(3), "B": jnp.zeros((3, 2))}
    learner = SystemIdentification(replace_physics(truth), start, data, annealed(0.05, 1200))
    state = fit(learner, learner.init(KEY), epochs=600, evaluate_every=600)
    np.testing.assert_allclose(state.parameters["A"], A, atol=1e-4)
    np.testing.assert_allclose(state.parameters["B"], B, atol=1e-4)


def test_sysid_recovers_what_the_pendulum_reveals():
    pendulum = Pendulum()
    start = {"gravity": 15.0, "mass": 3.0, "length": 0.5}
    learner = SystemIdentification(replace_physics(pendulum), start, split(pendulum, 32), annealed(0.1, 1500))
    state = fit(learner, learner.init(KEY), epochs=1500, evaluate_every=1500)
    g, m, l = (float(state.parameters[name]) for name in ("gravity", "mass", "length"))
    assert g / l == pytest.approx(10.0, rel=1e-3)
    assert m * l**2 == pytest.approx(1.0, rel=1e-3)
    assert float(learner.evaluate(state)["test_loss"]) < 1e-8
    x, u = pendulum.initial_state(KEY), jnp.ones(1)
    np.testing.assert_allclose(learner.policy(state)(x, u, 0.0), pendulum(x, u, 0.0), atol=1e-4)


def test_sysid_counts_projections():
    pendulum = Pendulum()

    def physical(parameters):
        return jax.tree.map(lambda v: jnp.clip(v, 0.05, 50.0), parameters)

    data = split(pendulum, 7)
    start = {"gravity": 15.0, "mass": 3.0, "length": 0.5}
    learner = SystemIdentification(replace_physics(pendulum), start, data, optax.sgd(1e6), project=physical)
    state, _ = eqx.filter_jit(learner.step)(learner.init(KEY))
    values = np.array(jax.tree.leaves(state.parameters))
    assert np.all((values >= 0.05) & (values <= 50.0)) and np.any((values == 0.05) | (values == 50.0))
    assert int(learner.evaluate(state)["projections"]) == 1
    still = SystemIdentification(replace_physics(pendulum), start, data, optax.sgd(0.0), project=physical)
    assert int(still.step(still.init(KEY))[0].projections) == 0


def test_a_short_minibatch_is_averaged_over_its_own_rows():
    pendulum = Pendulum()
    start = {"gravity": 12.0}
    learner = SystemIdentification(replace_physics(pendulum), start, split(pendulum, 7), optax.sgd(0.0), batch_size=4)
    state = learner.init(KEY)
    step = eqx.filter_jit(learner.step)
    wrong = dataclasses.replace(pendulum, gravity=12.0)
    errors = np.asarray(eqx.filter_jit(next_state_errors)(wrong, learner.data.train))
    for k in range(2):
        rows, weights = learner.minibatches.rows(state.key, k)
        real = np.asarray(rows)[np.asarray(weights) > 0]
        state, metrics = step(state)
        assert len(real) == (4, 3)[k]
        assert float(metrics["loss"]) == pytest.approx(np.mean(errors[real]), rel=1e-12)


# Recurrent policy


def toy_lstm(train=20, **options):
    return LSTMImitation(split(Pendulum(), train), width=16, **{"learning_rate": 3e-3, "batch_size": 8, **options})


def test_the_lstm_learns_a_toy_set():
    learner = toy_lstm()
    before = learner.evaluate(learner.init(KEY))
    state = fit(learner, learner.init(KEY), epochs=150, evaluate_every=150)
    after = learner.evaluate(state)
    assert float(after["test_loss"]) < 0.25 * float(before["test_loss"])
    controls = learner.policy(state)(learner.data.test.x0s[0].astype(jnp.float32))
    error = jnp.mean((controls - learner.data.test.controls[0]) ** 2)
    assert controls.shape == (8, 1) and controls.dtype == jnp.float32 and float(error) < 1.0


def test_the_lstm_trains_in_single_precision():
    learner = toy_lstm(train=7)
    state, metrics = eqx.filter_jit(learner.step)(learner.init(KEY))
    assert metrics["loss"].dtype == jnp.float32
    floats = [a for a in jax.tree.leaves((state.parameters, state.optimiser)) if jnp.issubdtype(a.dtype, jnp.floating)]
    assert {a.dtype for a in floats} == {jnp.dtype("float32")}


# Both


@functools.cache
def small_learners():
    pendulum = Pendulum()

    def draw(key):
        return {"gravity": 10.0 + jax.random.uniform(key), "length": np.float64(1.0)}

    sysid = SystemIdentification(
        replace_physics(pendulum), draw, split(pendulum, 7), optax.rmsprop(1e-2, decay=0.5), batch_size=4
    )
    return [sysid, toy_lstm(train=7, batch_size=4)]


@pytest.mark.parametrize("learner", small_learners(), ids=["sysid", "lstm"])
def test_equal_seeds_give_equal_parameters(learner):
    assert learner.steps_per_epoch == 2
    a, b, other = (fit(learner, learner.init(jax.random.PRNGKey(s)), epochs=2) for s in (0, 0, 1))
    assert int(a.step) == 4
    assert leaves_equal(a, b)
    assert not leaves_equal(a.parameters, other.parameters)


@pytest.mark.parametrize("learner", small_learners(), ids=["sysid", "lstm"])
def test_seeds_train_together_as_they_do_alone(learner):
    together = Seeds(learner, 3)
    state = together.init(KEY)
    step = eqx.filter_jit(together.step)
    for _ in range(3):
        state, metrics = step(state)
    assert metrics["loss"].shape == together.evaluate(state)["test_loss"].shape == (3,)
    alone = learner.init(jax.random.split(KEY, 3)[1])
    step = eqx.filter_jit(learner.step)
    for _ in range(3):
        alone, _ = step(alone)
    tolerance = 1e-5 if learner.policy(alone) is alone.parameters else 1e-12
    for a, b in zip(jax.tree.leaves(state.parameters), jax.tree.leaves(alone.parameters), strict=True):
        np.testing.assert_allclose(a[1], b, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("learner", small_learners(), ids=["sysid", "lstm"])
def test_a_step_is_traced_once(learner):
    traces = []

    @eqx.filter_jit
    def step(state):
        traces.append(1)
        return learner.step(state)

    state = learner.init(KEY)
    for _ in range(3):
        state, _ = step(state)
    assert len(traces) == 1
