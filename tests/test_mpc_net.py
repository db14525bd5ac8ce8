"""MPC-Net: replay, losses, rollouts of teacher and student, the learner (spec mpc_net section 14, checks 10 and 11)."""

import dataclasses

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import costogo as ctg
from costogo import CostogoError
from costogo.core.ring import Ring
from costogo.learn import Callback, fit
from costogo.learn.mpc_net import LOSSES, MPCNet, Sample, Task, closed_loop, collect, scores
from costogo.learn.mpc_net.losses import quadratic_hamiltonian
from costogo.learn.mpc_net.teacher import trusted
from costogo.mpc import RecedingHorizon, simulate
from costogo.nn import MixtureOfExperts
from killing import check_resumed_training

NO, NU = 3, 2
KEY = jax.random.PRNGKey(0)


def sample(seed=0, nx=4, ng=1):
    keys = jax.random.split(jax.random.PRNGKey(seed), 5)
    W = jax.random.normal(keys[0], (NU, NU))
    return Sample(
        observation=jax.random.normal(keys[1], (NO,)),
        control=jax.random.normal(keys[2], (NU,)),
        gradient=0.1 * jax.random.normal(keys[3], (NU,)),
        hessian=W @ W.T + jnp.eye(NU),
        state=jax.random.normal(keys[4], (nx,)),
        time=jnp.array(0.1 * seed),
        costate=jnp.ones(nx),
        multipliers=jnp.ones(ng),
    )


def batch(n):
    return jax.tree.map(lambda *rows: jnp.stack(rows), *(sample(i) for i in range(n)))


def mixture(experts=3, gating="sigmoid", key=KEY, **given):
    return MixtureOfExperts(NO, NU, key=key, experts=experts, latent=(8,), gating=gating, dtype=jnp.float64, **given)


def test_ring_keeps_the_newest():
    """Against a list: rows that are marked, in order, the oldest overwritten; more rows than places at once."""
    rng = np.random.default_rng(0)
    replay, kept = Ring.empty(sample(), 7), []
    insert = jax.jit(lambda replay, rows, keep: replay.insert(rows, keep))
    count = 0
    for n in (3, 0, 5, 20, 2, 9):
        rows = jax.tree.map(lambda a, n=n: jnp.zeros((n, *a.shape)), sample())
        rows = eqx.tree_at(lambda s: s.time, rows, jnp.arange(count, count + n, dtype=float))
        keep = rng.random(n) < 0.7
        replay = insert(replay, rows, jnp.asarray(keep)) if n else replay
        kept += [count + i for i in range(n) if keep[i]]
        count += n
        assert int(replay.size) == min(len(kept), 7)
        stored = np.asarray(replay.data.time)[: int(replay.size)]
        assert sorted(stored) == kept[-7:]
    drawn = replay.draw(KEY, 200).time
    assert set(np.asarray(drawn)) == set(kept[-7:])


@pytest.mark.parametrize("gating", ["sigmoid", "softmax"])
def test_gate_weights(gating):
    """Check 11: never negative, sum to one, also where every gate is closed; one expert has weight one."""
    for scale in (1.0, 1e3):
        policy = mixture(gating=gating)
        policy = eqx.tree_at(lambda p: p.gate.bias, policy, -scale * jnp.ones(3))
        weights, controls = policy.propose(jnp.ones(NO))
        assert np.all(weights >= 0) and abs(weights.sum() - 1) < 1e-6
        np.testing.assert_allclose(policy(jnp.ones(NO)), weights @ controls)
    assert mixture(experts=1).propose(jnp.ones(NO))[0] == 1.0


def test_a_constant_in_the_hamiltonian_changes_no_gradient():
    """Check 11: 1e3 added to every Hamiltonian, because the weights sum to one."""
    rows = batch(16)

    def loss(policy, constant):
        def one(row):
            weights, controls = policy.propose(row.observation)
            return weights @ (jax.vmap(quadratic_hamiltonian, (None, 0))(row, controls) + constant)

        return jnp.mean(jax.vmap(one)(rows))

    plain, shifted = (eqx.filter_grad(loss)(mixture(), c) for c in (0.0, 1e3))
    for a, b in zip(jax.tree.leaves(plain), jax.tree.leaves(shifted), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-9)


