"""Faces in a photo: a landmark source is a function from a photo to the faces in it.

dlib's detector with its 68-point predictor, mediapipe's mesh read at 68 places, or files that hold
the landmarks. Write another function of the type `Source` to use another detector.
"""

import importlib.util
import os
import threading
from collections.abc import Callable, Sequence
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple

import cv2
import numpy as np

from focus_jax.data.landmarks import (
    POINTS,
    LandmarkRow,
    check_inside,
    check_turned,
    read_landmarks,
)
from focus_jax.system.damage import DAMAGED


class Detection(NamedTuple):
    """A face: 68 points in the iBUG order, pixels of the photo, and the detector's own score."""

    landmarks: np.ndarray  # [68 2] float32
    score: float  # not comparable between sources; 1.0 for landmarks from files
    source: str


# The photo as uint8 RGB [h w 3], and its path, by which files of landmarks are found. Raises
# ValueError, in one sentence, for landmarks that cannot be used. Called by several threads at once.
Source = Callable[[np.ndarray, Path], list[Detection]]


def landmark_source(name: str) -> Source:
    """The source of that name: `dlib`, `files`, a .csv, or a .task model of mediapipe.

    `files` are NAME.pts or NAME.npz beside each photo. Raises ValueError for a name that is none
    of them, or whose package is missing.
    """
    if name == "dlib":
        return dlib_source()
    if name == "files":
        return beside_photo
    makers = {".csv": csv_source, ".task": mediapipe_source}
    if Path(name).suffix in makers:
        return makers[Path(name).suffix](Path(name).expanduser())
    raise ValueError(
        f"landmarks come from dlib, files, a .csv or mediapipe's face_landmarker.task, not {name!r}"
    )


# --- dlib --------------------------------------------------------------------------------------

FAST_SIDE = 1280  # pixels of the longer side that the fast detector sees; small photos doubled
SLOW_SIDE = 640  # of the CNN detector, whose time and memory grow with the pixels
SMALL_SIDE = 480
LARGE_FACE = 1 / 6  # of the photo's longer side; where no face is so large, there may be small ones
LEAST_SCORE = 0.25  # of the fast detector; below it, patterns are found as often as faces


def dlib_source() -> Source:
    """dlib's gradient-histogram detector, its CNN detector where that finds nothing, 68 points.

    Faces come from the largest to the smallest. The fast detector finds faces of about 80 pixels
    in a photo of 1280, and of half that in small photos, and where it has found no large face.
    """
    package = importlib.util.find_spec("face_recognition_models")
    if importlib.util.find_spec("dlib") is None or package is None or package.origin is None:
        raise ValueError(
            'finding faces needs dlib: `pip install "focus_jax[photos]"`, or give --landmarks'
        )
    import dlib

    library: Any = dlib  # its functions have no types
    folder = Path(package.origin).parent / "models"
    own = threading.local()  # the fast detector keeps its pyramid between calls
    predictor = library.shape_predictor(str(folder / "shape_predictor_68_face_landmarks.dat"))
    slow: list[Any] = []
    lock = threading.Lock()  # of the CNN, too large for one each

    def find(photo: np.ndarray, path: Path) -> list[Detection]:
        del path
        if not hasattr(own, "fast"):
            own.fast = library.get_frontal_face_detector()
        view, factor = _view(photo, FAST_SIDE)
        doubled = max(view.shape[:2]) <= SMALL_SIDE
        boxes, scores, _ = own.fast.run(view, int(doubled), LEAST_SCORE)
        largest = max((b.width() for b in boxes), default=0) / max(view.shape[:2])
        if not doubled and largest < LARGE_FACE:
            view, factor = _view(photo, 2 * FAST_SIDE)
            doubled = max(view.shape[:2]) <= FAST_SIDE
            boxes, scores, _ = own.fast.run(view, int(doubled), LEAST_SCORE)
        name = "dlib"
        if not boxes:
            view, factor = _view(photo, SLOW_SIDE)
            with lock:
                if not slow:
                    weights = str(folder / "mmod_human_face_detector.dat")
                    slow.append(library.cnn_face_detection_model_v1(weights))
                found = slow[0](view, 0) if min(view.shape[:2]) >= 20 else []
            boxes, scores = [f.rect for f in found], [f.confidence for f in found]
            name = "dlib-cnn"
        faces = []
        for box, score in sorted(zip(boxes, scores, strict=True), key=lambda b: -b[0].area()):
            points = predictor(view, box).parts()
            landmarks = (np.array([(p.x, p.y) for p in points]) + 0.5) / factor - 0.5
            # Again on a view in which the face fills the predictor's pixels, for huge photos.
            if factor < 1:
                landmarks = _sharper(library, predictor, photo, box, factor)
            faces.append(Detection(landmarks.astype(np.float32), float(score), name))
        return faces

    return find


