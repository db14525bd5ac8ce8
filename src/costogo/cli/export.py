"""`costogo export`: a learned policy as a file that runs without JAX."""

from dataclasses import dataclass
from pathlib import Path

from tyro.conf import Positional

from costogo.cli.console import say
from costogo.cli.trained import TrainedRun
from costogo.core.validate import require
from costogo.io import export


@dataclass(frozen=True)
class Export:
    """Write the policy of an mpc_net run as ONNX, NumPy and C files, each checked against JAX on the way out.

    Endings: .onnx, .npz (archive for `costogo.io.load_numpy`), .py (NumPy alone), .h (C99). Example: "costogo export
    runs/mpc_net-ballbot --out robot/policy.onnx robot/policy.h".
    """

    run_folder: Positional[Path]
    """folder that `costogo train mpc_net` wrote"""
    out: tuple[Path, ...] = ()
    """files to write; by default policy.onnx, policy.npz and policy.h in the run folder"""
    samples: int = 1000
    """random observations on which each file is compared with JAX"""

    def run(self) -> None:
        """Export and print what was measured."""
        require(self.samples >= 1, f"samples is {self.samples}; pass at least 1")
        trained = TrainedRun.load(self.run_folder)
        trained.require_kind("mpc_net", "costogo export")
        paths = self.out or tuple(self.run_folder / f"policy{suffix}" for suffix in (".onnx", ".npz", ".h"))
        for path in paths:
            say(str(export(trained.state.policy, path, samples=self.samples)))
