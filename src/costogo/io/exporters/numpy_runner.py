"""Evaluates a policy that costogo exported. Needs NumPy alone: this file may be copied to where the policy runs."""

import json

import numpy as np

FORMAT = "costogo-policy"
VERSION = 1
HEADER = "__header__"


class NumpyPolicy:
    """Maps an observation (no,) to a control (nu,), or any number of them (..., no) to (..., nu)."""

    def __init__(self, operations, inputs, dtype):
        self.operations = [(RULES[kind], arrays) for kind, arrays in operations]
        self.inputs, self.dtype = inputs, np.dtype(dtype)

    def __call__(self, observation):
        """The control, in the policy's own float type; raises ValueError if the last axis is not of length no."""
        v = np.asarray(observation, self.dtype)
        if v.shape[-1:] != (self.inputs,):
            raise ValueError(f"observation has shape {v.shape}; its last axis must have length {self.inputs}")
        for rule, arrays in self.operations:
            v = rule(v, **arrays)
        return v


def load_numpy(path):
    """The policy in an exported `.npz` file, as a callable; `path` may be an open binary file.

    Raises ValueError if the file is something else or of another version, OSError if it cannot be read.
    """
    try:
        with np.load(path, allow_pickle=False) as archive:
            arrays = {name: archive[name] for name in archive.files}
        header = json.loads(arrays[HEADER].tobytes())
        form = header["format"], header["version"]
    except OSError:
        raise
    except Exception as error:  # damaged bytes make the zip, NumPy and JSON readers fail in many ways
        raise ValueError(f"{path} is damaged or not an exported policy ({error})") from error
    if form != (FORMAT, VERSION):
        raise ValueError(f"{path} has format {form[0]!r} version {form[1]}; this file reads {FORMAT!r} {VERSION}")
    operations = [
        (kind, {name: arrays[f"{index}.{name}"] for name in names})
        for index, (kind, names) in enumerate(header["operations"])
    ]
    return NumpyPolicy(operations, header["inputs"], header["dtype"])


def _scale(v, offset, scale):
    return offset + scale * v


def _dense(v, weight, bias):
    return v @ weight.T + bias


def _relu(v):
    return np.maximum(v, 0)


def _sigmoid_mixture(v, weight, bias, gate_weight, gate_bias):
    # In logarithms: all gates may be closed, and a ratio of zeros is no weight.
    return _blend(-np.logaddexp(0, -_dense(v, gate_weight, gate_bias)), _dense(v, weight, bias))


def _softmax_mixture(v, weight, bias, gate_weight, gate_bias):
    return _blend(_dense(v, gate_weight, gate_bias), _dense(v, weight, bias))


def _blend(logits, controls):
    weights = np.exp(logits - logits.max(axis=-1, keepdims=True))
    weights /= weights.sum(axis=-1, keepdims=True)
    experts = controls.reshape(*weights.shape, controls.shape[-1] // weights.shape[-1])
    return (weights[..., None, :] @ experts)[..., 0, :]


RULES = {
    "scale": _scale,
    "dense": _dense,
    "relu": _relu,
    "tanh": np.tanh,
    "sigmoid_mixture": _sigmoid_mixture,
    "softmax_mixture": _softmax_mixture,
}