def _view(photo: np.ndarray, side: int) -> tuple[np.ndarray, float]:
    """The photo with at most `side` pixels on its longer side, and the factor to get there."""
    factor = min(1.0, side / max(photo.shape[:2]))
    if factor == 1:
        return np.ascontiguousarray(photo), factor
    size = [max(1, round(n * factor)) for n in photo.shape[1::-1]]
    return cv2.resize(photo, size, interpolation=cv2.INTER_AREA), factor


def _sharper(library: Any, predictor: Any, photo: np.ndarray, box: Any, factor: float):
    """Landmarks of a box found on a shrunken view, from the photo's own pixels around it."""
    left, top, right, bottom = (
        (n + 0.5) / factor - 0.5 for n in (box.left(), box.top(), box.right(), box.bottom())
    )
    side = max(right - left, bottom - top)
    x0, y0 = (max(0, int(n - side / 2)) for n in (left, top))
    piece, scale = _view(photo[y0 : int(bottom + side / 2), x0 : int(right + side / 2)], 800)
    corners = [
        round((n - o + 0.5) * scale - 0.5)
        for n, o in zip((left, top, right, bottom), (x0, y0, x0, y0), strict=True)
    ]
    points = predictor(piece, library.rectangle(*corners)).parts()
    return (np.array([(p.x, p.y) for p in points]) + 0.5) / scale - 0.5 + np.array([x0, y0])


# --- files ---------------------------------------------------------------------------------------


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
    for face in faces:
        check_turned(face, path, str(found), height, width)
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


# --- mediapipe ---------------------------------------------------------------------------------

# Vertices of mediapipe's mesh that lie nearest to the 68 iBUG points.
MEDIAPIPE_68 = np.array(
    [
        *(127, 234, 93, 132, 58, 172, 136, 150, 152, 379, 365, 397, 288, 361, 323, 454, 356),  # jaw
        *(70, 63, 105, 66, 107, 336, 296, 334, 293, 300),  # brows
        *(168, 197, 5, 4, 75, 97, 2, 326, 305),  # nose
        *(33, 160, 158, 133, 153, 144, 362, 385, 387, 263, 373, 380),  # eyes
        *(61, 39, 37, 0, 267, 269, 291, 405, 314, 17, 84, 181),  # outer lips
        *(78, 82, 13, 312, 308, 317, 14, 87),  # inner lips
    ]
)


def mediapipe_source(path: Path) -> Source:
    """mediapipe's face mesh, read at 68 of its 478 vertices; `path` is its face_landmarker.task.

    Faces come from the largest to the smallest. Raises ValueError without mediapipe or that file.
    """
    if importlib.util.find_spec("mediapipe") is None:
        raise ValueError(f"{path} needs `pip install mediapipe`; or use --landmarks dlib")
    if not path.is_file():
        raise ValueError(
            f"{path} does not exist; it is the face landmarker of "
            "https://ai.google.dev/edge/mediapipe/solutions/vision/face_landmarker"
        )
    import mediapipe  # pyright: ignore[reportMissingImports]

    library: Any = mediapipe
    options = library.tasks.vision.FaceLandmarkerOptions(
        base_options=library.tasks.BaseOptions(model_asset_path=str(path)), num_faces=20
    )
    try:
        mesh = library.tasks.vision.FaceLandmarker.create_from_options(options)
    except (RuntimeError, ValueError) as error:
        raise ValueError(f"mediapipe cannot use {path}: {error}") from None
    lock = threading.Lock()

    def find(photo: np.ndarray, path: Path) -> list[Detection]:
        del path
        data = np.ascontiguousarray(photo)
        with lock:
            seen = mesh.detect(library.Image(image_format=library.ImageFormat.SRGB, data=data))
        size = np.array(photo.shape[1::-1])
        faces = []
        for face in seen.face_landmarks:
            points = np.array([(face[i].x, face[i].y) for i in MEDIAPIPE_68]) * size - 0.5
            faces.append(Detection(points.astype(np.float32), 1.0, "mediapipe"))
        return sorted(faces, key=lambda f: -float(np.ptp(f.landmarks, 0).prod()))

    return find
