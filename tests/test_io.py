"""Checkpoints, run folders, CSV: what must survive a kill, a full disk, and a wrong configuration."""

import csv
import json
import os
import random
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import yaml

from costogo import CostogoError
from costogo.core.errors import CheckpointError, MissingExtraError
from costogo.io import CheckpointFolder, CsvLog, RunFolder, TensorBoard, load_checkpoint, save_checkpoint, train
from costogo.io.callbacks import flatten
from costogo.learn import Callback, fit
from toy import regression, run_toy

KEY = jax.random.PRNGKey(0)


def full_disk(*args, **kwargs):
    raise OSError(28, "No space left on device")


def a_tree():
    return {
        "weights": jnp.arange(6.0).reshape(2, 3) / 7,
        "single": jnp.float32(0.1),
        "half": jnp.ones(3, jnp.bfloat16) / 3,
        "empty": jnp.zeros((0, 4)),
        "special": jnp.array([np.nan, -np.inf, -0.0, 5e-324]),
        "step": jnp.array(7, jnp.int32),
        "key": jax.random.key(1),
        "keys": jax.random.split(jax.random.key(1, impl="rbg"), 3),
        "raw_key": jax.random.PRNGKey(1),
        "host": np.arange(3),
        "number": 0.1,
        "flag": True,
        "function": jnp.tanh,
        "nothing": None,
    }


def blank(tree):
    def zero(leaf):
        if isinstance(leaf, jax.Array) and jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key):
            return jax.random.wrap_key_data(jnp.zeros_like(jax.random.key_data(leaf)), impl=jax.random.key_impl(leaf))
        if isinstance(leaf, jax.Array | np.ndarray):
            return leaf * 0
        return type(leaf)() if isinstance(leaf, bool | float) else leaf

    return jax.tree.map(zero, tree)


def bits(tree):
    def raw(leaf):
        if isinstance(leaf, jax.Array) and jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key):
            leaf = jax.random.key_data(leaf)
        return (type(leaf).__name__, str(np.asarray(leaf).dtype), np.shape(leaf), np.asarray(leaf).tobytes())

    return [raw(leaf) for leaf in jax.tree.leaves(tree) if not callable(leaf)]


# Checkpoints


def test_a_checkpoint_returns_every_bit(tmp_path):
    tree = a_tree()
    save_checkpoint(tmp_path / "c.npz", tree, {"epoch": 3})
    loaded, metadata = load_checkpoint(tmp_path / "c.npz", blank(tree))
    assert bits(loaded) == bits(tree) != bits(blank(tree))
    assert metadata == {"epoch": 3}
    assert loaded["function"] is jnp.tanh
    np.testing.assert_array_equal(jax.random.normal(loaded["keys"][1]), jax.random.normal(tree["keys"][1]))
    assert os.listdir(tmp_path) == ["c.npz"]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"weights": jnp.zeros((2, 4))}, r"root\['weights'\] is float64\[2, 3\], this run needs float64\[2, 4\]"),
        ({"weights": jnp.zeros((2, 3), jnp.float32)}, r"root\['weights'\] is float64.*needs float32"),
        ({"more": jnp.zeros(1)}, r"lacks leaf root\['more'\]"),
        ({"step": None}, r"leaf root\['step'\], which this run has no place for"),
        ({"key": jax.random.key(1, impl="rbg")}, r"root\['key'\]"),
    ],
)
def test_a_checkpoint_of_something_else_names_the_leaf(tmp_path, change, message):
    save_checkpoint(tmp_path / "c.npz", a_tree())
    with pytest.raises(CheckpointError, match=message):
        load_checkpoint(tmp_path / "c.npz", a_tree() | change)


