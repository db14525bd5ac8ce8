"""X3: pendulum and cart-pole imitation from controls (spec differentiable_mpc section 8; paper section 5.3)."""

from pathlib import Path
from typing import Any

import jax
import numpy as np

from costogo.experiments.claims import Claim, judge, write_claims, write_rows
from costogo.experiments.diff_mpc import x3_report
from costogo.experiments.diff_mpc.imitation import (
    MODES,
    STARTS,
    SYSTEMS,
    ImitationConfig,
    build,
    identifiable,
    mpc_learner,
)
from costogo.experiments.diff_mpc.series import Observed, end_points, run_series
from costogo.experiments.registry import ExperimentConfig

TRAIN_SIZES = (10, 50, 100)
NARROW = 0.6  # rad: the pendulum variant whose controls saturate less


def configurations(config: ExperimentConfig) -> list[ImitationConfig]:
    """Every training run of the experiment."""
    epochs = 20 if config.quick else 1000
    sizes = TRAIN_SIZES[:1] if config.quick else TRAIN_SIZES
    common: dict[str, Any] = {"epochs": epochs, "seeds": config.seed_count(4, quick=2)}
    runs = [
        ImitationConfig(system, mode, n, **common) for mode in MODES[1:] for system in SYSTEMS for n in reversed(sizes)
    ]
    runs.append(ImitationConfig("pendulum", "mpc.dx", sizes[-1], angle_range=NARROW, **common))
    return runs + [ImitationConfig(system, "nn", n, **common) for system in SYSTEMS for n in reversed(sizes)]


def run(config: ExperimentConfig, folder: Path) -> None:
    """Train every configuration (resumable), then write curves, summary, figures and claims."""
    curves, summary = [], []
    for imitation in configurations(config):
        rows = _train(imitation, folder)
        curves += rows
        summary += [_with_physics(row, imitation.system) for row in end_points(rows)]
        write_rows(folder / "summary.csv", summary)
    write_rows(folder / "curves.csv", curves)
    found = claims(summary)
    write_claims(folder, found)
    x3_report.write(folder, curves, summary, found, config)


def _name(imitation: ImitationConfig) -> str:
    narrow = "" if imitation.angle_range is None else "-narrow"
    return f"{imitation.system}-{imitation.mode}-{imitation.train_size}{narrow}"


def _train(imitation: ImitationConfig, folder: Path) -> list[dict[str, Any]]:
    learner = build(imitation)
    if imitation.mode == "sysid":
        imitator = mpc_learner(
            imitation.system, SYSTEMS[imitation.system](), "mpc.dx", STARTS[imitation.system], learner.data
        )
        learner = Observed(learner, lambda parameters: _imitation(imitator, parameters))
    row: dict[str, Any] = {
        "system": imitation.system,
        "mode": imitation.mode,
        "train_size": imitation.train_size,
        "variant": "" if imitation.angle_range is None else "narrow",
    }
    if imitation.mode == "mpc.cost":
        row["initial_test_loss"] = _initial_loss(learner)
    curves = run_series(
        learner,
        folder / "runs" / _name(imitation),
        {k: v for k, v in row.items() if k != "initial_test_loss"},
        epochs=imitation.epochs,
        seeds=imitation.seeds,
        evaluate_every=10,
        label=_name(imitation),
    )
    return [{**row, **metrics} for metrics in curves]


def _imitation(imitator: Any, parameters: Any) -> dict[str, Any]:
    """Imitation loss of an MPC with identified parameters; the model's own loss stays under `next_state_loss`."""
    metrics = imitator.evaluate_parameters(parameters)
    return {name: metrics[name] for name in ("validation_loss", "test_loss", "test_unconverged")}


def _with_physics(row: dict[str, Any], system: str) -> dict[str, Any]:
    """Add what the controls can tell about the physics, its largest relative error, and the raw model error."""
    expert = SYSTEMS[system]()
    raw = {name: row.get(f"['dynamics']['{name}']") for name in STARTS[system]}
    if any(value is None for value in raw.values()):
        return row
    learned = identifiable(system, raw)
    truth = identifiable(system, {name: getattr(expert, name) for name in raw})
    error = max(abs(float(learned[name]) / float(truth[name]) - 1.0) for name in truth)
    model_loss = float(np.mean([(raw[name] - getattr(expert, name)) ** 2 for name in raw]))
    return {**row, **{k: float(v) for k, v in learned.items()}, "physics_error": error, "model_loss": model_loss}


def select(summary: list[dict[str, Any]], system: str, mode: str, n: int, key: str = "test_loss") -> np.ndarray:
    """Values of one column over the seeds of one configuration (without variants)."""
    wanted = (system, mode, n, "")
    return np.array([r[key] for r in summary if (r["system"], r["mode"], r["train_size"], r["variant"]) == wanted])


def claims(summary: list[dict[str, Any]]) -> list[Claim]:
    """The paper's claims and the acceptance checks 12 to 14 of the spec, judged on the summary."""
    largest = max(row["train_size"] for row in summary)
    smallest = min(row["train_size"] for row in summary)
    seeds = len(select(summary, "pendulum", "mpc.dx", largest))
    found = []
    for system in SYSTEMS:
        nn, dx, sysid = (np.median(select(summary, system, mode, largest)) for mode in ("nn", "mpc.dx", "sysid"))
        close = select(summary, system, "mpc.dx", largest, "physics_error") < 0.05
        found += [
            Claim(f"{system}, n={largest}: mpc.dx imitation loss at most 1e-2 of nn's", "far below nn",
                  f"{dx:.2g} against {nn:.2g}", judge(dx <= 1e-2 * nn, dx < nn), seeds),
            Claim(f"{system}, n={largest}: mpc.dx recovers the identifiable physics within 5 %", "often",
                  f"{close.sum()} of {len(close)} seeds", judge(close.mean() >= 0.75, bool(close.any())), seeds),
            Claim(f"{system}, n={largest}: mpc.dx within a factor 10 of sysid without seeing states", "comparable",
                  f"{dx:.2g} against {sysid:.2g}", judge(dx <= 10 * sysid), seeds),
        ]  # fmt: skip
        small = float(np.median(select(summary, system, "mpc.cost", smallest)))
        nn_small = float(np.median(select(summary, system, "nn", smallest)))
        for n in sorted({largest, smallest}):
            cost = float(np.median(select(summary, system, "mpc.cost", n)))
            first = float(np.median(select(summary, system, "mpc.cost", n, "initial_test_loss")))
            found.append(
                Claim(f"{system}, n={n}: mpc.cost at most 0.1 of its initial loss", "far below",
                      f"{cost:.2g} from {first:.2g}", judge(cost <= 0.1 * first, cost < first), seeds)
            )  # fmt: skip
        found.append(
            Claim(f"{system}, n={smallest}: mpc.cost below nn", "below", f"{small:.2g} against {nn_small:.2g}",
                  judge(small < nn_small), seeds)
        )  # fmt: skip
        losses = [np.median(select(summary, system, "nn", n)) for n in sorted({r["train_size"] for r in summary})]
        found.append(
            Claim(f"{system}: nn improves with data", "improves", " > ".join(f"{v:.2g}" for v in losses),
                  judge(bool(np.all(np.diff(losses) < 0))), seeds)
        )  # fmt: skip
    return found


def _initial_loss(learner: Any) -> float:
    """Test loss before any training."""
    return float(jax.jit(lambda key: learner.evaluate(learner.init(key))["test_loss"])(jax.random.PRNGKey(0)))
