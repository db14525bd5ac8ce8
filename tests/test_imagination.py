"""Imagined transitions of M-DeMoRL and its relatives: scores, improved and branched rollouts (spec dmd_mpc 4)."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from costogo.learn.dmd_mpc import (
    BranchedRollouts,
    ImprovedRollouts,
    LinearSchedule,
    Planner,
    Source,
    constant,
    mopac_solver,
)
from costogo.learn.dmd_mpc.imagination import _with_score, imagined_problem
from costogo.learn.dmd_mpc.source import Support
from costogo.problem import total_cost
from costogo.problem.rollout import open_loop
from costogo.rl import Replay, Transitions
from costogo.solvers import LiteralElites, LowCost, MirrorDescent
from imagining import KEY, NEVER, Actor, Broken, member, source, zeros

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


def test_the_share_of_plans_without_convex_weights_is_told():
    """Rewards `x + u` have both signs from zero, one from 50, where a quarter starts. Other weights count nothing."""
    given, starts = source(Actor(), slope=1.0), zeros(8).at[:2].set(50.0)
    made = improve(given, starts, 1, solver=MirrorDescent(1, LiteralElites(1.0), samples=20))
    assert made.faults == {"nonconvex": 0.75}
    assert improve(given, starts, 1, solver=MirrorDescent(1, samples=20)).faults == {}


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


def test_a_plan_is_replayed_with_new_noise():
    """The controls of a start's replays are the same, where they lead is not."""
    made = improve(source(Actor()), zeros(4), 3, replays=5)
    u, new = (leaf.reshape(4, 5, 3) for leaf in (made.rows.u, made.rows.new))
    assert np.all(u == u[:, :1]) and len(np.unique(new)) == 60


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


# Support


def test_the_support_is_where_real_transitions_are():
    """Ranges of x and x' together, of filled rows only; what is predicted is clipped to them."""
    row = lambda x, new, reward: Transitions(  # noqa: E731
        jnp.array([x], jnp.float32), zeros(1), jnp.array([reward]), jnp.array([new], jnp.float32), zeros(1)[0]
    )
    real = Replay.empty(2, 1, 5).add(row([1.0, -2.0], [3.0, 2.0], -1.0)).add(row([2.0, 0.5], [2.5, 1.0], 1.0))
    support = Support.of(real)
    assert [end.tolist() for end in support] == [[1.0, -2.0], [3.0, 2.0], -1.0, 1.0]
    reward, new = support.clip(jnp.array([-9.0, 0.5, jnp.inf]), jnp.array([[2.0, 1.0], [4.0, 0.0], [jnp.nan, -4.0]]))
    np.testing.assert_array_equal(reward, [-1.0, 0.5, np.inf])
    np.testing.assert_array_equal(new, [[2.0, 1.0], [3.0, 0.0], [jnp.nan, -2.0]])


@pytest.mark.parametrize("imagination", [ImprovedRollouts(constant(4)), BranchedRollouts(constant(4))])
def test_nothing_is_imagined_outside_the_support(imagination):
    """Policy and reward pull to the right; the box ends at 2. A plan counts on no more than the best real reward."""
    box = Support(*jnp.array([[-1.0], [2.0]], jnp.float32), *jnp.array([-1.0, 1.0], jnp.float32))
    free = source(Actor(bias=0.9), slope=1.0)
    for given in (free, free._replace(support=box)):
        rows = imagination.generate(given, zeros(8), 4, KEY).rows
        assert (rows.new.max() <= 2.0) == (rows.reward.max() <= 1.0) == (given is not free)
        problem = imagined_problem(given, member(given.networks, 0), 4)
        states = open_loop(problem, _with_score(zeros(1)[0]), jnp.ones((4, 1), jnp.float32))
        assert (-problem.terminal_cost(states[-1]) <= 1 + 0.9 + 0.81 + 0.729) == (given is not free)


# Planning


@pytest.mark.parametrize("residual", [False, True])
def test_a_planner_moves_the_policy_towards_the_reward(residual):
    """One elite wants u = 0.8, the other 0.4: their plans are averaged, and what is known of the policy is added."""
    given = source(Actor(bias=0.2), gains=(0.0, 0.0), aims=(0.3, -0.1), bend=1.0)
    imagination = ImprovedRollouts(constant(2), MirrorDescent(1, step_size=1.0, samples=4000), residual=residual)
    act = eqx.filter_jit(Planner(imagination, given, KEY, 2))
    plans = [
        imagination.plan(given, member(given.networks, number), zeros(1)[0], 2, key)[0, 0] + 0.2 * residual
        for number, key in enumerate(jax.random.split(KEY, 2))
    ]
    assert 0.5 < plans[0] < 0.8 and 0.2 < plans[1] < 0.4
    np.testing.assert_allclose(act(zeros(1)[0]), [np.mean(plans)], rtol=1e-5)


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
