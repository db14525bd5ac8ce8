"""Run folders: config, manifest, metrics, checkpoints, figures and report of one run, in one place."""

import csv
import json
import os
import platform
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, is_dataclass
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import jax

from costogo.core.errors import CostogoError, MissingExtraError, writing
from costogo.io.checkpoints import write_atomically

PACKAGES = ("costogo", "jax", "jaxlib", "equinox", "optax", "numpy")


class RunFolder:
    """`config.yaml`, `manifest.json`, `metrics.csv`, `checkpoints/`, `figures/` and `report.html` under one path."""

    def __init__(self, path: Path | str):
        self.path = Path(path)

    @property
    def config(self) -> Path:
        """The configuration of the run."""
        return self.path / "config.yaml"

    @property
    def metrics(self) -> Path:
        """Metrics, one row per epoch."""
        return self.path / "metrics.csv"

    @property
    def checkpoints(self) -> Path:
        """Folder of checkpoints."""
        return self.path / "checkpoints"

    @property
    def figures(self) -> Path:
        """Folder of figures and videos."""
        return self.path / "figures"

    @property
    def report(self) -> Path:
        """Self-contained HTML report."""
        return self.path / "report.html"

    @property
    def manifest(self) -> Path:
        """Where, when and with what the run was made."""
        return self.path / "manifest.json"

    @staticmethod
    def create(
        path: Path | str,
        config: Any,
        *,
        resume: bool = False,
        may_change: Sequence[str] = ("epochs",),
        defaults: Mapping[str, Any] | None = None,
    ) -> "RunFolder":
        """Make the folder, or open it again.

        Raises if it cannot be written, holds a run already (without `resume`), or, with `resume`, was made with
        another configuration; then the differing keys are named. Keys in `may_change` may differ: a longer training
        continues a shorter one. `defaults` stand for keys that the folder's configuration lacks. A resumed run keeps
        its manifest, with the date of the resumption added.
        """
        run = RunFolder(path)
        settings = as_plain(config)
        with writing(run.path):
            for folder in (run.path, run.checkpoints, run.figures):
                folder.mkdir(parents=True, exist_ok=True)
            known = run._continue(settings, resume, may_change, defaults) if run.config.exists() else None
            write_atomically(run.config, _yaml().safe_dump(settings, sort_keys=False).encode())
            write_atomically(run.manifest, (json.dumps(_continued(known, settings), indent=2) + "\n").encode())
        return run

    @staticmethod
    def open(path: Path | str) -> "RunFolder":
        """An existing run folder, to read from. Raises if there is none."""
        run = RunFolder(path)
        if not run.config.is_file():
            raise CostogoError(f"{run.path} is not a run folder (it has no config.yaml); pass the --out of a training")
        return run

    def read_config(self) -> dict[str, Any]:
        """The configuration, as plain data."""
        try:
            settings = _yaml().safe_load(self.config.read_text())
        except (_yaml().YAMLError, UnicodeDecodeError) as error:
            raise CostogoError(f"{self.config} is not readable as YAML: {error}") from error
        if not isinstance(settings, dict):
            raise CostogoError(f"{self.config} holds no settings; delete the folder or choose another with --out")
        return settings

    def read_manifest(self) -> dict[str, Any]:
        """The manifest, as plain data; empty if there is none."""
        return json.loads(self.manifest.read_text()) if self.manifest.exists() else {}

    def _continue(
        self, settings: dict, resume: bool, may_change: Sequence[str], defaults: Mapping[str, Any] | None
    ) -> dict[str, Any]:
        if not resume:
            raise CostogoError(f"{self.path} already holds a run; resume it with --resume, or choose another --out")
        self.expect(settings, may_change, defaults)
        return self.read_manifest()

    def expect(
        self, config: Any, may_change: Sequence[str] = ("epochs",), defaults: Mapping[str, Any] | None = None
    ) -> None:
        """Raise if the run was made with another configuration; keys in `may_change` may differ. `defaults` stand for
        the keys it lacks: it was made before there were these options."""
        old, settings = as_plain(defaults) | self.read_config(), as_plain(config)
        keys = sorted({*old, *settings} - {*may_change})
        differing = [key for key in keys if old.get(key) != settings.get(key)]
        if differing:
            pairs = ", ".join(f"{key}: {old.get(key)!r} there, {settings.get(key)!r} here" for key in differing)
            raise CostogoError(f"cannot resume {self.path} with another configuration ({pairs})")


def _yaml() -> Any:
    try:
        import yaml
    except ImportError as error:
        raise MissingExtraError("run folders need PyYAML: pip install 'costogo[cli]'") from error
    return yaml


def _continued(known: dict[str, Any] | None, settings: dict) -> dict[str, Any]:
    """The manifest of a new run, or that of an old one with this resumption added."""
    now = manifest(settings)
    if not known:
        return now
    return {**known, "resumed": [*known.get("resumed", []), {key: now[key] for key in ("date", "command", "versions")}]}


def as_plain(config: Any) -> dict:
    """Configuration as plain YAML data."""
    data = asdict(config) if is_dataclass(config) and not isinstance(config, type) else dict(config or {})
    return json.loads(json.dumps(data, default=str))


def manifest(settings: dict) -> dict:
    """Where, when and with what a run was made."""
    device = jax.devices()[0]
    return {
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "command": [Path(sys.argv[0]).name, *sys.argv[1:]],
        "seed": settings.get("seed"),
        "commit": _commit(),
        "python": platform.python_version(),
        "machine": f"{platform.machine()}, {os.cpu_count()} cores",
        "device": f"{device.platform}: {device.device_kind}",
        "float64": bool(jax.config.read("jax_enable_x64")),
        "versions": {name: _version(name) for name in PACKAGES},
    }


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def _commit() -> str | None:
    try:
        command = ["git", "describe", "--always", "--dirty", "--abbrev=40"]
        return subprocess.run(command, capture_output=True, text=True, check=True, timeout=10).stdout.strip()
    except (OSError, subprocess.SubprocessError):
        return None


def read_rows(path: Path) -> list[dict[str, float]]:
    """Rows of a metrics file; cells of an epoch that was not evaluated are left out."""
    with path.open(newline="") as file:
        return [{name: float(value) for name, value in row.items() if value} for row in csv.DictReader(file)]
