"""Differentiable-MPC learners: descent, bookkeeping, and a kill in the middle of training."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import costogo as ctg
from costogo.learn import ImitationData, Seeds, demonstrate, fit
from costogo.learn.diff_mpc import DiffMPCImitation, LQRImitation
from costogo.systems import random_matrices
from killing import check_resumed_training

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


def test_killed_training_resumes_bit_exactly(tmp_path):
    """Issue acceptance 5."""
    check_resumed_training(tmp_path, "test_diff_mpc", learner(), epochs=40)
