"""Misfit priors as files: offsets of a face model's vertices, to subtract from predicted shapes."""

import hashlib
from pathlib import Path

import numpy as np
from jaxtyping import Float

from focus_jax.system.files import write_npz
from focus_jax.types import AnyArray, FaceModel


def correct(
    vertices: Float[np.ndarray | AnyArray, "*b v 3"], prior: Float[np.ndarray, "v 3"]
) -> np.ndarray:
    """Predicted neutral shapes minus the prior, in the face model's coordinates."""
    if vertices.shape[-2:] != prior.shape:
        raise ValueError(
            f"the misfit prior is of {len(prior)} vertices, the shapes have {vertices.shape[-2]}; "
            "build it with their face model"
        )
    return np.asarray(vertices) - prior


def _digest(face_model: FaceModel) -> str:
    # Mean and triangles: fewer modes of one model share a prior's coordinates.
    digest = hashlib.sha256(np.asarray(face_model.shape_mean, np.float32).tobytes())
    digest.update(np.asarray(face_model.triangles, np.int32).tobytes())
    return digest.hexdigest()


def save(path: Path, prior: np.ndarray, face_model: FaceModel, faces: int) -> None:
    """Write a prior with what it belongs to."""
    path.parent.mkdir(parents=True, exist_ok=True)
    write_npz(path, misfit=prior, face_model=_digest(face_model), faces=faces)


def load(path: Path, face_model: FaceModel) -> Float[np.ndarray, "v 3"]:
    """Read a prior; ValueError if it is none or of another face model."""
    if not path.is_file():
        raise ValueError(f"{path} does not exist; build it with focus-jax misfit")
    try:
        with np.load(path, allow_pickle=False) as arrays:
            prior, digest = arrays["misfit"], str(arrays["face_model"])
    except Exception as problem:  # what NumPy makes of a damaged archive is not foreseeable
        raise ValueError(f"{path} is not a misfit prior ({problem})") from None
    if digest != _digest(face_model):
        raise ValueError(
            f"{path} belongs to another face model; build it with this one: "
            "focus-jax misfit --config.face_model.name=..."
        )
    return prior
