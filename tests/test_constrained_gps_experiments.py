"""G1 and G2 without their training: names, claims on made-up rows, figures; tasks as the spec has them."""

from types import SimpleNamespace

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from costogo import CostogoError
from costogo.cli.train_constrained_gps import TrainConstrainedGPS
from costogo.experiments.constrained_gps import disturbed, g1, g2, g4, g5, generalising, tasks, tuning
from costogo.experiments.constrained_gps.arms import Comparison
from costogo.experiments.constrained_gps.presets import METHODS, GPSConfig, build, setting_of
from costogo.experiments.constrained_gps.results import disagreement, motions, name_of, summary, up_for
from costogo.experiments.constrained_gps.runs import RUNS
from costogo.learn.constrained_gps import Rollouts
from costogo.nn import GaussianPolicy
from costogo.sim import walker_model


class Curve:
    """A run with curves only."""

    def __init__(self, setting, divergence):
        self.setting = setting
        self.curves = [{"epoch": i + 1, "divergence": d, "cost": 100.0 * d} for i, d in enumerate(divergence)]


def comparison(system, rows, variants=({"hidden": 5}, {"hidden": 10}), methods=("constrained", "variational")):
    found = Comparison(GPSConfig(system=system), variants, dict.fromkeys(methods, 3))
    found.references = {"trajectory optimisation": 10.0}
    found.summary = rows
    found.runs = [Curve(GPSConfig(), np.geomspace(1.0, 0.01, 100))]
    return found


def rows_of(values, **same):
    return [
        {"method": m, "hidden": h, "seed": s, "starts": "training", **same, **values(m, h, s)}
        for m in ("constrained", "variational") for h in (5, 10) for s in range(3)
    ]  # fmt: skip


def test_claims_of_the_swimmer():
    """All seeds within 1.2 times the optimum, some, none; the divergence over the run."""
    cost = {("constrained", 5): (11.0, 11.5, 13.0), ("variational", 10): (13.0, 14.0, 15.0)}
    found = comparison("swimmer", rows_of(lambda m, h, s: {"cost": cost.get((m, h), (11.0,) * 3)[s]}))
    verdicts = [claim.verdict for claim in g1.claims(found)]
    assert verdicts == ["partly", "reproduced", "reproduced", "not reproduced", "not run", "reproduced"]
    found.runs = [Curve(GPSConfig(), [1.0] * 50)]
    assert g1.claims(found)[-1].verdict == "not reproduced"


@pytest.mark.parametrize(
    ("adapted", "verdict"), [(0.5, "reproduced"), (2.0, "not reproduced"), (1e9, "not reproduced")]
)
def test_claim_that_importance_sampling_converges_sooner(adapted, verdict):
    """Iterations in which 100 times the curve falls to 12: a faster fall of both is needed; never is not sooner."""
    found = comparison("swimmer", rows_of(lambda m, h, s: {"cost": 11.0}))
    found.seeds |= {"importance": 1, "adapted": 1}
    falls = {"constrained": 1.0, "importance": 0.5, "adapted": adapted}
    found.runs = [
        Curve(GPSConfig(method=method), np.exp(-np.arange(1, 100) / (10.0 * slow))) for method, slow in falls.items()
    ]
    claim = g1._sooner(found, 12.0)
    assert claim.verdict == verdict and "constrained 22, importance 11" in claim.ours


def test_claims_of_the_walker():
    """Two of three seeds are enough; a slow walk does not count."""

    def values(m, h, s):
        good = (m, h) == ("constrained", 5) and s < 2
        slow = (m, h) == ("constrained", 10)
        return {"failed": 0 if good or slow else 1, "speed": 1.0 if slow else 2.0, "seconds": 4.0}

    verdicts = [claim.verdict for claim in g2.claims(comparison("walker", rows_of(values)))]
    assert verdicts == ["reproduced", "not reproduced", "not reproduced", "not reproduced"]