def test_damaged_and_foreign_files_are_refused(tmp_path):
    path = tmp_path / "c.npz"
    save_checkpoint(path, {"a": jnp.arange(50.0), "b": jnp.ones(3)})
    whole = path.read_bytes()
    like = {"a": jnp.zeros(50), "b": jnp.zeros(3)}
    for size in [0, 1, 100, len(whole) // 2, len(whole) - 1]:
        path.write_bytes(whole[:size])
        with pytest.raises(CheckpointError, match="truncated or not a costogo checkpoint"):
            load_checkpoint(path, like)
    np.savez(path, a=np.zeros(50), b=np.zeros(3))
    with pytest.raises(CheckpointError, match="not a costogo checkpoint"):
        load_checkpoint(path, like)
    with pytest.raises(CheckpointError, match="does not exist"):
        load_checkpoint(tmp_path / "absent.npz", like)


def test_a_flipped_bit_is_an_error_or_harmless(tmp_path):
    path, tree = tmp_path / "c.npz", {"a": jnp.arange(5.0)}
    save_checkpoint(path, tree, {"epoch": 1})
    whole = bytearray(path.read_bytes())
    rng = random.Random(0)
    refused = 0
    for _ in range(200):
        damaged = bytearray(whole)
        damaged[rng.randrange(len(whole))] ^= 1 << rng.randrange(8)
        path.write_bytes(damaged)
        try:
            loaded, metadata = load_checkpoint(path, tree)
        except CheckpointError:
            refused += 1
        else:
            assert bits(loaded) == bits(tree) and metadata == {"epoch": 1}
    assert refused > 100


def test_another_version_is_named(tmp_path, monkeypatch):
    monkeypatch.setattr("costogo.io.checkpoints.VERSION", 99)
    save_checkpoint(tmp_path / "c.npz", {"a": jnp.ones(2)})
    monkeypatch.undo()
    with pytest.raises(CheckpointError, match="version 99; this costogo reads 'costogo-checkpoint' version 1"):
        load_checkpoint(tmp_path / "c.npz", {"a": jnp.ones(2)})


def test_a_full_disk_leaves_the_older_checkpoint(tmp_path, monkeypatch):
    folder = CheckpointFolder(tmp_path)
    folder.save(1, {"a": jnp.ones(2)})
    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full_disk)
        with pytest.raises(CheckpointError, match=r"epoch_00000002.*No space left.*intact"):
            folder.save(2, {"a": jnp.zeros(2)})
    assert os.listdir(tmp_path) == ["epoch_00000001.npz"]
    np.testing.assert_array_equal(folder.load_latest({"a": jnp.zeros(2)})[0]["a"], 1.0)


def test_the_folder_keeps_the_newest_and_passes_over_a_damaged_one(tmp_path):
    folder = CheckpointFolder(tmp_path, keep=3)
    assert folder.load_latest({"a": jnp.zeros(1)}) is None
    (tmp_path / "epoch_00000000.npz9x.partial").write_bytes(b"half")  # left by a kill
    for epoch in range(1, 6):
        folder.save(epoch, {"a": jnp.full(1, epoch)}, {"epoch": epoch})
    assert sorted(os.listdir(tmp_path)) == [f"epoch_0000000{n}.npz" for n in (3, 4, 5)]
    like = {"a": jnp.zeros(1, int)}
    folder.paths()[-1].write_bytes(b"PK")
    with pytest.warns(UserWarning, match=r"epoch_00000005.*truncated.*trying the one before"):
        tree, metadata = folder.load_latest(like)
    assert metadata["epoch"] == tree["a"][0] == 4
    for path in folder.paths():
        path.write_bytes(b"PK")
    with pytest.warns(UserWarning, match="trying"), pytest.raises(CheckpointError, match="epoch_00000003"):
        folder.load_latest(like)


def test_a_mismatch_is_not_passed_over(tmp_path):
    folder = CheckpointFolder(tmp_path)
    folder.save(1, {"a": jnp.ones(1)})
    folder.save(2, {"a": jnp.ones(2)})
    with pytest.raises(CheckpointError, match="epoch_00000002"):
        folder.load_latest({"a": jnp.zeros(1)})


# Run folders


@dataclass
class Config:
    seed: int = 3
    rate: float = 0.1
    epochs: int = 10
    out: Path = Path("x")


def test_a_run_folder_says_what_made_it(tmp_path):
    run = RunFolder.create(tmp_path / "a" / "b", Config())
    assert yaml.safe_load(run.config.read_text()) == {"seed": 3, "rate": 0.1, "epochs": 10, "out": "x"}
    manifest = json.loads(run.manifest.read_text())
    assert manifest["seed"] == 3 and manifest["float64"] is True and manifest["device"]
    assert {"date", "command", "commit", "python", "machine"} <= set(manifest)
    assert set(manifest["versions"]) >= {"costogo", "jax", "jaxlib", "numpy"}
    assert run.checkpoints.is_dir() and run.figures.is_dir()


def test_a_folder_with_a_run_is_not_overwritten(tmp_path):
    RunFolder.create(tmp_path, Config())
    with pytest.raises(CostogoError, match="already holds a run; resume it with --resume"):
        RunFolder.create(tmp_path, Config())
    with pytest.raises(CostogoError, match=r"rate: 0.1 there, 0.2 here") as error:
        RunFolder.create(tmp_path, Config(rate=0.2, epochs=20), resume=True)
    assert "epochs" not in str(error.value)
    first = RunFolder(tmp_path).read_manifest()
    run = RunFolder.create(tmp_path, Config(epochs=20), resume=True)
    assert run.read_manifest()["date"] == first["date"]
    assert len(run.read_manifest()["resumed"]) == 1
    assert run.read_config()["epochs"] == 20


