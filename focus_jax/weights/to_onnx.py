"""A trained model's networks as ONNX, for whoever runs them without JAX (extra `onnx`).

The rasterizer between the two networks is a foreign call, which ONNX has no word for: the whole
from crop to mask cannot be one graph. `segmenter.onnx` is the second half, from a rendering, its
coverage and the crop to the mask; `encoder.onnx` the first, from the crop to the code. One face at
a time; arrays are float32, pictures in [0, 1].
"""

import importlib.util
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax.numpy as jnp

from focus_jax import forward
from focus_jax.types import Batch, Rendering
from focus_jax.weights.run import Trained, load_trained

CODE = ("identity", "expression", "albedo", "pose", "light")


def check_installed() -> None:
    """ValueError where the package is not that writes ONNX."""
    if importlib.util.find_spec("jax2onnx") is None:
        raise ValueError("--onnx needs a package: `pip install 'focus_jax[onnx]'`")


def write(run: str | Path, folder: Path, face_model: str | None = None) -> list[Path]:
    """Write segmenter.onnx and encoder.onnx of a run into a folder; returns their paths.

    Without encoder.onnx where the encoder reads a recognizer's features. ValueError without the
    package jax2onnx, and as `load_trained`.
    """
    check_installed()
    trained = load_trained(run, face_model)
    size = trained.config.data.size
    picture, map_ = (1, size, size, 3), (1, size, size, 1)
    folder.mkdir(parents=True, exist_ok=True)
    inputs = {"rendering": picture, "coverage": map_, "image": picture}
    paths = [_write(segmenter(trained), inputs, ("mask",), folder / "segmenter.onnx")]
    if trained.config.encoder.kind != "recognizer":
        paths.append(_write(encoder(trained), {"image": picture}, CODE, folder / "encoder.onnx"))
    return paths


def _write(
    function: Callable[..., Any],
    inputs: dict[str, tuple[int, ...]],
    outputs: tuple[str, ...],
    path: Path,
) -> Path:
    import jax2onnx

    names = {"input_names": list(inputs), "output_names": list(outputs)}
    given = list(inputs.values())
    jax2onnx.to_onnx(function, given, **names, return_mode="file", output_path=str(path))
    return path


def segmenter(trained: Trained) -> Callable[..., Any]:
    """The mask `[1 h w 1]` of a rendering, its coverage and the crop."""
    networks, variables = trained.networks, trained.variables["segmenter"]

    def segment(rendering: Any, coverage: Any, image: Any) -> Any:
        drawn = Rendering(rendering, coverage, jnp.zeros((1, 0, 3)))
        shown = forward.shown(drawn, image, composited=networks.composited)
        return forward.segment(networks.segmenter, variables, *shown, train=False)[0]

    return segment


def encoder(trained: Trained) -> Callable[..., Any]:
    """The arrays of the code, `CODE`, of a crop `[1 h w 3]`."""
    networks, variables = trained.networks, trained.variables["encoder"]
    widths = forward.widths(trained.face_model)

    def encode(image: Any) -> Any:
        landmarks, index = jnp.zeros((1, 68, 2)), jnp.zeros(1, jnp.int32)
        batch = Batch(image=image, landmarks=landmarks, index=index)
        raw, _ = forward.encode(networks.encoder, variables, batch, train=False)
        code = forward.decode(raw, widths, networks.decoding)
        return tuple(getattr(code, name) for name in CODE)

    return encode
