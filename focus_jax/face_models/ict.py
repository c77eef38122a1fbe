"""ICT-FaceKit (Li et al. 2020, MIT licence) as one npz: geometry only; its colours are borrowed.

Keys: `mean [n 3]` (centimetres), `id_basis [k n 3]` (unit variance), `exp_basis [57 n 3]`
(blendshapes for weights 0 to 1), `triangles`, `uv`, `lm68 [68]`, `orig_index [n]` (the vertex of
the original mesh; below 9409 it is the face).
"""

from pathlib import Path

import numpy as np

from focus_jax.face_models import fitting, npz
from focus_jax.types import FaceModel

FACE_VERTICES = 9409
MILLIMETRES = 10.0  # a centimetre's
# A blendshape's full weight is rare: this much of it is one standard deviation.
EXPRESSION_SPREAD = 0.18
KEYS = {  # number of axes, and which axis counts vertices
    "mean": (2, 0),
    "id_basis": (3, 1),
    "exp_basis": (3, 1),
    "triangles": (2, None),
    "uv": (2, 0),
    "lm68": (1, None),
    "orig_index": (1, 0),
}


def is_ict(arrays: dict[str, np.ndarray]) -> bool:
    """Whether the arrays of an npz are those of this format."""
    return "id_basis" in arrays and "exp_basis" in arrays and "lm68" in arrays


def from_arrays(arrays: dict[str, np.ndarray], path: Path, builtin: FaceModel) -> FaceModel:
    """The face of ICT-FaceKit, in millimetres, placed as the built-in model.

    Albedo, its modes and the regions are those of the built-in model's nearest points. ValueError
    names the first key that does not fit.
    """
    _check(arrays, path)
    kept = np.flatnonzero(arrays["orig_index"] < FACE_VERTICES)
    place = np.full(len(arrays["mean"]), -1)
    place[kept] = np.arange(len(kept))
    triangles = place[arrays["triangles"]]
    triangles = triangles[(triangles >= 0).all(axis=1)]
    landmarks = place[arrays["lm68"]]
    if (landmarks < 0).any():
        raise ValueError(f"{path}: 'lm68' has landmarks that are not on the face")
    mean = MILLIMETRES * arrays["mean"][kept].astype(np.float64)
    # Without the jaw line, which other people draw elsewhere on the cheek.
    onto = fitting.similarity(mean[landmarks[17:]], fitting.landmark_points(builtin)[17:])
    albedo, albedo_basis, region = fitting.borrowed(onto(mean), builtin)
    corners, weights = fitting.on_vertices(landmarks)
    mean += _offset(mean[landmarks], fitting.landmark_points(builtin))
    expression = MILLIMETRES * EXPRESSION_SPREAD * arrays["exp_basis"][:, kept].astype(np.float32)
    # As everywhere, the modes of the largest variance come first.
    order = np.argsort(-(expression**2).sum(axis=(1, 2)), kind="stable")
    identity = MILLIMETRES * arrays["id_basis"][:, kept].astype(np.float32)
    return FaceModel(
        shape_mean=mean.astype(np.float32),
        identity_basis=np.moveaxis(identity, 0, -1),
        expression_basis=np.moveaxis(expression[order], 0, -1),
        albedo_mean=albedo.astype(np.float32),
        albedo_basis=albedo_basis.astype(np.float32),
        triangles=triangles.astype(np.int32),
        landmark_vertices=corners,
        landmark_weights=weights,
        region=region.astype(np.int32),
        uv=arrays["uv"][kept].astype(np.float32),
        name="ict",
        units="mm",
        licence="MIT (ICT-FaceKit); albedo CC0",
    )


def _offset(landmarks: np.ndarray, wanted: np.ndarray) -> np.ndarray:
    """What moves the alignment's five points (eyes, nose tip, mouth corners) onto the wanted."""

    def middle(points: np.ndarray) -> np.ndarray:
        eyes = [points[[36, 39]].mean(axis=0), points[[42, 45]].mean(axis=0)]
        return np.mean([*eyes, points[30], points[48], points[54]], axis=0)

    return middle(wanted) - middle(landmarks)


def _check(arrays: dict[str, np.ndarray], path: Path) -> None:
    for key in KEYS:
        if key not in arrays:
            raise ValueError(f"{path} lacks the key {key!r} of an ICT-FaceKit npz")
    widths = {"mean": 3, "triangles": 3, "uv": 2, "id_basis": 3, "exp_basis": 3, "lm68": 68}
    mean = arrays["mean"]
    for key, (axes, vertex_axis) in KEYS.items():
        array = arrays[key]
        if array.ndim != axes or (key in widths and array.shape[-1] != widths[key]):
            last = f", the last of length {widths[key]}" if key in widths else ""
            raise ValueError(
                f"{path}: {key!r} has the shape {array.shape}; it must have {axes} axes{last}"
            )
        # 'mean' is the first of KEYS, so it has been found to have rows.
        if vertex_axis is not None and array.shape[vertex_axis] != len(mean):
            raise ValueError(
                f"{path}: {key!r} has the shape {array.shape}, which does not fit 'mean' of shape "
                f"{mean.shape}"
            )
    for key in ("mean", "id_basis", "exp_basis", "uv"):
        npz.as_floats(arrays[key], key, path)
    for key in ("triangles", "lm68"):
        npz.as_indices(arrays[key], len(mean), key, path)
    npz.as_indices(arrays["orig_index"], np.iinfo(np.int32).max, "orig_index", path)
