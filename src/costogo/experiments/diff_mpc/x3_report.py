"""Figures and report of X3."""

from pathlib import Path
from typing import Any

import numpy as np

from costogo.experiments.claims import Claim
from costogo.experiments.diff_mpc.imitation import MODES, SYSTEMS
from costogo.experiments.registry import ExperimentConfig
from costogo.experiments.reporting import mean_and_range, write_report
from costogo.viz import COLOURS, figure, save


def write(
    folder: Path,
    curves: list[dict[str, Any]],
    summary: list[dict[str, Any]],
    claims: list[Claim],
    config: ExperimentConfig,
) -> None:
    """Bars like the paper's figure 4, learning curves, and `report.html`."""
    bars(summary, folder / "x3_losses.png")
    learning_curves(curves, folder / "x3_curves.png")
    shown = (
        "system",
        "mode",
        "train_size",
        "variant",
        "seed",
        "epoch",
        "test_loss",
        "physics_error",
        "mean_unconverged",
    )
    rows = [{key: _short(row.get(key, "")) for key in shown} for row in summary]
    media = [folder / "x3_losses.png", folder / "x3_curves.png"]
    facts = {"epochs": curves[-1]["epoch"], "quick": config.quick, "claims": len(claims)}
    write_report(folder, "X3: pendulum and cart-pole imitation", [vars(c) for c in claims] or rows, media, facts)


def _short(value: Any) -> str:
    return f"{value:.3g}" if isinstance(value, float) else str(value)


def bars(summary: list[dict[str, Any]], path: Path) -> None:
    """Test imitation loss at the best validation epoch: mean over seeds, dots for single seeds."""
    fig, axes = figure(1, len(SYSTEMS), size=(5.2, 3.6))
    sizes = sorted({row["train_size"] for row in summary})
    for ax, system in zip(axes.flat, SYSTEMS, strict=True):
        for i, mode in enumerate(MODES):
            for j, n in enumerate(sizes):
                wanted = (system, mode, n, "")
                losses = [
                    r["test_loss"] for r in summary if (r["system"], r["mode"], r["train_size"], r["variant"]) == wanted
                ]
                if not losses:
                    continue
                x = i + (j - (len(sizes) - 1) / 2) * 0.26
                ax.bar(x, np.mean(losses), 0.24, color=COLOURS[j], label=f"n = {n}" if i == 0 else None)
                ax.plot(np.full(len(losses), x), losses, ".", color="0.15", markersize=3)
        ax.set(yscale="log", title=system, ylabel="imitation loss (test)")
        ax.set_xticks(range(len(MODES)), MODES, fontsize=8)
    fig.legend(*axes[0, 0].get_legend_handles_labels(), loc="outside upper right", ncols=len(sizes))
    save(fig, path)


def learning_curves(curves: list[dict[str, Any]], path: Path) -> None:
    """Test loss against epochs for the largest train size."""
    fig, axes = figure(1, len(SYSTEMS), size=(5.2, 3.6))
    largest = max(row["train_size"] for row in curves)
    for ax, system in zip(axes.flat, SYSTEMS, strict=True):
        for mode, colour in zip(MODES, COLOURS, strict=False):
            wanted = (system, mode, largest, "")
            rows = [r for r in curves if (r["system"], r["mode"], r["train_size"], r["variant"]) == wanted]
            mean_and_range(ax, rows, "epoch", "test_loss", colour, mode)
        ax.set(yscale="log", title=f"{system}, n = {largest}", xlabel="epoch", ylabel="imitation loss (test)")
        ax.legend()
    save(fig, path)