@pytest.mark.parametrize(
    ("method", "hidden", "good", "verdict"),
    [
        ("importance", 5, 0, "reproduced"), ("importance", 5, 1, "partly"), ("adapted", 5, 2, "not reproduced"),
        ("importance", 10, 3, "no claim"), ("regression", 10, 0, "reproduced"), ("dagger", 5, 3, "not reproduced"),
        ("variational", 10, 1, "partly"),
    ],
)  # fmt: skip
def test_claims_of_methods_that_are_said_to_fail(method, hidden, good, verdict):
    rows = [
        {"method": method, "hidden": hidden, "seed": s, "starts": "training", "failed": int(s >= good), "speed": 2.0,
         "seconds": 4.0} for s in range(3)
    ]  # fmt: skip
    (claim,) = g2.claims(comparison("walker", rows, ({"hidden": hidden},), (method,)))
    assert claim.verdict == verdict and claim.ours.startswith(f"{good} of 3 seeds succeed: 4.00, 4.00, 4.00 s up")


def test_claims_of_unseen_conditions():
    """Ours stands on 3 of 4 on average with three grounds, a baseline on 2; with one ground ours stands on 1."""
    fell = {
        ("constrained", 3, "training"): (0, 0, 0),
        ("constrained", 3, "unseen"): (0, 1, 2),
        ("dagger", 3, "unseen"): (2, 2, 2),
        ("constrained", 1, "training"): (0, 0, 0),
    }
    rows = [
        {"method": m, "conditions": n, "seed": s, "starts": g, "failed": fell.get((m, n, g), (3, 4, 3))[s], "number": 4}
        for m in ("constrained", "dagger") for n in (1, 3) for g in ("training", "unseen", "further") for s in range(3)
    ]  # fmt: skip
    found = comparison("terrain", rows, ({"conditions": 1}, {"conditions": 3}), ("constrained", "dagger"))
    pushes = comparison("push", rows, ({"conditions": 1}, {"conditions": 3}), ("constrained", "dagger"))

    def verdicts(found):
        return [claim.verdict for claim in generalising.claims(found)]

    assert verdicts(found) == ["not reproduced", *4 * ["reproduced"]]
    assert verdicts(pushes) == ["no claim", *4 * ["reproduced"]]
    assert "100%, 75%, 50% of 4 unseen, 25%, 0%, 25% of 20 more" in generalising.claims(found)[1].ours
    assert generalising.claims(found)[-1].ours == "75% against dagger with 1 17%, dagger with 3 50%"
    for row in rows:  # a baseline with one ground does as well as ours, and one with three walks these
        if row["method"] == "dagger":
            row["failed"] = {(1, "unseen"): 1, (3, "training"): 0}.get(
                (row["conditions"], row["starts"]), row["failed"]
            )
    assert verdicts(found) == ["not reproduced", "reproduced", "not reproduced", "partly", "partly"]


def test_names():
    assert RUNS.name_of(GPSConfig()) == "swimmer-constrained-10units-seed0"
    name = RUNS.name_of(GPSConfig(system="walker", method="variational", hidden=5, samples=10, seed=2))
    assert name == "walker-variational-5units-samples=10-seed2"


def test_every_method_is_tuned_with_three_values_of_a_number_that_it_has():
    """The default among them is the run that the experiments use."""
    for method in METHODS:
        settings = tuning.variants(GPSConfig(), method)
        option, _ = tuning.TRIED[method]
        values = {float(getattr(build(setting).learner, option)) for setting in settings}
        assert len(values) == 3
        assert sum(RUNS.name_of(setting) == f"swimmer-{method}-10units-seed0" for setting in settings) == 1
    assert name_of(settings[0]) == "dagger, first_scale 0.1"


def test_tuning_says_what_was_tuned(monkeypatch):
    """The tests of a run count motions in `number`, which must not hide the name of the option."""
    monkeypatch.setattr(tuning, "tested", lambda run: [{"starts": "training", "number": 1, "cost": 12.5}])
    rows = [tuning.row_of(Curve(setting, [1.0])) for setting in tuning.variants(GPSConfig(), "regression")]
    made = tuning.claim("swimmer", "regression", rows)
    assert made.claim == "swimmer: regression, share"
    assert made.ours == "cost 12.5 with 0.03, 12.5 with 0.1, 12.5 with 0.3"


@pytest.mark.parametrize(
    ("wrong", "answer"),
    [
        ({"system": "walkr"}, "walker"),
        ({"method": "constraned"}, "constrained"),
        ({"hidden": 0}, "hidden is 0"),
        ({"conditions": 2}, "conditions is 2, but swimmer"),
        ({"rate": -1.0}, "rate is -1.0"),
        ({"rate": 0.1, "method": "variational"}, "rate is 0.1, but the variational method has none"),
        ({"share": 0.1}, "share is 0.1, but the constrained method has none"),
        ({"symmetric": True}, "symmetric is set, but swimmer has no legs"),
    ],
)
def test_mistakes(wrong, answer):
    with pytest.raises(CostogoError, match=answer):
        GPSConfig(**wrong)


