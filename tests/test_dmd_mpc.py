"""M-DeMoRL and its relatives: scores, imagination, the loop over real steps, resuming (spec dmd_mpc)."""

import csv
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from costogo.core.errors import CheckpointError, CostogoError
from costogo.io import CheckpointFolder, RunFolder, load_state, train
from costogo.learn import fit
from costogo.learn.dmd_mpc import (
    BranchedRollouts,
    ImprovedRollouts,
    LinearSchedule,
    MDeMoRL,
    ModelFit,
    Source,
    constant,
    mopac_solver,
)
from costogo.learn.dmd_mpc.imagination import _with_score, imagined_problem
from costogo.learn.dmd_mpc.learner import _renew
from costogo.problem import total_cost
from costogo.problem.rollout import open_loop
from costogo.rl import SAC, Replay, Transitions, mixed
from costogo.sim.tasks import GymnasiumEnvironment
from costogo.solvers import LiteralElites, LowCost, MirrorDescent
from killing import check_resumed_training

KEY = jax.random.PRNGKey(0)
NEVER = lambda x, u, new: jnp.array(False)  # noqa: E731


class Members(eqx.Module):
    """Stand-in for elites: `x' = x + gain u + 0.01 noise`, reward `slope x + u - bend (u - aim)^2`."""

    gain: jax.Array
    aim: jax.Array
    slope: float = eqx.field(static=True, default=0.0)
    bend: float = eqx.field(static=True, default=0.0)

    @property
    def upper(self):
        return self.gain

    def predict(self, x, u, noise=None):
        new = x + self.gain * u + (0.0 if noise is None else 0.01 * noise)
        return self.slope * x[0] + u[0] - self.bend * (u[0] - self.aim) ** 2, new


class Actor(eqx.Module):
    """Stand-in for an agent: `u = clip(bias + feedback x)`, with a key plus noise; value `worth x`."""

    bias: float = 0.0
    feedback: float = 0.0
    worth: float = 0.0
    no: int = eqx.field(static=True, default=1)
    nu: int = eqx.field(static=True, default=1)
    discount: float = eqx.field(static=True, default=0.9)

    def act(self, state, x, key=None):
        u = self.bias + self.feedback * x
        return jnp.clip(u if key is None else u + 0.1 * jax.random.normal(key, x.shape, x.dtype), -1.0, 1.0)

    def value(self, state, x):
        return self.worth * x[0]


def source(agent, terminated=NEVER, gains=(1.0,), aims=None, dtype=jnp.float32, **reward):
    aims = [0.0] * len(gains) if aims is None else aims
    return Source(Members(jnp.array(gains, dtype), jnp.array(aims, dtype), **reward), agent, None, terminated)


def member(networks, number):
    return jax.tree.map(lambda leaf: leaf[number] if eqx.is_array(leaf) else leaf, networks)


def zeros(n):
    return jnp.zeros((n, 1), jnp.float32)


def same(a, b):
    return all(np.array_equal(p, q, equal_nan=True) for p, q in zip(*map(jax.tree.leaves, (a, b)), strict=True))


# Score and schedules


@pytest.mark.parametrize(
    ("terminated", "score"),
    [
        (NEVER, 2.5 + 0.9 * 4.0 + 0.81 * 4.5 + 0.729 * 20.0),
        (lambda x, u, new: new[0] > 2.2, 2.5 + 0.9 * 4.0),  # the second step ends it; its reward counts
        (lambda x, u, new: x[0] > 2.2, 2.5 + 0.9 * 4.0 + 0.81 * 4.5),  # the last one: no terminal value
    ],
)
def test_score_by_hand(terminated, score):
    """Check 6: x = 1, 1.5, 2.5, 2; rewards 2 x + u = 2.5, 4, 4.5; V(x) = 10 x; discount 0.9."""
    given = source(Actor(worth=10.0), terminated, slope=2.0, dtype=jnp.float64)
    problem = imagined_problem(given, member(given.networks, 0), 3)
    controls, start = jnp.array([[0.5], [1.0], [-0.5]]), _with_score(jnp.array([1.0]))
    states = open_loop(problem, start, controls)
    found = total_cost(problem, states, controls, problem.times(0.0, jnp.float64))
    np.testing.assert_allclose(found, -score, rtol=1e-12)


