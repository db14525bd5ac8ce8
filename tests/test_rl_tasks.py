"""Gymnasium environments as tasks: saving to the bit, terminations against the simulators, rewards, bad input."""

import subprocess
import sys
import warnings

import gymnasium
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env

from costogo.core.errors import CostogoError
from costogo.problem import OptimalControlProblem, QuadraticCost
from costogo.sim import MujocoDynamics, swimmer_model, walker_model
from costogo.sim.tasks import TASKS, GymnasiumEnvironment, LegEnvironment, LegOptions, SystemEnvironment, Task
from costogo.systems import CartPole, DoubleIntegrator, Pendulum

ENDING = {"Stochlite", "Hopper", "Walker2d", "Ant", "Humanoid", "InvertedPendulum", "InvertedDoublePendulum"}


def walk(environment, us):
    """Everything that steps return, episodes strung together."""
    trace = []
    for u in us:
        x, *rest = environment.step(u)
        trace.append((x, *rest))
        if rest[1] or rest[2]:
            trace.append((environment.restart(), 0.0, False, False))
    return trace


def assert_same(first, second):
    assert len(first) == len(second)
    for (x, *rest), (y, *others) in zip(first, second, strict=True):
        np.testing.assert_array_equal(x, y)
        assert x.dtype == y.dtype == np.float32 and rest == others


