"""Dense landmarks beside a csv of landmarks: MediaPipe's 478 points of each of its photos.

NAME.npz beside NAME.csv: `filename [n]`, as in the csv, and `dense_landmarks [n 478 2]` float32, x
and y in pixels of the photo, nan where a detector does not give them. Photos may be missing.
"""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
from jaxtyping import Float

from focus_jax.system.damage import DAMAGED
from focus_jax.system.files import write_npz

POINTS = 478


def unknown() -> Float[np.ndarray, "478 2"]:
    """The points of a photo that has none."""
    return np.full((POINTS, 2), np.nan, np.float32)


def write_dense(csv: Path, points: Mapping[str, np.ndarray]) -> None:
    """Write the points `[478 2]` of photos by their names, beside their csv."""
    names, found = np.array(list(points)), np.array(list(points.values()), np.float32)
    write_npz(csv.with_suffix(".npz"), filename=names, dense_landmarks=found)


def read_dense(csv: Path) -> dict[str, np.ndarray] | None:
    """The points beside a csv by the photos' names; None without a file.

    ValueError, naming it, for one that is none.
    """
    path = csv.with_suffix(".npz")
    if not path.is_file():
        return None
    try:
        with np.load(path, allow_pickle=False) as arrays:
            names, points = arrays["filename"], arrays["dense_landmarks"]
    except DAMAGED:
        raise ValueError(
            f"{path} is not an npz with the keys 'filename' and 'dense_landmarks'; remove it, and "
            f"the 68 points of {csv.name} are used alone"
        ) from None
    if points.shape != (*names.shape, POINTS, 2) or points.dtype.kind != "f":
        raise ValueError(
            f"{path}: 'dense_landmarks' has the shape {points.shape} ({points.dtype}), not "
            f"[{len(names)} {POINTS} 2] of floats"
        )
    return dict(zip(names.tolist(), points.astype(np.float32), strict=True))