class Broken(Members):
    """Not a number from x = 2 on."""

    def predict(self, x, u, noise=None):
        reward, new = super().predict(x, u, noise)
        return reward, jnp.where(x > 1.9, jnp.nan, new)


def test_what_diverges_costs_infinity_unless_it_had_ended():
    agent, start = Actor(bias=1.0, worth=10.0), _with_score(jnp.zeros(1))
    for terminated, cost in ((NEVER, np.inf), (lambda x, u, new: new[0] > 1.9, -(1 + 0.9))):
        given = Source(Broken(jnp.ones(1), jnp.zeros(1)), agent, None, terminated)
        problem = imagined_problem(given, member(given.networks, 0), 5)
        states = open_loop(problem, start, jnp.ones((5, 1)))
        found = total_cost(problem, states, jnp.ones((5, 1)), problem.times(0.0, jnp.float64))
        np.testing.assert_allclose(found, cost)
        plan = ImprovedRollouts(constant(5)).plan(given, member(given.networks, 0), jnp.zeros(1), 5, KEY)
        assert np.all(np.isfinite(plan))


def test_schedules():
    """Check 9."""
    horizon, ant = LinearSchedule(0, 40, 5, 15), LinearSchedule(20, 100, 1, 25)
    assert [horizon(e) for e in (0, 20, 40, 100)] == [5, 10, 15, 15] and horizon(3) == 5 and horizon(4) == 6
    assert [ant(e) for e in (0, 20, 60, 100, 500)] == [1, 1, 13, 25, 25]
    assert [LinearSchedule(0, 100, 1, 101)(e) for e in range(101)] == list(range(1, 102))  # 29 / 100 * 100 < 29
    assert [LinearSchedule(0, 4, 5, 1)(e) for e in range(6)] == [5, 4, 3, 2, 1, 1]
    assert constant(3)(0) == constant(3)(10**6) == 3 and ant.largest == 25


# Improved rollouts


def improve(given, starts, horizon, **options):
    imagination = ImprovedRollouts(constant(horizon), **{"start_states": len(starts), **options})
    return eqx.filter_jit(imagination.generate)(given, starts, horizon, KEY)


def test_rows_stop_at_the_end():
    """x = 0, 1, 2, 3 and on: the third step is terminal, and the last that is kept."""
    given = source(Actor(bias=1.0), lambda x, u, new: new[0] > 2.5)
    made = improve(given, zeros(4), 6, solver=MirrorDescent(1, std=1e-3, samples=4))
    kept = made.keep.reshape(4, 6)
    np.testing.assert_array_equal(kept, np.tile(np.arange(6) < 3, (4, 1)))
    np.testing.assert_array_equal(made.rows.terminal.reshape(4, 6)[:, :3], np.tile([0, 0, 1], (4, 1)))
    np.testing.assert_allclose(made.rows.x.reshape(4, 6)[:, :3], np.tile([0, 1, 2], (4, 1)), atol=0.06)
    np.testing.assert_array_equal(made.rows.x.reshape(4, 6)[:, 1:3], made.rows.new.reshape(4, 6)[:, :2])


def test_replayed_controls_lie_in_the_bounds():
    """The literal weights are no convex combination: their plan leaves the bounds, the replay does not."""
    given = source(Actor(bias=0.5), gains=(1.0, 1.0), slope=0.3)
    imagination = ImprovedRollouts(constant(4), MirrorDescent(1, LiteralElites(1.0), std=1.0, samples=8), 20)
    made = imagination.generate(given, zeros(20), 4, KEY)
    assert np.all(np.abs(made.rows.u) <= 1.0) and np.any(np.abs(made.rows.u) == 1.0)
    plan = lambda key: imagination.plan(given, member(given.networks, 0), zeros(1)[0], 4, key)  # noqa: E731
    assert np.max(np.abs(jax.vmap(plan)(jax.random.split(KEY, 20)))) > 1.0
    residual = improve(given, zeros(4), 4, solver=mopac_solver(4), residual=True)
    assert np.all(np.abs(residual.rows.u) <= 1.0)


