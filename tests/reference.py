"""Values of the authors' code, channels last; tests that need them skip where they are absent."""

import json
from pathlib import Path

import numpy as np
import pytest

FOLDER = Path(__file__).resolve().parents[2] / "shared" / "reference"
PHOTOS = FOLDER.parent / "photos"


def load(name: str) -> dict[str, np.ndarray]:
    """The arrays of `../shared/reference/<name>.npz`."""
    path = FOLDER / f"{name}.npz"
    if not path.exists():
        pytest.skip(f"the reference values {path.name} are not on this machine")
    with np.load(path) as arrays:
        return dict(arrays)


def images(array: np.ndarray) -> np.ndarray:
    """`[b c h w]` or `[b h w]` to `[b h w c]`."""
    return array[..., None] if array.ndim == 3 else array.transpose(0, 2, 3, 1)


def numbers(array: np.ndarray) -> dict[str, float]:
    return json.loads(str(array))
