"""A peer as a child process: one JSON request per line in, one JSON answer per line out, arrays in .npz files.

The process stays alive between turns, so that the peer is as warm as we are.
"""

import json
import os
import subprocess
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.harness import Contender, Unavailable
from benchmarks.peers.environments import ROOT, python_of

# One core for everybody; the problems are too small for more to help.
THREADS = {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}


class Peer:
    """A running peer script `benchmarks.peers.<script>` in the environment of that name. Use as a context manager."""

    def __init__(self, environment: str, script: str):
        command = [str(python_of(environment)), "-m", f"benchmarks.peers.{script}"]
        self._folder = tempfile.TemporaryDirectory()
        self._errors = (Path(self._folder.name) / "stderr").open("w+")
        self._process = subprocess.Popen(
            command, cwd=ROOT, env={**os.environ, **THREADS}, text=True,
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self._errors,
        )  # fmt: skip
        self.versions: dict[str, str] = self._ask({"do": "versions"})["versions"]

    def __enter__(self) -> "Peer":
        return self

    def __exit__(self, *exception) -> None:
        self._process.stdin.close()
        self._process.wait(timeout=60)
        self._process.stdout.close()
        self._errors.close()
        self._folder.cleanup()

    def prepare(self, arrays: dict[str, np.ndarray], **options) -> dict[str, Any]:
        """Hand over a problem; returns what the peer found: JSON facts and the arrays of its solution."""
        given, found = (Path(self._folder.name) / name for name in ("given.npz", "found.npz"))
        np.savez(given, **arrays)
        answer = self._ask({"do": "prepare", "given": str(given), "found": str(found), "options": options})
        with np.load(found) as solution:
            return {**answer["facts"], **solution}

    def contender(self, name: str, work: str) -> Contender:
        """The prepared piece of work of that name, ready to take turns."""
        return Contender(name, lambda calls: self._ask({"do": "time", "work": work, "calls": calls})["seconds"])

    def _ask(self, request: dict) -> dict:
        try:
            self._process.stdin.write(json.dumps(request) + "\n")
            self._process.stdin.flush()
            line = self._process.stdout.readline()
        except BrokenPipeError:
            line = ""
        if not line:
            self._errors.seek(0)
            last = self._errors.read().strip().splitlines()[-1:]
            raise Unavailable(f"the peer ended: {' '.join(last) or 'no message'}")
        answer = json.loads(line)
        if "error" in answer:
            raise Unavailable(answer["error"])
        return answer