def test_losses():
    """By hand for one expert; the blend differs from the experts; every loss but the norm is least at its own
    target."""
    row, metric = sample(), jnp.diag(jnp.array([2.0, 3.0]))
    policy = mixture(experts=1)
    du = policy(row.observation) - row.control
    rise = row.gradient @ du + 0.5 * du @ row.hessian @ du
    np.testing.assert_allclose(LOSSES["hamiltonian"](policy, row, metric), rise)
    np.testing.assert_allclose(LOSSES["blended_hamiltonian"](policy, row, metric), rise)
    np.testing.assert_allclose(LOSSES["cloning"](policy, row, metric), du @ metric @ du)
    np.testing.assert_allclose(LOSSES["cloning_norm"](policy, row, metric), jnp.sqrt(du @ metric @ du))
    # Convexity: the blend is never worse than the weighted experts.
    many = mixture(experts=4)
    assert LOSSES["blended_hamiltonian"](many, row, metric) < LOSSES["hamiltonian"](many, row, metric)
    # At the target itself the norm still has a derivative.
    policy = eqx.tree_at(lambda p: p.output.offset, policy, policy.output.offset - du)
    slope = eqx.filter_grad(LOSSES["cloning_norm"])(policy, row, metric)
    assert all(np.all(np.isfinite(leaf)) for leaf in jax.tree.leaves(slope))


def test_scaling_is_not_trained():
    """Normalisation and output scales are data: no gradient reaches them."""
    policy = mixture(input_mean=1.0, input_std=2.0, output_scale=5.0)
    gradient = eqx.filter_grad(lambda p: jnp.sum(p(jnp.ones(NO))))(policy)
    for part in (gradient.normalise, gradient.output):
        assert not any(np.any(leaf) for leaf in jax.tree.leaves(part))
    np.testing.assert_allclose(policy.normalise(jnp.array([1.0, 3.0, -1.0])), [0.0, 1.0, -1.0])


def cart(limit=1.0):
    """A mass with drag that is to stop at the origin: one row (two thrusters add up to half of it), one soft limit."""
    A, dt = jnp.array([[0.0, 1.0], [0.0, -0.3]]), 0.1
    problem = ctg.OptimalControlProblem(
        ctg.discretise(lambda x, u, t: A @ x + jnp.array([0.0, 1.0]) * (u[0] + u[1]), dt, "midpoint"),
        lambda x, u, t: dt * (jnp.sum(x**2) + 0.2 * jnp.sum(u**2)),
        lambda x: 2.0 * jnp.sum(x**2),
        horizon=15,
        nu=NU,
        dt=dt,
        equality=lambda x, u, t: (u[0] - u[1] - 0.2 * x[0])[None],
        equality_mask=lambda t: jnp.array([jnp.mod(t + 1e-6, 0.4) < 0.2]),
        inequality=lambda x, u, t: jnp.array([limit - u[0], u[0] + limit]),
    )
    controller = RecedingHorizon(
        problem,
        solver=ctg.SLQ(barrier=ctg.RelaxedBarrier(0.01, 0.1)),
        iterations=1,
        guess=lambda x, ts: (jnp.zeros((16, 2), x.dtype), jnp.zeros((15, NU), x.dtype)),
    )
    return Task(
        controller=controller,
        plant=problem.dynamics,
        observe=lambda x, t: jnp.append(x, jnp.mod(t + 1e-6, 0.4) < 0.2),
        start=lambda key: (
            jax.random.uniform(key, (2,), minval=-1.0),
            0.1 * jax.random.randint(key, (), 0, 4),
        ),
        valid=lambda x: jnp.max(jnp.abs(x)) < 2.0,
        spread=jnp.array([0.05, 0.05]),
    )


