"""C: one header with the weights and a function, for C99 and C++; no allocation, no state, no library but libm."""

from collections.abc import Callable, Iterator
from functools import partial

import numpy as np

from costogo.io.exporters.description import Description

HEADER = """\
/* {summary}
 * Written by costogo. Uses <math.h> (link with -lm) and {stack} bytes of stack; keeps no state.
 */
#ifndef {macro}_H
#define {macro}_H

#include <math.h>

#define {macro}_OBSERVATION_SIZE {inputs}
#define {macro}_CONTROL_SIZE {outputs}

{constants}
/* Control for an observation, both in the units in which the policy was trained. The arrays must not overlap. */
static inline void {name}(const {type} *observation, {type} *control)
{{
    int i, j;
{variables}
{statements}
}}

#endif
"""
C_TYPES = {"float32": "float", "float64": "double"}
SUFFIXES = {"float32": "f", "float64": ""}  # of numbers, as in 1.0f, and of the functions of math.h, as in tanhf


class _Code:
    """What the header holds, which grows one operation at a time; `source` is the array that was computed last."""

    def __init__(self, description: Description):
        self.name, self.type = description.name, C_TYPES[str(description.dtype)]
        self.suffix, self.itemsize = SUFFIXES[str(description.dtype)], description.dtype.itemsize
        self.source, self.size = "observation", description.widths[0]
        self.constants: list[str] = []
        self.variables: list[str] = []
        self.statements: list[str] = []
        self.stack = 0

    def constant(self, array: np.ndarray) -> str:
        """Name of a new constant. A matrix is stored transposed, for `dense`."""
        name = f"{self.name}_constant_{len(self.constants)}"
        shape = " rows of ".join(map(str, array.T.shape))
        numbers = "\n".join(_rows(array.T.ravel(), self.suffix))
        self.constants.append(f"/* {shape} */\nstatic const {self.type} {name}[{array.size}] = {{\n{numbers}\n}};\n")
        return name

    def variable(self, size: int) -> str:
        """Name of a new local array."""
        name = f"v{len(self.variables)}"
        self.variables.append(f"{self.type} {name}[{size}];")
        self.stack += size * self.itemsize
        return name

    def say(self, *lines: str) -> None:
        """Add statements; `$` stands for the suffix of numbers and functions."""
        self.statements += [line.replace("$", self.suffix) for line in lines]

    def dense(self, weight: np.ndarray, bias: np.ndarray, target: str) -> None:
        """`target = weight @ source + bias`, column by column: compilers vectorise that without reordering sums."""
        w, b, rows = self.constant(weight), self.constant(bias), len(bias)
        self.say(
            f"for (i = 0; i < {rows}; ++i) {target}[i] = {b}[i];",
            f"for (j = 0; j < {self.size}; ++j)",
            f"    for (i = 0; i < {rows}; ++i) {target}[i] += {w}[{rows} * j + i] * {self.source}[j];",
        )


def write_header(description: Description) -> bytes:
    """The header. Its function is named after the policy; its macros and constants begin with that name."""
    code, last = _Code(description), len(description.operations) - 1
    for index, operation in enumerate(description.operations):
        size = operation.outputs(code.size)
        target = "control" if index == last else code.variable(size)
        RULES[operation.kind](code, target, **operation.arrays)
        code.source, code.size = target, size
    text = HEADER.format(
        summary=description.summary(),
        stack=code.stack,
        macro=description.name.upper(),
        inputs=description.widths[0],
        outputs=description.widths[-1],
        constants="\n".join(code.constants),
        name=description.name,
        type=code.type,
        variables="\n".join(f"    {line}" for line in code.variables),
        statements="\n".join(f"    {line}" for line in code.statements),
    )
    return text.encode()


def _rows(numbers: np.ndarray, suffix: str) -> Iterator[str]:
    """Lines of eight numbers, each the shortest decimal that reads back exactly. (Hexadecimal is not C++98 to 14.)"""
    for start in range(0, len(numbers), 8):
        yield "    " + " ".join(f"{number!s}{suffix}," for number in numbers[start : start + 8])


def _scale(code: _Code, target: str, offset: np.ndarray, scale: np.ndarray) -> None:
    a, b = code.constant(offset), code.constant(scale)
    code.say(f"for (i = 0; i < {code.size}; ++i) {target}[i] = {a}[i] + {b}[i] * {code.source}[i];")


def _dense(code: _Code, target: str, weight: np.ndarray, bias: np.ndarray) -> None:
    code.dense(weight, bias, target)


def _activation(code: _Code, target: str, expression: str) -> None:
    value = expression.format(v=f"{code.source}[i]")
    code.say(f"for (i = 0; i < {code.size}; ++i) {target}[i] = {value};")


def _mixture(
    code: _Code,
    target: str,
    gate_weight: np.ndarray,
    gate_bias: np.ndarray,
    weight: np.ndarray,
    bias: np.ndarray,
    logarithm: str = "",
) -> None:
    """Weights proportional to the exponentials of the gates, or of their `logarithm`; the greatest is taken off."""
    experts, size = len(gate_bias), len(bias) // len(gate_bias)
    p, u = code.variable(experts), code.variable(len(bias))
    limits = code.variable(2)  # the greatest exponent, then the sum
    code.dense(gate_weight, gate_bias, p)
    if logarithm:
        code.say(f"for (i = 0; i < {experts}; ++i) {p}[i] = {logarithm.format(v=f'{p}[i]')};")
    code.dense(weight, bias, u)
    code.say(
        f"{limits}[0] = {p}[0];",
        f"{limits}[1] = 0.0$;",
        f"for (i = 1; i < {experts}; ++i) {limits}[0] = {p}[i] > {limits}[0] ? {p}[i] : {limits}[0];",
        f"for (i = 0; i < {experts}; ++i) {p}[i] = exp$({p}[i] - {limits}[0]);",
        f"for (i = 0; i < {experts}; ++i) {limits}[1] += {p}[i];",
        f"for (i = 0; i < {size}; ++i) {target}[i] = 0.0$;",
        f"for (j = 0; j < {experts}; ++j)",
        f"    for (i = 0; i < {size}; ++i) {target}[i] += {p}[j] / {limits}[1] * {u}[{size} * j + i];",
    )


RULES: dict[str, Callable[..., None]] = {
    "scale": _scale,
    "dense": _dense,
    "relu": partial(_activation, expression="{v} < 0.0$ ? 0.0$ : {v}"),  # NaN stays NaN
    "tanh": partial(_activation, expression="tanh$({v})"),
    # All gates may be closed, and a ratio of zeros is no weight: log sigmoid, without overflow on either side.
    "sigmoid_mixture": partial(_mixture, logarithm="({v} < 0.0$ ? {v} : 0.0$) - log1p$(exp$(-fabs$({v})))"),
    "softmax_mixture": _mixture,
}
