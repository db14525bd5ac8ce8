"""`export`: one call from a policy in JAX to a file that runs without it."""

import re
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from costogo.core.errors import CostogoError, known
from costogo.core.validate import require
from costogo.io.checkpoints import write_atomically
from costogo.io.exporters.c_format import write_header
from costogo.io.exporters.c_trial import try_header
from costogo.io.exporters.description import Description, describe
from costogo.io.exporters.numpy_format import try_npz, try_python, write_npz, write_python
from costogo.io.exporters.onnx_format import try_onnx, write_onnx
from costogo.io.exporters.parity import ExportReport, Trial, compare, draw_observations, reference


@dataclass(frozen=True)
class Format:
    """How a format is written from a description, and how a written file is run (or why it cannot be, in words)."""

    name: str
    write: Callable[[Description], bytes]
    run: Callable[[Path, Description, np.ndarray], Trial | str]


FORMATS = {
    ".onnx": Format("ONNX", write_onnx, try_onnx),
    ".npz": Format("NumPy archive", write_npz, try_npz),
    ".py": Format("NumPy file", write_python, try_python),
    ".h": Format("C header", write_header, try_header),
}


def export(
    policy: Any, path: Path | str, *, samples: int = 1000, seed: int = 0, name: str | None = None
) -> ExportReport:
    """Write a policy in the format that the ending of the path names, after checking that it computes the same.

    - `.onnx`: opset 17, `observation` (batch, no) to `control` (batch, nu); needs the extra `export`
    - `.npz`: archive for `load_numpy`, or for a copy of the file in which that function stands
    - `.py`: one Python file with weights and `policy(observation)`, which needs NumPy alone
    - `.h`: one C99 and C++ header with `void <name>(const T *observation, T *control)`, T the policy's float type

    `policy` is a `MixtureOfExperts` or an `MLP`. The file is run on `samples` random observations, drawn from `seed`,
    and compared with the policy in JAX; see `ExportReport` for what is measured. `name` is an identifier that the
    file carries; by default it is made of the path's. The file appears complete and checked or not at all, and then
    an earlier one stays; its folder is made. A header is written unchecked where there is no C compiler: the report
    says so.

    Raises `CostogoError` if the ending, the module or the name is not supported, if the exported policy differs from
    JAX by more than 1e-5 (float64: 1e-12) relative to `max(1, |u|)`, or if the path cannot be written;
    `MissingExtraError` if a package is missing.
    """
    path = Path(path)
    form = FORMATS[known("export format", path.suffix, FORMATS)]
    require(samples >= 1, f"samples is {samples}; pass at least 1, so that the file can be checked")
    description = describe(policy, _identifier(path.stem) if name is None else name)
    content = form.write(description)
    report = _check(form, content, policy, description, path, samples, seed)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(path, content)
    except OSError as error:
        raise CostogoError(f"could not write {path}: {error}; choose another path") from error
    return report


def _check(
    form: Format, content: bytes, policy: Any, description: Description, path: Path, samples: int, seed: int
) -> ExportReport:
    """Run a file of the same content, in a folder that vanishes."""
    observations = draw_observations(description, samples, seed)
    with tempfile.TemporaryDirectory() as folder:
        trial_path = Path(folder) / f"{description.name}{path.suffix}"
        trial_path.write_bytes(content)
        trial = form.run(trial_path, description, observations)
    if isinstance(trial, str):
        return ExportReport(form.name, path, 0, None, None, None, trial)
    difference, relative = compare(trial.controls, reference(policy, observations), f"{path} ({form.name})")
    return ExportReport(form.name, path, samples, difference, relative, trial.latency)


def _identifier(stem: str) -> str:
    """A name for the policy from that of its file: `2-trot` becomes `policy_2_trot`."""
    word = re.sub(r"[^A-Za-z0-9]+", "_", stem).strip("_")
    return word if word[:1].isalpha() else f"policy_{word}".rstrip("_")