@pytest.mark.parametrize("residual", [False, True])
def test_exploring_replays_add_the_agents_noise(residual):
    """The agent's noise has 0.1; plans of vanishing noise are the policy's own, so controls are 0.2 + that noise."""
    solver = MirrorDescent(1, std=1e-4, samples=4)
    given = source(Actor(bias=0.2))
    plain, explored = (
        improve(given, zeros(500), 3, solver=solver, residual=residual, explore=explore).rows.u
        for explore in (False, True)
    )
    np.testing.assert_allclose(plain, 0.2, atol=1e-3)
    assert np.mean(explored) == pytest.approx(0.2, abs=0.01) and np.std(explored) == pytest.approx(0.1, rel=0.1)
    steps = explored.reshape(500, 3)
    assert np.max(np.abs(np.corrcoef(steps.T) - np.eye(3))) < 0.15  # another draw in every step


def test_each_start_has_one_member_for_samples_and_replay():
    """Members differ in the control they reward and in what it does: a replay shows both of the same one."""
    gains, aims = np.array([0.1, 0.5, 1.0]), np.array([-0.8, 0.0, 0.8])
    given = source(Actor(), gains=gains, aims=aims, bend=100.0)
    solver = MirrorDescent(1, LowCost(0.02), step_size=1.0, std=0.8, samples=1000)
    assert ImprovedRollouts(constant(1), start_states=13).starts(3, 1) == 12
    made = improve(given, zeros(12), 1, solver=solver)
    u = made.rows.u[:, 0]
    nearest = np.argmin(np.abs(u[:, None] - aims - 1 / 200), axis=1)  # the reward is highest at aim + 1 / (2 bend)
    np.testing.assert_array_equal(np.bincount(nearest), [4, 4, 4])
    np.testing.assert_allclose(u, aims[nearest], atol=0.05)
    np.testing.assert_allclose(made.rows.new[:, 0], gains[nearest] * u, atol=0.05)
    np.testing.assert_allclose(made.rows.reward, u - 100 * (u - aims[nearest]) ** 2, atol=1e-4)


def test_the_plan_earns_more_in_the_model_than_the_policy():
    """Also with a step below one, and in either mode."""
    given = source(Actor(bias=-0.2, feedback=-0.1, worth=0.5), gains=(0.3,), aims=(0.7,), slope=0.2, bend=2.0)
    network = member(given.networks, 0)
    problem, starts = imagined_problem(given, network, 5), jax.random.normal(KEY, (50, 1), jnp.float32)

    def gain(imagination, x0, key):
        solver = eqx.tree_at(lambda s: s.policy, imagination.solver, lambda z, t: given.agent.act(None, z[:-2]),
                             is_leaf=lambda leaf: leaf is None)  # fmt: skip
        plans = (imagination.plan(given, network, x0, 5, key), solver.policy_plan(problem, _with_score(x0)))
        scores = [open_loop(problem, _with_score(x0), plan) for plan in plans]
        costs = [total_cost(problem, s, p, problem.times(0.0, s.dtype)) for s, p in zip(scores, plans, strict=True)]
        return costs[1] - costs[0]

    for mode in ("closed_loop", "open_loop"):
        imagination = ImprovedRollouts(constant(5), MirrorDescent(1, samples=50, mode=mode))
        gains = jax.vmap(lambda x0, key, i=imagination: gain(i, x0, key))(starts, jax.random.split(KEY, 50))
        assert np.min(gains) > 0 and np.mean(gains) > 0.5


def test_mopac_by_hand():
    """The plan is the mean noise, weighted by exp(return), and it is added to the policy in closed loop."""
    given = source(Actor(bias=0.3, feedback=-0.4, worth=2.0), gains=(0.8,), aims=(0.9,), slope=0.5, bend=1.5)
    imagination = ImprovedRollouts(constant(4), mopac_solver(16), 1, residual=True)
    x0, H = np.array([0.6], np.float32), 4
    plan = imagination.plan(given, member(given.networks, 0), jnp.asarray(x0), H, KEY)
    key = jax.random.fold_in(jax.random.fold_in(KEY, 0), 0)
    noise = 0.5 * np.asarray(jax.random.normal(key, (16, H, 1), jnp.float32), np.float64)[..., 0]
    returns = np.zeros(16)
    for i in range(16):
        x = 0.6
        for h in range(H):
            u = np.clip(np.clip(0.3 - 0.4 * x, -1, 1) + noise[i, h], -1, 1)
            returns[i] += 0.9**h * (0.5 * x + u - 1.5 * (u - 0.9) ** 2)
            x = x + 0.8 * u
        returns[i] += 0.9**H * 2.0 * x
    weights = np.exp(returns - returns.max())
    correction = weights @ noise / weights.sum()
    np.testing.assert_allclose(plan[:, 0], correction, atol=1e-5)
    # The key of the one start, of which the first half plans.
    plans, _ = jax.random.split(jax.random.split(KEY, (1, 1))[0, 0])
    made = imagination.generate(given, jnp.asarray(x0)[None], H, KEY)
    again = imagination.plan(given, member(given.networks, 0), jnp.asarray(x0), H, plans)[:, 0]
    policy = np.clip(0.3 - 0.4 * made.rows.x[:, 0], -1, 1)
    np.testing.assert_allclose(made.rows.u[:, 0], np.clip(policy + again, -1, 1), atol=1e-6)
    assert np.std(made.rows.new - made.rows.x - 0.8 * made.rows.u) > 1e-3  # with the model's noise


