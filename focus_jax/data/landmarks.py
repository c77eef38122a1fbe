"""68 landmarks of each face: what a detector gives, and a csv in the layout of the authors."""

import csv
import math
from collections.abc import Callable
from pathlib import Path, PureWindowsPath
from typing import NamedTuple

import numpy as np

from focus_jax.data.decode import orientation_of, turn_points

POINTS = 68
# A detector may place the jaw of a cut-off face outside the photo, but not far outside.
MARGIN = 0.25  # of the photo's width or height
LEAST = 4.0  # pixels that a face's points span at least; of shares of the photo's size it is one
EYES, MOUTH = (slice(36, 42), slice(42, 48)), slice(48, 68)
LAYOUT = "filename,x0,y0,...,x67,y67, without a header"


class Detection(NamedTuple):
    """A face: 68 points in the iBUG order, pixels of the photo, and the detector's own score."""

    landmarks: np.ndarray  # [68 2] float32
    score: float  # not comparable between sources; 1.0 for landmarks from files
    source: str
    mesh: np.ndarray | None = None  # [478 3] float32, of MediaPipe's networks only
    blendshapes: np.ndarray | None = None  # [52] float32, in face_landmarker.BLENDSHAPES' order


# The photo as uint8 RGB [h w 3], and its path, by which files of landmarks are found. Raises
# ValueError, in one sentence, for landmarks that cannot be used. Called by several threads at once.
Source = Callable[[np.ndarray, Path], list[Detection]]


class LandmarkRow(NamedTuple):
    """One photo's landmarks: x, y in its pixels, iBUG order, and where they were written."""

    filename: str
    landmarks: np.ndarray  # [68, 2] float32
    row: int  # counted from 1


def read_landmarks(path: Path) -> list[LandmarkRow]:
    """Rows of `filename,x0,y0,...,x67,y67`, without a header.

    Raises ValueError, naming file and row, for a missing or empty file, a wrong number of points,
    values that are not finite numbers, names that leave the folder, and photos named twice.
    """
    if not path.is_file():
        raise ValueError(f"{path} does not exist; write one row per photo: {LAYOUT}")
    with path.open("rb") as content:
        if content.read(2) in (b"\xff\xfe", b"\xfe\xff"):  # a spreadsheet's "Unicode text"
            raise ValueError(f"{path} is in UTF-16; save it as CSV in UTF-8: {LAYOUT}")
    rows: list[LandmarkRow] = []
    seen: dict[str, int] = {}
    # Spreadsheets put a byte-order mark before the first name: utf-8-sig drops it. Names need not
    # be UTF-8; the system's own way with them keeps them as they are.
    with path.open(newline="", encoding="utf-8-sig", errors="surrogateescape") as file:
        for number, line in enumerate(file, start=1):
            fields = next(csv.reader([line]), [])
            if not any(field.strip() for field in fields):
                continue
            row = _row(path, number, fields)
            if row.filename in seen:
                raise ValueError(
                    f"{path}, row {number}: {row.filename} has landmarks in row "
                    f"{seen[row.filename]} already; keep one of them"
                )
            seen[row.filename] = number
            rows.append(row)
    if not rows:
        raise ValueError(f"{path} has no rows; write one per photo: {LAYOUT}")
    return rows


def _row(path: Path, number: int, fields: list[str]) -> LandmarkRow:
    where = f"{path}, row {number}"
    filename, values = fields[0].strip(), fields[1:]
    if len(values) != 2 * POINTS:
        shown = filename if len(filename) < 80 else f"{filename[:80]}..."
        raise ValueError(
            f"{where} ({shown}): {len(values) / 2:g} points instead of {POINTS}; write {LAYOUT}"
        )
    parts = PureWindowsPath(filename)  # knows the separators and roots of Linux as well
    if not filename or parts.anchor or ".." in parts.parts:
        raise ValueError(f"{where}: {filename!r} must name a file inside the photos' folder")
    try:
        numbers = [float(value) for value in values]
    except ValueError as error:
        if number == 1 and not any(map(_is_number, values)):
            raise ValueError(f"{where} is a header; write {LAYOUT}") from None
        raise ValueError(f"{where} ({filename}): {error}; coordinates are pixels") from None
    if not all(math.isfinite(value) for value in numbers):
        raise ValueError(f"{where} ({filename}): a coordinate is not finite; they are pixels")
    return LandmarkRow(filename, np.array(numbers, np.float32).reshape(POINTS, 2), number)


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def check_inside(
    row: LandmarkRow, path: Path, height: int, width: int, photo: Path | None = None
) -> None:
    """Raise ValueError, naming file and row, when a point lies far outside its photo.

    And when the points are no face's (`check_face`). With the photo's file, also when they can only
    be of the photo before it was turned upright.
    """
    if photo is not None:
        check_turned(row.landmarks, photo, f"{path}, row {row.row}", height, width)
    far = outside(row.landmarks, height, width)
    if far.any():
        point = int(np.argmax(far))
        x, y = row.landmarks[point]
        raise ValueError(
            f"{path}, row {row.row} ({row.filename}): point {point} at ({x:g}, {y:g}) lies outside "
            f"the {width} x {height} photo; coordinates are pixels of the photo itself"
        )
    check_face(row.landmarks, f"{path}, row {row.row} ({row.filename})")


def check_face(landmarks: np.ndarray, where: str) -> None:
    """Raise ValueError for points `[68 2]` that lie in one spot, or show a face as a mirror does.

    The first are shares of the photo's size, or were filled in; the second have x and y exchanged,
    or left and right, which no turn mends. Profiles, whose eyes lie nearly behind each other, are
    let through.
    """
    if np.ptp(landmarks, axis=0).max() < LEAST:
        raise ValueError(
            f"{where}: all points lie within {LEAST:g} pixels; coordinates are pixels of the photo"
        )
    right, left, mouth = (landmarks[place].mean(axis=0) for place in (EYES[0], EYES[1], MOUTH))
    across, down = left - right, mouth - (left + right) / 2
    lengths = np.linalg.norm([across, down], axis=1)
    turned = (across[0] * down[1] - across[1] * down[0]) / max(lengths.prod(), 1e-9)
    if turned < -0.5 and lengths.min() > 0.25 * np.ptp(landmarks, axis=0).max():
        raise ValueError(
            f"{where}: the points show a face as a mirror does; give x before y, and as points 36 "
            "to 41 the eye at the left of the picture"
        )


def check_turned(landmarks: np.ndarray, photo: Path, where: str, height: int, width: int) -> None:
    """Raise ValueError when landmarks `[68 2]` can only be of the photo as it is stored.

    That is when they lie outside the upright photo, `height` x `width`, or their face does not
    stand upright in it, and the turn that its EXIF orientation asks for mends both.
    """

    def fits(points: np.ndarray) -> bool:
        across, down = points[48:].mean(axis=0) - points[36:48].mean(axis=0)  # from eyes to mouth
        return not outside(points, height, width).any() and down > abs(across)

    if fits(landmarks):
        return
    how = orientation_of(photo)
    if how != 1 and fits(turn_points(landmarks, how, height, width)):
        raise ValueError(
            f"{where}: the landmarks are of {photo.name} before its EXIF orientation ({how}) turns "
            f"it upright; give them in pixels of the upright photo, {width} x {height}"
        )


def outside(points: np.ndarray, height: int, width: int) -> np.ndarray:
    """Which points lie far outside, [n]."""
    # From the middle of the photo, in widths and heights.
    away = np.abs((points + 0.5) / np.array([width, height]) - 0.5)
    return np.any(away > 0.5 + MARGIN, axis=1)
