"""SIMBICON walks the walker (spec constrained_gps 8.2 and 15.1)."""

import jax.numpy as jnp
import numpy as np
import pytest

from costogo import CostogoError
from costogo.problem.rollout import AffineFeedback
from costogo.sim import BodyPush, MujocoDynamics, Simbicon, swimmer_model, walker_model


@pytest.fixture(scope="module")
def dynamics():
    return MujocoDynamics(walker_model(), substeps=5)


def test_it_walks_for_ten_seconds(dynamics):
    """More than 12 m without a fall, torques within their limits, legs in turn."""
    walk = Simbicon().demonstrate(dynamics, 1000)
    states, controls, swing = walk
    assert states.shape == (1001, 18) and controls.shape == (1000, 6)
    assert states[:, 1].min() > 0.9 and np.abs(states[:, 2]).max() < 0.5
    assert states[-1, 0] > 12.0
    assert np.abs(controls).max() <= 100.0
    changes = np.flatnonzero(np.diff(swing))
    steps = np.diff(changes)[2:]
    assert len(steps) > 25 and steps.min() > 20 and steps.max() < 45  # 0.2 to 0.45 s


def test_its_controls_give_its_states(dynamics):
    """The dynamics have no memory: an open-loop replay is the same walk, and a warm-up is a walk cut off in front."""
    walk = Simbicon().demonstrate(dynamics, 60, warm_up=100)
    law = AffineFeedback.open_loop(jnp.asarray(walk.controls[:20]), 18)
    states, _ = dynamics.rollout(jnp.asarray(walk.states[0]), law, jnp.arange(20) * dynamics.dt)
    np.testing.assert_allclose(states, walk.states[:21], atol=1e-9)
    longer = Simbicon().demonstrate(dynamics, 160)
    np.testing.assert_array_equal(longer.states[100:], walk.states)


def test_it_walks_from_other_starts(dynamics):
    """States 0.05 off in every direction."""
    first = Simbicon().demonstrate(dynamics, 1).states[0]
    for seed in range(3):
        start = first + 0.05 * np.random.default_rng(seed).normal(size=18)
        assert Simbicon().demonstrate(dynamics, 500, start=start).states[-1, 0] > 5.0


def test_without_the_feedback_of_balance_it_falls(dynamics):
    """What the terms of distance and velocity are for."""
    it = Simbicon()
    stiff = Simbicon(
        lift=it.lift._replace(by_distance=0.0, by_velocity=0.0),
        strike=it.strike._replace(by_distance=0.0, by_velocity=0.0),
    )
    assert stiff.demonstrate(dynamics, 600).states[:, 1].min() < 0.7


def test_mistakes(dynamics):
    with pytest.raises(CostogoError, match="steps is 0"):
        Simbicon().demonstrate(dynamics, 0)
    with pytest.raises(CostogoError, match=r"start has shape \(9,\)"):
        Simbicon().demonstrate(dynamics, 5, start=np.zeros(9))
    with pytest.raises(CostogoError, match="another model than the planar walker"):
        Simbicon().demonstrate(MujocoDynamics(swimmer_model(), substeps=5), 5)


def test_it_walks_on_after_a_push():
    """The push changes the walk from when it comes on, and not before; the walker stays up."""
    dynamics = MujocoDynamics(walker_model(), substeps=5)
    push = BodyPush("torso", 1.0, (-100.0, 0.0, 0.0))
    plain, pushed = (Simbicon().demonstrate(d, 300).states for d in (dynamics, dynamics.with_pushes([push])))
    np.testing.assert_array_equal(pushed[:101], plain[:101])
    assert pushed[111, 9] < plain[111, 9] - 0.3  # m/s
    assert pushed[:, 1].min() > 1.0
