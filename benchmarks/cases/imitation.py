"""Training of experiments X2 and X3 of differentiable MPC with the native sweeps and with those in pure JAX: one epoch
of all seeds, warm, from the state after a first one."""

from typing import Any

import jax

from benchmarks.cases.common import Case, Settings, timing_fields
from benchmarks.harness import interleave
from benchmarks.ours import Compiled, compiled, implementation
from benchmarks.report import Row
from costogo.experiments.diff_mpc import x2
from costogo.experiments.diff_mpc.imitation import MODES, SYSTEMS, ImitationConfig, build
from costogo.learn import Seeds

KINDS = {"native": "native", "pure JAX": "jax"}


def run(settings: Settings) -> list[Row]:
    """Both settings of X2, and the MPC modes of X3 on 100 trajectories; a quick run takes the first."""
    works = [
        (f"X2, {name}", Seeds(x2.learner(**setting), x2.SEEDS), x2.MARKS[-1]) for name, setting in x2.SETTINGS.items()
    ]
    if settings.quick:
        return _rows(*works[0], settings)
    configs = [ImitationConfig(system, mode) for system in SYSTEMS for mode in MODES if mode.startswith("mpc")]
    works += [(f"X3, {c.system}, {c.mode}", Seeds(build(c), c.seeds), c.epochs) for c in configs]
    return [row for work in works for row in _rows(*work, settings)]


def _rows(name: str, learner: Seeds, epochs: int, settings: Settings) -> list[Row]:
    made = {kind: _epoch(learner, kind, choice) for kind, choice in KINDS.items()}
    timings = interleave([program.contender for program in made.values()], settings.effort)
    rows: list[Row] = []
    for kind, program in made.items():
        fields = timing_fields(timings[kind], "ms")
        whole = {"epochs": epochs, "minutes": fields["ms"] * epochs / 60e3, "compile_s": program.compile_s}
        rows.append({"problem": name, "sweeps": kind, **fields, **whole})
    rows[0]["speedup"] = rows[1]["ms"] / rows[0]["ms"]
    return rows


def _epoch(learner: Seeds, kind: str, choice: str) -> Compiled:
    """One epoch, from the state after one."""

    def epoch(state: Any) -> Any:
        return jax.lax.scan(lambda state, _: learner.step(state), state, None, length=learner.steps_per_epoch)[0]

    with implementation(choice):
        start = jax.jit(lambda key: epoch(learner.init(key)))(jax.random.PRNGKey(0))
        return compiled(kind, epoch, start)


CASE = Case(
    "imitation",
    (
        ("problem", "training", 0),
        ("sweeps", "sweeps", 0),
        ("ms", "one epoch, ms", 3),
        ("speedup", "times faster", 2),
        ("epochs", "epochs of the experiment", 0),
        ("minutes", "minutes for them at this rate", 2),
        ("compile_s", "compile s", 2),
    ),
    run,
)
