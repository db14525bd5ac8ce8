"""Replay buffers and off-policy agents: their parts against computations by hand, and tasks they must learn."""

import functools

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from costogo.core.errors import CostogoError
from costogo.learn.dmd_mpc import MDeMoRL
from costogo.nn import ActionValue, TanhGaussianPolicy
from costogo.rl import DDPG, SAC, Replay, TargetRange, Transitions, mixed
from costogo.rl.agent import TARGETS, critic_loss, polyak
from costogo.sim.tasks import GymnasiumEnvironment

KEY = jax.random.PRNGKey(7)
NO, NU = 3, 2
SMALL = {"hidden": (8, 8), "learning_rate": 1e-3}
AGENTS = {"SAC": SAC(NO, NU, **SMALL), "DDPG": DDPG(NO, NU, **SMALL)}
each_agent = pytest.mark.parametrize("agent", AGENTS.values(), ids=AGENTS)


def drawn(n, seed=0, terminal=0.2):
    random = np.random.default_rng(seed)
    columns = (
        random.normal(size=(n, NO)), random.uniform(-1, 1, (n, NU)), random.normal(size=n), random.normal(size=(n, NO)),
        random.random(n) < terminal,
    )  # fmt: skip
    return Transitions(*(jnp.asarray(c, jnp.float32) for c in columns))


def numbered(first, count):
    """Rows that can be told apart by their reward."""
    rows = drawn(count, first)
    return eqx.tree_at(lambda r: r.reward, rows, jnp.arange(first, first + count, dtype=jnp.float32))


def rewards(replay):
    return np.asarray(replay.unpack(replay.rows).reward).tolist()


def network(net, x):
    """The same forward pass by NumPy, in double precision."""
    for i, layer in enumerate(net.layers):
        x = np.asarray(layer.weight, float) @ x + np.asarray(layer.bias, float)
        x = np.maximum(x, 0) if i < len(net.layers) - 1 else x
    return x


@functools.cache
def update_of(agent):
    return jax.jit(agent.update)


@functools.cache
def start_of(agent):
    return jax.jit(agent.init)(KEY)


def numbers(tree):
    return [np.asarray(leaf) for leaf in jax.tree.leaves(eqx.filter(tree, eqx.is_array))]


def same(first, second):
    return all((a == b).all() and a.dtype == b.dtype for a, b in zip(numbers(first), numbers(second), strict=True))


# Replay


def test_ring_order_and_wrap_around():
    replay = Replay.empty(NO, NU, 5).add(numbered(1, 3))
    assert rewards(replay) == [1, 2, 3, 0, 0] and int(replay.size) == 3
    replay = replay.add(numbered(4, 4))
    assert rewards(replay) == [6, 7, 3, 4, 5] and int(replay.size) == 5
    assert rewards(replay.add(numbered(8, 5))) == [11, 12, 8, 9, 10]
    assert sorted(rewards(replay.add(numbered(8, 9)))) == [12, 13, 14, 15, 16]


def test_only_rows_to_keep_are_added():
    keep = jnp.array([True, False, True, True])
    replay = Replay.empty(NO, NU, 4).add(numbered(1, 4), keep)
    assert rewards(replay) == [1, 3, 4, 0] and int(replay.size) == 3
    assert rewards(replay.add(numbered(5, 4), keep)) == [7, 8, 4, 5]
    assert same(replay, replay.add(numbered(9, 4), jnp.zeros(4, bool)))


def test_samples_are_uniform_over_the_filled_rows():
    replay = Replay.empty(NO, NU, 8).add(numbered(1, 6))
    found, counts = np.unique(np.asarray(replay.sample(KEY, 60_000).reward), return_counts=True)
    assert found.tolist() == [1, 2, 3, 4, 5, 6]
    assert stats.chisquare(counts).pvalue > 1e-3


def test_rows_come_back_as_they_were():
    rows, replay = drawn(6), Replay.empty(NO, NU, 6)
    assert same(replay.unpack(replay.pack(rows)), rows)
    assert same(replay.unpack(replay.add(rows).rows), rows)


def test_an_empty_buffer_gives_zeros():
    assert all((leaf == 0).all() for leaf in numbers(Replay.empty(NO, NU, 4).sample(KEY, 7)))


@pytest.mark.parametrize(("share", "expected"), [(0.05, 13), (0.0, 0), (1.0, 256), (0.5, 128)])
def test_a_mixed_batch_has_its_share_of_real_rows(share, expected):
    real, imagined = (Replay.empty(NO, NU, 50).add(numbered(first, 50)) for first in (0, 1000))
    reward = np.asarray(mixed(KEY, real, imagined, 256, share).reward)
    assert (reward < 1000).sum() == expected and len(reward) == 256
    alone = mixed(KEY, real, Replay.empty(NO, NU, 50), 256, share)
    assert (np.asarray(alone.reward) < 1000).all() and len(np.unique(alone.reward)) > 40