@pytest.mark.parametrize(
    ("wrong", "answer"),
    [
        ({"iterations": 0}, "iterations is 0; pass at least 1"),
        ({"fit_iterations": 0}, "fit_iterations is 0; pass at least 1"),
        ({"samples": 3}, "samples is 3; pass an even number"),
        ({"system": "terrain", "conditions": 4}, "conditions is 4; pass the number of grounds, 1 to 3"),
        ({"system": "push", "conditions": 0}, "conditions is 0; pass the number of pushes, 1 to 4"),
    ],
)
def test_mistakes_that_the_learner_finds(wrong, answer, tmp_path):
    """Before anything is written, by the experiments and by the command."""
    with pytest.raises(CostogoError, match=answer):
        RUNS.trained(GPSConfig(**wrong), tmp_path)
    with pytest.raises(CostogoError, match=answer):
        TrainConstrainedGPS(**wrong, out=tmp_path / "run").run()
    assert not list(tmp_path.iterdir())


def test_seconds_before_a_failure():
    valid = jnp.array([[True, True, False, True], [True, True, True, True]])
    rolled = Rollouts(jnp.zeros((2, 4, 1)), jnp.zeros((2, 3, 1)), jnp.zeros((2, 3)), valid)
    np.testing.assert_array_equal(up_for(rolled), [1, 3])


def test_the_walker_task():
    """The policy does not see x; from the demonstration's start the first controls are the demonstration's."""
    setting = setting_of(GPSConfig(system="walker"))
    task = setting.task
    assert task.starts.shape == (4, 18) and task.observe(task.starts[0]).shape == (17,)
    np.testing.assert_array_equal(task.starts[:, 0], 0.0)
    states, controls = task.conditions
    problem = task.problem_of(None)
    new = jax.vmap(problem.dynamics.step)(states[:, 0], controls[:, 0], jnp.zeros(4))
    np.testing.assert_allclose(new, states[:, 1], atol=1e-9)
    tracked = task.first_cost((states[1], controls[1]))
    assert tracked(states[1, 7], controls[1, 7], jnp.array(0.07)) == 0.0
    assert tracked(states[1, 7] + 5.0 * jnp.eye(18)[0], controls[1, 7], jnp.array(0.07)) == 0.0
    assert float(jnp.abs(task.unseen[1] - task.starts).max()) > 0.01


def test_a_policy_for_either_leg():
    """With the legs exchanged in the state they are in the torques; exchanged twice is as before."""
    task = setting_of(GPSConfig(system="terrain", symmetric=True)).task
    policy, x = task.policy(jax.random.PRNGKey(0)), task.starts[1]
    side, leg = (np.array(indices) for indices in (tasks.OTHER_SIDE, tasks.OTHER_LEG))
    names = [walker_model().joint(i).name for i in range(9)]
    assert [names[i].replace("left", "right") for i in side[:9]] == [name.replace("left", "right") for name in names]
    assert names[side[3]] != names[3] and np.array_equal(side[9:], side[:9] + 9)
    np.testing.assert_allclose(policy(task.observe(x[side])), policy(task.observe(x))[leg])


def test_the_walker_on_uneven_ground():
    """Demonstrations stand on every ground for all of a trajectory; the policy sees neither place nor height."""
    task = setting_of(GPSConfig(system="terrain", conditions=2)).task
    assert task.starts.shape == (2, 18) and task.unseen[1].shape == (4, 18)
    assert task.conditions[1].shape == (2, disturbed.STEPS, 6)
    assert task.observe(task.starts[0]).shape == (16,)
    first_slopes = np.concatenate([task.starts[:, 0], task.unseen[1][:, 0]]) + disturbed.BEFORE
    lanes = disturbed.ground().starts[jnp.array([0, 1, 3, 4, 5, 6])]
    np.testing.assert_allclose(first_slopes, lanes + 2.0, atol=1e-6)
    for states in (task.conditions[0], task.unseen[0][0]):
        assert bool(jnp.all(jax.vmap(jax.vmap(task.valid))(states)))
        assert float(jnp.ptp(disturbed.ground().height(states[..., 0]), axis=1).min()) > 0.02  # m: it is not level
    cost, height = task.problem_of(None).stage_cost, disturbed.ground().height(task.conditions[0][0, -1, 0])
    x, u = task.conditions[0][0, -1], jnp.zeros(6)
    np.testing.assert_allclose(cost(x, u, 0.0), disturbed.walking_cost(x.at[1].add(-height), u, 0.0))


