"""Basel Face Model 2017 and 2019, as they are downloaded (HDF5).

Layout: `shape`, `expression` and `color`, each `model/{mean, pcaBasis, pcaVariance}`, and
`shape/representer/{points, cells}`. Lengths are millimetres. The authors of the paper train on a
part of the mesh, listed in their `idxes_crop.pkl`; it is used where it lies beside the model.
"""

import logging
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from jaxtyping import Float, Int

from focus_jax.face_models import Mesh, check_mesh, fitting, meshes, npz, pickles
from focus_jax.face_models.companions import Companion, first_of
from focus_jax.types import FaceModel

log = logging.getLogger(__name__)

CENTRE = np.array([0.0, 0.0, 100.0])  # subtracted by the authors' release, row 17 of its camera
LICENCE = "University of Basel; for research, not to be passed on"
CROP_FILE = "idxes_crop.pkl"
CROP_KEYS = (
    "points", "cells", "shape_mean", "exp_mean", "color_mean",
    "shape_pcaBasis", "exp_pcaBasis", "color_pcaBasis",
)  # fmt: skip
ROWS = 12288  # of a basis read at once

# Vertices of the 68 landmarks in the release's crop (not in the full mesh), in the iBUG order.
RELEASE_LANDMARKS = np.array([
    16678, 16817, 16480, 16254, 32170, 32866, 33302, 33598, 33765, 33949, 34239, 34693, 35398,
    27717, 27536, 27137, 27249, 27998, 28747, 29133, 29336, 29503, 30188, 30352, 30557, 30947,
    31682, 8122, 8137, 8147, 8152, 6627, 7219, 8165, 9107, 9695, 2475, 4275, 5050, 5829, 4802,
    3900, 10382, 11280, 12053, 14123, 12323, 11419, 5137, 5897, 7467, 8175, 8883, 10450, 11110,
    9372, 8666, 8194, 7722, 7012, 5524, 7358, 8184, 9010, 10852, 8659, 8187, 7715,
])  # fmt: skip
# Vertices of the seven landmarks of the NoW benchmark in the full mesh, and which of the 68 they
# are: outer and inner corner of the right eye, inner and outer of the left, nose, mouth corners.
NOW_VERTICES = np.array([2735, 6088, 10263, 13746, 8165, 5394, 11116])
NOW_LANDMARKS = np.array([36, 39, 42, 45, 33, 48, 54])


def recognizes(path: Path) -> bool:
    """Whether the file is HDF5, which no other face model here is."""
    with path.open("rb") as file:
        return file.read(8) == b"\x89HDF\r\n\x1a\n"


def read(
    path: Path, builtin: FaceModel, *, modes: tuple[int, int, int], mesh: Mesh = "cropped"
) -> FaceModel:
    """The model with the first `modes` (identity, expression, albedo) of its bases.

    The cropped mesh is the release's where its file lies beside the model, else our own
    (`crop.face_patch`). Landmarks are the tables above where these fit the geometry, else they are
    found on it; region and uv are those of the built-in model's nearest points. Raises ValueError
    naming the key that is missing or does not fit.
    """
    check_mesh(mesh)
    try:
        with h5py.File(path) as file:
            points = _array(file, path, "shape/representer/points")
            cells = _array(file, path, "shape/representer/cells")
            for key, array, axis in (("points", points, "v"), ("cells", cells, "t")):
                if array.ndim != 2 or array.shape[0] != 3 or array.size == 0:
                    raise ValueError(
                        f"{path}: 'shape/representer/{key}' has the shape {array.shape}, "
                        f"not 3 x {axis}"
                    )
            parts = [
                _check_part(file, path, name, points.size)
                for name in ("shape", "expression", "color")
            ]
            shape, offset, colour = (mean for mean, _ in parts)
            npz.as_floats(points, "shape/representer/points", path)
            triangles = npz.as_indices(cells, len(shape), "shape/representer/cells", path).T
            chosen = _choose(path, shape + offset - CENTRE, triangles, builtin, mesh)
            identity, expression, albedo = (
                _basis(file, path, name, variance[:count], chosen.vertices)
                for name, (_, variance), count in zip(
                    ("shape", "expression", "color"), parts, modes, strict=True
                )
            )
    except OSError as error:
        raise ValueError(f"{path} cannot be read as HDF5, or is truncated: {error}") from None
    kept = chosen.vertices
    corners, weights = chosen.landmarks
    return FaceModel(
        shape_mean=(shape + offset - CENTRE)[kept].astype(np.float32),
        identity_basis=identity,
        expression_basis=expression,
        albedo_mean=colour[kept].astype(np.float32),
        albedo_basis=albedo,
        triangles=chosen.triangles,
        landmark_vertices=corners,
        landmark_weights=weights,
        region=chosen.borrowed.region,
        uv=chosen.borrowed.uv,
        expression_mean=offset[kept].astype(np.float32),
        name=path.stem,
        units="mm",
        licence=LICENCE,
    )


