"""The training loop: compiled once, resumable, several seeds at once; and the progress meter."""

import io

import equinox as eqx
import jax
import numpy as np
import pytest

from costogo import CostogoError
from costogo.core.progress import ProgressMeter, format_seconds
from costogo.learn import Callback, Seeds, fit
from toy import regression

KEY = jax.random.PRNGKey(0)


class Recorder(Callback):
    def __init__(self):
        self.events, self.metrics = [], []

    def on_start(self, learner, state, epoch, epochs):
        self.events.append(("start", epoch, epochs))

    def on_epoch(self, epoch, state, metrics):
        self.events.append(("epoch", epoch))
        self.metrics.append(metrics)

    def on_end(self, state):
        self.events.append(("end",))


def same(a, b):
    return all(np.array_equal(p, q) for p, q in zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True))


def test_it_learns_and_tells_the_callbacks():
    learner, recorder = regression(), Recorder()
    state = fit(learner, learner.init(KEY), epochs=200, evaluate_every=50, callbacks=[recorder])
    np.testing.assert_allclose(state.parameters, [1.0, -2.0, 0.5], atol=1e-2)
    assert recorder.events[0] == ("start", 0, 200)
    assert recorder.events[1:-1] == [("epoch", n) for n in range(1, 201)]
    assert recorder.events[-1] == ("end",)
    evaluated = [n for n, metrics in enumerate(recorder.metrics, 1) if "test_loss" in metrics]
    assert evaluated == [50, 100, 150, 200]
    assert all(isinstance(value, np.ndarray) for value in recorder.metrics[-1].values())


def test_an_epoch_is_compiled_once():
    traces = []

    class Counting(eqx.Module):
        inner: eqx.Module

        @property
        def steps_per_epoch(self):
            return self.inner.steps_per_epoch

        def step(self, state):
            traces.append("step")
            return self.inner.step(state)

        def evaluate(self, state):
            traces.append("evaluate")
            return self.inner.evaluate(state)

    learner = regression()
    fit(Counting(learner), learner.init(KEY), epochs=9)
    assert sorted(traces) == ["evaluate", "step"]


def test_resuming_does_not_change_the_end():
    learner = regression()
    whole = fit(learner, learner.init(KEY), epochs=11)
    part = fit(learner, learner.init(KEY), epochs=4)
    recorder = Recorder()
    assert same(whole, fit(learner, part, epochs=11, callbacks=[recorder]))
    assert recorder.events[:2] == [("start", 4, 11), ("epoch", 5)]
    assert same(whole, fit(learner, whole, epochs=11))  # nothing left to do


def test_seeds_train_together_as_they_do_alone():
    learner, recorder = regression(), Recorder()
    together = Seeds(learner, 3)
    state = fit(together, together.init(KEY), epochs=5, callbacks=[recorder])
    assert recorder.metrics[0]["loss"].shape == (3,)
    for i, key in enumerate(jax.random.split(KEY, 3)):
        alone = fit(learner, learner.init(key), epochs=5)
        np.testing.assert_allclose(state.parameters[i], alone.parameters, rtol=1e-12)
    assert fit(together, state, epochs=5) is state


@pytest.mark.parametrize(("wrong", "name"), [({"epochs": -1}, "epochs"), ({"evaluate_every": 0}, "evaluate_every")])
def test_bad_arguments_are_named(wrong, name):
    learner = regression()
    with pytest.raises(CostogoError, match=f"{name} is"):
        fit(learner, learner.init(KEY), **{"epochs": 1, **wrong})


# Progress


class Terminal(io.StringIO):
    def isatty(self):
        return True


class Clock:
    now = 0.0

    def __call__(self):
        return self.now


def run_meter(stream, seconds_per_step, total=100, first=30.0):
    clock = Clock()
    meter = ProgressMeter(total, stream=stream, clock=clock)
    clock.now = first  # compilation
    for done in range(1, total + 1):
        meter.update(done, "loss 0.5")
        clock.now += seconds_per_step
    return stream.getvalue()


def test_a_log_file_gets_a_line_every_few_seconds():
    lines = run_meter(io.StringIO(), 0.5).splitlines()
    assert len(lines) == 11
    assert lines[1] == "11/100 steps  2 steps/s  44 s left  loss 0.5"  # compilation does not count
    assert lines[-1].startswith("100/100 steps")
    assert not any("\r" in line for line in lines)


def test_a_terminal_gets_one_line_rewritten():
    text = run_meter(Terminal(), 0.25)
    assert text.count("\n") == 1 and text.endswith("\n")
    assert text.count("\r") > 10
    assert "[##########..........] 50/100" in text


def test_a_resumed_meter_counts_only_what_it_saw():
    clock, stream = Clock(), io.StringIO()
    meter = ProgressMeter(1000, "epoch", stream=stream, clock=clock)
    meter.update(900)
    clock.now = 10.0
    meter.update(910)
    assert "900/1000 epochs  starting" in stream.getvalue()
    assert "1 epochs/s  1 min 30 s left" in stream.getvalue()


@pytest.mark.parametrize(("seconds", "text"), [(42, "42 s"), (185, "3 min 05 s"), (7800, "2 h 10 min")])
def test_durations(seconds, text):
    assert format_seconds(seconds) == text
