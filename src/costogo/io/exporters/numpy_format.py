"""NumPy formats: an `.npz` archive for `load_numpy`, and a Python file that holds archive and runner both."""

import base64
import inspect
import io
import json
import os
import subprocess
import sys
import tempfile
import textwrap
from pathlib import Path

import numpy as np

from costogo.core.errors import CostogoError
from costogo.io.exporters import numpy_runner
from costogo.io.exporters.description import Description
from costogo.io.exporters.parity import REPEATS, Trial

PYTHON_FILE = '''\
# {summary}
# Written by costogo. `policy(observation)`, at the end, needs nothing beyond Python and NumPy. What follows is the
# reader of exported policies, then the policy: an .npz archive of its weights, in base64.
# ruff: noqa

{runner}

import base64
import io

ARCHIVE = """
{archive}
"""
_POLICY = load_numpy(io.BytesIO(base64.b64decode(ARCHIVE)))


def policy(observation):
    """Control ({outputs},) in {dtype} for an observation ({inputs},), or (..., {outputs}) for (..., {inputs})."""
    return _POLICY(observation)
'''
# One thread can be had only before NumPy is loaded, so the trial is a process; and that the file needs NumPy alone is
# shown by running it without the rest. -P: what lies in the working folder must not be imported instead.
TRIAL = """
import runpy, sys, time
import numpy as np
runner, archive, folder, repeats = sys.argv[1:]
module = runpy.run_path(runner)
policy = module["load_numpy"](archive) if archive else module["policy"]
observations = np.load(folder + "/observations.npy")
controls, seconds = [policy(observations), [policy(o) for o in observations]], []
for _ in range(int(repeats)):
    start = time.perf_counter()
    for o in observations:
        policy(o)
    seconds.append(time.perf_counter() - start)
np.save(folder + "/controls.npy", np.stack(controls))
print(1e6 * min(seconds) / len(observations))
"""
ONE_THREAD = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")


def write_npz(description: Description) -> bytes:
    """A zip of arrays named by the number of the operation and their role, and a JSON header with the operations."""
    operations = [(operation.kind, list(operation.arrays)) for operation in description.operations]
    header = {
        "format": numpy_runner.FORMAT,
        "version": numpy_runner.VERSION,
        "policy": description.summary(),
        "inputs": description.widths[0],
        "dtype": str(description.dtype),
        "operations": operations,
    }
    arrays = {
        f"{index}.{name}": array
        for index, operation in enumerate(description.operations)
        for name, array in operation.arrays.items()
    }
    buffer = io.BytesIO()
    np.savez(buffer, **{numpy_runner.HEADER: np.frombuffer(json.dumps(header).encode(), np.uint8)}, **arrays)
    return buffer.getvalue()


def write_python(description: Description) -> bytes:
    """One Python file with a function `policy(observation)`, which imports nothing beyond NumPy."""
    archive = base64.b64encode(write_npz(description)).decode()
    text = PYTHON_FILE.format(
        summary=description.summary(),
        runner=inspect.getsource(numpy_runner).strip(),
        archive="\n".join(textwrap.wrap(archive, 116)),
        inputs=description.widths[0],
        outputs=description.widths[-1],
        dtype=description.dtype,
    )
    return text.encode()


def try_npz(path: Path, description: Description, observations: np.ndarray) -> Trial:
    """Run the archive in a process of its own, read by the bare runner."""
    return _try(inspect.getfile(numpy_runner), str(path), observations)


def try_python(path: Path, description: Description, observations: np.ndarray) -> Trial:
    """Run the file in a process of its own."""
    return _try(str(path), "", observations)


def _try(runner: str, archive: str, observations: np.ndarray) -> Trial:
    with tempfile.TemporaryDirectory() as folder:
        np.save(Path(folder) / "observations.npy", observations)
        command = [sys.executable, "-P", "-c", TRIAL, runner, archive, folder, str(REPEATS)]
        done = subprocess.run(command, capture_output=True, text=True, env=os.environ | ONE_THREAD)
        if done.returncode:
            raise CostogoError(f"the exported policy does not run in Python: {done.stderr.strip()[-400:]}")
        return Trial(np.load(Path(folder) / "controls.npy"), float(done.stdout))
