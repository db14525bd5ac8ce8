"""Environments of the peers, built under `.bench/` when they are first needed."""

import subprocess
import sys
from pathlib import Path

from benchmarks.harness import Unavailable

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / ".bench"
GYMNASIUM = ("gymnasium[mujoco]==1.4.0", "mujoco==4.0.0")
# One pip call per step: mpc would otherwise pull in another torch.
ENVIRONMENTS: dict[str, list[list[str]]] = {
    "crocoddyl": [["crocoddyl==3.2.1", "pin==4.0.0", "libpinocchio==4.0.0"]],
    "casadi": [["casadi==3.8.2", "numpy"]],
    # A repackaged acados: the only wheel with BLASFEO compiled for a processor newer than 2004.
    "acados": [["comma-deps-acados==0.2.2.post92", "numpy"]],
    "mpc": [["torch==2.13.0", "numpy<2"], ["mpc==0.0.6"]],
    "qp": [["osqp==1.1.3", "clarabel==0.11.1", "scipy", "numpy"]],
    # torch by itself first: its newest wheels without a version bring a GPU's libraries along.
    "sb3": [["torch==2.13.0", "numpy"], ["stable-baselines3==2.9.2", *GYMNASIUM]],
    "sbx": [["torch==2.13.0", "numpy"], ["sbx-rl==0.28.0", "stable-baselines3==2.9.2", "jax==0.10.2", *GYMNASIUM]],
}


def python_of(name: str) -> Path:
    """Interpreter of an environment, building it first where its stamp does not match the requirements."""
    folder = FOLDER / name
    python, stamp = folder / "bin" / "python", folder / ".installed"
    steps = ENVIRONMENTS[name]
    wanted = "\n".join(" ".join(step) for step in steps) + "\n"
    if stamp.exists() and stamp.read_text() == wanted:
        return python
    print(f"building the environment of {name} ({', '.join(r for step in steps for r in step)})", flush=True)
    _run([sys.executable, "-m", "venv", "--clear", str(folder)])
    for step in steps:
        _run([str(python), "-m", "pip", "install", "--quiet", *step])
    stamp.write_text(wanted)
    return python


def _run(command: list[str]) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        lines = [line for line in (done.stderr + done.stdout).splitlines() if line.startswith("ERROR")]
        raise Unavailable(lines[-1] if lines else f"{' '.join(command[-3:])} exited with {done.returncode}")
