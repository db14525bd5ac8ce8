"""A peer as a child process: one JSON request per line in, one JSON answer per line out, arrays in .npz files.

The process stays alive between turns, so that the peer is as warm as we are.
"""

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.harness import Contender, Unavailable
from benchmarks.peers.environments import ROOT, python_of

THREADS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")


class Peer:
    """A running peer script `benchmarks.peers.<script>` in the environment of that name. Use as a context manager.

    Peers compute on one thread: most problems are too small for more to help. With `cores` given, on as many threads,
    and the process is bound to as many cores before anything in it starts. Without an environment it is ours, for
    contenders that must be bound too.
    """

    def __init__(self, environment: str | None, script: str, cores: int | None = None):
        python = sys.executable if environment is None else str(python_of(environment))
        command = [python, "-m", f"benchmarks.peers.{script}"]
        settings = dict.fromkeys(THREADS, str(cores or 1)) | ({"NPROC": str(cores)} if cores else {})
        self._folder = tempfile.TemporaryDirectory()
        self._errors = (Path(self._folder.name) / "stderr").open("w+")
        self._process = subprocess.Popen(
            command, cwd=ROOT, env={**os.environ, **settings}, text=True, preexec_fn=_binding(cores),
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


def _binding(cores: int | None) -> Callable[[], None] | None:
    """Binds a new process to the last `cores` cores there are; the system's own work prefers the first."""
    if cores is None or not hasattr(os, "sched_setaffinity"):
        return None
    free = sorted(os.sched_getaffinity(0))
    if len(free) < cores:
        raise Unavailable(f"{cores} cores are asked for, and there are {len(free)}")
    return lambda: os.sched_setaffinity(0, free[-cores:])