def learner(**given):
    options = {
        "rounds": 6, "rollouts": 4, "steps": 20, "updates": 300, "batch_size": 32, "capacity": 1500, "tests": 8,
        "test_steps": 20, "learning_rate": 1e-2, "final_learning_rate": 1e-3, "clip": 10.0, **given,
    }  # fmt: skip
    return MPCNet(cart(), lambda key: MixtureOfExperts(3, NU, key=key, experts=2, latent=(16,)), **options)


@pytest.fixture(scope="module")
def trained():
    """State, metrics of each round, and the learner, after training through `fit`."""
    rows = []

    class Keep(Callback):
        def on_epoch(self, epoch, state, metrics):
            rows.append(metrics)

    it = learner()
    return it, fit(it, it.init(KEY), epochs=6, evaluate_every=3, callbacks=[Keep()]), rows


def test_pure_teacher_is_the_mpc(trained):
    """Check 10: at alpha = 1 the rollout is that of the MPC, bit for bit, even under a student that gives NaN."""
    task = cart()

    def broken(o):
        return jnp.full(NU, jnp.nan)

    found = jax.jit(lambda key: collect(task, broken, jnp.ones(()), key[None], steps=12, neighbours=0).samples.state)(
        KEY
    )
    x0, t0 = task.start(KEY)
    run = jax.jit(lambda x, t: simulate(task.controller, x, 12, t0=t))(x0, t0)
    np.testing.assert_array_equal(found, np.asarray(run.states[:-1], np.float32))


def test_teacher_share():
    """Check 10: one at first, linearly to zero, then zero; or a constant."""
    shares = [float(learner(rounds=10, anneal=0.5).teacher_share(i)) for i in range(11)]
    np.testing.assert_allclose(shares, [1.0, 0.8, 0.6, 0.4, 0.2, 0, 0, 0, 0, 0, 0], atol=1e-12)
    assert float(learner(rounds=10, anneal=1.0).teacher_share(10)) == 0.0
    assert float(learner(alpha=0.3).teacher_share(4)) == 0.3


def test_student_learns_the_teacher(trained):
    """On unseen starts: as good as the MPC to within a few per cent, rows and limits nearly met."""
    it, state, rows = trained
    key = jax.random.PRNGKey(5)
    student, teacher = (
        it.test(state.policy, key, starts=30, steps=20),
        it.test_teacher(state.policy, key, starts=30, steps=20),
    )
    assert np.all(student["survived"] == 1) and np.all(teacher["survived"] == 1)
    assert jnp.mean(student["cost"]) < 1.1 * jnp.mean(teacher["cost"])
    assert jnp.mean(teacher["violation"]) < 1e-4
    assert jnp.mean(student["violation"]) < 0.1
    assert rows[-1]["survived"] == 1 and "survived" not in rows[0]
    assert rows[-1]["samples"] == 1500
    assert [float(row["rollout_teacher_failures"]) for row in rows] == [0.0] * 6


def test_same_seed_same_numbers(trained):
    """Two threads do not make it random; a round from a saved state is the round that would have followed."""
    it, _, _ = trained
    one, two = (it.init(jax.random.PRNGKey(3)) for _ in range(2))
    middle = it.step(one)[0]
    saved = jax.tree.map(lambda a: jnp.asarray(np.asarray(a)) if eqx.is_array(a) else a, it.step(two)[0])
    for a, b in zip(jax.tree.leaves(it.step(middle)), jax.tree.leaves(it.step(saved)), strict=True):
        np.testing.assert_array_equal(a, b)


def test_killed_training_resumes_bit_exactly(tmp_path):
    """Two threads, a replay buffer and a controller's plans later: the run is the same."""
    check_resumed_training(tmp_path, "test_mpc_net", learner(), epochs=12)


def test_a_blank_state_is_of_the_shapes_of_a_first_one():
    """What a checkpoint is read into, made without the teacher."""
    one, two = learner().blank(KEY), learner().init(KEY)
    shapes = [[(leaf.shape, leaf.dtype) for leaf in jax.tree.leaves(eqx.filter(s, eqx.is_array))] for s in (one, two)]
    assert shapes[0] == shapes[1]
    for a, b in zip(jax.tree.leaves(one.policy), jax.tree.leaves(two.policy), strict=True):
        np.testing.assert_array_equal(a, b)


