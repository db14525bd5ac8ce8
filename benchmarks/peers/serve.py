"""The peer's side of the protocol in `process`."""

import json
import os
import sys
from collections.abc import Callable
from importlib.metadata import version
from typing import Any, NamedTuple

import numpy as np

from benchmarks.harness import timed


class Prepared(NamedTuple):
    """A problem that is ready to be timed: pieces of work by name, the peer's solution, and facts about it."""

    work: dict[str, Callable[[], object]]
    solution: dict[str, np.ndarray]
    facts: dict[str, Any]


def serve(prepare: Callable[..., Prepared], packages: list[str]) -> None:
    """Answer requests until the input ends. `prepare(arrays, **options)` sets a problem up and solves it once."""
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what a solver prints must not mix with the answers
    prepared = Prepared({}, {}, {})
    for line in sys.stdin:
        request = json.loads(line)
        try:
            if request["do"] == "versions":
                answer: dict[str, Any] = {"versions": {name: version(name) for name in packages}}
            elif request["do"] == "prepare":
                with np.load(request["given"]) as given:
                    prepared = prepare(dict(given), **request["options"])
                np.savez(request["found"], **prepared.solution)
                answer = {"facts": prepared.facts}
            else:
                answer = {"seconds": timed(prepared.work[request["work"]], request["calls"])}
        except Exception as error:  # the reason goes into the table; the run goes on
            answer = {"error": f"{type(error).__name__}: {error}".splitlines()[0]}
        answers.write(json.dumps(answer) + "\n")
        answers.flush()
