"""What a policy computes, as a list of operations on plain NumPy arrays; every format is written from that.

A new kind of network needs one function here, in `EXTRACTORS`; a new format needs one entry in `api.FORMATS`.
"""

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from costogo.core.errors import CostogoError
from costogo.core.validate import require
from costogo.nn import MLP, Affine, MixtureOfExperts

KINDS = ("scale", "dense", "relu", "tanh", "sigmoid_mixture", "softmax_mixture")
# A C header defines a function of the policy's name, and C++ programs include it too.
RESERVED = (
    "alignas alignof and and_eq asm auto bitand bitor bool break case catch char char16_t char32_t char8_t class "
    "compl concept const const_cast consteval constexpr constinit continue co_await co_return co_yield decltype "
    "default delete do double dynamic_cast else enum explicit export extern false float for friend goto if inline int "
    "long main mutable namespace new noexcept not not_eq nullptr operator or or_eq private protected public register "
    "reinterpret_cast requires restrict return short signed sizeof static static_assert static_cast struct switch "
    "template this thread_local throw true try typedef typeid typename union unsigned using virtual void volatile "
    "wchar_t while xor xor_eq"
)


@dataclass(frozen=True)
class Operation:
    """One step `v -> v'` of a policy, v of length n, v' of length m.

    - `scale`: `offset + scale * v`; both arrays (n,)
    - `dense`: `weight @ v + bias`; (m, n) and (m,)
    - `relu`, `tanh`: of each entry; no arrays
    - `sigmoid_mixture`, `softmax_mixture`: `sum_i p_i (weight_i v + bias_i)` with weights p from the logits
      `a = gate_weight v + gate_bias`: `p = sigmoid(a) / sum sigmoid(a)`, or `p = softmax(a)`. `weight` (ne m, n) and
      `bias` (ne m,) hold one expert after the other; `gate_weight` is (ne, n), `gate_bias` (ne,).
    """

    kind: str
    arrays: dict[str, np.ndarray] = field(default_factory=dict)

    @property
    def experts(self) -> int:
        """Number of experts; one for everything but mixtures."""
        return len(self.arrays["gate_bias"]) if "gate_bias" in self.arrays else 1

    def outputs(self, inputs: int) -> int:
        """Length of the result for an input of length `inputs`."""
        if self.kind == "scale" or not self.arrays:
            return inputs
        return len(self.arrays["bias"]) // self.experts


@dataclass(frozen=True)
class Description:
    """A policy from an observation (no,) to a control (nu,) as operations in order, all arrays of one float type."""

    name: str
    source: str
    operations: tuple[Operation, ...]

    @property
    def dtype(self) -> np.dtype:
        """Type of every array, of the observation and of the control."""
        return self._first().dtype

    @property
    def widths(self) -> list[int]:
        """Length of the observation, then of the result of each operation; the last is that of the control."""
        widths = [self._first().shape[-1]]
        for operation in self.operations:
            widths.append(operation.outputs(widths[-1]))
        return widths

    def summary(self) -> str:
        """The provenance that each format carries, in one line, without a date: equal policies give equal files."""
        layers = [o.outputs(0) for o in self.operations if "bias" in o.arrays]
        sizes = " -> ".join(map(str, [self.widths[0], *layers]))
        experts = max(operation.experts for operation in self.operations)
        mixture = f", {experts} experts" if experts > 1 else ""
        return f"{self.name}: {self.source}, {sizes}{mixture}, {self.dtype}"

    def _first(self) -> np.ndarray:
        return next(array for operation in self.operations for array in operation.arrays.values())


def describe(policy: Any, name: str) -> Description:
    """The operations of a policy, in the order in which they are applied.

    Raises `CostogoError` if the module or its activation is not supported, if its arrays are not all float32 or all
    float64 and finite, if it is a stack of several policies, or if `name` cannot be the name of a C function.
    """
    require(
        re.fullmatch(r"[A-Za-z][A-Za-z0-9_]*", name) is not None and name not in RESERVED.split(),
        f"name is {name!r}; pass letters, digits and underscores that begin with a letter and are no word of C or C++",
    )
    for module, extract in EXTRACTORS.items():
        if isinstance(policy, module):
            _check(eqx.filter(policy, lambda leaf: isinstance(leaf, jax.Array | np.ndarray)))
            return Description(name, type(policy).__name__, tuple(extract(policy)))
    raise CostogoError(f"cannot export a {type(policy).__name__}; supported: {SUPPORTED}")


def _check(arrays: Any) -> None:
    """Look at the arrays before anything is computed from them."""
    leaves = {jax.tree_util.keystr(path): leaf for path, leaf in jax.tree_util.tree_leaves_with_path(arrays)}
    dtypes = sorted({str(leaf.dtype) for leaf in leaves.values()})
    require(
        dtypes in (["float32"], ["float64"]),
        f"the policy's arrays are {', '.join(dtypes)}; cast them all to float32 or all to float64, for example with "
        "jax.tree.map",
    )
    for path, leaf in leaves.items():
        require(leaf.ndim <= 2, f"policy{path} has shape {leaf.shape}; if this is a stack of policies, choose one")
        require(bool(np.all(np.isfinite(leaf))), f"policy{path} has entries that are not finite; nothing to export")


def _mlp(policy: MLP) -> Iterable[Operation]:
    activation = next((kind for kind, same in ACTIVATIONS.items() if policy.activation in same), None)
    if activation is None:
        shown = getattr(policy.activation, "__name__", repr(policy.activation))
        raise CostogoError(f"cannot export an MLP with activation {shown}; supported: {SUPPORTED}")
    for layer in policy.layers[:-1]:
        yield _dense(layer)
        yield Operation(activation)
    yield _dense(policy.layers[-1])


def _mixture(policy: MixtureOfExperts) -> Iterable[Operation]:
    yield from _scale(policy.normalise)
    for layer in policy.layers:
        yield _dense(layer)
        yield Operation("tanh")
    experts, gate = _dense(policy.experts), _dense(policy.gate)
    if len(gate.arrays["bias"]) == 1:  # its weight is one whatever the gate says
        yield experts
    else:
        gates = {f"gate_{name}": array for name, array in gate.arrays.items()}
        yield Operation(f"{policy.gating}_mixture", gates | experts.arrays)
    # The weights sum to one, so the blend of scaled experts is the scaled blend.
    yield from _scale(policy.output)


def _dense(layer: eqx.nn.Linear) -> Operation:
    weight = np.asarray(layer.weight)
    bias = np.zeros(len(weight), weight.dtype) if layer.bias is None else np.asarray(layer.bias)
    require(weight.ndim == 2 and bias.ndim == 1, f"a layer has weights {weight.shape}; choose one policy of the stack")
    return Operation("dense", {"weight": weight, "bias": bias})


def _scale(affine: Affine) -> Iterable[Operation]:
    offset, scale = np.asarray(affine.offset), np.asarray(affine.scale)
    if np.any(offset != 0) or np.any(scale != 1):
        yield Operation("scale", {"offset": offset, "scale": scale})


ACTIVATIONS = {"relu": (jax.nn.relu,), "tanh": (jnp.tanh, jax.lax.tanh, jax.nn.tanh)}
EXTRACTORS: dict[type, Callable[[Any], Iterable[Operation]]] = {MLP: _mlp, MixtureOfExperts: _mixture}
SUPPORTED = "MixtureOfExperts (gating sigmoid or softmax), MLP (activation relu or tanh)"
