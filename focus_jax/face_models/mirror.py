"""The mirror image of a face in its own coefficients."""

import numpy as np
from jaxtyping import Float
from scipy.linalg import block_diag
from scipy.spatial import KDTree

from focus_jax.types import FaceModel


def mirror_matrix(face_model: FaceModel) -> Float[np.ndarray, "k k"]:
    """What makes the coefficients of a face, identity, expression and albedo, those of its mirror
    image: by least squares over the vertices, each of which has the one nearest to its place on the
    other side of the mean face."""
    mean = np.asarray(face_model.shape_mean)
    _, other = KDTree(mean).query(mean * np.array([-1, 1, 1]))
    parts = []
    for basis, turn in (
        (face_model.identity_basis, [-1, 1, 1]),
        (face_model.expression_basis, [-1, 1, 1]),
        (face_model.albedo_basis, [1, 1, 1]),
    ):
        modes = np.asarray(basis, np.float64)
        mirrored = modes[other] * np.array(turn)[:, None]
        # -1 cannot stand for the rows of a basis without modes.
        flat = (m.reshape(3 * len(mean), modes.shape[-1]) for m in (modes, mirrored))
        parts.append(np.linalg.lstsq(*flat, rcond=None)[0])
    return np.asarray(block_diag(*parts), np.float32)