def test_any_number_of_starts(trained):
    """Groups share a program; the last one is filled up and cut off. More starts begin with the same ones."""
    it, state, _ = trained
    few, many = (it.test(state.policy, KEY, starts=n, steps=20) for n in (3, 19))
    assert few["cost"].shape == (3,) and many["cost"].shape == (19,)
    assert len(set(np.asarray(many["cost"]).tolist())) == 19
    teacher = it.test_teacher(state.policy, KEY, starts=3, steps=20)
    assert teacher["cost"].shape == (3,)
    np.testing.assert_allclose(few["cost"], teacher["cost"], rtol=0.2)


def test_the_worst_term_is_named(trained):
    """A student that pushes against a limit, or ignores a row, is told which; names come from the constraint."""
    it, state, _ = trained
    assert it.terms() == ["cost", "dynamics", "equality 0", "inequality 0", "inequality 1"]

    def pushed(du):
        policy = eqx.tree_at(lambda p: p.output.offset, state.policy, state.policy.output.offset + jnp.asarray(du))
        return dataclasses.replace(state, policy=policy)

    metrics = it.evaluate(pushed([60.0, -60.0]))
    assert metrics["worst_hamiltonian"] > 100
    assert "inequality 0" in it.explain(metrics)
    assert "inequality 1" in it.explain(it.evaluate(pushed([-60.0, 60.0])))


def test_rollout_ends_where_the_state_is_invalid():
    """The state stands still from then on, and scores count only what was survived."""
    task = cart()
    problem = task.controller.problem
    times = 0.1 * jnp.arange(30)

    def act(memory, x, t):
        return jnp.array([2.0, 2.0]), memory, None

    rollout = closed_loop(act, task.plant, task.valid, None, jnp.array([[0.0, 0.5]]), times[None])
    rollout = jax.tree.map(lambda a: a[0], rollout)
    steps = int(rollout.alive.sum()) - 1
    assert 0 < steps < 30
    assert np.abs(rollout.states).max() < 2.0
    np.testing.assert_array_equal(rollout.states[steps + 1 :], np.tile(rollout.states[steps], (30 - steps, 1)))
    found = scores(problem, rollout)
    assert found["survived"] == 0
    np.testing.assert_allclose(found["survival"], 0.1 * steps)
    stages = jax.vmap(problem.stage_cost)(
        rollout.states[: steps + 1], rollout.controls[: steps + 1], times[: steps + 1]
    )
    np.testing.assert_allclose(found["cost"], jnp.mean(stages) / 0.1)
    np.testing.assert_allclose(found["infeasible"], 1.0)
    np.testing.assert_allclose(found["margin"], -1.0)


def test_failed_teacher_rows_are_dropped_and_counted():
    """Part of a batch fails: training goes on with the rest; all of it: an error that says so."""
    task = cart()
    nan_half = dataclasses.replace(
        task, start=lambda key: (jnp.where(key[1] % 2 == 0, 0.5, jnp.nan) * jnp.ones(2), 0.0 * key[0])
    )
    it = dataclasses.replace(learner(rollouts=16), task=nan_half)
    found = it.init(KEY)
    assert 0 < int(found.replay.size) < 16 * 20 * 3
    assert np.all(np.isfinite(found.replay.data.gradient))
    lost = dataclasses.replace(task, start=lambda key: (jnp.full(2, jnp.nan), 0.0 * key[0]))
    with pytest.raises(CostogoError, match="0 sound samples"):
        dataclasses.replace(learner(), task=lost).init(KEY)


