"""M-DeMoRL and its relatives: the loop over real steps, resuming (spec dmd_mpc 7)."""

import csv
from dataclasses import replace
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
    constant,
    mopac_solver,
)
from costogo.learn.dmd_mpc.compiled import renew
from costogo.rl import SAC, Replay, Transitions, mixed
from costogo.sim.tasks import GymnasiumEnvironment
from costogo.solvers import LiteralElites, MirrorDescent
from imagining import KEY, Actor, Broken, same
from killing import check_resumed_training


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
    test_environment = test_environment or (environment if environment.no > 1 else Line())
    return Untimed(environment, test_environment, agent, imagination, **{**SIZES, **options})


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


def test_acting_by_planning():
    """A planner is a policy; an agent without a model has none."""
    it = small()
    state, _ = it.step(it.init(KEY))
    u = it.planner(state, 3)(jnp.ones(1))
    assert u.shape == (1,) and abs(u[0]) <= 1 and u != it.policy(state)(jnp.ones(1))
    alone = small(None)
    for call, words in (
        (lambda: it.planner(state, 0), "horizon is 0"),
        (lambda: alone.planner(alone.init(KEY)), "without"),
    ):
        with pytest.raises(CostogoError, match=words):
            call()


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
    assert len(small(replace(improved, replays=3)).blank(KEY).imagined.rows) == 3 * 4 * 8 * 5
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
    imagined, counts = renew(it, 3, 400, ensemble, agent, real, Replay.empty(1, 1, 2000), KEY, KEY)
    lost = counts["dropped"]
    assert counts["clipped"] == 0.0
    assert 60 < lost < 140 and imagined.size == 3 * (400 - lost)
    assert np.all(np.isfinite(imagined.rows)) and np.all(imagined.rows[:, 0] < 1.9)


@pytest.mark.filterwarnings("ignore:the training of the model diverged")
def test_nothing_is_imagined_before_a_training_has_succeeded(monkeypatch):
    """Until then all batches are real; later a failure leaves the model before, which is used."""
    fit_once = ModelFit.run

    def run(*rates):
        rates = iter(rates)
        patched = lambda self, *given: fit_once(replace(self, learning_rate=next(rates)), *given)  # noqa: E731
        monkeypatch.setattr(ModelFit, "run", patched)
        it = small(IMPROVED, Line(reward=7.0), agent=Watching(1, 1, hidden=(16, 16)), bounded=False)
        return it.step(it.init(KEY))

    state, metrics = run(1e30, 1e30)
    assert state.imagined.size == 0 and metrics["real"] == metrics["diverged"] == 1 and not state.model.trained
    assert "dropped" not in metrics and metrics["passes"] > 0
    for rates, real in (((1e30, 1e-3), 0.625), ((1e-3, 1e30), 0.25)):
        state, metrics = run(*rates)
        assert state.imagined.size > 0 and state.model.trained
        assert metrics["real"] == real and metrics["diverged"] == 0.5 and metrics["dropped"] == 0


def test_runs_with_literal_weights_tell_their_faults():
    """No other weights have the column: see the test of resuming."""
    literal = ImprovedRollouts(constant(2), MirrorDescent(1, LiteralElites(1.0), samples=8), start_states=8)
    it = small(literal)
    assert 0 <= it.step(it.init(KEY))[1]["nonconvex"] <= 1


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
    it = small(imagination, Line(reward=7.0), agent=Watching(1, 1, hidden=(16, 16)), bounded=False)
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
    assert "nonconvex" not in rows_of(tmp_path / "whole")[0]


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


def test_checkpoints_without_an_identity_are_read(tmp_path):
    """Older versions did not store of which environment a state is; one of another environment is refused."""
    legs = [GymnasiumEnvironment(name) for name in ("Leg", "LegSemi")]
    ends, folder = [small(None, leg, epoch_length=2) for leg in legs], CheckpointFolder(tmp_path)
    state = ends[0].init(KEY)
    folder.save(0, state)
    with pytest.raises(CostogoError, match=r"state is of .*ellipse.*this environment is .*semi"):
        ends[1].step(load_state(ends[1], KEY, folder))
    named = state.environment.pop("identity")
    folder.save(1, state)
    assert same(load_state(ends[0], KEY, folder).environment.pop("identity"), named)
    ends[0].step(load_state(ends[0], KEY, folder))


def test_mistakes():
    for arguments, message in (
        ({"agent": SAC(2, 1)}, "agent has no = 2 and nu = 1, the environment no = 1 and nu = 1; pass an agent"),
        ({"agent": SAC(1, 3)}, "agent has no = 1 and nu = 3"),
        ({"test_environment": Plane()}, "test_environment has no = 2 and nu = 1, the environment no = 1"),
    ):
        with pytest.raises(CostogoError, match=message):
            small(**arguments)
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
