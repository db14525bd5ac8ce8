"""Run folders: config, manifest, metrics, checkpoints, figures and report of one run, in one place."""

import json
import os
import platform
import subprocess
import sys
from dataclasses import asdict, is_dataclass
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import jax
import yaml

from costogo.core.errors import CostogoError

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

    @staticmethod
    def create(path: Path | str, config: Any, *, resume: bool = False) -> "RunFolder":
        """Make the folder, or open it again. Raises if it cannot be written, holds a run already (without `resume`),
        or, with `resume`, was made with another configuration; then the differing keys are named."""
        run = RunFolder(path)
        settings = as_plain(config)
        try:
            for folder in (run.path, run.checkpoints, run.figures):
                folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise CostogoError(
                f"output folder {run.path} is not writable: {error}; choose another with --out"
            ) from error
        if not os.access(run.path, os.W_OK):
            raise CostogoError(f"output folder {run.path} is not writable; choose another with --out")
        if run.config.exists():
            run._check(settings, resume)
        run.config.write_text(yaml.safe_dump(settings, sort_keys=False))
        (run.path / "manifest.json").write_text(json.dumps(manifest(settings), indent=2) + "\n")
        return run

    def _check(self, settings: dict, resume: bool) -> None:
        if not resume:
            raise CostogoError(f"{self.path} already holds a run; resume it with --resume, or choose another --out")
        old = yaml.safe_load(self.config.read_text()) or {}
        differing = [key for key in sorted({*old, *settings}) if old.get(key) != settings.get(key)]
        if differing:
            pairs = ", ".join(f"{key}: {old.get(key)!r} there, {settings.get(key)!r} here" for key in differing)
            raise CostogoError(f"cannot resume {self.path} with another configuration ({pairs})")


def as_plain(config: Any) -> dict:
    """Configuration as plain YAML data."""
    data = asdict(config) if is_dataclass(config) and not isinstance(config, type) else dict(config or {})
    return json.loads(json.dumps(data, default=str))


def manifest(settings: dict) -> dict:
    """Where, when and with what a run was made."""
    device = jax.devices()[0]
    return {
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "command": sys.argv,
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