# Parts of the agents


def test_range_of_targets_forgets():
    @jax.jit
    def after(count):
        first = TargetRange.empty().add(jnp.array([-5.0, 7.0], jnp.float32))
        return jax.lax.fori_loop(0, count, lambda _, seen: seen.add(jnp.array([0.0, 1.0], jnp.float32)), first)

    assert float(TargetRange.empty().clip(jnp.array(3.0))) == 0.0
    for count, low, high in ((0, -5, 7), (TARGETS - 1, -5, 7), (TARGETS, 0, 1)):
        seen = after(count)
        assert [float(seen.clip(jnp.array(v))) for v in (-9.0, 0.5, 9.0)] == [low, 0.5, high]


def test_density_of_the_policy():
    """Against SciPy, against the derivative of the map from noise to controls, and as the integral over controls."""
    policy = TanhGaussianPolicy(NO, NU, key=KEY, hidden=(8, 8))
    o, noise = jnp.array([0.3, -1.0, 2.0], jnp.float32), jax.random.normal(KEY, (50, NU), jnp.float32)
    us, found = (np.asarray(a, float) for a in jax.vmap(policy.sample, (None, 0))(o, noise))
    mean, log_std = np.split(network(policy.network, np.asarray(o, float)), 2)
    by_hand = stats.norm.logpdf(np.arctanh(us), mean, np.exp(log_std)) - np.log(1 - us**2)
    np.testing.assert_allclose(found, by_hand.sum(-1), atol=2e-4)
    slopes = jax.vmap(jax.jacfwd(lambda n: policy.sample(o, n)[0]))(noise)
    _, volume = np.linalg.slogdet(np.asarray(slopes, float))
    np.testing.assert_allclose(found, stats.norm.logpdf(np.asarray(noise)).sum(-1) - volume, atol=2e-4)

    single = TanhGaussianPolicy(NO, 1, key=KEY, hidden=(8, 8))
    u, density = jax.vmap(single.sample, (None, 0))(o, jnp.linspace(-7, 7, 4001, dtype=jnp.float32)[:, None])
    assert np.trapezoid(np.exp(np.asarray(density, float)), np.asarray(u[:, 0], float)) == pytest.approx(1, abs=1e-3)


def test_density_is_finite_where_controls_are_at_their_bounds():
    policy = TanhGaussianPolicy(NO, 1, key=KEY, hidden=(8,))
    zero = jax.tree.map(jnp.zeros_like, policy)
    far = eqx.tree_at(lambda p: p.network.layers[-1].bias, zero, jnp.array([30.0, -40.0], jnp.float32))
    u, density = far.sample(jnp.zeros(NO, jnp.float32), jnp.zeros(1, jnp.float32))
    # log N(0; 0, e^-20) - 2 (log 2 - 30), the deviation clipped
    assert float(u[0]) == 1.0
    assert float(density) == pytest.approx(20 - 0.5 * np.log(2 * np.pi) - 2 * (np.log(2) - 30), rel=1e-5)


@pytest.mark.parametrize(("target", "way"), [(-100.0, -1), (100.0, 1)])
def test_temperature_falls_while_entropy_is_above_its_target(target, way):
    agent = SAC(NO, NU, **SMALL, target_entropy=target)
    new, metrics = update_of(agent)(start_of(agent), KEY, drawn(16))
    assert float(metrics["temperature"]) == 1.0 and abs(float(metrics["entropy"])) < 50
    assert np.sign(float(new.log_temperature.parameters)) == way


def soft_value(state, x, noise):
    """`min Qbar(x, a) - alpha log pi(a | x)` by NumPy."""
    mean, log_std = np.split(network(state.actor.parameters.network, x), 2)
    raw = mean + np.exp(log_std) * noise
    log_density = np.sum(stats.norm.logpdf(raw, mean, np.exp(log_std)) - np.log(1 - np.tanh(raw) ** 2))
    q = min(network(target.network, np.r_[x, np.tanh(raw)])[0] for target in state.targets)
    return q - np.exp(float(state.log_temperature.parameters)) * log_density


def plain_value(state, x, noise):
    u = np.tanh(network(state.target_actor.network, x))
    return network(state.targets[0].network, np.r_[x, u])[0]