# --- what is read --------------------------------------------------------------------------------


def _dataset(file: h5py.File, path: Path, key: str) -> Any:
    dataset = file.get(key)
    if not isinstance(dataset, h5py.Dataset):  # a group of that name is no array either
        raise ValueError(f"{path} is not a Basel Face Model: it has no {key!r}")
    return dataset


def _array(file: h5py.File, path: Path, key: str) -> np.ndarray:
    return np.asarray(_dataset(file, path, key)[()])


def _check_part(file: h5py.File, path: Path, name: str, size: int):
    """Mean `[v 3]` and variances `[k]` of one of the three models in the file.

    `size` is three numbers for each of the points of 'shape/representer'.
    """
    keys = [f"{name}/model/{key}" for key in ("mean", "pcaVariance", "pcaBasis")]
    mean, variance = (_array(file, path, key) for key in keys[:2])
    basis = _dataset(file, path, keys[2])
    for key, shape, wanted in (
        (keys[0], mean.shape, (size,)),
        (keys[2], basis.shape, (size, *(basis.shape[1:2] or ("k",)))),
    ):
        if shape != wanted:
            raise ValueError(
                f"{path}: {key!r} has the shape {shape} instead of {wanted}, as "
                f"'shape/representer/points' has {size // 3} vertices"
            )
    if variance.shape != basis.shape[1:]:
        raise ValueError(
            f"{path}: {keys[1]!r} has the shape {variance.shape}, which does not fit {keys[2]!r} "
            f"of shape {basis.shape}"
        )
    npz.as_floats(mean, keys[0], path)
    variance = npz.as_floats(variance, keys[1], path)
    if (variance < 0).any():
        raise ValueError(f"{path}: {keys[1]!r} holds negative variances")
    return mean.reshape(-1, 3).astype(np.float64), variance


def _basis(
    file: h5py.File, path: Path, name: str, variance: np.ndarray, kept: Int[np.ndarray, "v"]
) -> Float[np.ndarray, "v 3 k"]:
    """The scaled basis of the kept vertices, one mode for each variance.

    Read in pieces: the whole bases of the full mesh take half a gigabyte.
    """
    key, count = f"{name}/model/pcaBasis", len(variance)
    dataset = _dataset(file, path, key)
    rows = (3 * kept[:, None] + np.arange(3)).ravel()
    order = np.argsort(rows, kind="stable")
    found = np.empty((len(rows), count), np.float32)
    start = 0
    for first in range(0, dataset.shape[0], ROWS):
        stop = start + np.searchsorted(rows[order[start:]], first + ROWS)
        if stop > start:
            piece = np.asarray(dataset[first : first + ROWS])[:, :count]
            wanted = order[start:stop]
            found[wanted] = npz.as_floats(piece[rows[wanted] - first], key, path)
        start = stop
    found *= np.sqrt(variance)
    return found.reshape(-1, 3, count)


