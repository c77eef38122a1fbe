"""ArcFace as insightface exports it to ONNX, as the PyTorch state dict it was exported from.

An export keeps few names, and folds each batch norm that follows a convolution into it, so the
tensors are found by walking the graph as `recognizer.IResNet` is built. A folded norm becomes one
that changes nothing but adds the bias. The `onnx` package reads the file; nothing in it is run.
"""

import importlib.util
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from focus_jax.system.damage import DAMAGED

EPSILON = 1e-5  # of PyTorch's batch norm
# Nodes that hand on their first input; PyTorch writes them when it does not simplify.
_PASSING = ("Identity", "Dropout", "Cast", "Flatten", "Reshape")


def read_arcface(path: str | Path) -> dict[str, np.ndarray]:
    """PyTorch's names of iResNet-50 or -100, and their arrays, from an ONNX file.

    Raises ValueError without the package `onnx`, and for a file that holds another network;
    FileNotFoundError for none.
    """
    if not Path(path).is_file():
        raise FileNotFoundError(f"no weights at {path}")
    if importlib.util.find_spec("onnx") is None:
        raise ValueError(f"{path} is an ONNX file, which needs a package: `pip install onnx`")
    import onnx
    from google.protobuf.message import DecodeError

    try:
        model = onnx.load(str(path))
    except (DecodeError, OSError, ValueError) as error:
        raise ValueError(f"{path} is not an ONNX file, or damaged: {error}") from error
    try:
        return _Walk(_graph(model.graph)).network()
    except _OtherNetworkError as error:
        raise ValueError(f"{path} does not hold ArcFace's iResNet: {error}") from None
    except DAMAGED as error:
        raise ValueError(
            f"{path} does not hold ArcFace's iResNet, or is damaged: {error}"
        ) from error


class _OtherNetworkError(Exception):
    """The graph is not that of an iResNet."""


class _Node(NamedTuple):
    kind: str
    inputs: list[str]
    output: str
    attributes: dict[str, Any]


class _Graph(NamedTuple):
    nodes: list[_Node]
    tensors: dict[str, np.ndarray]
    start: str


def _graph(graph: Any) -> _Graph:
    """Nodes with the names of what they read, past the nodes that only hand on."""
    from onnx import helper, numpy_helper

    tensors = {t.name: numpy_helper.to_array(t) for t in graph.initializer}
    nodes, same = [], {}
    for node in graph.node:
        attributes = {a.name: helper.get_attribute_value(a) for a in node.attribute}
        inputs = [same.get(name, name) for name in node.input]
        if node.op_type == "Constant" and "value" in attributes:
            tensors[node.output[0]] = numpy_helper.to_array(attributes["value"])
        elif node.op_type in _PASSING and inputs:
            same[node.output[0]] = inputs[0]
        else:
            nodes.append(_Node(node.op_type, inputs, node.output[0], attributes))
    starts = [i.name for i in graph.input if i.name not in tensors]
    if len(starts) != 1:
        raise _OtherNetworkError(f"it has {len(starts)} inputs, not one")
    return _Graph(nodes, tensors, starts[0])


class _Walk:
    """From the input to the output, filling a state dict."""

    def __init__(self, graph: _Graph):
        self.graph = graph
        self.state: dict[str, np.ndarray] = {}

    def network(self) -> dict[str, np.ndarray]:
        x = self.convolution(self.graph.start, "conv1", "bn1")
        x = self.slope(x, "prelu")
        stage, block = 0, 0
        while self.readers(x, "Add") or self.readers(x, "Conv"):  # the shortcut of a block
            down = bool(self.readers(x, "Conv"))
            stage, block = (stage + 1, 0) if down else (stage, block + 1)
            x = self.block(x, f"layer{stage}.{block}", down=down)
        x = self.norm(self.only(x, "BatchNormalization"), "bn2")
        x = self.dense(self.only(x, "Gemm"))
        norms = self.readers(x, "BatchNormalization")
        self.norm(norms[0] if norms else None, "features")
        return self.state

    def block(self, x: str, name: str, *, down: bool) -> str:
        y = self.norm(self.only(x, "BatchNormalization"), f"{name}.bn1")
        y = self.convolution(y, f"{name}.conv1", f"{name}.bn2")
        y = self.slope(y, f"{name}.prelu")
        y = self.convolution(y, f"{name}.conv2", f"{name}.bn3")
        if down:
            x = self.convolution(x, f"{name}.downsample.0", f"{name}.downsample.1")
        added = self.only(y, "Add")
        if set(added.inputs) != {x, y}:
            raise _OtherNetworkError(f"block {name} adds something else than its shortcut")
        return added.output

    def convolution(self, x: str, name: str, norm: str) -> str:
        """A convolution and the norm behind it, which may have become its bias."""
        node = self.only(x, "Conv")
        self.state[f"{name}.weight"] = weight = self.tensor(node, 1)
        following = self.readers(node.output, "BatchNormalization")
        # The last convolution of a block: if its norm was folded, only the addition follows.
        if len(node.inputs) == 2 and following:
            return self.norm(following[0], norm)
        bias = self.tensor(node, 2) if len(node.inputs) > 2 else np.zeros(len(weight), np.float32)
        self.norm(None, norm, bias)
        return node.output

    def norm(self, node: _Node | None, name: str, bias: np.ndarray | None = None) -> str:
        """The four arrays of a norm; without a node, of one that only adds `bias`."""
        if node is None:
            bias = np.zeros(512, np.float32) if bias is None else bias
            ones, zeros = np.ones(len(bias), np.float32), np.zeros(len(bias), np.float32)
            arrays = (ones, bias, zeros, ones - np.float32(EPSILON))
        else:
            if abs(node.attributes.get("epsilon", EPSILON) - EPSILON) > 1e-9:
                raise _OtherNetworkError(f"{name} has the epsilon {node.attributes['epsilon']}")
            arrays = tuple(self.tensor(node, i) for i in range(1, 5))
        leaves = ("weight", "bias", "running_mean", "running_var")
        self.state |= {f"{name}.{leaf}": a for leaf, a in zip(leaves, arrays, strict=True)}
        return node.output if node else ""

    def slope(self, x: str, name: str) -> str:
        node = self.only(x, "PRelu")
        self.state[f"{name}.weight"] = self.tensor(node, 1).ravel()
        return node.output

    def dense(self, node: _Node) -> str:
        weight = self.tensor(node, 1)
        self.state["fc.weight"] = weight if node.attributes.get("transB", 0) else weight.T
        self.state["fc.bias"] = self.tensor(node, 2)
        return node.output

    def readers(self, x: str, kind: str) -> list[_Node]:
        return [n for n in self.graph.nodes if n.kind == kind and x in n.inputs]

    def only(self, x: str, kind: str) -> _Node:
        found = self.readers(x, kind)
        if len(found) != 1:
            raise _OtherNetworkError(f"{len(found)} nodes {kind} read {x!r}, not one")
        return found[0]

    def tensor(self, node: _Node, place: int) -> np.ndarray:
        name = node.inputs[place] if place < len(node.inputs) else ""
        if name not in self.graph.tensors:
            raise _OtherNetworkError(f"input {place} of a node {node.kind} is not a constant")
        return np.asarray(self.graph.tensors[name], np.float32)
