"""Networks as ONNX, run by onnxruntime, beside themselves."""

import importlib.util

import jax
import numpy as np
import pytest

from focus_jax import commands, forward
from focus_jax.face_models import load_face_model
from focus_jax.networks.encoder import Encoder
from focus_jax.networks.segmenter import Segmenter
from focus_jax.weights import to_onnx
from focus_jax.weights.run import Trained

SIZE = 24  # which the segmenter pads
needed = pytest.mark.skipif(
    not all(importlib.util.find_spec(name) for name in ("jax2onnx", "onnxruntime")),
    reason="the packages jax2onnx and onnxruntime are not installed; they are optional",
)


@pytest.fixture(scope="module")
def trained():
    """Networks of few channels with random weights."""
    face_model = load_face_model("builtin", identity=3, expression=2, albedo=2)
    outputs = forward.widths(face_model).outputs
    networks = forward.Networks(
        Encoder(outputs, (1,), 4, bottleneck=False, large_stem=False, pool=4),
        Segmenter(4, stem="space_to_depth"),
    )
    image = np.zeros((1, SIZE, SIZE, 3), np.float32)
    key = jax.random.key(0, impl="unsafe_rbg")
    variables = {
        "encoder": jax.jit(networks.encoder.init)(key, image),
        "segmenter": jax.jit(networks.segmenter.init)(key, image, image),
    }
    rng = np.random.default_rng(0)
    noisy = jax.tree.map(lambda x: x + 0.1 * rng.random(x.shape, np.float32), variables)
    return Trained(None, networks, face_model, {}, noisy)


def run(path, *arrays):
    import onnxruntime

    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    names = [given.name for given in session.get_inputs()]
    return names, session.run(None, dict(zip(names, arrays, strict=True)))


@needed
@pytest.mark.filterwarnings("ignore")
def test_masks_are_the_same(trained, tmp_path):
    rng, function = np.random.default_rng(1), to_onnx.segmenter(trained)
    given = [rng.random((1, SIZE, SIZE, n), np.float32) for n in (3, 1, 3)]
    inputs = dict(zip(("rendering", "coverage", "image"), map(np.shape, given), strict=True))
    path = to_onnx._write(function, inputs, ("mask",), tmp_path / "segmenter.onnx")
    names, (mask,) = run(path, *given)
    assert names == list(inputs) and mask.std() > 0.01
    np.testing.assert_allclose(mask, function(*given), atol=1e-5)


@needed
@pytest.mark.filterwarnings("ignore")
def test_codes_are_the_same(trained, tmp_path):
    function, image = to_onnx.encoder(trained), np.random.default_rng(1).random((1, SIZE, SIZE, 3))
    image = image.astype(np.float32)
    path = to_onnx._write(function, {"image": image.shape}, to_onnx.CODE, tmp_path / "e.onnx")
    names, code = run(path, image)
    assert names == ["image"] and len(code) == len(to_onnx.CODE)
    for own, expected in zip(code, function(image), strict=True):
        np.testing.assert_allclose(own, expected, atol=1e-4)


def test_without_the_package_nothing_is_written(monkeypatch, tmp_path, capsys):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    out = tmp_path / "out"
    assert commands.main(["weights", "export", "shipped", str(out), "--onnx"]) == 1
    assert "pip install 'focus_jax[onnx]'" in capsys.readouterr().err
    assert not out.exists()
