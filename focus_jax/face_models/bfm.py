"""Basel Face Model 2017 and 2019, as they are downloaded (HDF5).

Layout: `shape`, `expression` and `color`, each `model/{mean, pcaBasis, pcaVariance}`, and
`shape/representer/{points, cells}`. Lengths are millimetres.
"""

from pathlib import Path
from typing import Any

import h5py
import numpy as np
from scipy.spatial import KDTree

from focus_jax.face_models import fitting, npz
from focus_jax.types import FaceModel

CENTRE = np.array([0.0, 0.0, 100.0])  # subtracted by the authors' release, row 17 of its camera
LICENCE = "University of Basel; for research, not to be passed on"


def is_hdf5(path: Path) -> bool:
    """Whether the file begins as HDF5 files do."""
    with path.open("rb") as file:
        return file.read(8) == b"\x89HDF\r\n\x1a\n"


def read(path: Path, guide: FaceModel, *, modes: tuple[int, int, int]) -> FaceModel:
    """The model with the first `modes` (identity, expression, albedo) of its bases.

    Its landmarks are the vertices nearest to those of the `guide`, a model with landmarks, moved
    onto it. Raises ValueError naming the key that is missing or does not fit.
    """
    try:
        with h5py.File(path) as file:
            points = _array(file, path, "shape/representer/points")
            cells = _array(file, path, "shape/representer/cells")
            parts = [
                _part(file, path, name, points.size, count)
                for name, count in zip(("shape", "expression", "color"), modes, strict=True)
            ]
    except OSError as error:
        raise ValueError(f"{path} cannot be read as HDF5, or is truncated: {error}") from None
    npz.as_floats(points, "shape/representer/points", path)
    (shape, identity), (offset, expression), (colour, albedo) = parts
    if cells.ndim != 2 or cells.shape[0] != 3:
        raise ValueError(
            f"{path}: 'shape/representer/cells' has the shape {cells.shape}, not 3 x t"
        )
    vertices = len(shape)
    triangles = npz.as_indices(cells, vertices, "shape/representer/cells", path).T
    mean = shape + offset - CENTRE
    extent = np.ptp(mean, axis=0)
    # Metres, or damaged numbers, which HDF5 does not notice.
    if extent.min() < 10 or extent.max() > 1000:
        size = " x ".join(f"{side:.3g}" for side in extent)
        raise ValueError(
            f"{path}: 'shape/model/mean' measures {size}, which is no face in millimetres"
        )
    if _inward(mean, triangles):
        triangles = triangles[:, ::-1]
    try:
        landmarks = nearest_landmarks(mean, guide)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from None
    return FaceModel(
        shape_mean=mean.astype(np.float32),
        identity_basis=identity,
        expression_basis=expression,
        albedo_mean=colour.astype(np.float32),
        albedo_basis=albedo,
        triangles=np.ascontiguousarray(triangles),
        landmark_vertices=np.repeat(landmarks[:, None], 3, axis=1).astype(np.int32),
        landmark_weights=np.tile(np.array([1, 0, 0], np.float32), (68, 1)),
        region=_regions(mean, landmarks, guide),
        uv=np.zeros((vertices, 2), np.float32),
        name=path.stem,
        units="mm",
        licence=LICENCE,
    )


def _dataset(file: h5py.File, path: Path, key: str) -> Any:
    dataset = file.get(key)
    if not isinstance(dataset, h5py.Dataset):  # a group of that name is no array either
        raise ValueError(f"{path} is not a Basel Face Model: it has no {key!r}")
    return dataset


def _array(file: h5py.File, path: Path, key: str) -> np.ndarray:
    return np.asarray(_dataset(file, path, key)[()])


def _part(file: h5py.File, path: Path, name: str, size: int, count: int):
    """Mean `[v 3]` and scaled basis `[v 3 k]` of one of the three models in the file."""
    keys = [f"{name}/model/{key}" for key in ("mean", "pcaVariance", "pcaBasis")]
    mean, variance = (_array(file, path, key) for key in keys[:2])
    dataset = _dataset(file, path, keys[2])
    if size % 3 or size == 0:
        raise ValueError(f"{path}: 'shape/representer/points' has {size} numbers, not 3 a vertex")
    if mean.shape != (size,) or dataset.ndim != 2 or dataset.shape[0] != size:
        raise ValueError(
            f"{path}: {name!r} has a mean of {mean.shape} and a basis of {dataset.shape} "
            f"for {size // 3} vertices"
        )
    if variance.shape != dataset.shape[1:]:
        raise ValueError(
            f"{path}: {keys[1]!r} has the shape {variance.shape}, which does not fit {keys[2]!r} "
            f"of shape {dataset.shape}"
        )
    npz.as_floats(mean, keys[0], path)
    variance = npz.as_floats(variance, keys[1], path)[:count]
    if (variance < 0).any():
        raise ValueError(f"{path}: {keys[1]!r} holds negative variances")
    # Only the columns that are kept: the whole bases of the full mesh take half a gigabyte.
    basis = npz.as_floats(dataset[:, : len(variance)], keys[2], path) * np.sqrt(variance)
    return mean.reshape(-1, 3).astype(np.float64), basis.reshape(-1, 3, len(variance))


def _regions(mean: np.ndarray, landmarks: np.ndarray, guide: FaceModel) -> np.ndarray:
    """Region of each vertex: that of the guide's vertex nearest to it."""
    onto = fitting.similarity(mean[landmarks], fitting.landmark_points(guide))
    nearest: Any = KDTree(np.asarray(guide.shape_mean)).query(onto(mean))[1]
    return np.asarray(guide.region)[nearest]


def _inward(mean: np.ndarray, triangles: np.ndarray) -> bool:
    a, b, c = (mean[triangles[:, k]] for k in range(3))
    return np.cross(b - a, c - a)[:, 2].sum() < 0


def nearest_landmarks(vertices: np.ndarray, guide: FaceModel, rounds: int = 30) -> np.ndarray:
    """Vertices nearest to the guide's 68 landmarks after the guide was moved and scaled onto them.

    Closest points of the surfaces, trimmed, as both faces end somewhere else (iterated closest
    point); starts from equal poses, which face models have. Raises ValueError if they do not meet.
    """
    source = np.asarray(guide.shape_mean, np.float64)
    points = source[np.asarray(guide.landmark_vertices[:, 0])]
    front = vertices[vertices[:, 2] > np.quantile(vertices[:, 2], 0.3)]
    tree = KDTree(front)
    # Noses first: the foremost point of a face is its tip.
    shift = vertices[vertices[:, 2].argmax()] - source[source[:, 2].argmax()]
    source, points = source + shift, points + shift
    for _ in range(rounds):
        distance, index = tree.query(source)
        kept = distance <= np.quantile(distance, 0.8)
        a, b = source[kept], front[np.asarray(index)[kept]]
        ca, cb = a.mean(0), b.mean(0)
        u, s, vt = np.linalg.svd((b - cb).T @ (a - ca))
        u[:, 2] *= np.sign(np.linalg.det(u @ vt))
        scale = s.sum() / ((a - ca) ** 2).sum()
        if not 0.5 < scale < 2:  # all points meet in one, or a mesh that is no face
            raise ValueError("the mesh in 'shape' does not look like a face that looks along +z")
        rotation = u @ vt
        source = scale * (source - ca) @ rotation.T + cb
        points = scale * (points - ca) @ rotation.T + cb
    return np.asarray(KDTree(vertices).query(points)[1])
