"""What face models without landmarks, albedo or regions take over from the built-in one.

The built-in face is laid over the other model's mean face: moved, turned and scaled, then changed
in its first identity modes, until the two surfaces meet. Each vertex then takes what the nearest
vertices of the built-in face have.
"""

from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int

from focus_jax.types import FaceModel

JAW = slice(0, 17)  # drawn elsewhere on the cheek by other people, so of no use for alignment
INNER = slice(17, 68)
IDENTITY_MODES = 40  # that the built-in face may use to become another
STIFFNESS = 100.0  # of these modes: mm^2 of squared residual that one squared deviation is worth
RIGID, SOFT = 30, 10  # rounds of `lay_over`, the former without landmarks
THINNING = 3  # every third vertex is enough to find them
LANDMARK_WEIGHT = 3.0  # a known landmark's, of a vertex's along its normal


class Similarity(NamedTuple):
    """`scale * points @ rotation + translation`"""

    scale: float
    rotation: Float[np.ndarray, "3 3"]
    translation: Float[np.ndarray, "3"]

    def __call__(self, points: Float[np.ndarray, "*n 3"]) -> Float[np.ndarray, "*n 3"]:
        return self.scale * points @ self.rotation + self.translation

    def back(self, points: Float[np.ndarray, "n 3"]) -> Float[np.ndarray, "n 3"]:
        """The inverse."""
        return (points - self.translation) @ self.rotation.T / self.scale


def similarity(source: Float[np.ndarray, "n 3"], target: Float[np.ndarray, "n 3"]) -> Similarity:
    """What brings points nearest to their targets (Umeyama 1991), never a reflection."""
    a, b = source - source.mean(axis=0), target - target.mean(axis=0)
    u, s, vt = np.linalg.svd(a.T @ b)
    sign = np.array([1, 1, np.sign(np.linalg.det(u @ vt))])
    rotation = (u * sign) @ vt
    scale = float((s * sign).sum() / (a**2).sum())
    return Similarity(scale, rotation, target.mean(axis=0) - scale * source.mean(axis=0) @ rotation)


def landmark_points(face_model: FaceModel) -> Float[np.ndarray, "68 3"]:
    """The mean face's landmarks."""
    return _landmarks_of(np.asarray(face_model.shape_mean), face_model)


def _landmarks_of(vertices: np.ndarray, face_model: FaceModel) -> np.ndarray:
    corners = vertices[np.asarray(face_model.landmark_vertices)]
    return np.einsum("lkc,lk->lc", corners, np.asarray(face_model.landmark_weights))


def normals(
    vertices: Float[np.ndarray, "v 3"], triangles: Int[np.ndarray, "t 3"]
) -> Float[np.ndarray, "v 3"]:
    """Unit normals, weighted by area; zero for a vertex without triangles."""
    a, b, c = (vertices[triangles[:, k]] for k in range(3))
    crosses = np.cross(b - a, c - a)
    total = np.zeros(vertices.shape)
    for axis in range(3):
        for k in range(3):
            total[:, axis] += np.bincount(triangles[:, k], crosses[:, axis], len(vertices))
    return total / np.maximum(np.linalg.norm(total, axis=1, keepdims=True), 1e-12)


def lay_over(
    vertices: Float[np.ndarray, "v 3"],
    triangles: Int[np.ndarray, "t 3"],
    builtin: FaceModel,
    landmarks: Float[np.ndarray, "68 3"] | None = None,
) -> Float[np.ndarray, "n 3"]:
    """The built-in face's vertices, moved onto a mean face in millimetres that looks along +z.

    Iterated closest points, trimmed, as both faces end somewhere else: rounds of a similarity, then
    some in which the identity changes too. Starts from the landmarks, and holds on to them, where
    they are known; else from the tips of the noses, the foremost points.
    Raises ValueError if the surfaces do not meet.
    """
    from scipy.spatial import KDTree  # heavy, and only here

    mean = np.asarray(builtin.shape_mean, np.float64)
    basis = np.asarray(builtin.identity_basis, np.float64)[..., :IDENTITY_MODES]
    front = np.flatnonzero(vertices[:, 2] > np.quantile(vertices[:, 2], 0.3))
    if len(front) == 0:
        raise ValueError("the mesh does not look like a face that looks along +z")
    tree, facing = KDTree(vertices[front]), normals(vertices, triangles)
    move = Similarity(1.0, np.eye(3), vertices[vertices[:, 2].argmax()] - mean[mean[:, 2].argmax()])
    shape, code, rigid = mean, np.zeros(basis.shape[-1]), RIGID
    if landmarks is not None:
        move, rigid = similarity(landmark_points(builtin)[INNER], landmarks[INNER]), 0
    modes = np.stack([_landmarks_of(basis[..., k], builtin) for k in range(len(code))], -1)
    modes = modes[INNER].reshape(-1, len(code))
    for number in range(rigid + SOFT):
        placed = move(shape)
        distance, index = tree.query(placed)
        index = front[np.asarray(index)]
        own = normals(placed, builtin.triangles)
        kept = distance <= np.quantile(distance, 0.8)
        if number > 5:  # near enough for the sides of a surface to be told apart
            kept &= (own * facing[index]).sum(axis=1) > 0.5
        if kept.sum() < 100:
            raise ValueError("the mesh does not look like a face that looks along +z")
        source, target = shape[kept], vertices[index[kept]]
        if landmarks is not None:
            source, target = _landmarks_of(shape, builtin)[INNER], landmarks[INNER]
        move = similarity(source, target)
        if not 0.5 < move.scale < 2:  # all points meet in one, or a mesh that is no face
            raise ValueError("the mesh does not look like a face that looks along +z")
        if number >= rigid:
            some = np.flatnonzero(kept)[::THINNING]
            wanted = move.back(vertices[index[some]]) - mean[some]
            along = normals(shape, builtin.triangles)[some]
            across = np.einsum("nck,nc->nk", basis[some], along)
            # Mostly along the normals, for surfaces slide on each other.
            matrix, pull = STIFFNESS / THINNING * np.eye(len(code)), np.zeros(len(code))
            for weight, rows, gap in (
                (1.0, across, (wanted * along).sum(axis=1)),
                (0.1, basis[some].reshape(-1, len(code)), wanted.ravel()),
            ):
                matrix, pull = _add(matrix, pull, weight, rows, gap)
            if landmarks is not None:
                gap = (move.back(landmarks) - landmark_points(builtin))[INNER].ravel()
                matrix, pull = _add(matrix, pull, LANDMARK_WEIGHT, modes, gap)
            code = np.linalg.solve(matrix, pull)
            shape = mean + np.einsum("vck,k->vc", basis, code)
    return move(shape)


