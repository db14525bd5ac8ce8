"""Differentiable-MPC learners: descent, bookkeeping, and a kill in the middle of training."""

import csv
import os
import signal
import subprocess
import sys
import time

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import costogo as ctg
from costogo.io import CheckpointFolder, RunFolder
from costogo.learn import ImitationData, Seeds, demonstrate, fit
from costogo.learn.diff_mpc import DiffMPCImitation, LQRImitation
from costogo.systems import random_matrices

HORIZON = 6
SOLVER = ctg.BoxDDP(subproblem="clamped", max_iterations=30)


def problem(gain, weight=1.0):
    return ctg.OptimalControlProblem(
        lambda x, u, t: jnp.stack([x[0] + 0.3 * x[1], x[1] + gain * u[0]]),
        ctg.QuadraticCost(Q=jnp.stack([1.0, 0.1 * jnp.asarray(weight)]), R=0.05),
        horizon=HORIZON,
        control_bounds=(-jnp.ones(1), jnp.ones(1)),
    )


def learner(n=6, **options):
    x0s = jax.random.normal(jax.random.PRNGKey(0), (n + 4, 2))
    demos = demonstrate(lambda x0: ctg.solve(problem(0.5), x0, solver=SOLVER), x0s)
    parts = (slice(0, n), slice(n, n + 2), slice(n + 2, n + 4))
    data = ImitationData(*(jax.tree.map(lambda a, part=part: a[part], demos) for part in parts))
    arguments = {"batch_size": 4, "reset_every": 5, "solver": SOLVER, "optimiser": optax.rmsprop(1e-2, decay=0.5)}
    return DiffMPCImitation(
        build=lambda p: problem(p["gain"]), parameters={"gain": 0.2}, data=data, **(arguments | options)
    )


@pytest.fixture(scope="module")
def trained():
    model = learner()
    seeds = Seeds(model, 2)
    seen = []

    class Recorder:
        def on_start(self, *_): ...

        def on_epoch(self, epoch, state, metrics):
            seen.append({"epoch": epoch, **metrics})

        def on_end(self, _): ...

    state = fit(seeds, seeds.init(jax.random.PRNGKey(0)), epochs=60, evaluate_every=20, callbacks=[Recorder()])
    return model, state, seen


def test_recovers_the_gain(trained):
    _, state, seen = trained
    np.testing.assert_allclose(state.parameters["gain"], 0.5, rtol=0.02)
    assert np.all(seen[-1]["test_loss"] < 1e-3 * seen[0]["loss"])
    assert np.all(seen[-1]["unconverged"] == 0)
    assert {"clamped", "zero_gradient", "iterations", "validation_loss", "test_fallback"} <= set(seen[-1])


def test_warm_starts_are_the_last_solutions(trained):
    """The stored controls are those of the last visit: optimal for the parameters of that step, finite everywhere."""
    model, state, _ = trained
    policy = model.policy(jax.tree.map(lambda a: a[0], state))
    controls = jax.vmap(lambda x0: policy(x0).controls)(model.data.train.x0s)
    np.testing.assert_allclose(state.warm_starts[0], controls, atol=0.1)


def test_projection_is_counted():
    model = learner(project=lambda p: {"gain": jnp.clip(p["gain"], 0.0, 0.21)})
    state = fit(model, model.init(jax.random.PRNGKey(0)), epochs=3)
    assert state.parameters["gain"] <= 0.21
    assert int(state.train.projections) > 0


def test_unconverged_solves_are_counted_and_give_no_gradient():
    model = learner(solver=ctg.BoxDDP(subproblem="clamped", max_iterations=0))
    state, metrics = jax.jit(lambda key: model.step(model.init(key)))(jax.random.PRNGKey(0))
    assert metrics["unconverged"] == 1.0
    assert metrics["loss"] > 0
    assert state.parameters["gain"] == 0.2


def test_alternation_freezes_a_group():
    model = learner(freeze=lambda epoch, g: {"gain": jnp.where(epoch % 2 == 0, 0.0, g["gain"])})
    one = fit(model, model.init(jax.random.PRNGKey(0)), epochs=1)
    assert one.parameters["gain"] == 0.2
    assert fit(model, one, epochs=2).parameters["gain"] != 0.2


@pytest.mark.parametrize("limit", [None, 0.5])
def test_lqr_imitation_learns(limit):
    expert = random_matrices(jax.random.PRNGKey(1), 2, 2)
    model = LQRImitation(
        expert=expert, linear=jnp.array([0.3, -0.2, 0.1, 0.4]), control_limit=limit, batch_size=8, horizon=3
    )
    state = model.init(jax.random.PRNGKey(0))
    trained = fit(model, state, epochs=3)
    assert model.evaluate(trained)["test_loss"] < 0.3 * model.evaluate(state)["test_loss"]


RUN = """
import sys; sys.path.insert(0, {tests!r})
import jax; jax.config.update("jax_enable_x64", True)
from test_diff_mpc import learner
from costogo.io import RunFolder, train
run = RunFolder.create(sys.argv[1], {{"seed": 0}}, resume=True)
train(learner(), jax.random.PRNGKey(0), run, epochs=40, evaluate_every=4, checkpoint_every=3)
"""


def test_killed_training_resumes_bit_exactly(tmp_path):
    """Issue acceptance 5: SIGKILL at a random epoch; parameters and metrics equal those of an undisturbed run."""
    code = RUN.format(tests=os.path.dirname(__file__))

    def start(name):
        return subprocess.Popen([sys.executable, "-c", code, str(tmp_path / name)], stderr=subprocess.DEVNULL)

    assert start("whole").wait(timeout=300) == 0
    victim = start("killed")
    target = int(np.random.default_rng().integers(4, 30))
    deadline = time.monotonic() + 240
    while victim.poll() is None and time.monotonic() < deadline:
        path = tmp_path / "killed" / "metrics.csv"
        if path.exists() and path.read_text().count("\n") > target:
            victim.send_signal(signal.SIGKILL)
        time.sleep(0.002)
    victim.wait()
    assert start("killed").wait(timeout=300) == 0

    model = learner()
    like = model.init(jax.random.PRNGKey(0))
    ends = [CheckpointFolder(RunFolder(tmp_path / n).checkpoints).load_latest(like)[0] for n in ("whole", "killed")]
    for a, b in zip(*map(jax.tree.leaves, ends), strict=True):
        np.testing.assert_array_equal(a, b)
    texts = [(tmp_path / n / "metrics.csv").read_text() for n in ("whole", "killed")]
    assert texts[0] == texts[1]
    with (tmp_path / "killed" / "metrics.csv").open(newline="") as file:
        assert len(list(csv.DictReader(file))) == 40