# Branched rollouts


def test_branched_rollouts_mix_the_elites():
    given = source(Actor(bias=0.5), gains=(1.0, 3.0))
    imagination = BranchedRollouts(constant(4), samples=170)
    assert imagination.starts(2, 4) == 42 and BranchedRollouts(constant(4), samples=1).starts(2, 4) == 2
    made = imagination.generate(given, zeros(42), 4, KEY)
    assert np.all(made.keep) and made.rows.x.shape == (4 * 42, 1)
    x, u, new = (np.asarray(a).reshape(4, 42) for a in (made.rows.x, made.rows.u, made.rows.new))
    gain = np.rint((new - x) / u)
    np.testing.assert_array_equal(np.sum(gain == 1, axis=1), [21] * 4)  # at each step the same number for each
    np.testing.assert_array_equal(np.sum(gain == 3, axis=1), [21] * 4)
    assert np.std(u) > 0.05  # the policy explores
    for k in range(3):  # the states of a step are where the last one ended, in another order
        np.testing.assert_array_equal(np.sort(x[k + 1]), np.sort(new[k]))
        came_from = gain[k][np.argsort(new[k])][np.argsort(np.argsort(x[k + 1]))]
        assert len(set(zip(came_from, gain[k + 1], strict=True))) == 4  # from each elite on to each


def test_branched_rollouts_end_at_a_terminal_state():
    given = source(Actor(bias=1.0), lambda x, u, new: new[0] > 1.5)
    made = BranchedRollouts(constant(5), samples=50).generate(given, zeros(10), 5, KEY)
    x, new, terminal = (np.asarray(a).ravel()[np.asarray(made.keep)] for a in (made.rows.x, made.rows.new,
                                                                              made.rows.terminal))  # fmt: skip
    np.testing.assert_array_equal(terminal, new > 1.5)
    assert np.sum(terminal) == 10 and np.all(x <= 1.5)  # each trajectory once, and nothing after it


# The learner


class Line:
    """`x' = x + 0.5 u`, reward `-x'^2`; ends beyond 4, cut after 12 steps. Counts steps; raises at one if told so."""

    name, no, nu = "Line", 1, 1

    def __init__(self, fails_at=None, reward=None):
        self.fails_at, self.reward, self.steps = fails_at, reward, 0

    # All are one task to the compiled programs, which know only its `terminated`.
    def __eq__(self, other):
        return type(other) is type(self)

    def __hash__(self):
        return hash(type(self))

    def start(self, seed):
        self.seed, self.episode = seed, -1
        return self.restart()

    def restart(self):
        self.episode, self.elapsed = self.episode + 1, 0
        self.x = np.random.default_rng([self.seed, self.episode]).uniform(-2, 2, self.no).astype(np.float32)
        return self.x

    def step(self, u):
        assert u.shape == (self.nu,) and np.all(np.abs(u) <= 1)
        self.steps += 1
        if self.steps == self.fails_at:
            raise RuntimeError("the robot fell over")
        self.x = (self.x + 0.5 * u[0]).astype(np.float32)
        self.elapsed += 1
        ended = bool(np.any(np.abs(self.x) > 4))
        reward = -(float(self.x[0]) ** 2) if self.reward is None else self.reward
        return self.x, reward, ended, not ended and self.elapsed >= 12

    def terminated(self, x, u, new):
        return jnp.any(jnp.abs(new) > 4)

    def save(self):
        numbers = (self.seed, self.episode, self.elapsed)
        return {"x": self.x.copy(), "numbers": np.array(numbers, np.int64)}

    def load(self, state):
        self.x = np.array(state["x"])
        self.seed, self.episode, self.elapsed = (int(n) for n in state["numbers"])
        return self.x