def _add(matrix: np.ndarray, pull: np.ndarray, weight: float, rows: np.ndarray, gap: np.ndarray):
    """Normal equations with more rows. No product: its threads cost more than so few numbers."""
    return (
        matrix + weight * np.einsum("nk,nl->kl", rows, rows),
        pull + weight * np.einsum("nk,n->k", rows, gap),
    )


def nearest_landmarks(
    vertices: Float[np.ndarray, "v 3"], placed: Float[np.ndarray, "n 3"], builtin: FaceModel
) -> Int[np.ndarray, "68"]:
    """Vertices nearest to the landmarks of the built-in face that `lay_over` placed."""
    from scipy.spatial import KDTree  # heavy, and only here

    return np.asarray(KDTree(vertices).query(_landmarks_of(placed, builtin))[1], np.int32)


class Borrowed(NamedTuple):
    albedo: Float[np.ndarray, "v 3"]
    basis: Float[np.ndarray, "v 3 a"]
    region: Int[np.ndarray, "v"]
    uv: Float[np.ndarray, "v 2"]


def borrowed(
    vertices: Float[np.ndarray, "v 3"],
    placed: Float[np.ndarray, "n 3"],
    builtin: FaceModel,
    *,
    albedo: int | None = None,
    apart: tuple[Bool[np.ndarray, "v"], Bool[np.ndarray, "n"]] | None = None,
) -> Borrowed:
    """Albedo with its first `albedo` modes, region and uv, from the placed built-in face.

    Skin between the built-in's vertices gets the mean of the three nearest, weighted by nearness.
    `apart` says which vertices, of either face, are eyeballs of their own: these take from each
    other, and so does the rest, for lid and eyeball touch.
    """
    from scipy.spatial import KDTree  # heavy, and only here

    distance, index = np.empty((len(vertices), 3)), np.empty((len(vertices), 3), np.int64)
    pairs = [(np.ones(len(vertices), bool), np.ones(len(placed), bool))]
    if apart is not None and all(part.any() for part in apart):
        pairs = [apart, (~apart[0], ~apart[1])]
    for here, there in pairs:
        rows = np.flatnonzero(there)
        nearest: Any = KDTree(placed[rows]).query(vertices[here], k=3)
        distance[here], index[here] = nearest[0], rows[nearest[1]]
    weight = 1 / np.maximum(distance, 1e-3)
    weight = (weight / weight.sum(axis=1, keepdims=True)).astype(np.float32)

    def mixed(values: Any) -> np.ndarray:
        found = np.asarray(values, np.float32)
        shares = weight.reshape(*weight.shape, *[1] * (found.ndim - 1))
        total = shares[:, 0] * found[index[:, 0]]
        for k in (1, 2):  # one after the other: all at once, they take three times the room
            total += shares[:, k] * found[index[:, k]]
        return total

    return Borrowed(
        mixed(builtin.albedo_mean),
        mixed(np.asarray(builtin.albedo_basis)[..., :albedo]),
        np.asarray(builtin.region)[index[:, 0]].astype(np.int32),
        mixed(builtin.uv),
    )


def on_vertices(
    index: Int[np.ndarray, "68"],
) -> tuple[Int[np.ndarray, "68 3"], Float[np.ndarray, "68 3"]]:
    """Landmarks that lie on vertices, as `FaceModel` holds them."""
    weights = np.tile(np.array([1, 0, 0], np.float32), (68, 1))
    return np.repeat(np.asarray(index)[:, None], 3, axis=1).astype(np.int32), weights
