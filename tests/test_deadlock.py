"""The reproduction of the jaxlib deadlock, in a subprocess with a time limit, and the warning about it."""

import subprocess
import sys
import warnings

import pytest

from costogo.core import compatibility

REPRODUCTION = """
import jax, jax.numpy as jnp
jax.config.update("jax_enable_x64", True)
jax.config.update("jax_enable_compilation_cache", False)

def f(M, b):
    def step(carry, _):
        M, b = carry
        eye = jnp.eye(len(b))
        first = jax.scipy.linalg.cho_factor(M @ M.T + eye)
        second = jax.scipy.linalg.cho_factor(M.T @ M + 2.0 * eye)
        one = jax.scipy.linalg.cho_solve(first, b)
        two = jax.scipy.linalg.cho_solve(first, jnp.sin(b))
        three = jax.scipy.linalg.cho_solve(second, b)
        four = jax.scipy.linalg.solve_triangular(jnp.tril(second[0]), b, lower=True)
        return (M + 0.01 * jnp.outer(one, two), one + two + three + four), None
    return jax.lax.scan(step, (M, b), None, length=3)[0][1]

M = jax.random.normal(jax.random.PRNGKey(0), (200, 9, 9))
b = jnp.ones((200, 9))
run = jax.jit(jax.vmap(jax.jacfwd(f, argnums=1)))
for _ in range(20):
    jax.block_until_ready(run(M, b))
"""


def test_locked_jaxlib_does_not_hang():
    """Takes seconds where it does not hang, for ever where it does."""
    subprocess.run([sys.executable, "-c", REPRODUCTION], timeout=240, check=True)


@pytest.mark.parametrize(
    ("installed", "cores", "hangs"),
    [
        ("0.9.2", 2, False),
        ("0.10.2", 2, True),
        ("0.8.3", 4, True),
        ("0.10.2", 32, False),
        ("0.11.0", 2, True),
        ("0.11.2", 2, False),
    ],
)
def test_affected_versions(monkeypatch, installed, cores, hangs):
    monkeypatch.setattr(compatibility, "version", lambda _: installed)
    monkeypatch.setattr(compatibility.os, "cpu_count", lambda: cores)
    assert compatibility.affected() is hangs


def test_warning_names_the_remedy(monkeypatch):
    monkeypatch.setattr(compatibility, "version", lambda _: "0.10.2")
    monkeypatch.setattr(compatibility.os, "cpu_count", lambda: 2)
    monkeypatch.delenv("NPROC", raising=False)
    compatibility.warn_if_affected.cache_clear()
    with pytest.warns(RuntimeWarning, match="NPROC=1"):
        compatibility.warn_if_affected()
    monkeypatch.setenv("NPROC", "1")
    compatibility.warn_if_affected.cache_clear()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        compatibility.warn_if_affected()
    compatibility.warn_if_affected.cache_clear()