# --- which part of the mesh, and its landmarks ---------------------------------------------------


def companions(path: Path) -> list[Companion]:
    """What is looked for beside the model, and what of it is read."""
    return [first_of(path.parent, "the authors' crop", (CROP_FILE,), "the face is cut out here")]


def _choose(
    path: Path, mean: np.ndarray, triangles: np.ndarray, builtin: FaceModel, mesh: Mesh
) -> meshes.Chosen:
    part, table, rows = np.arange(len(mean)), NOW_VERTICES, NOW_LANDMARKS
    crop = path.parent / CROP_FILE
    by_authors = mesh == "cropped" and crop.is_file()
    if by_authors:
        part, triangles = _read_crop(crop, len(mean))
        table, rows = RELEASE_LANDMARKS, np.arange(68)
    mean = mean[part]
    placed = meshes.place(path, mean, triangles, builtin)
    landmarks = meshes.find_landmarks(mean, placed, builtin)
    if lies_on(mean, table, mean[landmarks[0][rows, 0]], rows):
        landmarks[0][rows] = table[:, None]
        placed = meshes.place(path, mean, triangles, builtin, landmarks)
    else:
        log.info("%s: landmarks are found on the geometry, as the known vertices do not fit", path)
    chosen = meshes.choose(
        path, mean, triangles, placed, builtin, landmarks, mesh, crop=not by_authors
    )
    return chosen._replace(vertices=part[chosen.vertices])


def lies_on(
    mean: Float[np.ndarray, "v 3"],
    table: Int[np.ndarray, "n"],
    expected: Float[np.ndarray, "n 3"],
    rows: Int[np.ndarray, "n"],
) -> bool:
    """Whether a table of vertices lies about where the landmarks `rows` were found.

    Found landmarks are off by some millimetres, on brows by up to two centimetres, and the jaw line
    is drawn where one likes; vertices of another mesh are off by half a face.
    """
    if table.max() >= len(mean):
        return False
    distance = np.linalg.norm(mean[table] - expected, axis=1)
    inner = distance[rows >= fitting.INNER.start]
    return bool(np.median(inner) < 6 and inner.max() < 25 and distance.max() < 45)


def _read_crop(path: Path, vertices: int) -> tuple[Int[np.ndarray, "k"], Int[np.ndarray, "s 3"]]:
    """Vertices of the release's crop, and its triangles in numbers of these.

    The file lists vertices (`points`) and their rows in means and bases; all must be the same.
    """
    content = pickles.read_pickle(path)
    if not isinstance(content, dict):
        raise ValueError(f"{path} holds a {type(content).__name__}, not the keys of a crop")
    for key in CROP_KEYS:
        if not isinstance(content.get(key), (np.ndarray, list)):
            raise ValueError(f"{path} lacks the array {key!r} of a crop")
    points, cells, *lists = (np.asarray(content[key]) for key in CROP_KEYS)
    kept = npz.as_indices(points.ravel(), vertices, "points", path)
    rows = (3 * kept[:, None].astype(np.int64) + np.arange(3)).ravel()
    for key, found in zip(CROP_KEYS[2:], lists, strict=True):
        if found.size != len(rows):
            raise ValueError(
                f"{path}: {key!r} has the shape {found.shape} instead of {rows.shape}, as 'points' "
                f"lists {len(kept)} vertices"
            )
        if not np.array_equal(found.ravel(), rows):
            raise ValueError(
                f"{path}: {key!r} does not list the three rows of each vertex in 'points'"
            )
    if cells.ndim != 2 or 3 not in cells.shape:
        raise ValueError(f"{path}: 'cells' has the shape {cells.shape}, not 3 x t")
    cells = cells.T if cells.shape[0] == 3 else cells
    return kept, npz.as_indices(cells, len(kept), "cells", path)
