"""Probabilistic ensembles and their training: spec dmd_mpc section 5, checks 7 and 8."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from costogo.core.errors import CostogoError
from costogo.learn.dmd_mpc import ModelFit, model_fit
from costogo.nn import Normaliser, ProbabilisticEnsemble, ProbabilisticNetwork
from costogo.rl import Replay, Transitions

KEY = jax.random.PRNGKey(0)
FIT = ModelFit(batch_size=32, learning_rate=3e-3, patience=2, updates=100)


def drift(n, seed=0, noise=0.05):
    """Check 7: `x' = x + 0.1 sin(u) + N(0, (noise |x|)^2)`, reward x."""
    random = np.random.default_rng(seed)
    x, u = random.uniform(-2, 2, (n, 1)), random.uniform(-3, 3, (n, 1))
    new = x + 0.1 * np.sin(u) + noise * np.abs(x) * random.normal(size=x.shape)
    return Transitions(*(jnp.asarray(column, jnp.float32) for column in (x, u, x[:, 0], new, np.zeros(n))))


def buffer(n, capacity=400, seed=0):
    return Replay.empty(1, 1, capacity).add(drift(n, seed))


def ensemble(members=3, elites=2, hidden=(8, 8), key=KEY):
    return ProbabilisticEnsemble.create(1, 1, key=key, members=members, elites=elites, hidden=hidden)


def same(a, b):
    return all(np.array_equal(p, q) for p, q in zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True))


def member(networks, number):
    return jax.tree.map(lambda leaf: leaf[number], networks)


def without_normaliser(networks):
    return eqx.tree_at(lambda n: n.inputs, networks, None)


# Networks


def test_it_learns_mean_and_noise():
    """Check 7."""
    fit = ModelFit(learning_rate=1e-2, updates=3000, patience=100)
    model, metrics = fit.run(fit.init(ensemble(hidden=(32, 32))), buffer(4000, 4000), KEY)
    assert metrics["diverged"] == 0
    test = drift(500, seed=1)
    means, log_vars = jax.vmap(lambda n: jax.vmap(n.moments)(test.x, test.u))(model.ensemble.best)
    truth = np.stack([test.x[:, 0], 0.1 * np.sin(test.u[:, 0])], axis=-1)
    error = np.sqrt(np.mean((np.mean(means, axis=0) - truth) ** 2, axis=0))
    assert np.all(error < 0.02), error
    std = np.mean(np.exp(0.5 * np.asarray(log_vars)[..., 1]), axis=0)
    assert np.corrcoef(std, 0.05 * np.abs(test.x[:, 0]))[0, 1] > 0.9
    networks = model.ensemble.networks
    assert np.all(networks.upper < 0.5) and np.all(networks.lower > -10.0)  # the pull on the bounds


def test_log_variances_stay_within_the_bounds():
    network = ProbabilisticNetwork(2, 1, key=KEY, hidden=(8, 8))
    network = eqx.tree_at(lambda n: (n.lower, n.upper), network, (jnp.array([-3.0, -2, -1]), jnp.array([0.0, 0.5, 1])))
    xs = 1e4 * jax.random.normal(KEY, (200, 2), jnp.float32)
    _, log_vars = jax.vmap(network.moments)(xs, xs[:, :1])
    # The lower bound is applied last, and overshoots the upper one by softplus(lower - upper).
    excess = np.log1p(np.exp(np.asarray(network.lower - network.upper)))
    assert np.all(log_vars >= network.lower) and np.all(log_vars <= network.upper + excess + 1e-6)
    assert np.min(log_vars - network.lower) < 1e-3 and np.max(log_vars - network.upper) > -1e-3


def test_fresh_networks_are_as_the_spec_says():
    network = ProbabilisticNetwork(30, 10, key=KEY, hidden=(400, 400))
    assert np.all(network.upper == 0.5) and np.all(network.lower == -10.0)
    for weight, bias in zip(network.weights, network.biases, strict=True):
        bound = 1 / np.sqrt(len(weight))  # two standard deviations
        assert 0.99 * bound < np.max(np.abs(weight)) <= bound and not np.any(bias) and weight.dtype == jnp.float32


def test_loss_against_numpy():
    """Four hidden layers: each has its own weight decay."""
    network = ProbabilisticNetwork(2, 1, key=KEY, hidden=(5, 4, 3, 6))
    inputs = Normaliser(jnp.array([0.1, -0.2, 0.3]), jnp.array([2.0, 0.5, 1.5]))
    network = eqx.tree_at(lambda n: n.inputs, network, inputs)
    network = jax.tree.map(lambda leaf: leaf.astype(jnp.float64), network)
    random = np.random.default_rng(0)
    xs, us, ys = random.normal(size=(7, 2)), random.normal(size=(7, 1)), random.normal(size=(7, 3))
    h = (np.concatenate([xs, us], axis=1) - inputs.mean) / inputs.std
    for layer in range(5):
        h = h @ np.asarray(network.weights[layer]) + np.asarray(network.biases[layer])
        h = h / (1 + np.exp(-h)) if layer < 4 else h
    mean, raw = h[:, :3], h[:, 3:]
    raw = 0.5 - np.log1p(np.exp(0.5 - raw))
    log_var = -10 + np.log1p(np.exp(raw + 10))
    rates = (2.5e-5, 5e-5, 7.5e-5, 7.5e-5, 1e-4)
    decay = sum(0.5 * r * np.sum(np.asarray(w) ** 2) for r, w in zip(rates, network.weights, strict=True))
    by_hand = np.mean((mean - ys) ** 2 / np.exp(log_var)) + np.mean(log_var) + decay + 0.01 * 3 * (0.5 + 10)
    np.testing.assert_allclose(network.loss(xs, us, ys), by_hand, rtol=1e-7)


def test_predictions_are_changes_and_draws_have_the_predicted_spread():
    network = member(ensemble().networks, 0)
    x, u = jnp.array([0.7], jnp.float32), jnp.array([0.2], jnp.float32)
    mean, log_var = network.moments(x, u)
    reward, new = network.predict(x, u)
    drawn, moved = network.predict(x, u, jnp.array([1.5], jnp.float32))
    np.testing.assert_allclose([reward, drawn], [mean[0], mean[0]])
    np.testing.assert_allclose([new[0], moved[0]], [x[0] + mean[1], x[0] + mean[1] + 1.5 * np.exp(0.5 * log_var[1])])
    np.testing.assert_array_equal(network(x, u, 0.0), new)


def test_normaliser():
    rows = jnp.array([[1.0, 5.0], [3.0, 5.0], [8.0, 5.0], [99.0, 7.0]], jnp.float32)
    fitted = Normaliser.fit(rows, jnp.array([1.0, 1.0, 1.0, 0.0]))
    np.testing.assert_allclose(fitted.mean, [4.0, 5.0])
    np.testing.assert_allclose(fitted.std, [np.sqrt(26 / 3), 1.0], rtol=1e-6)  # a constant column keeps its unit
    np.testing.assert_allclose(fitted(jnp.array([4.0 + np.sqrt(26 / 3), 7.0])), [1.0, 2.0], rtol=1e-6)
    assert same(Normaliser.identity(2)(rows[0]), rows[0])


def test_only_elites_predict():
    """Check 8, the last part."""
    networks = jax.tree.map(lambda leaf: leaf.at[1].set(jnp.nan), ensemble(members=4).networks)
    model = ProbabilisticEnsemble(networks, jnp.array([3, 0]))
    assert np.all(np.isfinite(jax.tree.leaves(jax.tree.map(jnp.sum, model.best))))
    for place, number in enumerate((3, 0)):
        assert same(member(model.best, place), member(networks, number))
        assert same(model.member(place), member(networks, number))


# Training: with scripted errors, and passes that add one to every weight


class Script:
    """Stands in for passes and errors, and records the networks of every pass."""

    def __init__(self, monkeypatch, errors):
        self.errors, self.passes, self.given = [jnp.asarray(e, jnp.float32) for e in errors], [], []
        monkeypatch.setattr(model_fit, "_one_pass", self.one_pass)
        monkeypatch.setattr(model_fit, "_errors", lambda *_: self.errors.pop(0))

    def one_pass(self, fit, networks, state, replay, split, key):
        self.given.append((networks, state))
        trained = jax.tree.map(lambda leaf: leaf + 1.0, without_normaliser(networks))
        self.passes.append(eqx.tree_at(lambda n: n.inputs, trained, networks.inputs, is_leaf=lambda n: n is None))
        return self.passes[-1], jax.tree.map(lambda leaf: leaf + 1, state)


@pytest.mark.parametrize(
    ("errors", "passes"),
    [
        ([[3.0, 3, 3]] * 9, 4),  # no gain after the first pass: patience 2, so the third after it is the last
        ([[3.0, 3, 3], [3, 3, 3], [3, 3, 2]] + [[3.0, 3, 2]] * 9, 6),  # a gain of one member in the third
        ([[3.0, 3, 3], [2.98, 2.98, 2.98], [2.98, 2.98, 2.98]] + [[2.98, 2.98, 2.98]] * 9, 4),  # gains below 1 %
        ([[3.0, 3, 3]] + [[3.0 - 0.02 * k, 3, 3] for k in range(1, 5)] + [[2.92, 3, 3]] * 9, 8),  # they add up
    ],
)
def test_early_stopping(monkeypatch, errors, passes):
    script = Script(monkeypatch, errors)
    _, metrics = FIT.run(FIT.init(ensemble()), buffer(100), KEY)
    assert metrics["passes"] == len(script.passes) == passes


@pytest.mark.parametrize(("updates", "passes"), [(1, 1), (3, 1), (5, 1), (6, 2), (11, 3)])
def test_limit_on_updates(monkeypatch, updates, passes):
    """80 training rows of 100 are three batches of 32."""
    script = Script(monkeypatch, [[3.0 / 2**k] * 3 for k in range(20)])
    fit = ModelFit(batch_size=32, patience=2, updates=updates)
    fit.run(fit.init(ensemble()), buffer(100), KEY)
    assert len(script.passes) == passes


def test_the_best_of_every_member_is_restored_and_the_elites_are_sorted(monkeypatch):
    """Check 8. What the given networks would score does not matter: they have seen the rows that are held out."""
    script = Script(monkeypatch, [[2.0, 8, 5], [4, 0.5, 5], [6, 6, 5], [6, 6, 5], [6, 6, 5]])
    model, metrics = FIT.run(FIT.init(ensemble()), buffer(100), KEY)
    networks = model.ensemble.networks
    assert same(member(networks, 0), member(script.passes[0], 0))
    assert same(member(networks, 1), member(script.passes[1], 1))
    assert same(member(networks, 2), member(script.passes[0], 2))
    np.testing.assert_array_equal(model.ensemble.elites, [1, 0])
    np.testing.assert_allclose(metrics["model_error"], 1.25)


def test_weights_and_optimiser_go_on_from_the_last_call(monkeypatch):
    first, _ = FIT.run(FIT.init(ensemble()), buffer(100), KEY)
    script = Script(monkeypatch, [[3.0, 3, 3]] * 9)
    FIT.run(first, buffer(150), KEY)
    networks, state = script.given[0]
    assert same(without_normaliser(networks), without_normaliser(first.ensemble.networks))
    assert same(state, first.optimiser)
    assert not same(networks.inputs, first.ensemble.networks.inputs)  # that is of all rows there are now


# Training


def test_elites_have_the_lowest_errors_and_depend_on_the_data():
    """Check 8."""
    chosen = []
    for seed in range(4):
        fresh, replay = FIT.init(ensemble(members=5)), buffer(100, seed=seed)
        model, metrics = FIT.run(fresh, replay, KEY)
        split = FIT._split(replay, 5, jax.random.split(KEY)[0])
        errors = np.asarray(model_fit._errors(FIT, model.ensemble.networks, replay, split))
        np.testing.assert_array_equal(model.ensemble.elites, np.argsort(errors)[:2])
        np.testing.assert_allclose(metrics["model_error"], np.mean(np.sort(errors)[:2]), rtol=1e-5)
        chosen.append(tuple(np.asarray(model.ensemble.elites).tolist()))
    assert len(set(chosen)) > 1


def test_errors_are_those_of_the_held_out_rows_alone():
    replay, networks = buffer(100), ensemble().networks
    split = FIT._split(replay, 3, KEY)
    rows = replay.unpack(replay.rows[split.order[80:100]])
    targets = np.concatenate([rows.reward[:, None], rows.new - rows.x], axis=1)
    by_hand = [np.mean((jax.vmap(member(networks, k).moments)(rows.x, rows.u)[0] - targets) ** 2) for k in range(3)]
    np.testing.assert_allclose(model_fit._errors(FIT, networks, replay, split), by_hand, rtol=1e-5)


def test_held_out_rows_do_not_train():
    """A pass ends with the same networks, to the bit, whatever the held-out rows are; not so for a training row."""
    replay, model = buffer(100), FIT.init(ensemble())
    split = FIT._split(replay, 3, KEY)
    assert (int(split.train), int(split.held_out)) == (80, 20)
    np.testing.assert_array_equal(np.sort(split.order[:100]), np.arange(100))

    def trained(rows):
        changed = eqx.tree_at(lambda r: r.rows, replay, replay.rows.at[rows].multiply(50.0))
        networks = model_fit._normalised(model.ensemble.networks, changed, split)
        return model_fit._one_pass(FIT, networks, model.optimiser, changed, split, KEY)

    untouched = trained(jnp.array([], int))
    assert same(trained(split.order[80:100]), untouched)
    assert same(trained(jnp.arange(100, 400)), untouched)  # and rows that are not filled yet
    assert not same(trained(split.bootstrap[0, :80]), untouched)


def test_the_share_held_out_is_capped():
    split = ModelFit(most_held_out=15)._split(buffer(100), 3, KEY)
    assert (int(split.train), int(split.held_out)) == (85, 15)


def test_members_have_bootstrap_samples_of_their_own():
    replay = buffer(400)
    split = FIT._split(replay, 3, KEY)
    samples = np.asarray(split.bootstrap[:, :320])
    assert all(set(sample) <= set(np.asarray(split.order[:320]).tolist()) for sample in samples)
    for sample in samples:  # 1 - 1/e of the rows are in a bootstrap sample
        np.testing.assert_allclose(len(set(sample.tolist())) / 320, 1 - np.exp(-1), atol=0.08)
    assert len({tuple(np.sort(sample)) for sample in samples}) == 3
    # Members that start alike end differently.
    alike = jax.tree.map(lambda leaf: jnp.broadcast_to(leaf[:1], leaf.shape), FIT.init(ensemble()).ensemble.networks)
    model = FIT.init(ProbabilisticEnsemble(alike, jnp.arange(2)))
    after, _ = model_fit._one_pass(FIT, alike, model.optimiser, replay, split, KEY)
    assert not same(member(after, 0), member(after, 1))


def test_training_is_a_function_of_the_key():
    runs = [FIT.run(FIT.init(ensemble()), buffer(100), jax.random.PRNGKey(seed)) for seed in (0, 0, 1)]
    assert same(runs[0], runs[1]) and not same(runs[0], runs[2])


@pytest.mark.parametrize("column", [0, 3])
def test_divergence_keeps_the_old_model(column):
    """A NaN observation spoils the normalisation; a NaN reward only the gradient: errors before it were finite."""
    model, replay = FIT.init(ensemble()), buffer(100)
    split = FIT._split(replay, 3, jax.random.split(KEY)[0])
    train = np.asarray(split.order[:80])
    rows = replay.rows.at[train[train > 0], column].set(jnp.nan)  # row 0 stands for places that are not used
    with pytest.warns(RuntimeWarning, match="training of the model diverged.*learning_rate below 0.*scale"):
        found, metrics = FIT.run(model, eqx.tree_at(lambda r: r.rows, replay, rows), KEY)
    assert metrics["diverged"] == 1 and same(found, model) and not found.trained
    again, metrics = FIT.run(found, replay, KEY)
    assert metrics["diverged"] == 0 and np.isfinite(metrics["model_error"]) and not same(again, model) and again.trained


def test_growing_data_does_not_compile_anew(monkeypatch):
    traces, fit = [], ModelFit(batch_size=16, updates=10, learning_rate=2e-3)
    moments = ProbabilisticNetwork.moments
    monkeypatch.setattr(ProbabilisticNetwork, "moments", lambda *a: traces.append(0) or moments(*a))
    model, counts = fit.init(ensemble()), []
    for size in (50, 90, 333, 400):
        model, _ = fit.run(model, buffer(size), KEY)
        counts.append(len(traces))
    assert counts[0] > 0 and counts[-1] == counts[0]


def test_mistakes():
    with pytest.raises(CostogoError, match="holds 4 rows; collect more"):
        FIT.run(FIT.init(ensemble()), buffer(4), KEY)
    for options, message in (
        ({"batch_size": 0}, "batch_size is 0"), ({"updates": 0}, "updates is 0"), ({"holdout": 1.0}, "holdout is 1.0"),
        ({"learning_rate": 0.0}, "learning_rate is 0.0"), ({"patience": -1}, "patience is -1"),
        ({"most_held_out": 0}, "most_held_out is 0"),
    ):  # fmt: skip
        with pytest.raises(CostogoError, match=message):
            ModelFit(**options)
    for options, message in (({"elites": 4}, "elites is 4; pass 1 to 3"), ({"elites": 0}, "elites is 0"),
                             ({"hidden": (8,)}, "hidden is")):  # fmt: skip
        with pytest.raises(CostogoError, match=message):
            ensemble(**options)
