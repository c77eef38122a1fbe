"""What face models without albedo and regions borrow from the built-in one.

The two mean faces are laid over each other by a similarity of their landmarks; then each vertex
takes over what the nearest vertices of the built-in face have.
"""

from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float, Int
from scipy.spatial import KDTree

from focus_jax.types import FaceModel


class Similarity(NamedTuple):
    """`scale * points @ rotation + translation`"""

    scale: float
    rotation: Float[np.ndarray, "3 3"]
    translation: Float[np.ndarray, "3"]

    def __call__(self, points: Float[np.ndarray, "n 3"]) -> Float[np.ndarray, "n 3"]:
        return self.scale * points @ self.rotation + self.translation


def similarity(source: Float[np.ndarray, "n 3"], target: Float[np.ndarray, "n 3"]) -> Similarity:
    """The similarity that brings the source's points nearest to the target's (Umeyama 1991)."""
    a, b = source - source.mean(axis=0), target - target.mean(axis=0)
    u, s, vt = np.linalg.svd(a.T @ b)
    sign = np.array([1, 1, np.sign(np.linalg.det(u @ vt))])
    rotation = (u * sign) @ vt
    scale = float((s * sign).sum() / (a**2).sum())
    return Similarity(scale, rotation, target.mean(axis=0) - scale * source.mean(axis=0) @ rotation)


def landmark_points(face_model: FaceModel) -> Float[np.ndarray, "68 3"]:
    """The mean face's landmarks."""
    corners = np.asarray(face_model.shape_mean)[np.asarray(face_model.landmark_vertices)]
    return np.einsum("lkc,lk->lc", corners, np.asarray(face_model.landmark_weights))


def borrowed(
    placed: Float[np.ndarray, "n 3"], builtin: FaceModel
) -> tuple[Float[np.ndarray, "n 3"], Float[np.ndarray, "n 3 a"], Int[np.ndarray, "n"]]:
    """Mean albedo, its modes and the region for points placed over the built-in mean face.

    Skin between the built-in's vertices gets the mean of the three nearest, weighted by nearness.
    """
    mean = np.asarray(builtin.shape_mean)
    nearest: Any = KDTree(mean).query(placed, k=3)
    distance, index = nearest
    weight = 1 / np.maximum(distance, 1e-3)
    weight = (weight / weight.sum(axis=1, keepdims=True)).astype(np.float32)
    albedo = np.einsum("nk,nkc->nc", weight, np.asarray(builtin.albedo_mean)[index])
    basis = np.einsum("nk,nkca->nca", weight, np.asarray(builtin.albedo_basis)[index])
    return albedo, basis, np.asarray(builtin.region)[index[:, 0]]


def on_vertices(
    index: Int[np.ndarray, "68"],
) -> tuple[Int[np.ndarray, "68 3"], Float[np.ndarray, "68 3"]]:
    """Landmarks that lie on vertices, as `FaceModel` holds them."""
    weights = np.tile(np.array([1, 0, 0], np.float32), (68, 1))
    return np.repeat(np.asarray(index)[:, None], 3, axis=1).astype(np.int32), weights
