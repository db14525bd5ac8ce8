"""ONNX: a graph with a dynamic batch axis, written with the `onnx` package alone and run with ONNX Runtime."""

import importlib
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from costogo.core.errors import CostogoError, MissingExtraError
from costogo.io.exporters.description import Description
from costogo.io.exporters.parity import Trial, stopwatch

# Opset 17 and the file version of its time are read by every runtime since 2022, and hold all that is needed here.
OPSET, IR_VERSION = 17, 8
OBSERVATION, CONTROL, BATCH = "observation", "control", "batch"


class _Graph:
    """Nodes and constants of a graph that grows one node at a time; results are named by their number."""

    def __init__(self) -> None:
        self.onnx = _extra("onnx")
        self.nodes: list[Any] = []
        self.constants: list[Any] = []

    def constant(self, array: np.ndarray) -> str:
        """Name of a new constant."""
        name = f"constant_{len(self.constants)}"
        self.constants.append(self.onnx.numpy_helper.from_array(np.ascontiguousarray(array), name))
        return name

    def node(self, operator: str, *inputs: str, **attributes: Any) -> str:
        """Name of the result of a new node."""
        name = f"{operator.lower()}_{len(self.nodes)}"
        self.nodes.append(self.onnx.helper.make_node(operator, inputs, [name], **attributes))
        return name


def write_onnx(description: Description) -> bytes:
    """A model from `observation` (batch, no) to `control` (batch, nu), accepted by the checker of `onnx`.

    Raises `MissingExtraError` without `onnx`.
    """
    graph, result = _Graph(), OBSERVATION
    for operation in description.operations:
        result = RULES[operation.kind](graph, result, **operation.arrays)
    graph.nodes[-1].output[0] = CONTROL
    helper = graph.onnx.helper
    dtype = helper.np_dtype_to_tensor_dtype(description.dtype)
    ends = [
        helper.make_tensor_value_info(name, dtype, [BATCH, size])
        for name, size in ((OBSERVATION, description.widths[0]), (CONTROL, description.widths[-1]))
    ]
    model = helper.make_model(
        helper.make_graph(graph.nodes, description.name, ends[:1], ends[1:], graph.constants),
        producer_name="costogo",
        doc_string=description.summary(),
        opset_imports=[helper.make_opsetid("", OPSET)],
        ir_version=IR_VERSION,
    )
    graph.onnx.checker.check_model(model, full_check=True)
    return model.SerializeToString(deterministic=True)


def try_onnx(path: Path, description: Description, observations: np.ndarray) -> Trial:
    """Run the model in ONNX Runtime on one thread, all samples at once and one at a time."""
    runtime = _extra("onnxruntime")
    options = runtime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    try:
        session = runtime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
        single, latency = stopwatch(lambda o: session.run(None, {OBSERVATION: o})[0], observations[:, None])
        batch = session.run(None, {OBSERVATION: observations})[0]
    except Exception as error:  # its exceptions share no base of their own
        raise CostogoError(f"the exported policy does not run in ONNX Runtime: {str(error)[:400]}") from error
    return Trial(np.stack([batch, np.concatenate(single)]), latency)


def _extra(module: str) -> Any:
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise MissingExtraError(f"export to ONNX needs {module}: pip install 'costogo[export]'") from error


def _scale(graph: _Graph, v: str, offset: np.ndarray, scale: np.ndarray) -> str:
    return graph.node("Add", graph.node("Mul", v, graph.constant(scale)), graph.constant(offset))


def _dense(graph: _Graph, v: str, weight: np.ndarray, bias: np.ndarray) -> str:
    return graph.node("Gemm", v, graph.constant(weight), graph.constant(bias), transB=1)


def _activation(graph: _Graph, v: str, operator: str) -> str:
    return graph.node(operator, v)


def _softmax_mixture(graph: _Graph, v: str, gate_weight: np.ndarray, gate_bias: np.ndarray, **experts: Any) -> str:
    return _blend(graph, _dense(graph, v, gate_weight, gate_bias), v, len(gate_bias), **experts)


def _sigmoid_mixture(graph: _Graph, v: str, gate_weight: np.ndarray, gate_bias: np.ndarray, **experts: Any) -> str:
    # In logarithms, as all gates may be closed: -log(1 + exp(-a)) = -(relu(-a) + log(1 + exp(-|a|))). Written out,
    # since ONNX Runtime has Softplus in float32 only.
    logits = _dense(graph, v, gate_weight, gate_bias)
    one = graph.constant(np.ones(1, gate_bias.dtype))
    far = graph.node("Relu", graph.node("Neg", logits))
    near = graph.node("Log", graph.node("Add", graph.node("Exp", graph.node("Neg", graph.node("Abs", logits))), one))
    log_gates = graph.node("Neg", graph.node("Add", far, near))
    return _blend(graph, log_gates, v, len(gate_bias), **experts)


def _blend(graph: _Graph, logits: str, v: str, experts: int, weight: np.ndarray, bias: np.ndarray) -> str:
    """The weights (batch, 1, ne) times the controls (batch, ne, nu) of the experts."""
    middle = graph.constant(np.array([1], np.int64))
    weights = graph.node("Unsqueeze", graph.node("Softmax", logits, axis=-1), middle)
    # The zero keeps the batch axis as it is, an empty one too.
    shape = graph.constant(np.array([0, experts, len(bias) // experts], np.int64))
    controls = graph.node("Reshape", _dense(graph, v, weight, bias), shape)
    return graph.node("Squeeze", graph.node("MatMul", weights, controls), middle)


RULES: dict[str, Callable[..., str]] = {
    "scale": _scale,
    "dense": _dense,
    "relu": partial(_activation, operator="Relu"),
    "tanh": partial(_activation, operator="Tanh"),
    "sigmoid_mixture": _sigmoid_mixture,
    "softmax_mixture": _softmax_mixture,
}
