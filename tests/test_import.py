"""Importing costogo is quick and has no side effects."""

import json
import subprocess
import sys

PROBE = """
import json, os, sys, threading, time
before = set(os.listdir("."))
import jax
config = dict(jax.config.values)
start = time.perf_counter()
import costogo
seconds = time.perf_counter() - start
print(json.dumps({
    "seconds": seconds,
    "config": [k for k, v in jax.config.values.items() if config.get(k) != v],
    "files": sorted(set(os.listdir(".")) - before),
    "threads": threading.active_count(),
    "backend": bool(jax._src.xla_bridge._backends),
    "heavy": [m for m in ("matplotlib", "tyro", "mujoco", "gymnasium", "av") if m in sys.modules],
}))
"""


def _probe(tmp_path):
    done = subprocess.run([sys.executable, "-c", PROBE], capture_output=True, text=True, cwd=tmp_path, check=True)
    return json.loads(done.stdout)


def test_import_is_quick_and_clean(tmp_path):
    """Issue acceptance 8. The best of five: this is a promise about the library, not about a loaded machine."""
    probes = [_probe(tmp_path) for _ in range(5)]
    assert min(p["seconds"] for p in probes) < 2.0
    for probe in probes[:1]:
        assert probe["config"] == []
        assert probe["files"] == []
        assert probe["threads"] == 1
        assert not probe["backend"]
        assert probe["heavy"] == []


BLOCKED = """
import importlib, sys
sys.modules.update(dict.fromkeys(("mujoco", "gymnasium", "daqp", "onnx")))
for command in ("train_diff_mpc", "train_mpc_net", "evaluate", "render", "export", "experiments"):
    importlib.import_module("costogo.cli." + command)
"""


def test_commands_that_need_no_simulator_start_without_one(tmp_path):
    subprocess.run([sys.executable, "-c", BLOCKED], cwd=tmp_path, check=True)