class Plane(Line):
    no = 2


IMPROVED = ImprovedRollouts(LinearSchedule(0, 3, 2, 3), MirrorDescent(1, samples=8), start_states=8)
METHODS = {
    "m_demorl": IMPROVED,
    "mopac": ImprovedRollouts(IMPROVED.schedule, mopac_solver(8), start_states=8, residual=True),
    "mbpo": BranchedRollouts(constant(1), samples=16),
    "sac": None,
}
SIZES: dict[str, Any] = {
    "model_fit": ModelFit(batch_size=32, updates=20), "hidden": (16, 16), "members": 3, "elites": 2,
    "epoch_length": 24, "first_steps": 40, "updates": 2, "batch_size": 32, "real_share": 0.25, "model_every": 12,
    "capacity": 500, "imagined_capacity": 60,
}  # fmt: skip


class Untimed(MDeMoRL):
    """Without the one metric that no two runs share."""

    def step(self, state):
        state, metrics = super().step(state)
        assert metrics.pop("seconds") > 0
        return state, metrics


def small(imagination=IMPROVED, environment=None, test_environment=None, agent=None, **options):
    environment = environment or Line()
    agent = agent or SAC(environment.no, environment.nu, hidden=(16, 16))
    return Untimed(environment, test_environment or Line(), agent, imagination, **{**SIZES, **options})


def learner():
    """What the test with a kill trains."""
    environments = [GymnasiumEnvironment("InvertedPendulum") for _ in range(2)]
    return small(METHODS["m_demorl"], *environments, SAC(4, 1, hidden=(16, 16)), epoch_length=60, model_every=30,
                 capacity=1000, updates=1)  # fmt: skip


@pytest.mark.parametrize("method", METHODS)
def test_every_method_takes_exactly_an_epoch_of_real_steps(method):
    """Check 15."""
    environment = Line()
    it = small(METHODS[method], environment)
    state = it.init(KEY)
    assert (
        environment.steps == 40 == state.real.size
        and state.imagined.size == 0
        and (state.model is None) == (method == "sac")
    )
    for epoch in range(2):
        state, metrics = it.step(state)
        assert environment.steps == 40 + 24 * (epoch + 1) == state.real.size == metrics["real_steps"]
        assert state.step == epoch + 1 and state.agent.seen.count == 2 * 24 * (epoch + 1)
        assert all(np.isfinite(value) for value in metrics.values())
    assert environment.steps == 88  # with the tests on another one
    results = it.evaluate(state)
    assert environment.steps == 88 and results["length"] <= 12 and it.test_environment.steps == results["length"]
    rows = {"m_demorl": 2 * 8 * (2 + 2), "mopac": 2 * 8 * (2 + 2), "mbpo": 4 * 16, "sac": 0}[method]
    assert state.imagined.size <= rows and (state.imagined.size > 0) == (rows > 0)
    if method != "sac":
        assert metrics["diverged"] == metrics["dropped"] == 0 and metrics["passes"] > 0


def test_real_rows_are_a_trajectory():
    """Rows follow each other over epochs; time limits are not terminal."""
    it = small(None)
    state, told = it.init(KEY), []
    for _ in range(2):
        state, metrics = it.step(state)
        told.append(metrics["train_return"])
    rows = state.real.unpack(state.real.rows[:88])
    np.testing.assert_allclose(rows.new, rows.x + 0.5 * rows.u, atol=1e-6)
    np.testing.assert_allclose(rows.reward, -(rows.new[:, 0] ** 2), rtol=1e-6)
    np.testing.assert_array_equal(rows.terminal, np.abs(rows.new[:, 0]) > 4)
    follows = np.asarray(rows.x[1:] == rows.new[:-1])[:, 0]
    assert 88 / 12 - 1 <= np.sum(~follows) <= 88 / 4 and np.sum(rows.terminal) < np.sum(~follows)
    # The return of the episodes that end in an epoch, whenever they began.
    ends = np.append(np.flatnonzero(~follows), 87 if it.environment.elapsed == 0 else [])
    returns = [np.sum(part) for part in np.split(np.asarray(rows.reward), ends.astype(int) + 1)]
    for epoch in range(2):
        inside = (ends >= 40 + 24 * epoch) & (ends < 64 + 24 * epoch)
        np.testing.assert_allclose(told[epoch], np.mean(np.array(returns[: len(ends)])[inside]), rtol=1e-5)