def test_conditions_by_which_nothing_was_chosen():
    """There are twenty, none of them among the others; training stays the same."""
    for system in ("terrain", "push"):
        config = GPSConfig(system=system)
        task, other = setting_of(config).task, setting_of(config, unseen=generalising.FURTHER[system]).task
        assert len(other.unseen[1]) == 20
        jax.tree.map(np.testing.assert_array_equal, other.conditions, task.conditions)
    pushes = generalising.FURTHER["push"]
    assert not {*pushes} & {*disturbed.PUSHES, *disturbed.UNSEEN_PUSHES}
    assert all(250.0 <= abs(force) <= 300.0 and 0.0 <= phase <= 1.0 for force, phase in pushes)
    assert not {*generalising.FURTHER["terrain"]} & {*disturbed.GROUNDS, *disturbed.UNSEEN_GROUNDS}


@pytest.mark.parametrize("system", ["walker", "push"])
def test_a_checkpoint_can_be_read_first_of_all(system):
    """Its shapes come from an abstract `init`, in which nothing may be simulated for the first time."""
    for cached in (tasks.demonstration, tasks.walker, disturbed.push):
        cached.cache_clear()
    learner = build(GPSConfig(system=system, symmetric=True))
    shape = learner.blank(jax.random.PRNGKey(0)).inner.q.states.shape
    assert shape == (4, (disturbed if system == "push" else tasks).STEPS + 1, 18)


def test_the_walker_is_pushed():
    """Each condition has its own push, for the first 0.1 s; its impulse changes the momentum."""
    task = setting_of(GPSConfig(system="push", conditions=2)).task
    assert task.conditions[2].tolist() == [250.0, 300.0]
    assert task.unseen[0][2].tolist() == [275.0, -250.0, 300.0, -275.0]
    still, pushed = (disturbed.under(jnp.array(force)) for force in (0.0, 250.0))
    x, u = task.starts[0], jnp.zeros(6)
    faster = pushed.step(x, u, jnp.array(0.05)) - still.step(x, u, jnp.array(0.05))
    assert 0.05 < faster[9] < 250.0 * 0.01 / 3.665  # the torso alone would gain the last
    assert np.array_equal(pushed.step(x, u, jnp.array(0.1)), still.step(x, u, jnp.array(0.1)))


def test_where_pushes_are_withstood(monkeypatch, tmp_path):
    """As long as in the tests of the run, for a push of both; the figure stands beside its numbers."""
    monkeypatch.setattr(g4, "FORCES", (250.0, -250.0))
    monkeypatch.setattr(g4, "PHASES", 4)
    monkeypatch.setattr(g4, "PUSHES", disturbed.PUSHES[::2])
    monkeypatch.setattr(g4, "UNSEEN_PUSHES", ((250.0, 0.1),))
    setting = GPSConfig(system="push", conditions=4)
    task = setting_of(setting).task
    policy = jax.tree.map(jnp.zeros_like, task.policy(jax.random.PRNGKey(0)))
    run = SimpleNamespace(
        setting=setting, state=SimpleNamespace(policy=policy), label={"seed": 0}, kept=lambda name, work, **told: work()
    )
    rows = g4.withstood(run)
    up = up_for(motions(task, policy)["training"]) * disturbed.pushed_dynamics().dt
    assert [(row["force [N]"], row["phase"]) for row in rows[2:6]] == [
        (250.0, 0.5), (250.0, 0.75), (-250.0, 0.0), (-250.0, 0.25)
    ]  # fmt: skip
    assert rows[0]["seconds"] == pytest.approx(up[0]) and rows[6]["seconds"] == pytest.approx(up[2])
    assert 0.05 < rows[0]["seconds"] < 4.0
    (figure,) = g4.draw_where(SimpleNamespace(runs=[run]), tmp_path)
    assert figure.stat().st_size > 5000 and (tmp_path / "withstood.csv").read_text().count("\n") == 9