def test_an_output_folder_that_cannot_be_written(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    with pytest.raises(CostogoError, match=r"not writable.*--out"):
        RunFolder.create(tmp_path / "file" / "run", Config())
    monkeypatch.setattr(os, "fsync", full_disk)
    with pytest.raises(CostogoError, match="No space left"):
        RunFolder.create(tmp_path / "run", Config())


def test_opening_what_is_not_a_run(tmp_path):
    with pytest.raises(CostogoError, match="not a run folder"):
        RunFolder.open(tmp_path)
    RunFolder(tmp_path).config.write_text("a: [1, ")
    with pytest.raises(CostogoError, match="not readable as YAML"):
        RunFolder.open(tmp_path).read_config()


def test_run_folders_need_their_extra(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "yaml", None)
    with pytest.raises(MissingExtraError, match=r"pip install 'costogo\[cli\]'"):
        RunFolder.create(tmp_path, Config())


# Logs


def test_metrics_of_seeds_become_columns():
    assert flatten({"a": 1.5, "b": np.array([1, 2])}) == {"a": 1.5, "b[0]": 1.0, "b[1]": 2.0}


def test_a_half_written_row_is_dropped(tmp_path):
    log = CsvLog(tmp_path / "m.csv")
    log.on_start(None, None, 0, 30)
    for epoch in range(1, 24):
        log.on_epoch(epoch, None, {"loss": epoch / 3, "other": 1.0})
    whole = log.path.read_text()
    log.path.write_text(whole + "2")  # of 24
    again = CsvLog(log.path)
    again.on_start(None, None, 23, 30)
    assert log.path.read_text() == whole


def test_tensorboard_is_optional(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "tensorboardX", None)
    with pytest.raises(MissingExtraError, match="pip install 'costogo"):
        TensorBoard(tmp_path)


# Training in a folder


def test_an_interrupt_saves_the_newest_epoch(tmp_path):
    class Interrupt(eqx.Module):
        learner: eqx.Module
        steps_per_epoch = 3

        def init(self, key):
            return self.learner.init(key)

        def step(self, state):
            return self.learner.step(state)

        def evaluate(self, state):
            return self.learner.evaluate(state)

    class Stop(Callback):
        def on_epoch(self, epoch, state, metrics):
            if epoch == 3:
                raise KeyboardInterrupt

    learner, run = Interrupt(regression()), RunFolder.create(tmp_path, {})
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("costogo.io.callbacks.Progress", lambda *_: Stop())
        with pytest.raises(KeyboardInterrupt):
            train(learner, KEY, run, epochs=9, checkpoint_every=100)
    assert [path.name for path in CheckpointFolder(run.checkpoints).paths()] == ["epoch_00000003.npz"]
    state = train(learner, KEY, run, epochs=9)
    assert bits(state) == bits(fit(learner, learner.init(KEY), epochs=9))


def test_a_run_from_before_there_was_an_option(tmp_path):
    """It counts as one with the option's default, and goes on as such only."""
    RunFolder.create(tmp_path, {"rate": 1.0})
    defaults = {"rate": 0.5, "symmetric": False}
    with pytest.raises(CostogoError, match="symmetric: False there, True here"):
        RunFolder.create(tmp_path, {"rate": 1.0, "symmetric": True}, resume=True, defaults=defaults)
    with pytest.raises(CostogoError, match="symmetric: None there, False here"):
        RunFolder.create(tmp_path, {"rate": 1.0, "symmetric": False}, resume=True)
    run = RunFolder.create(tmp_path, {"rate": 1.0, "symmetric": False}, resume=True, defaults=defaults)
    assert run.read_config() == {"rate": 1.0, "symmetric": False}


def test_a_killed_run_resumes_bit_exactly(tmp_path):
    epochs = 40
    whole = run_toy(tmp_path / "whole", epochs)
    folder = tmp_path / "killed"
    command = [sys.executable, str(Path(__file__).with_name("toy.py")), str(folder), str(epochs), "0.02"]
    killed_after = random.Random(time.time_ns()).randrange(1, 28)
    process = subprocess.Popen(command, stderr=subprocess.DEVNULL)
    try:
        while _rows(folder) < killed_after:
            assert process.poll() is None, "the run ended before it could be killed"
            time.sleep(0.002)
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait()
    done = _rows(folder)
    assert killed_after <= done < epochs
    resumed = run_toy(folder, epochs)
    assert bits(resumed) == bits(whole)
    assert (folder / "metrics.csv").read_bytes() == (tmp_path / "whole" / "metrics.csv").read_bytes()
    final = load_checkpoint(CheckpointFolder(folder / "checkpoints").paths()[-1], whole)[0]
    assert bits(final) == bits(whole)


def _rows(folder):
    try:
        return sum(1 for _ in csv.reader((folder / "metrics.csv").open())) - 1
    except FileNotFoundError:
        return 0