@each_agent
def test_targets_by_hand(agent):
    """A row that was cut counts what follows, a terminal one does not; targets come from the target networks."""
    state = start_of(agent)
    for i in range(5):  # networks and targets part
        state, _ = update_of(agent)(state, jax.random.fold_in(KEY, i), drawn(16, i))
    rows, value = drawn(16, 50), soft_value if isinstance(agent, SAC) else plain_value
    noise = np.asarray(jax.random.normal(KEY, (2, 16, NU), jnp.float32), float)[0]
    values = [value(state, x, n) for x, n in zip(np.asarray(rows.new, float), noise, strict=True)]
    for terminal in (0.0, 1.0):
        given = eqx.tree_at(lambda r: r.terminal, rows, jnp.full(16, terminal, jnp.float32))
        expected = np.asarray(rows.reward, float) + 0.99 * (1 - terminal) * np.array(values)
        assert float(update_of(agent)(state, KEY, given)[1]["q"]) == pytest.approx(expected.mean(), abs=1e-5)


def test_gradient_of_the_critics():
    critics = tuple(ActionValue(NO, NU, key=jax.random.fold_in(KEY, i), hidden=(8,)) for i in range(2))
    double = jax.tree.map(lambda leaf: leaf.astype(float), (critics, drawn(16)))
    y = jnp.asarray(np.random.default_rng(2).normal(size=16))
    flat, build = jax.flatten_util.ravel_pytree(double[0])

    def loss(flat):
        return critic_loss(build(flat), double[1], y)

    x, u, errors = np.asarray(double[1].x), np.asarray(double[1].u), []
    for critic in critics:
        errors.append([network(critic.network, np.r_[a, b])[0] for a, b in zip(x, u, strict=True)] - np.asarray(y))
    assert float(loss(flat)) == pytest.approx(0.5 * np.mean(np.square(errors), axis=1).sum(), rel=1e-9)
    gradient = jax.jit(jax.grad(loss))(flat)
    for i in np.random.default_rng(3).choice(flat.size, 20, replace=False):
        step = jnp.zeros(flat.size).at[i].set(1e-6)
        assert float(gradient[i]) == pytest.approx(float(loss(flat + step) - loss(flat - step)) / 2e-6, abs=1e-7)


@each_agent
def test_polyak_averages(agent):
    old = start_of(agent)
    new, _ = update_of(agent)(old, KEY, drawn(16))
    pairs = [(old.targets, new.targets, new.critics.parameters)]
    if isinstance(agent, DDPG):
        pairs.append((old.target_actor, new.target_actor, new.actor.parameters))
    for before, after, source in pairs:
        assert not same(before, source)
        for b, a, s in zip(*map(numbers, (before, after, source)), strict=True):
            np.testing.assert_allclose(a, 0.995 * b.astype(float) + 0.005 * s, atol=1e-7)
    assert same(polyak(old.targets, new.critics.parameters, 1.0), new.critics.parameters)


@each_agent
def test_the_same_key_gives_the_same_bits(agent):
    start = jax.jit(agent.init)
    first, second = (update_of(agent)(start(KEY), KEY, drawn(16)) for _ in range(2))
    assert same(first, second)
    assert {leaf.dtype.name for leaf in numbers(first)} == {"float32", "int32"}
    assert not same(start(KEY), start(jax.random.PRNGKey(8)))
    assert not same(first[0].actor.parameters, start(KEY).actor.parameters)


@each_agent
def test_actions(agent):
    state, x = start_of(agent), drawn(1).x[0]
    best = agent.act(state, x)
    assert best.shape == (NU,) and same(best, agent.policy(state)(x))
    tried = np.asarray(jax.vmap(lambda k: agent.act(state, x, k))(jax.random.split(KEY, 2000)))
    assert np.abs(tried).max() <= 1.0
    if isinstance(agent, DDPG):
        np.testing.assert_allclose(tried.std(0), agent.noise, rtol=0.1)
        np.testing.assert_allclose(tried.mean(0), best, atol=0.01)


@each_agent
def test_values_stay_within_the_range_of_targets(agent):
    state, x = start_of(agent), drawn(1).x[0]
    state = eqx.tree_at(lambda s: s.seen, state, TargetRange.empty().add(jnp.array([-1.0, 2.0], jnp.float32)))
    last = lambda s: [critic.network.layers[-1].bias for critic in s.critics.parameters]  # noqa: E731
    for bias, expected in ((50.0, 2.0), (-50.0, -1.0)):
        moved = eqx.tree_at(last, state, [jnp.full(1, bias, jnp.float32)] * len(state.critics.parameters))
        assert float(agent.value(moved, x)) == expected
    u = np.asarray(agent.act(state, x), float)
    least = min(network(critic.network, np.r_[x, u])[0] for critic in state.critics.parameters)
    assert float(agent.value(state, x)) == pytest.approx(np.clip(least, -1, 2), abs=1e-6)