def assert_continues(make, steps, more=150, seed=3):
    one = make()
    one.start(seed)
    us = np.random.default_rng(1).uniform(-1, 1, (steps + more, one.nu)).astype(np.float32)
    walk(one, us[:steps])
    saved = {name: value.copy() for name, value in one.save().items()}
    rest = walk(one, us[steps:])
    two = make()
    if steps % 2:  # a fresh object, or one in the middle of something else
        two.start(99)
        walk(two, us[: steps // 3])
    shown = two.load(saved)
    np.testing.assert_array_equal(shown, saved["observation"])
    again = two.save()
    assert set(again) == set(saved)
    for name, value in saved.items():
        np.testing.assert_array_equal(again[name], value)
        assert again[name].dtype == value.dtype and again[name].shape == value.shape
    assert_same(rest, walk(two, us[steps:]))


@pytest.mark.parametrize("name", TASKS)
def test_continues_to_the_bit(name):
    for steps in (0, 1, 77):
        assert_continues(lambda: GymnasiumEnvironment(name), steps, more=100)


def test_continues_on_the_ground():
    """A cheetah that lies on several contacts, and an ant, whose reward looks at what lags behind its state."""
    for name in ("HalfCheetah", "Ant"):
        probe = GymnasiumEnvironment(name)
        probe.start(3)
        us = np.random.default_rng(1).uniform(-1, 1, (310, probe.nu))
        contacts = []
        for u in us:
            if any(probe.step(u)[2:]):
                probe.restart()
            contacts.append(probe.env.unwrapped.data.ncon)
        assert max(contacts) > 1
        steps = 1 + int(np.argmax(contacts[:300]))
        assert_continues(lambda name=name: GymnasiumEnvironment(name), steps)


@pytest.mark.parametrize("name", ["Pendulum-v1", "MountainCarContinuous-v0"])
def test_others_continue_by_doing_the_episode_again(name):
    for steps in (0, 50, 230):
        assert_continues(lambda: GymnasiumEnvironment(name), steps)


class NoisyWalk(gymnasium.Env):
    """Draws random numbers within an episode, and keeps a count of its own."""

    def __init__(self):
        self.action_space = gymnasium.spaces.Box(np.array([0.0, -2.0]), np.array([1.0, 4.0]), dtype=np.float64)
        self.observation_space = gymnasium.spaces.Box(-np.inf, np.inf, (3,), np.float64)

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.x, self.count = self.np_random.normal(size=2), 0
        return np.append(self.x, 0.0), {}

    def step(self, action):
        assert action.dtype == np.float64
        self.count += 1
        self.x = 0.9 * self.x + action + self.np_random.normal(size=2)
        return np.append(self.x, self.count), float(action[1]), False, False, {}


def test_users_environments_are_taken():
    assert_continues(lambda: GymnasiumEnvironment(NoisyWalk(), time_limit=40), 60)
    ends = lambda x, u, new: new[0] > 1.0  # noqa: E731
    environment = GymnasiumEnvironment(gymnasium.wrappers.TimeLimit(NoisyWalk(), 40), ends)
    assert environment.time_limit == 40 and (environment.no, environment.nu) == (3, 2)
    assert environment.terminated(np.zeros(3), np.zeros(2), np.full(3, 2.0))
    environment.start(0)
    # Actions are scaled to the box, and clipped to it.
    assert [environment.step(np.array([0.0, v]))[1] for v in (-1.0, 0.0, 1.0, 7.0)] == [-2.0, 1.0, 4.0, 4.0]


def test_wrappers_that_remember_are_done_again():
    stack = lambda: gymnasium.wrappers.FlattenObservation(  # noqa: E731
        gymnasium.wrappers.FrameStackObservation(gymnasium.make("InvertedPendulum-v5", max_episode_steps=30), 3)
    )
    assert_continues(lambda: GymnasiumEnvironment(stack()), 25)


def test_no_files_are_left_behind(tmp_path, monkeypatch):
    """MuJoCo logs what it deprecates in the cheetah's model into the working directory, unless told otherwise."""
    monkeypatch.chdir(tmp_path)
    GymnasiumEnvironment("HalfCheetah").start(0)
    assert not list(tmp_path.iterdir())


def test_episodes_depend_on_seed_and_number_alone():
    one, two = GymnasiumEnvironment("Hopper"), GymnasiumEnvironment("Hopper")
    one.start(5)
    for _ in range(3):
        one.step(np.ones(3))
    second = one.restart()
    two.start(5)
    np.testing.assert_array_equal(two.restart(), second)
    drawn = int(np.random.SeedSequence([5, 1]).generate_state(1)[0])
    np.testing.assert_array_equal(gymnasium.make("Hopper-v5").reset(seed=drawn)[0].astype(np.float32), second)
    assert not np.array_equal(one.restart(), second) and not np.array_equal(two.start(6), one.start(5))


def test_time_limit_truncates():
    environment = GymnasiumEnvironment("Reacher")
    environment.start(0)
    ends = [environment.step(np.zeros(2))[2:] for _ in range(50)]
    assert ends == [(False, False)] * 49 + [(False, True)]
    with pytest.raises(CostogoError, match="restart"):
        environment.step(np.zeros(2))
    loaded = GymnasiumEnvironment("Reacher")
    loaded.load(environment.save())
    with pytest.raises(CostogoError, match="restart"):
        loaded.step(np.zeros(2))


def transitions(name, count):
    """Real transitions under random actions, and whether the simulator ended the episode in each."""
    environment, rng = GymnasiumEnvironment(name), np.random.default_rng(7)
    rows, x = [], environment.start(1)
    for u in rng.uniform(-1, 1, (count, environment.nu)).astype(np.float32):
        new, _, ended, cut = environment.step(u)
        rows.append((x, u, new, ended))
        x = environment.restart() if ended or cut else new
    return environment, *(np.array(column) for column in zip(*rows, strict=True))


@pytest.mark.parametrize("name", TASKS)
@pytest.mark.parametrize("count", [1000, pytest.param(10000, marks=pytest.mark.slow)])
def test_terminations_are_those_of_the_simulators(name, count):
    environment, x, u, new, ended = transitions(name, count)
    np.testing.assert_array_equal(jax.jit(jax.vmap(environment.terminated))(x, u, new), ended)
    np.testing.assert_array_equal(environment.terminated(x, u, new), ended)
    assert ended.any() == (name in ENDING)
    assert not ended.all()


def test_terminations_of_states_that_are_not_finite():
    for name in ("Hopper", "Ant", "InvertedPendulum", "Walker2d", "Humanoid"):
        environment = GymnasiumEnvironment(name)
        x = environment.start(0)
        assert not environment.terminated(x, np.zeros(environment.nu), x)
        bad = x.copy()
        bad[0 if name in ("Walker2d", "Humanoid") else -1] = np.nan
        assert environment.terminated(x, np.zeros(environment.nu), bad)


def test_rewards_are_those_of_v2():
    """Being alive is paid in the last step too, with the terms of v2 written out from the simulator's state."""
    forward = {
        "Hopper": lambda a, dx: dx / 0.008 - 1e-3 * a @ a + 1.0,
        "Walker2d": lambda a, dx: dx / 0.008 - 1e-3 * a @ a + 1.0,
        "HalfCheetah": lambda a, dx: dx / 0.05 - 0.1 * a @ a,
        "InvertedPendulum": lambda a, dx: 1.0,
        "Swimmer": lambda a, dx: dx / 0.04 - 1e-4 * a @ a,
    }
    for name, expected in forward.items():
        environment, rng, ended = GymnasiumEnvironment(name), np.random.default_rng(0), 0
        environment.start(0)
        for _ in range(200):
            u, before = rng.uniform(-1, 1, environment.nu).astype(np.float32), environment.env.unwrapped.data.qpos[0]
            _, reward, end, _ = environment.step(u)
            moved = environment.env.unwrapped.data.qpos[0] - before
            assert reward == pytest.approx(expected(u, moved), rel=1e-5, abs=1e-5)
            ended += end
            if end:
                environment.restart()
        assert (ended > 0) == (name in ENDING)
    assert GymnasiumEnvironment("Ant").no == 27
    assert GymnasiumEnvironment("Humanoid").no == 45
    feet = GymnasiumEnvironment("Walker2d").env.unwrapped.model
    assert [feet.geom(n).friction[0] for n in ("foot_geom", "foot_left_geom")] == pytest.approx([0.9, 1.9])


def test_table_has_the_numbers_of_the_spec():
    rows = {  # spec 8
        "HalfCheetah": (40, (20, 150, 1, 1), -3.0),
        "Hopper": (20, (20, 150, 1, 15), -1.0),
        "Walker2d": (20, (20, 150, 1, 1), -3.0),
        "Ant": (20, (20, 100, 1, 25), -4.0),
        "Humanoid": (20, (20, 300, 1, 25), -2.0),
        "InvertedPendulum": (10, (1, 15, 1, 1), -0.05),
    }
    for name, row in rows.items():
        assert (TASKS[name].updates, TASKS[name].rollout, TASKS[name].target_entropy) == row
    assert all(task.hidden == ((400,) if name == "Humanoid" else (200,)) * 4 for name, task in TASKS.items())
    assert (TASKS["InvertedPendulum"].epochs, TASKS["InvertedPendulum"].epoch_steps) == (80, 250)
    assert TASKS["Swimmer"].target_entropy == -0.5 * GymnasiumEnvironment("Swimmer").nu


def mujoco_problem(model):
    dynamics = MujocoDynamics(model, substeps=5)
    cost = QuadraticCost(Q=0.1, R=1e-3)
    bounds = dynamics.control_bounds()
    problem = OptimalControlProblem(dynamics, cost, horizon=100, control_bounds=bounds, dt=dynamics.dt)
    start = jnp.asarray(dynamics.initial_state("stand" if model.nkey else None), float)
    return problem, lambda key: start + 0.01 * jax.random.normal(key, start.shape)


SYSTEMS = {
    "pendulum": lambda: (Pendulum().problem(), Pendulum().initial_state),
    "cartpole": lambda: (CartPole().problem(), CartPole().initial_state),
    "double integrator": lambda: (DoubleIntegrator().problem(), DoubleIntegrator().initial_state),
    "swimmer": lambda: mujoco_problem(swimmer_model()),
    "walker": lambda: mujoco_problem(walker_model()),
}


@pytest.mark.parametrize("name", SYSTEMS)
def test_problems_are_tasks(name):
    problem, start = SYSTEMS[name]()
    env = SystemEnvironment(problem, start)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        check_env(env, skip_render_check=True)
    # Infinite bounds of observations, and a test of `gymnasium.make` that an object without an id cannot take.
    odd = [str(w.message) for w in caught if not any(s in str(w.message) for s in ("infinity", "spec", "deprecat"))]
    assert not odd
    assert_continues(lambda: GymnasiumEnvironment(SystemEnvironment(problem, start), time_limit=30), 44, more=20)


def test_reward_of_a_problem_is_its_cost():
    system = Pendulum()
    problem = system.problem()
    env = SystemEnvironment(problem, system.initial_state, observe=lambda x, t: jnp.append(x[:2], t))
    seen, _ = env.reset(seed=4)
    x = jnp.asarray(env.save_state()["state"])
    np.testing.assert_allclose(seen, [x[0], x[1], 0.0], rtol=1e-6)
    for k, a in enumerate((0.5, -1.0, 0.25)):
        seen, reward, *_ = env.step(np.array([a], np.float32))
        u = jnp.array([2.0 * a])
        assert reward == pytest.approx(-float(problem.stage_cost(x, u, 0.0)), rel=1e-5)
        x = system(x, u, 0.0)
        np.testing.assert_allclose(seen, [x[0], x[1], 0.05 * (k + 1)], rtol=1e-5, atol=1e-6)


class Broken(NoisyWalk):
    """Goes wrong in its third step, in one of its outputs."""

    def __init__(self, part):
        super().__init__()
        self.part = part

    def step(self, action):
        x, reward, *rest = super().step(action)
        if self.count == 3 and self.part == "observation":
            x[1] = np.nan
        return x, np.nan if self.count == 3 and self.part == "reward" else reward, *rest


@pytest.mark.parametrize("part", ["observation", "reward"])
def test_nan_of_the_simulator_is_named(part):
    environment = GymnasiumEnvironment(Broken(part), time_limit=10)
    environment.start(8)
    for _ in range(2):
        environment.step(np.zeros(2))
    with pytest.raises(CostogoError, match=rf"(?s)nan.*{part}|{part}.*nan") as caught:
        environment.step(np.zeros(2))
    assert "at step 3 of episode 0 (seed 8)" in str(caught.value)


class Odd(gymnasium.Env):
    def __init__(self, actions=None, observations=None):
        box = gymnasium.spaces.Box(-1.0, 1.0, (2,))
        self.action_space, self.observation_space = actions or box, observations or box


def test_bad_input_is_refused_with_a_remedy():
    Box, Dict, Discrete = gymnasium.spaces.Box, gymnasium.spaces.Dict, gymnasium.spaces.Discrete
    pairs = [
        (lambda: GymnasiumEnvironment("Hoper"), "did you mean 'Hopper'"),
        (lambda: GymnasiumEnvironment("Pendulum-v9"), "Pendulum-v1"),
        (lambda: GymnasiumEnvironment("Hopper-v2"), "cannot be made"),
        (lambda: GymnasiumEnvironment("CartPole-v1"), "continuous actions"),
        (lambda: GymnasiumEnvironment(3), "pass a name"),
        (lambda: GymnasiumEnvironment("Hopper", terminated=True), "pass a function"),
        (lambda: GymnasiumEnvironment(Odd()), "no time limit"),
        (lambda: GymnasiumEnvironment(Odd(), time_limit=0), "at least 1"),
        (lambda: GymnasiumEnvironment(Odd(Box(-np.inf, 1.0, (2,))), time_limit=9), "finite low and high"),
        (lambda: GymnasiumEnvironment(Odd(Box(-1.0, 1.0, (2, 2))), time_limit=9), "one axis"),
        (lambda: GymnasiumEnvironment(Odd(None, Dict(a=Discrete(2))), time_limit=9), "FlattenObservation"),
        (lambda: Task("x", "Hopper-v5", None, -1.0, 1), "terminated"),
        (lambda: Task("x", "Hopper-v5", lambda x, u, new: False, -1.0, 0), "updates"),
        (lambda: SystemEnvironment(3, lambda key: key), "OptimalControlProblem"),
        (lambda: SystemEnvironment(DoubleIntegrator().problem(), jnp.zeros(2)), "function of a JAX key"),
    ]
    for make, fix in pairs:
        with pytest.raises(CostogoError, match=fix):
            make()
    free = OptimalControlProblem(DoubleIntegrator(), DoubleIntegrator().cost(), horizon=3, nu=1)
    with pytest.raises(CostogoError, match="control_bounds"):
        SystemEnvironment(free, DoubleIntegrator().initial_state)


def test_bad_calls_are_refused_with_a_remedy():
    environment = GymnasiumEnvironment("InvertedPendulum")
    for call in (environment.restart, environment.save, lambda: environment.step(np.zeros(1))):
        with pytest.raises(CostogoError, match="start"):
            call()
    with pytest.raises(CostogoError, match="seed"):
        environment.start(-1)
    environment.start(0)
    with pytest.raises(CostogoError, match="shape"):
        environment.step(np.zeros(2))
    with pytest.raises(CostogoError, match="finite"):
        environment.step(np.array([np.nan]))
    environment.step(np.zeros(1))  # a refused action changes nothing
    saved = environment.save()
    for wrong in ({}, {**saved, "observation": np.zeros(3)}, {**saved, "elapsed": np.array(10**6)}):
        with pytest.raises(CostogoError, match="save"):
            environment.load(wrong)
    leg = GymnasiumEnvironment(LegEnvironment(), time_limit=5)
    leg.start(0)
    with pytest.raises(CostogoError, match="state differs"):
        environment.load(leg.save())
    with pytest.raises(CostogoError, match="does not come back"):
        environment.load({**saved, "observation": saved["observation"] + 1.0})


class Sled(DoubleIntegrator):
    """Has the shapes of its parent."""


def problem_of(system):
    return SystemEnvironment(system.problem(), system.initial_state)


@pytest.mark.parametrize(
    ("one", "other", "named"),
    [
        ("Leg", "LegSemi", "path='ellipse'.*path='semi'"),
        ("Leg", "LegLiteral", "reward='scaled'.*reward='literal'"),
        (LegEnvironment(), LegEnvironment(options=LegOptions(damping=0.06)), "damping=0.05.*damping=0.06"),
        (problem_of(DoubleIntegrator()), problem_of(Sled()), "DoubleIntegrator.*Sled"),
        (NoisyWalk(), Broken("none"), "NoisyWalk.*Broken"),
    ],
)
def test_states_of_another_environment_are_refused(one, other, named):
    """Also where all shapes are the same; states of older versions, which have no identity, are taken."""
    one, other = (GymnasiumEnvironment(task, time_limit=20) for task in (one, other))
    one.start(0)
    with pytest.raises(CostogoError, match=f"state is of .*{named}"):
        other.load(one.save())
    old = {name: value for name, value in one.save().items() if name != "identity"}
    np.testing.assert_array_equal(GymnasiumEnvironment(one.env, time_limit=20).load(old), old["observation"])


def test_sim_without_gymnasium():
    """The simulators work without it, and the tasks say what to install."""
    code = """
import sys
sys.modules["gymnasium"] = None
import costogo.sim
from costogo.core.errors import MissingExtraError
try:
    import costogo.sim.tasks
except MissingExtraError as error:
    assert "costogo[sim]" in str(error)
    print("refused")
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
    assert done.stdout.strip() == "refused", done.stderr
