"""Compiles an exported header with the C compiler of the system, if there is one, and runs it on observations."""

import os
import shlex
import shutil
import subprocess
import tempfile
from pathlib import Path

import numpy as np

from costogo.core.errors import CostogoError
from costogo.io.exporters.c_format import C_TYPES
from costogo.io.exporters.description import Description
from costogo.io.exporters.parity import REPEATS, Trial

# The calls go through a volatile pointer: otherwise compilers merge them, or leave out those that repeat. Sweeps over
# all samples are repeated until the clock, which may tick in milliseconds, has seen enough of them.
PROGRAM = """\
#include <stdio.h>
#include <time.h>
#include "{header}"

static {type} trial_observations[{samples}][{macro}_OBSERVATION_SIZE];
static {type} trial_controls[{samples}][{macro}_CONTROL_SIZE];

static void (*volatile trial_policy)(const {type} *, {type} *) = {name};

static double trial_microseconds(long sweeps)
{{
    clock_t start = clock();
    long sweep, i;
    for (sweep = 0; sweep < sweeps; ++sweep)
        for (i = 0; i < {samples}; ++i) trial_policy(trial_observations[i], trial_controls[i]);
    return 1e6 * (double)(clock() - start) / CLOCKS_PER_SEC / (double)sweeps;
}}

int main(int argc, char **argv)
{{
    FILE *file = argc == 3 ? fopen(argv[1], "rb") : NULL;
    double best, latest;
    long sweeps = 1;
    int repeat;
    if (!file || fread(trial_observations, sizeof trial_observations, 1, file) != 1 || fclose(file)) return 1;
    while ((best = trial_microseconds(sweeps)) * (double)sweeps < 1e4) sweeps *= 2;
    for (repeat = 1; repeat < {repeats}; ++repeat)
        if ((latest = trial_microseconds(sweeps)) < best) best = latest;
    printf("%.9g", best / {samples});
    file = fopen(argv[2], "wb");
    return !file || fwrite(trial_controls, sizeof trial_controls, 1, file) != 1 || fclose(file);
}}
"""
FLAGS = ("-std=c99", "-O3")
NO_COMPILER = "no C compiler was found (CC, cc, gcc, clang)"


def find_compiler() -> list[str] | None:
    """The command of the C compiler: what CC says, or else the first of cc, gcc and clang; None if it is not there."""
    given = shlex.split(os.environ.get("CC", ""))
    for command in [given] if given else [["cc"], ["gcc"], ["clang"]]:
        if shutil.which(command[0]):
            return command
    return None


def try_header(path: Path, description: Description, observations: np.ndarray) -> Trial | str:
    """Compile a program around the header and run it; without a compiler, say so.

    The latency is processor time, in a program compiled with -O3 for the compiler's default machine.
    """
    compiler = find_compiler()
    if compiler is None:
        return NO_COMPILER
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        program = PROGRAM.format(
            header=path.resolve().as_posix(),
            type=C_TYPES[str(description.dtype)],
            name=description.name,
            macro=description.name.upper(),
            samples=len(observations),
            repeats=REPEATS,
        )
        (folder / "trial.c").write_text(program)
        observations.tofile(folder / "observations")
        _run(
            [*compiler, *FLAGS, "trial.c", "-o", "trial", "-lm"],
            folder,
            "compile; is its name taken? pass another name, or another compiler in CC",
        )
        latency = _run([str(folder / "trial"), "observations", "controls"], folder, "run")
        controls = np.fromfile(folder / "controls", description.dtype).reshape(len(observations), -1)
    return Trial(controls, float(latency))


def _run(command: list[str], folder: Path, verb: str) -> str:
    try:
        return subprocess.run(command, cwd=folder, capture_output=True, text=True, check=True).stdout
    except subprocess.CalledProcessError as error:
        raise CostogoError(f"the exported header does not {verb}: {(error.stderr or str(error))[:400]}") from error
    except OSError as error:
        raise CostogoError(f"the exported header does not {verb}: {error}") from error
