"""Finding faces in a photo: a landmark source is a function from a photo to the faces in it.

MediaPipe's mesh, dlib's 68 points, or files that hold the landmarks. Write another function of the
type `Source` to use another detector.
"""

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np

from focus_jax.data.dlib_faces import dlib_source
from focus_jax.data.face_landmarker import MeshFace, face_follower, face_landmarker
from focus_jax.data.landmark_files import FileSource, beside_photo, csv_source, no_rows, rows_beside
from focus_jax.data.landmarks import Detection, Source
from focus_jax.data.mesh_landmarks import ibug_landmarks

DEFAULT = "mediapipe"


def landmark_source(name: str) -> Source:
    """The source of that name: mediapipe, dlib, mediapipe+dlib, files, or a .csv.

    `files` are NAME.pts or NAME.npz beside each photo, NAME.npz with a row a frame beside a video;
    of mediapipe+dlib, dlib is asked where the other finds no face. Raises ValueError for a name
    that is none of them, or whose package is missing.
    """
    makers = {
        "mediapipe": mediapipe_source,
        "dlib": dlib_source,
        "mediapipe+dlib": lambda: first_found(mediapipe_source(), dlib_source()),
        "files": lambda: FileSource(beside_photo, rows_beside),
    }
    if name in makers:
        return makers[name]()
    if Path(name).suffix == ".csv":
        return FileSource(csv_source(Path(name).expanduser()), no_rows)
    raise ValueError(f"landmarks come from {', '.join(makers)} or a .csv, not {name!r}")


class MeshSource(NamedTuple):
    """MediaPipe's networks: 478 points, 68 read out of them, 52 weights. The largest face first."""

    find: Callable[[np.ndarray], list[MeshFace]]

    def __call__(self, photo: np.ndarray, path: Path) -> list[Detection]:
        del path
        return [_detection(face) for face in self.find(photo)]


def mediapipe_source() -> MeshSource:
    """The source of photos in any order."""
    return MeshSource(face_landmarker())


def _detection(face: MeshFace) -> Detection:
    points = ibug_landmarks(face.points)
    return Detection(points, face.score, DEFAULT, face.points, face.blendshapes)


def of_film(source: Source) -> Source:
    """The source for the frames of one film, as they come, in one thread.

    MediaPipe's follows a face from frame to frame; of others each frame is a photo.
    """
    return MeshSource(face_follower()) if isinstance(source, MeshSource) else source


def first_found(*sources: Source) -> Source:
    """The faces of the first source that finds any."""

    def find(photo: np.ndarray, path: Path) -> list[Detection]:
        return next((faces for source in sources if (faces := source(photo, path))), [])

    return find
