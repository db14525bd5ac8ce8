"""Entry point: finds the command, reads its options, and turns errors into one line and an exit code."""

import importlib
import sys
from collections.abc import Sequence
from importlib.metadata import version
from typing import Any

from costogo.cli.runtime import configure
from costogo.core.errors import CostogoError, MissingExtraError, known

# Command -> where it is, and what it does. Modules are imported only when their command is called.
COMMANDS = {
    "solve": ("costogo.cli.solve:Solve", "solve one optimal control problem; plot, CSV, video"),
    "train diff_mpc": (
        "costogo.cli.train_diff_mpc:TrainDiffMPC",
        "learn the cost or the model of an MPC from an expert",
    ),
    "train mpc_net": ("costogo.cli.train_mpc_net:TrainMPCNet", "distil an MPC into a network"),
    "train constrained_gps": (
        "costogo.cli.train_constrained_gps:TrainConstrainedGPS",
        "a small policy from trajectory optimisation in MuJoCo",
    ),
    "train dmd_mpc": (
        "costogo.cli.train_dmd_mpc:TrainDMDMPC",
        "a policy from reinforcement learning in a learned model",
    ),
    "evaluate": ("costogo.cli.evaluate:Evaluate", "metrics of a trained run"),
    "reproduce": ("costogo.cli.experiments:Reproduce", "a paper's figure: CSV, plot, claims with verdicts"),
    "render": ("costogo.cli.render:Render", "video of a system under MPC, or of what a run has learned"),
    "export": ("costogo.cli.export:Export", "a learned policy as ONNX, NumPy and C files"),
    "bench": ("costogo.cli.bench:Bench", "what is installed and how fast it is"),
    "demo": ("costogo.cli.experiments:Demo", "teach a network to balance a robot on a ball (a minute)"),
    "demo-diff": ("costogo.cli.experiments:DemoDiff", "recover a cart-pole's physics through an MPC (minutes)"),
}
EXAMPLES = """
  costogo demo
  costogo solve --system cartpole --horizon 40 --seed 3 --video
  costogo train diff_mpc --system pendulum --mode mpc.dx --epochs 200
  costogo train mpc_net --system anymal --gait trot
  costogo train constrained_gps --system swimmer
  costogo train dmd_mpc --task InvertedPendulum
  costogo evaluate runs/diff_mpc-pendulum-mpc.dx
  costogo export runs/mpc_net-anymal-trot --out policy.onnx policy.h
  costogo reproduce diff_mpc/x2 --quick
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; returns the exit code: 0 done, 2 misuse or a failure that was reported, 130 interrupted."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    if not words or words[0] in ("-h", "--help", "help"):
        sys.stdout.write(overview())
        return 0
    if words[0] == "--version":
        sys.stdout.write(f"costogo {version('costogo')}\n")
        return 0
    command: Any = None
    try:
        name, rest = find(words)
        configure()
        command = parse(name, rest)
        command.run()
    except CostogoError as error:
        sys.stderr.write(f"costogo: {error}\n")
        return 2
    except KeyboardInterrupt:
        sys.stderr.write(f"\ncostogo: interrupted. {getattr(command, 'after_interrupt', 'Nothing was saved.')}\n")
        return 130
    return 0


def overview() -> str:
    """Text of `costogo --help`."""
    width = max(map(len, COMMANDS))
    lines = [f"  {name:{width}}  {about}" for name, (_, about) in COMMANDS.items()]
    return (
        "usage: costogo COMMAND [options]\n\nLearn control policies from optimal control.\n\ncommands:\n"
        + "\n".join(lines)
        + f"\n\nexamples:{EXAMPLES}\nOptions of a command: costogo COMMAND --help\n"
    )


def find(words: list[str]) -> tuple[str, list[str]]:
    """The command that the words name, and the words that are left for it."""
    verb = known("command", words[0], dict.fromkeys(name.split()[0] for name in COMMANDS))
    learners = [name.split()[1] for name in COMMANDS if name.startswith(verb + " ")]
    if not learners:
        return verb, words[1:]
    if words[1:2] in (["-h"], ["--help"]) and len(learners) == 1:
        return f"{verb} {learners[0]}", ["--help"]
    if len(words) == 1 or words[1].startswith("-"):
        raise CostogoError(f"costogo {verb} needs a learner first: costogo {verb} {learners[0]} --help. "
                           f"Known: {', '.join(learners)}.")  # fmt: skip
    return f"{verb} {known('learner', words[1], learners)}", words[2:]


def parse(name: str, words: list[str]) -> Any:
    """The command object; wrong options end the program with usage and exit code 2."""
    try:
        import tyro
    except ImportError as error:
        raise MissingExtraError("the command line needs tyro: pip install 'costogo[cli]'") from error
    module, _, kind = COMMANDS[name][0].partition(":")
    command = getattr(importlib.import_module(module), kind)
    return tyro.cli(command, prog=f"costogo {name}", args=words, config=(tyro.conf.FlagCreatePairsOff,))