def test_three_pushes_in_a_row():
    """Nothing differs before the first; each turns the speed of the torso its own way; the verdict is of all series."""
    task = setting_of(GPSConfig(system="push", conditions=4)).task
    policy = jax.tree.map(jnp.zeros_like, task.policy(jax.random.PRNGKey(0)))
    first, forces = round(g5.TIMES[0] / disturbed.pushed_dynamics().dt), (300.0, -250.0, 275.0)
    (free, still), (dynamics, pushed) = (
        g5.three_pushes(task, policy, series, first + 1) for series in ((0.0, 0.0, 0.0), forces)
    )
    apart = np.asarray(pushed.states - still.states)[0]
    assert not apart[:-1].any() and apart[-1, 9] > 0.05
    x, u = task.starts[0], jnp.zeros(6)
    for start, force in zip((0.5, 1.0, 1.5), forces, strict=True):
        for time, strength in ((start, force), (start + 0.05, force), (start - 0.02, 0.0), (start + 0.11, 0.0)):
            faster = (dynamics.step(x, u, jnp.array(time)) - free.step(x, u, jnp.array(time)))[9]
            assert faster == 0.0 if strength == 0.0 else 0.05 < faster * np.sign(strength) < 0.9

    def verdict(*seconds):
        return g5.claim([{"forces [N]": "+1", "seconds": each} for each in seconds], 4.0).verdict

    assert [verdict(4.0, 4.0), verdict(4.0, 2.3), verdict(1.0, 3.99)] == ["reproduced", "partly", "not reproduced"]


def test_the_swimmer_at_rest_costs_one_a_knot():
    """A policy of zeros does not move: 120 knots cost one each, the speed is 0 m/s."""
    config = GPSConfig(system="swimmer", hidden=3)
    task = setting_of(config).task
    policy = task.policy(jax.random.PRNGKey(0))
    still = jax.tree.map(lambda a: 0.0 * a, policy)
    assert isinstance(still, GaussianPolicy)
    rolled = motions(task, still)["training"]
    np.testing.assert_allclose(rolled.costs.sum(), 120.0, rtol=1e-6)
    row = summary(task, still)[0]
    assert row["speed"] == pytest.approx(0.0, abs=1e-9) and row["cost"] == pytest.approx(120.0)


def test_a_run_that_did_not_come_to_agree_is_told():
    """Where the divergence is largest, once it has not halved; nothing if it has, or if a method has none."""
    judged = build(GPSConfig(system="swimmer", hidden=3, samples=2))
    q = jax.tree.map(lambda leaf: jnp.zeros(leaf.shape), eqx.filter_eval_shape(judged.learner.first))
    unit = jax.tree.map(
        lambda leaf: jnp.zeros_like(leaf) + jnp.eye(leaf.shape[-1]), (q.covariances, q.state_covariances)
    )
    q = eqx.tree_at(
        lambda q: (q.covariances, q.state_covariances, q.controls), q, (*unit, q.controls.at[0, 5].set(9.0))
    )
    inner = SimpleNamespace(
        q=q, weights=jnp.ones(q.controls.shape[:2]), policy=judged.learner.task.policy(jax.random.key(0))
    )
    run = SimpleNamespace(
        learner=judged, state=SimpleNamespace(inner=inner), curves=[{"divergence": 1.0}, {"divergence": 0.6}]
    )
    assert "1 after the first iteration, 0.6 after the last" in disagreement(run)
    assert "at knot 5 of condition 0; try" in disagreement(run)
    run.curves[-1]["divergence"] = 0.4
    assert disagreement(run) is None
    run.learner, run.curves = build(GPSConfig(system="swimmer", method="dagger")), [{}]
    assert disagreement(run) is None


@pytest.mark.slow
def test_a_few_iterations_on_the_walker():
    """It meets MuJoCo: trajectories improve on the demonstration, and nothing fails."""
    learner = build(GPSConfig(system="walker", iterations=3, samples=4, fit_iterations=20))
    state = learner.init(jax.random.PRNGKey(0))
    for _ in range(3):
        state, metrics = learner.step(state)
    assert metrics["trajectory_failures"] == 0 and metrics["trajectory_cost"] < 320.0
