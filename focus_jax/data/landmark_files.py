"""Landmarks that files hold: a csv, or .pts and .npz files beside the photos."""

import functools
import os
from collections.abc import Callable, Sequence
from pathlib import Path, PurePosixPath
from typing import NamedTuple

import numpy as np

from focus_jax.data.landmarks import (
    POINTS,
    Detection,
    LandmarkRow,
    Source,
    check_face,
    check_inside,
    check_turned,
    read_landmarks,
)
from focus_jax.system.damage import DAMAGED
from focus_jax.system.files import bare, with_end


class FileSource(NamedTuple):
    """A source of landmarks that files hold, of photos and, a row a frame, of videos."""

    find: Source
    rows: Callable[
        [Path], tuple[np.ndarray, str]
    ]  # [frames 68 2] of a video, and their file's name

    def __call__(self, photo: np.ndarray, path: Path) -> list[Detection]:
        return self.find(photo, path)

    def of_frame(self, frame: np.ndarray, path: Path, number: int) -> list[Detection]:
        """The face of a video's frame; none where its row is not finite or missing."""
        rows, name = self.rows(path)
        if number >= len(rows) or not np.isfinite(rows[number]).all():
            return []
        _check_inside(rows[number], f"{name}, frame {number},", frame, path)
        return [Detection(rows[number].astype(np.float32), 1.0, name)]

    def check_count(self, path: Path, count: int) -> None:
        """ValueError unless there is a row for each of a video's frames."""
        rows, name = self.rows(path)
        if len(rows) != count:
            raise ValueError(
                f"{path} has {count} frames, and {name} landmarks of {len(rows)}; row k "
                "belongs to frame k, one of nan to a frame without a face"
            )


def no_rows(path: Path) -> tuple[np.ndarray, str]:
    """A csv has a row a file: it cannot say where a face is in each frame."""
    raise ValueError(
        f"{path} is a video, of which a csv has no row a frame; give --landmarks files, and "
        f"{bare(path).name}.npz beside it with landmarks [frames 68 2]"
    )


def rows_beside(path: Path) -> tuple[np.ndarray, str]:
    """`landmarks` `[frames 68 2]` of NAME.npz beside a video, and its name. ValueError."""
    npz = with_end(path, ".npz")
    if not npz.is_file():
        raise ValueError(f"{path} needs {npz.name} beside it with landmarks [frames 68 2]")
    return _frames_of(npz, npz.stat().st_mtime_ns), npz.name


@functools.lru_cache(maxsize=2)
def _frames_of(npz: Path, time: int) -> np.ndarray:
    del time  # of the file's change: it is read once unless it changes
    return _read_npz(npz)


def csv_source(path: Path) -> Source:
    """Landmarks of a csv, `filename,x0,y0,...,x67,y67`: a face a photo.

    `filename` is the photo's path below the folder that is given; other photos of the same name
    elsewhere in it have other rows, or none.
    """
    rows: dict[str, list[LandmarkRow]] = {}
    for row in read_landmarks(path):
        rows.setdefault(PurePosixPath(row.filename).name, []).append(row)

    def find(photo: np.ndarray, photo_path: Path) -> list[Detection]:
        row = _row_of(rows.get(photo_path.name, []), photo_path)
        if row is None:
            there = ", ".join(r.filename for r in rows.get(photo_path.name, [])[:3])
            other = f"; of that name it has {there}" if there else ""
            raise ValueError(f"{path} has no row for {photo_path}{other}")
        check_inside(row, path, *photo.shape[:2], photo=photo_path)
        return [Detection(row.landmarks, 1.0, path.name)]

    return find


def _row_of(rows: Sequence[LandmarkRow], photo: Path) -> LandmarkRow | None:
    """The row of a photo among those of its base name.

    One whose path the photo's ends with; the longest, whose folder is the innermost. All rows begin
    at one folder: where the longest begins at one below which another row's photo is, which it
    should not, the photo is neither's.
    """
    parts = Path(os.path.abspath(photo)).parts
    tails = {row.filename: PurePosixPath(row.filename).parts for row in rows}
    ends = [row for row in rows if parts[-len(tails[row.filename]) :] == tails[row.filename]]
    if not ends:
        return None
    best = max(ends, key=lambda row: len(tails[row.filename]))
    root = Path(*parts[: -len(tails[best.filename])])
    longer = [r.filename for r in rows if len(tails[r.filename]) > len(tails[best.filename])]
    for above in (root, *root.parents):
        if any((above / name).is_file() for name in longer):
            return best if above == root else None
    return best


def beside_photo(photo: np.ndarray, path: Path) -> list[Detection]:
    """Landmarks of NAME.pts (iBUG, a face) or NAME.npz (`landmarks`, [68 2] or [n 68 2])."""
    pts, npz = with_end(path, ".pts"), with_end(path, ".npz")
    if pts.is_file():
        faces, found = read_pts(pts)[None], pts
    elif npz.is_file():
        faces, found = _read_npz(npz), npz
    else:
        raise ValueError(f"{path.name} has neither {pts.name} nor {npz.name} beside it")
    if not np.isfinite(faces).all():
        raise ValueError(f"{found} holds coordinates that are not finite; they are pixels")
    for face in faces:
        check_turned(face, path, str(found), *photo.shape[:2])
        _check_inside(face, str(found), photo, path)
    return [Detection(face.astype(np.float32), 1.0, found.name) for face in faces]


def _check_inside(points: np.ndarray, where: str, photo: np.ndarray, path: Path) -> None:
    """ValueError for points `[68 2]` far outside the photo, or no face's."""
    height, width = photo.shape[:2]
    if (np.abs((points + 0.5) / (width, height) - 0.5) > 0.75).any():
        raise ValueError(f"{where} has points outside the {width} x {height} photo {path.name}")
    check_face(points, where)


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
