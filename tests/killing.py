"""Training killed at a random moment and resumed, beside an undisturbed run."""

import csv
import os
import signal
import subprocess
import sys
import time

import jax
import numpy as np

from costogo.io import CheckpointFolder, RunFolder, load_state

RUN = """
import sys; sys.path.insert(0, {tests!r})
import jax; jax.config.update("jax_enable_x64", True)
from {module} import learner
from costogo.io import RunFolder, train
run = RunFolder.create(sys.argv[1], {{"seed": 0}}, resume=True)
train(learner(), jax.random.PRNGKey(0), run, epochs={epochs}, evaluate_every=4, checkpoint_every=3)
"""


def check_resumed_training(tmp_path, module, learner, epochs):
    """SIGKILL after a random epoch of `module.learner()`; parameters and metrics must equal those of a whole run."""
    code = RUN.format(tests=os.path.dirname(__file__), module=module, epochs=epochs)

    def start(name):
        return subprocess.Popen([sys.executable, "-c", code, str(tmp_path / name)], stderr=subprocess.DEVNULL)

    assert start("whole").wait(timeout=300) == 0
    victim = start("killed")
    target = int(np.random.default_rng().integers(4, 3 * epochs // 4))
    deadline = time.monotonic() + 240
    path = tmp_path / "killed" / "metrics.csv"
    while victim.poll() is None and time.monotonic() < deadline:
        if path.exists() and path.read_text().count("\n") > target:
            victim.send_signal(signal.SIGKILL)
        time.sleep(0.002)
    assert victim.wait() == -signal.SIGKILL
    assert start("killed").wait(timeout=300) == 0
    folders = [CheckpointFolder(RunFolder(tmp_path / name).checkpoints) for name in ("whole", "killed")]
    ends = [load_state(learner, jax.random.PRNGKey(0), folder) for folder in folders]
    for a, b in zip(*map(jax.tree.leaves, ends), strict=True):
        np.testing.assert_array_equal(a, b)
    texts = [(tmp_path / n / "metrics.csv").read_text() for n in ("whole", "killed")]
    assert texts[0] == texts[1]
    with path.open(newline="") as file:
        assert len(list(csv.DictReader(file))) == epochs
