"""Graphs as PyTorch's exporter writes them: most norms folded, most names gone."""

import importlib.util

import jax
import numpy as np
import pytest
import reference

from focus_jax.networks import recognizer
from focus_jax.weights.onnx import read_arcface
from focus_jax.weights.torch import convert, read
from tests.weights.torch_test import TOLERANCE, weight

onnx = pytest.importorskip("onnx", reason="the package onnx is not installed; it is optional")
EPSILON = 1e-5


@pytest.fixture(scope="module")
def state():
    spec = reference.numbers(reference.load("networks")["spec"])["arcface"]
    return {k: weight(k, s) for k, s in spec.items() if not k.endswith("num_batches_tracked")}


class Export:
    """Nodes and tensors of an iResNet; `folded` merges the norm behind a convolution into it."""

    def __init__(self, state, *, folded: bool):
        self.state, self.folded = state, folded
        self.nodes, self.tensors, self.count = [], [], 0

    def constant(self, value):
        self.count += 1
        self.tensors.append(onnx.numpy_helper.from_array(np.asarray(value), f"{self.count}"))
        return f"{self.count}"

    def node(self, kind, x, *values, **attributes):
        self.count += 1
        inputs = [*x, *(self.constant(v) for v in values)]
        self.nodes.append(onnx.helper.make_node(kind, inputs, [f"y{self.count}"], **attributes))
        return f"y{self.count}"

    def arrays(self, name):
        leaves = ("weight", "bias", "running_mean", "running_var")
        return [self.state[f"{name}.{leaf}"] for leaf in leaves]

    def norm(self, x, name):
        return self.node("BatchNormalization", [x], *self.arrays(name), epsilon=EPSILON)

    def convolution(self, x, name, norm, stride=1, padding=1):
        kernel, where = self.state[f"{name}.weight"], {"strides": [stride] * 2}
        where["pads"] = [padding] * 4
        if not self.folded:
            return self.norm(self.node("Conv", [x], kernel, **where), norm)
        scale, bias, mean, variance = self.arrays(norm)
        scale = scale / np.sqrt(variance + EPSILON)
        folded = kernel * scale[:, None, None, None], bias - mean * scale
        return self.node("Conv", [x], *(v.astype(np.float32) for v in folded), **where)

    def slope(self, x, name):
        return self.node("PRelu", [x], self.state[f"{name}.weight"][:, None, None])

    def block(self, x, name, down):
        y = self.convolution(self.norm(x, f"{name}.bn1"), f"{name}.conv1", f"{name}.bn2")
        y = self.slope(y, f"{name}.prelu")
        y = self.convolution(y, f"{name}.conv2", f"{name}.bn3", 2 if down else 1)
        if down:
            x = self.convolution(x, f"{name}.downsample.0", f"{name}.downsample.1", 2, 0)
        return self.node("Add", [y, x])

    def write(self, path, sizes=(3, 4, 14, 3)):
        x = self.slope(self.convolution("input.1", "conv1", "bn1"), "prelu")
        for stage, blocks in enumerate(sizes, start=1):
            for block in range(blocks):
                x = self.block(x, f"layer{stage}.{block}", block == 0)
        x = self.node("Flatten", [self.norm(x, "bn2")], axis=1)
        x = self.node("Gemm", [x], self.state["fc.weight"], self.state["fc.bias"], transB=1)
        x = self.norm(x, "features")
        kind = onnx.TensorProto.FLOAT
        image = onnx.helper.make_tensor_value_info("input.1", kind, ["b", 3, 112, 112])
        output = onnx.helper.make_tensor_value_info(x, kind, ["b", 512])
        graph = onnx.helper.make_graph(self.nodes, "arcface", [image], [output], self.tensors)
        onnx.save(onnx.helper.make_model(graph), str(path))


@pytest.mark.parametrize("folded", [True, False])
def test_an_export_gives_the_networks_features(state, tmp_path, folded):
    path = tmp_path / "w600k_r50.onnx"
    Export(state, folded=folded).write(path)
    found = read(path)
    assert found.keys() == state.keys()
    if not folded:
        jax.tree.map(np.testing.assert_array_equal, found, state)
        return
    arrays = reference.load("networks")
    chips = (arrays["arcface_input"].transpose(0, 2, 3, 1) + 1) / 2
    look = jax.jit(lambda v, x: recognizer.features(v, x, kind="arcface_r50"))
    seen, expected = look(convert(found, "arcface"), chips).deep, arrays["arcface_output"]
    assert np.abs(seen - expected).max() < TOLERANCE * np.abs(expected).max()


def small_graph(path, *, epsilon=EPSILON, added=None, ended=False):
    """One block, up to its addition, and where wanted what comes after the last one."""
    export = Export({}, folded=True)
    x = export.node("Conv", ["input.1"], np.ones((2, 3, 3, 3), np.float32))
    x = export.node("PRelu", [x], np.ones((2, 1, 1), np.float32))
    ones = [np.ones(2, np.float32)] * 4
    y = export.node("BatchNormalization", [x], *ones, epsilon=epsilon)
    y = export.node("Conv", [y], np.ones((2, 2, 3, 3), np.float32))
    y = export.node("PRelu", [y], np.ones((2, 1, 1), np.float32))
    y = export.node("Conv", [y], np.ones((2, 2, 3, 3), np.float32))
    x = export.node("Add", [y, added or x])
    if ended:
        x = export.node("Flatten", [export.node("BatchNormalization", [x], *ones, epsilon=EPSILON)])
        kernel, bias = np.ones((4, 128), np.float32), np.ones(4, np.float32)
        x = export.node("Gemm", [x], kernel, bias, transB=1)
    kind = onnx.TensorProto.FLOAT
    image = onnx.helper.make_tensor_value_info("input.1", kind, [1, 3, 8, 8])
    output = onnx.helper.make_tensor_value_info(x, kind, None)
    graph = onnx.helper.make_graph(export.nodes, "other", [image], [output], export.tensors)
    onnx.save(onnx.helper.make_model(graph), str(path))


def test_other_files_are_refused(tmp_path, monkeypatch):
    path = tmp_path / "a.onnx"
    with pytest.raises(FileNotFoundError):
        read_arcface(path)
    path.write_bytes(b"nothing of the kind")
    with pytest.raises(ValueError, match=r"a\.onnx is not an ONNX file"):
        read_arcface(path)
    path.write_bytes(b"")
    with pytest.raises(ValueError, match=r"does not hold ArcFace's iResNet: it has 0 inputs"):
        read_arcface(path)
    small_graph(path)  # ends where the final norm should be
    with pytest.raises(ValueError, match="0 nodes BatchNormalization read"):
        read_arcface(path)
    small_graph(path, ended=True)
    assert len(read_arcface(path)) == 31
    small_graph(path, epsilon=2e-5)
    with pytest.raises(ValueError, match="epsilon"):
        read_arcface(path)
    small_graph(path, epsilon="much")
    with pytest.raises(ValueError, match=r"a\.onnx does not hold .* or is damaged"):
        read_arcface(path)
    small_graph(path, added="input.1")
    with pytest.raises(ValueError, match="does not hold ArcFace"):
        read_arcface(path)
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ValueError, match="pip install onnx"):
        read_arcface(path)
