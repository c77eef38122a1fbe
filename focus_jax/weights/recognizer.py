"""The frozen recognizer with its weights: `from focus_jax import recognizer`.

Its networks are in `networks.recognizer`, whose names are handed on here.
"""

from pathlib import Path

import jax
import jax.numpy as jnp

from focus_jax import weights
from focus_jax.networks.recognizer import (
    ARCFACE,
    KINDS,
    Features,
    check_chip_size,
    check_kind,
    embedding,
    encoder_features,
    features,
    warp_face,
)
from focus_jax.system.files import user_path
from focus_jax.weights.dlib import load_dlib_recognizer
from focus_jax.weights.torch import convert, read

__all__ = [
    "KINDS",
    "Features",
    "check_chip_size",
    "embedding",
    "encoder_features",
    "features",
    "load_recognizer",
    "warp_face",
]


def load_recognizer(kind: str, path: str | Path | None = None) -> dict:
    """Variables of a recognizer. ArcFace needs a `path`: safetensors, or insightface's own file.

    Raises ValueError for an unknown kind and for a file that does not fit, FileNotFoundError for
    none.
    """
    check_kind(kind)
    if kind == "dlib":
        return jax.device_put(load_dlib_recognizer(path))
    if path is None:
        raise ValueError(
            f"{kind} needs config.recognizer.weights, the path of its weights; "
            "see third_party/README.md"
        )
    like = jax.eval_shape(ARCFACE[kind].init, jax.random.key(0), jnp.zeros((1, 112, 112, 3)))
    path = user_path(path)
    if path.suffix == ".safetensors":
        return jax.device_put(weights.load_like(path, like, what=kind))
    variables = convert(read(str(path)), "arcface")
    expected = {name: leaf.shape for name, leaf in weights.flatten(like).items()}
    try:
        weights.check_shapes(weights.flatten(variables), expected)
    except ValueError as error:
        raise ValueError(f"{path} is not for {kind}: {error}") from None
    return jax.device_put(variables)