class Idle(Actor):
    """Does not learn."""

    def init(self, key):
        return jnp.zeros(())

    def update(self, state, key, batch):
        return state, {"drawn": jax.random.uniform(key)}


def test_every_step_draws_anew():
    """Exploration and updates of all steps and epochs have keys of their own."""
    it = small(None, agent=Idle())
    state, drawn = it.init(KEY), []
    for _ in range(2):
        state, metrics = it.step(state)
        drawn.append(metrics["drawn"])
    controls = np.asarray(state.real.unpack(state.real.rows[:88]).u)
    assert len(np.unique(controls)) == 88 and drawn[0] != drawn[1]


def test_the_ring_of_imagined_rows():
    """Four calls at the longest horizon, and at least what is asked for."""
    improved = ImprovedRollouts(LinearSchedule(0, 9, 2, 5), start_states=9)  # 8 starts for 2 elites
    assert len(small(improved).blank(KEY).imagined.rows) == 4 * 8 * 5
    assert len(small(improved, imagined_capacity=999).blank(KEY).imagined.rows) == 999
    branched = BranchedRollouts(LinearSchedule(0, 9, 1, 3), samples=100)
    assert len(small(branched).blank(KEY).imagined.rows) == 4 * 100


class Fake(eqx.Module):
    """An ensemble whose elites are given."""

    best: Any


def test_rows_that_are_not_finite_are_dropped_and_counted():
    it, agent = small(agent=Actor(bias=0.5)), None
    x = jnp.where(jnp.arange(40) % 4 == 0, 2.5, 0.0)[:, None]
    real = Replay.empty(1, 1, 500).add(Transitions(x, x, x[:, 0], x, x[:, 0]))
    ensemble = Fake(Broken(jnp.full(2, 0.1, jnp.float32), jnp.zeros(2, jnp.float32)))
    imagined, counts = _renew(it, 3, 400, ensemble, agent, real, Replay.empty(1, 1, 2000), KEY, KEY)
    lost = counts["dropped"]
    assert counts["clipped"] == 0.0
    assert 60 < lost < 140 and imagined.size == 3 * (400 - lost)
    assert np.all(np.isfinite(imagined.rows)) and np.all(imagined.rows[:, 0] < 1.9)


def test_batches_have_their_share_of_real_rows():
    ones = Transitions(*(jnp.ones((50, n)) for n in (1, 1)), jnp.ones(50), jnp.ones((50, 1)), jnp.zeros(50))
    real, imagined = Replay.empty(1, 1, 60).add(ones), Replay.empty(1, 1, 60).add(jax.tree.map(lambda a: -a, ones))
    for share, count in ((0.05, 13), (0.0, 0), (1.0, 256), (0.3, 77)):
        assert np.sum(mixed(KEY, real, imagined, 256, share).reward == 1) == count
    assert np.all(mixed(KEY, real, Replay.empty(1, 1, 60), 256, 0.05).reward == 1)  # nothing has been imagined yet


class Watching(SAC):
    """Tells which share of a batch has the reward of the real environment."""

    def update(self, state, key, batch):
        state, metrics = super().update(state, key, batch)
        return state, metrics | {"real": jnp.mean(batch.reward == 7.0)}


@pytest.mark.parametrize(("imagination", "share"), [(IMPROVED, 0.25), (None, 1.0)])
def test_updates_see_their_share_of_real_rows(imagination, share):
    it = small(imagination, Line(reward=7.0), agent=Watching(1, 1, hidden=(16, 16)))
    _, metrics = it.step(it.init(KEY))
    assert metrics["real"] == share


def test_a_seed_determines_the_run_and_a_step_leaves_its_state_alone():
    def run(seed):
        it = small()
        state = it.init(jax.random.PRNGKey(seed))
        before = jax.tree.map(np.array, state)
        ends = [it.step(state) for _ in range(2)]
        assert same(before, state) and same(*ends)  # though buffers are overwritten in place
        return it.step(ends[0][0])

    assert same(run(0), run(0)) and not same(run(0)[0].agent, run(1)[0].agent)


