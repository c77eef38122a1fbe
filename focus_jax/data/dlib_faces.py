"""Faces and their 68 landmarks by dlib, where `dlib-bin` is installed."""

import importlib.util
import threading
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from focus_jax.data.landmarks import Detection, Source

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
            '--landmarks dlib needs dlib: `pip install "focus_jax[dlib]"`, or leave it out'
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
