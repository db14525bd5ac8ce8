"""Calls from JAX programs to the host: no deadlock on one core, no crash as Python ends."""

import os
import subprocess
import sys
from pathlib import Path

import pytest


@pytest.mark.parametrize("cores", ["1", "2"])
def test_neither_hangs_nor_crashes(cores):
    """Operands of several MB from inside a program, with a single thread of XLA, and a program that is still running
    when Python ends: see `costogo.sim.host_call`."""
    program = """
import jax, jax.numpy as jnp
from costogo.problem.rollout import AffineFeedback
from costogo.sim import MujocoDynamics, swimmer_model
dynamics, N, batch = MujocoDynamics(swimmer_model()), 100, 200
law = AffineFeedback.open_loop(jnp.zeros((N, 2)), 10)
@jax.jit
def run(x, gains):
    law_of = lambda K: AffineFeedback(law.states, law.controls, K, law.lower, law.upper)
    roll = jax.vmap(lambda x, K: dynamics.rollout(x, law_of(K), jnp.zeros(N))[0][-1])
    return jax.lax.fori_loop(0, 2, lambda _, x: roll(x, gains + x[:, None, None, :]), x)
x, gains = jnp.zeros((batch, 10)), jnp.zeros((batch, N, 2, 10))
for _ in range(2):
    x = run(0.5 * x, gains)  # without waiting: from the second on, XLA's own thread makes the call
print(x.shape, float(x.sum()))
for _ in range(2):
    x = run(0.5 * x, gains)
"""
    environment = {**os.environ, "NPROC": cores, "PYTHONPATH": str(Path(__file__).parents[1] / "src")}
    done = subprocess.run([sys.executable, "-c", program], env=environment, capture_output=True, text=True, timeout=240)
    assert done.stdout.strip() == "(200, 10) 0.0", done.stderr[-2000:]
    assert (done.returncode, done.stderr) == (0, "")
