"""Landmarks that files hold: a csv, or .pts and .npz files beside the photos."""

from pathlib import Path
from typing import Any

import numpy as np

from focus_jax.data.landmarks import POINTS, Detection, Source, check_inside, read_landmarks
from focus_jax.system.damage import DAMAGED


def csv_source(path: Path) -> Source:
    """Landmarks of a csv, `filename,x0,y0,...,x67,y67`: a face a photo, found by its file name."""
    rows = {row.filename: row for row in read_landmarks(path)}
    short: dict[str, Any] = {}
    for name, row in rows.items():
        short[Path(name).name] = None if Path(name).name in short else row  # None: ambiguous

    def find(photo: np.ndarray, photo_path: Path) -> list[Detection]:
        row = rows.get(str(photo_path)) or short.get(photo_path.name)
        if row is None:
            raise ValueError(f"{path} has no row for {photo_path.name}")
        check_inside(row, path, *photo.shape[:2])
        return [Detection(row.landmarks, 1.0, path.name)]

    return find


def beside_photo(photo: np.ndarray, path: Path) -> list[Detection]:
    """Landmarks of NAME.pts (iBUG, a face) or NAME.npz (`landmarks`, [68 2] or [n 68 2])."""
    pts, npz = path.with_suffix(".pts"), path.with_suffix(".npz")
    if pts.is_file():
        faces, found = read_pts(pts)[None], pts
    elif npz.is_file():
        faces, found = _read_npz(npz), npz
    else:
        raise ValueError(f"{path.name} has neither {pts.name} nor {npz.name} beside it")
    if not np.isfinite(faces).all():
        raise ValueError(f"{found} holds coordinates that are not finite; they are pixels")
    height, width = photo.shape[:2]
    if (np.abs((faces + 0.5) / (width, height) - 0.5) > 0.75).any():
        raise ValueError(f"{found} has points outside the {width} x {height} photo {path.name}")
    return [Detection(face.astype(np.float32), 1.0, found.name) for face in faces]


def read_pts(path: Path) -> np.ndarray:
    """68 points `[68 2]` of an iBUG .pts file, whose pixels count from 1.

    Raises ValueError for other numbers of points and for text that is not numbers.
    """
    text = path.read_text(errors="replace")
    inside = text.partition("{")[2].partition("}")[0].split()
    try:
        numbers = np.array([float(word) for word in inside])
    except ValueError as error:
        raise ValueError(f"{path} is not a .pts file of landmarks: {error}") from None
    if numbers.size != 2 * POINTS:
        raise ValueError(f"{path} has {numbers.size / 2:g} points between its braces, not {POINTS}")
    return numbers.reshape(POINTS, 2) - 1


def _read_npz(path: Path) -> np.ndarray:
    try:
        with np.load(path, allow_pickle=False) as arrays:
            faces = np.asarray(arrays["landmarks"], np.float64)
    except DAMAGED:
        raise ValueError(f"{path} is not an npz with the key 'landmarks'") from None
    if faces.shape[-2:] != (POINTS, 2) or faces.ndim not in (2, 3):
        raise ValueError(f"{path}: 'landmarks' has the shape {faces.shape}, not [n 68 2]")
    return faces.reshape(-1, POINTS, 2)