# Tasks


class Echo:
    """Say what you saw: reward `-(u - x)^2`, x drawn anew at every step. An episode ends or is cut after `length`."""

    name, no, nu = "Echo", 1, 1

    def __init__(self, length=1, cut=False):
        self.length, self.cut = length, cut

    def start(self, seed):
        self.seed, self.steps = seed, 0
        return self._observation()

    def restart(self):
        return self._observation()

    def step(self, u):
        reward = -float((u[0] - self._observation()[0]) ** 2)
        self.steps += 1
        over = self.steps % self.length == 0
        return self._observation(), reward, over and not self.cut, over and self.cut

    def terminated(self, x, u, new):
        return jnp.array(self.length == 1 and not self.cut)

    def save(self):
        return {"seed": np.array(self.seed), "steps": np.array(self.steps)}

    def load(self, state):
        self.seed, self.steps = int(state["seed"]), int(state["steps"])
        return self._observation()

    def _observation(self):
        return np.random.default_rng([self.seed, self.steps]).uniform(-1, 1, 1).astype(np.float32)


@pytest.mark.parametrize("kind", [SAC, DDPG])
def test_learns_the_identity(kind):
    """Root mean square error of the policy below 0.1; it starts at about 0.6, as a policy of zero would."""
    agent = kind(1, 1, hidden=(32, 32), learning_rate=3e-3)
    learner = MDeMoRL(Echo(), Echo(), agent, None, epoch_length=500, first_steps=200, updates=1, batch_size=64)
    state, xs = learner.init(KEY), np.linspace(-0.9, 0.9, 41, dtype=np.float32)[:, None]

    def error(state):
        return float(np.sqrt(np.mean((np.asarray(jax.vmap(learner.policy(state))(xs)) - xs) ** 2)))

    assert error(state) > 0.4
    for _ in range(3):
        state, _ = learner.step(state)
    assert error(state) < 0.1


@pytest.mark.parametrize("cut", [False, True])
def test_only_terminal_states_are_stored_as_terminal(cut):
    agent = SAC(1, 1, hidden=(4,))
    learner = MDeMoRL(
        Echo(3, cut), Echo(3, cut), agent, None, epoch_length=6, first_steps=6, updates=1, batch_size=4, capacity=12
    )
    state, _ = learner.step(learner.init(KEY))
    stored = np.asarray(state.real.unpack(state.real.rows).terminal)
    np.testing.assert_array_equal(stored, np.zeros(12) if cut else np.tile([0, 0, 1], 4))


@pytest.mark.slow
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_balances_the_pendulum(seed):
    """Three test episodes with the full return of 1000, before 20,000 real steps with one update each are over. Four
    minutes for a seed on a core (spec dmd_mpc section 14, check 10)."""
    environments = [GymnasiumEnvironment("InvertedPendulum") for _ in range(2)]
    learner = MDeMoRL(
        *environments, SAC(environments[0].no, environments[0].nu), None, epoch_length=500, first_steps=500, updates=1,
        capacity=20_000, tests=3,
    )  # fmt: skip
    state, best, steps = learner.init(jax.random.PRNGKey(seed)), 0.0, 0
    while best < 1000 and steps < 20_000:
        state, metrics = learner.step(state)
        best, steps = max(best, learner.evaluate(state)["return"]), metrics["real_steps"]
    assert best == 1000, f"the best mean return in {steps} steps was {best}"


# Bad input


@pytest.mark.parametrize("kind", [SAC, DDPG])
@pytest.mark.parametrize(
    ("given", "named"),
    [
        ({"no": 0}, "no and nu are 0 and 2"),
        ({"nu": 0}, "no and nu are 3 and 0"),
        ({"hidden": (8, 0)}, "hidden is"),
        ({"discount": 1.5}, "discount is 1.5"),
        ({"discount": float("nan")}, "discount is nan"),
        ({"polyak": 0.0}, "polyak is 0.0"),
        ({"learning_rate": -1e-3}, "learning_rate is -0.001"),
    ],
)
def test_settings_that_cannot_be(kind, given, named):
    with pytest.raises(CostogoError, match=f"{named}.*; pass"):
        kind(**({"no": NO, "nu": NU} | given))


def test_noise_and_buffers_that_cannot_be():
    with pytest.raises(CostogoError, match="noise is -1"):
        DDPG(NO, NU, noise=-1.0)
    with pytest.raises(CostogoError, match="capacity is 0"):
        Replay.empty(NO, NU, 0)