def test_samples_whose_hamiltonian_contradicts_the_teacher_are_not_trusted():
    """The gain `1/2 g' H^-1 g` of leaving the teacher against the spread of its controls, row by row in NumPy; rows
    that are not sound have no say in the spread."""
    rows = jax.tree.map(lambda a: a.reshape(4, 10, *a.shape[1:]), batch(40))
    rows = eqx.tree_at(lambda s: s.gradient, rows, rows.gradient.at[2, 3].set(1e4).at[0, 0].set(jnp.nan))
    rows = eqx.tree_at(lambda s: s.control, rows, rows.control.at[1].set(1e6).at[0, 0].set(jnp.nan))
    sound = jnp.ones((4, 10), bool).at[1].set(False).at[0, 0].set(False)
    g, h, u = (np.asarray(a)[np.asarray(sound)] for a in (rows.gradient, rows.hessian, rows.control))
    gap = np.array([0.5 * a @ np.linalg.solve(b, a) for a, b in zip(g, h, strict=True)])
    away = u - u.mean(axis=0)
    scale = np.median([0.5 * a @ b @ a for a, b in zip(away, h, strict=True)])
    for trust in (0.003, 3.0):
        found = np.asarray(trusted(rows, sound, trust))
        np.testing.assert_array_equal(found[np.asarray(sound)], gap <= trust * scale)
    assert not found[2, 3] and found[np.asarray(sound)].sum() == len(gap) - 1
    assert np.all(trusted(rows, sound, np.inf))


def test_where_the_quadratic_model_holds_every_sample_is_trusted():
    """A linear-quadratic teacher, its barrier far away: its control is the minimum of the Hamiltonian everywhere."""
    plain = dataclasses.replace(cart(limit=1e3), spread=jnp.ones(2))
    metrics = jax.jit(lambda keys: collect(
        plain, lambda o: jnp.zeros(NU), jnp.ones(()), keys, steps=10, neighbours=3, trust=1e-3
    ).metrics)(jax.random.split(KEY, 4))  # fmt: skip
    assert np.all(metrics["distrusted"] == 0.0)


def test_violation_weight_adds_the_rows():
    """`rho D' W D` on the Hessian where the row holds, nothing where it does not: the row weighs as much as the step
    that changes it by one costs, here `d' (D H^-1 D')^-1 d` with `D = (1, -1)`."""
    task = cart()
    plain, weighted = (
        jax.jit(lambda key, w=w: collect(
            task, lambda o: jnp.zeros(NU), jnp.ones(()), key[None], steps=4, neighbours=0, violation_weight=w
        ).samples)(KEY)
        for w in (0.0, 3.0)
    )  # fmt: skip
    difference = np.asarray(weighted.hessian - plain.hessian)
    holds = np.mod(np.asarray(plain.time) + 1e-4, 0.4) < 0.2
    for k in range(4):
        D = np.array([[1.0, -1.0]]) * holds[k]
        expected = 3.0 / (np.array([1.0, -1.0]) @ np.linalg.inv(plain.hessian[k]) @ [1.0, -1.0]) * D.T @ D
        np.testing.assert_allclose(difference[k], expected, atol=1e-4)


BAD = {
    "loss": (lambda: learner(loss="squared"), ["loss", "squared", "cloning_norm"]),
    "alpha": (lambda: learner(alpha=1.5), ["alpha", "1.5", "linear"]),
    "batch": (lambda: learner(batch_size=10_000), ["batch_size", "10000", "240"]),
    "rounds": (lambda: learner(rounds=0), ["rounds", "0"]),
    "anneal": (lambda: learner(anneal=0.0), ["anneal", "0.0"]),
    "trust": (lambda: learner(trust=0.0), ["trust", "0.0", "inf"]),
    "violation_weight": (lambda: learner(violation_weight=-1.0), ["violation_weight", "-1.0", "0 or more"]),
    "neighbours": (lambda: learner(neighbours=-1), ["neighbours", "-1"]),
    "capacity": (lambda: Ring.empty(sample(), 0), ["capacity", "0"]),
    "gating": (lambda: mixture(gating="hard"), ["gating", "hard", "softmax"]),
    "experts": (lambda: mixture(experts=0), ["experts", "0"]),
    "std": (lambda: mixture(input_std=0.0), ["input_std", "positive"]),
}


@pytest.mark.parametrize("case", BAD)
def test_misuse_names_argument_value_and_fix(case):
    call, words = BAD[case]
    with pytest.raises(CostogoError) as error:
        call()
    for word in words:
        assert word in str(error.value)