def test_programs_are_compiled_once_per_horizon():
    traces = []

    class Counting(SAC):
        def update(self, state, key, batch):
            traces.append("update")
            return super().update(state, key, batch)

        def value(self, state, x):
            traces.append("value")
            return super().value(state, x)

    it = small(agent=Counting(1, 1, hidden=(16, 16)))
    fit(it, it.init(KEY), epochs=5)  # horizons 2, 2, 2, 3, 3
    # A scan traces its body once or twice; imagination once for each horizon.
    first, values = traces.count("update"), traces.count("value")
    fit(it, it.init(jax.random.PRNGKey(1)), epochs=5)
    assert traces.count("update") == first <= 2 and traces.count("value") == values <= 4


def test_it_learns_an_easy_task():
    """Distance to the origin; a policy that does nothing earns -12 E[x^2] = -16."""
    it = small(epoch_length=60, first_steps=64, updates=10, batch_size=64, real_share=0.5, model_every=30, tests=5,
               agent=SAC(1, 1, hidden=(32, 32), learning_rate=1e-3, discount=0.9),
               model_fit=ModelFit(batch_size=32, updates=150, learning_rate=3e-3))  # fmt: skip
    state = it.init(KEY)
    before = it.evaluate(state)["return"]
    after = it.evaluate(fit(it, state, epochs=3))["return"]
    assert after > -6 and after > before + 5, (before, after)


def run_in(folder, epochs, it):
    run = RunFolder.create(folder, {"seed": 0}, resume=True)
    return train(it, KEY, run, epochs=epochs, checkpoint_every=1)


def rows_of(folder):
    with (folder / "metrics.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def test_resuming_does_not_change_the_end(tmp_path):
    whole = run_in(tmp_path / "whole", 4, small())
    run_in(tmp_path / "parts", 2, small())
    again = run_in(tmp_path / "parts", 4, small())
    assert same(whole, again) and rows_of(tmp_path / "whole") == rows_of(tmp_path / "parts")
    assert len(rows_of(tmp_path / "whole")) == 4 and "model_error" in rows_of(tmp_path / "whole")[0]


def test_a_failing_environment_loses_no_checkpoint(tmp_path):
    with pytest.raises(RuntimeError, match="fell over"):
        run_in(tmp_path / "failed", 4, small(environment=Line(fails_at=40 + 2 * 24 + 10)))
    assert len(rows_of(tmp_path / "failed")) == 2
    again = run_in(tmp_path / "failed", 4, small())
    assert same(again, run_in(tmp_path / "whole", 4, small()))
    assert rows_of(tmp_path / "failed") == rows_of(tmp_path / "whole")


def test_killed_training_resumes_bit_exactly(tmp_path):
    check_resumed_training(tmp_path, "test_dmd_mpc", learner(), epochs=8)


def test_checkpoints_of_another_task_or_size_are_refused(tmp_path):
    folder = CheckpointFolder(tmp_path)
    it = small(None)
    folder.save(0, it.init(KEY))
    assert load_state(it, KEY, folder) is not None
    for other in (small(None, Plane()), small(IMPROVED), small(None, capacity=501),
                  small(None, GymnasiumEnvironment("InvertedPendulum")),
                  small(None, agent=SAC(1, 1, hidden=(16, 17)))):  # fmt: skip
        with pytest.raises(CheckpointError, match="leaf"):
            load_state(other, KEY, folder)


def test_mistakes():
    for options, message in (
        ({"real_share": 1.01}, "real_share is 1.01; pass a number from 0 to 1"), ({"real_share": -0.1}, "real_share"),
        ({"first_steps": 31}, "first_steps is 31; pass at least the batch_size, 32"),
        ({"first_steps": 501}, "at most the capacity, 500"), ({"epoch_length": 0}, "epoch_length is 0"),
        ({"model_every": 0}, "model_every is 0"), ({"model_every": 7}, "pass a multiple of model_every, 7"),
        ({"updates": 0}, "updates is 0"), ({"tests": 0}, "tests is 0"),
        ({"imagined_capacity": 0}, "imagined_capacity is 0"),
    ):  # fmt: skip
        with pytest.raises(CostogoError, match=message):
            small(**options)
    with pytest.raises(CostogoError, match="elites is 4; pass 1 to 3"):
        small(elites=4).init(KEY)
    for arguments, message in (((5, 5, 1, 2), "pass a later last epoch"), ((0, 5, 0, 2), "pass 1 or more")):
        with pytest.raises(CostogoError, match=message):
            LinearSchedule(*arguments)
    with pytest.raises(CostogoError, match="start_states is 0"):
        ImprovedRollouts(constant(1), start_states=0)
