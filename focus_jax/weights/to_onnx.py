"""A trained model's networks as ONNX, for whoever runs them without JAX (extra `onnx`).

The rasterizer between the two networks is a foreign call, which ONNX has no word for: the whole
from crop to mask cannot be one graph. `segmenter.onnx` is the second half, from a rendering, its
coverage and the crop to the mask; `encoder.onnx` the first, from the crop to the code. Where that
reads a recognizer's features, it also takes the larger crop that the recognizer sees, and the 68
landmarks in its pixels. One face at a time; arrays are float32, pictures in [0, 1].
"""

import importlib.util
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax.numpy as jnp

from focus_jax import forward
from focus_jax.networks.recognizer import encoder_features
from focus_jax.types import Batch, Rendering
from focus_jax.weights.run import Trained, crop_size, load_trained

CODE = ("identity", "expression", "albedo", "pose", "light")


def check_installed() -> None:
    """ValueError where the package is not that writes ONNX."""
    if importlib.util.find_spec("jax2onnx") is None:
        raise ValueError("--onnx needs a package: `pip install 'focus_jax[onnx]'`")


def write(run: str | Path, folder: Path, face_model: str | None = None) -> list[Path]:
    """Write segmenter.onnx and encoder.onnx of a run into a folder; returns their paths.

    ValueError without the package jax2onnx, and as `load_trained`.
    """
    check_installed()
    trained = load_trained(run, face_model)
    size = trained.config.data.size
    picture, map_ = (1, size, size, 3), (1, size, size, 1)
    folder.mkdir(parents=True, exist_ok=True)
    inputs = {"rendering": picture, "coverage": map_, "image": picture}
    seen = {"image": picture}
    if trained.config.encoder.kind == "recognizer":
        side = crop_size(trained.config)
        seen |= {"crop": (1, side, side, 3), "landmarks": (1, 68, 2)}
    return [
        _write(segmenter(trained), inputs, ("mask",), folder / "segmenter.onnx"),
        _write(encoder(trained), seen, CODE, folder / "encoder.onnx"),
    ]


def _write(
    function: Callable[..., Any],
    inputs: dict[str, tuple[int, ...]],
    outputs: tuple[str, ...],
    path: Path,
) -> Path:
    import jax2onnx

    names = {"input_names": list(inputs), "output_names": list(outputs)}
    given = list(inputs.values())
    # As a file of its own it would put large arrays into a second one.
    path.write_bytes(jax2onnx.to_onnx(function, given, **names).SerializeToString())
    return path


def segmenter(trained: Trained) -> Callable[..., Any]:
    """The mask `[1 h w 1]` of a rendering, its coverage and the crop."""
    networks, variables = trained.networks, trained.variables["segmenter"]

    def segment(rendering: Any, coverage: Any, image: Any) -> Any:
        drawn = Rendering(rendering, coverage, jnp.zeros((1, 0, 3)))
        shown = forward.shown(drawn, image, composited=networks.composited)
        return forward.segment_three_ways(networks.segmenter, variables, *shown)

    return segment


def encoder(trained: Trained) -> Callable[..., Any]:
    """The arrays of the code, `CODE`, of a picture `[1 h w 3]`, and of what a recognizer reads."""
    networks, variables = trained.networks, trained.variables["encoder"]
    detail, direct = (bool(getattr(networks.encoder, n, 0)) for n in ("detail_width", "direct"))
    widths = forward.widths(trained.face_model)

    def encode(image: Any, crop: Any = None, landmarks: Any = None) -> Any:
        features = None
        if crop is not None:
            look = {"kind": networks.recognizer, "detail": detail}
            points = landmarks if direct else None
            features = encoder_features(trained.recognizer, crop, points, **look)
        nowhere, index = jnp.zeros((1, 68, 2)), jnp.zeros(1, jnp.int32)
        batch = Batch(image=image, landmarks=nowhere, index=index, features=features)
        raw, _ = forward.encode(networks.encoder, variables, batch, train=False)
        code = forward.decode(raw, widths, networks.decoding)
        return tuple(getattr(code, name) for name in CODE)

    return encode
