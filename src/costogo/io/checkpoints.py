"""Atomic, complete, bit-exact checkpoints of any pytree of arrays."""

import io
import json
import os
import tempfile
import warnings
from pathlib import Path
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from costogo.core.errors import CheckpointError

FORMAT = "costogo-checkpoint"
VERSION = 1
HEADER = "__header__"
PARTIAL = ".partial"
# Leaves that files of older versions lack, by the end of their names: such a file is read, with the leaf of `like`.
LATER = ("environment['identity']",)


class DamagedCheckpointError(CheckpointError):
    """The file is truncated, corrupt or no checkpoint at all."""


def save_checkpoint(path: Path | str, tree: Any, metadata: dict | None = None) -> None:
    """Write every array of the tree to one file, which appears complete or not at all.

    The file is a NumPy zip archive: arrays named by their place in the tree, and a JSON header with format version
    and metadata. It is written beside the target, flushed to disk and renamed.
    """
    path = Path(path)
    arrays = {name: np.asarray(_raw(leaf)) for name, leaf in _leaves(tree)}
    leaves = {name: str(array.dtype) for name, array in arrays.items()}
    header = {"format": FORMAT, "version": VERSION, "leaves": leaves, "metadata": metadata or {}}
    buffer = io.BytesIO()
    np.savez(buffer, **{HEADER: np.frombuffer(json.dumps(header).encode(), np.uint8)}, **arrays)
    try:
        write_atomically(path, buffer.getbuffer())
    except OSError as error:
        raise CheckpointError(f"could not write {path}: {error}; earlier checkpoints are intact") from error


def write_atomically(path: Path, content: bytes | memoryview) -> None:
    """Write a file that appears complete or not at all, even if the process or the machine stops half-way."""
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=path.name, suffix=PARTIAL)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.chmod(temporary, 0o644)
        os.replace(temporary, path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise


def load_checkpoint(path: Path | str, like: Any) -> tuple[Any, dict]:
    """Read a checkpoint into the structure of `like`; returns the tree and the metadata.

    Raises `CheckpointError` naming the file and what is wrong: truncated, foreign, another version, or the first leaf
    that is missing, superfluous, or of another shape or type.
    """
    arrays, header = _read(Path(path))
    expected = _leaves(like)
    names = {name for name, _ in expected}
    for name in header["leaves"]:
        if name not in names:
            raise CheckpointError(f"{path} holds leaf {name}, which this run has no place for; another configuration?")
    loaded = [_restore(path, name, leaf, arrays) for name, leaf in expected]
    dynamic, static = eqx.partition(like, _is_data)
    return eqx.combine(jax.tree.unflatten(jax.tree.structure(dynamic), loaded), static), header["metadata"]


def _is_data(leaf: Any) -> bool:
    """Arrays and plain numbers; functions and strings are structure, which `like` provides."""
    return isinstance(leaf, jax.Array | np.ndarray | np.generic | bool | int | float | complex)


def _leaves(tree: Any) -> list[tuple[str, Any]]:
    dynamic = eqx.filter(tree, _is_data)
    return [("root" + jax.tree_util.keystr(p), leaf) for p, leaf in jax.tree_util.tree_leaves_with_path(dynamic)]


def _is_key(leaf: Any) -> bool:
    return isinstance(leaf, jax.Array) and jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key)


def _raw(leaf: Any) -> Any:
    return jax.random.key_data(leaf) if _is_key(leaf) else leaf


def _restore(path: Path | str, name: str, leaf: Any, arrays: dict[str, np.ndarray]) -> Any:
    if name not in arrays and name.endswith(LATER):
        return leaf
    if name not in arrays:
        raise CheckpointError(f"{path} lacks leaf {name}; it belongs to another configuration or version")
    value, raw = arrays[name], np.asarray(_raw(leaf))
    if value.shape != raw.shape or value.dtype != raw.dtype:
        raise CheckpointError(
            f"{path}: leaf {name} is {value.dtype}{list(value.shape)}, this run needs {raw.dtype}{list(raw.shape)}"
        )
    if _is_key(leaf):
        return jax.random.wrap_key_data(jnp.asarray(value), impl=jax.random.key_impl(leaf))
    if isinstance(leaf, jax.Array):
        return jnp.asarray(value)
    return value if isinstance(leaf, np.ndarray) else type(leaf)(value[()])


def _read(path: Path) -> tuple[dict[str, np.ndarray], dict]:
    if not path.is_file():
        raise CheckpointError(f"{path} does not exist")
    try:
        with np.load(path, allow_pickle=False) as archive:
            arrays = {name: archive[name] for name in archive.files}  # zip checks the CRC of each
        header = json.loads(arrays.pop(HEADER).tobytes())
        form = header.get("format"), header.get("version")
    except Exception as error:  # damaged bytes make the zip, NumPy and JSON readers fail in many ways
        raise DamagedCheckpointError(f"{path} is truncated or not a costogo checkpoint ({error})") from error
    if form != (FORMAT, VERSION):
        raise CheckpointError(
            f"{path} has format {form[0]!r} version {form[1]}; this costogo reads {FORMAT!r} version {VERSION}"
        )
    if isinstance(header["leaves"], dict):  # NumPy files forget the name of types such as bfloat16
        arrays = {name: array.view(jnp.dtype(header["leaves"][name])) for name, array in arrays.items()}
    return arrays, header


class CheckpointFolder:
    """Numbered checkpoints in a folder, of which the newest `keep` stay. A damaged newest one is passed over."""

    def __init__(self, folder: Path | str, keep: int = 3):
        self.folder, self.keep = Path(folder), keep

    def paths(self) -> list[Path]:
        """Checkpoints, oldest first."""
        return sorted(self.folder.glob("epoch_*.npz"))

    def save(self, epoch: int, tree: Any, metadata: dict | None = None) -> Path:
        """Write the checkpoint of an epoch and remove those beyond `keep`."""
        self.folder.mkdir(parents=True, exist_ok=True)
        for abandoned in self.folder.glob("*" + PARTIAL):  # left by a process that was killed while it wrote
            abandoned.unlink()
        path = self.folder / f"epoch_{epoch:08d}.npz"
        save_checkpoint(path, tree, metadata)
        self.thin(self.keep)
        return path

    def thin(self, keep: int) -> None:
        """Remove all but the newest `keep`."""
        for old in self.paths()[:-keep]:
            old.unlink()

    def load_latest(self, like: Any) -> tuple[Any, dict] | None:
        """Newest readable checkpoint, or None if there is none; warns about each damaged one it passes over."""
        failure = None
        for path in reversed(self.paths()):
            try:
                return load_checkpoint(path, like)
            except DamagedCheckpointError as error:
                failure = error
                warnings.warn(f"{error}; trying the one before", stacklevel=2)
        if failure is not None:
            raise failure
        return None
