"""From the mesh of a file to the mesh that is used: checks, landmarks, crop, place."""

from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float, Int

from focus_jax.face_models import Mesh, fitting
from focus_jax.face_models.crop import eyeballs, face_patch
from focus_jax.face_models.npz import check_size, outward
from focus_jax.types import FaceModel

Landmarks = tuple[Int[np.ndarray, "68 3"], Float[np.ndarray, "68 3"]]
FIVE = ([36, 39], [42, 45], [30], [48], [54])  # eyes, tip of the nose, corners of the mouth


class Chosen(NamedTuple):
    """What is kept of a file's mesh, and what the built-in face says of it."""

    vertices: Int[np.ndarray, "v"]  # numbers of the kept vertices in the file
    triangles: Int[np.ndarray, "t 3"]  # of kept vertices, outwards
    landmarks: Landmarks
    borrowed: fitting.Borrowed


def place(
    path: Path,
    mean: Float[np.ndarray, "n 3"],
    triangles: Int[np.ndarray, "m 3"],
    builtin: FaceModel,
    landmarks: Landmarks | None = None,
) -> Float[np.ndarray, "p 3"]:
    """The built-in face laid over a mean face in mm, see `fitting.lay_over`.

    ValueError, naming the file, for what is no face that looks along +z.
    """
    check_size(mean, path)
    points = None if landmarks is None else points_of(mean, landmarks)
    try:
        return fitting.lay_over(mean, outward(mean, triangles), builtin, points)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from None


def find_landmarks(
    mean: Float[np.ndarray, "n 3"], placed: Float[np.ndarray, "p 3"], builtin: FaceModel
) -> Landmarks:
    """Landmarks on the vertices nearest to those of the placed built-in face."""
    return fitting.on_vertices(fitting.nearest_landmarks(mean, placed, builtin))


def choose(
    path: Path,
    mean: Float[np.ndarray, "n 3"],
    triangles: Int[np.ndarray, "m 3"],
    placed: Float[np.ndarray, "p 3"],
    builtin: FaceModel,
    landmarks: Landmarks,
    mesh: Mesh,
    *,
    crop: bool = True,
    albedo: int = 0,
) -> Chosen:
    """Crop, region, uv and the first `albedo` modes of albedo, from the placed built-in face.

    `crop` false keeps a mesh that is cropped already. ValueError, naming the file, if no part of
    the mesh lies where the face should be.
    """
    from scipy.spatial import KDTree  # heavy, and only here

    triangles = outward(mean, triangles)
    kept = np.arange(len(mean))
    if crop and mesh == "cropped":
        try:
            kept, triangles = face_patch(mean, triangles, placed, builtin)
        except ValueError as error:
            raise ValueError(f"{path}: {error}") from None
    triangles, region = np.ascontiguousarray(triangles, np.int32), np.asarray(builtin.region)
    nearest: Any = KDTree(placed).query(mean[kept])[1]
    apart = eyeballs(triangles, region[nearest]), eyeballs(np.asarray(builtin.triangles), region)
    return Chosen(
        kept,
        triangles,
        _within(mean, kept, landmarks),
        fitting.borrowed(mean[kept], placed, builtin, albedo=albedo, apart=apart),
    )


def _within(mean: np.ndarray, kept: np.ndarray, landmarks: Landmarks) -> Landmarks:
    """Landmarks numbered within the kept vertices; those that fell away go to the nearest left."""
    from scipy.spatial import KDTree  # heavy, and only here

    corners, weights = landmarks
    place = np.full(len(mean), -1)
    place[kept] = np.arange(len(kept))
    found, weights = place[corners], np.array(weights, np.float32)
    lost = (found < 0).any(axis=1)
    if lost.any():
        nearest = KDTree(mean[kept]).query(points_of(mean, landmarks)[lost])[1]
        found[lost] = np.asarray(nearest)[:, None]
        weights[lost] = [1, 0, 0]
    return found.astype(np.int32), weights


def points_of(
    vertices: Float[np.ndarray, "n 3"], landmarks: Landmarks
) -> Float[np.ndarray, "68 3"]:
    """Where landmarks lie."""
    return np.einsum("lkc,lk->lc", vertices[landmarks[0]], landmarks[1])


def centre(landmarks: Float[np.ndarray, "68 3"], builtin: FaceModel) -> Float[np.ndarray, "3"]:
    """What moves a face to where the built-in one is, by the alignment's five points.

    Training starts from there, whichever model it is.
    """

    def middle(points: np.ndarray) -> np.ndarray:
        return np.mean([points[rows].mean(axis=0) for rows in FIVE], axis=0)

    return middle(fitting.landmark_points(builtin)) - middle(landmarks)
