"""The part of a head's mesh that is trained on: the face without ears, neck and inner mouth."""

from typing import Any

import numpy as np
from jaxtyping import Bool, Float, Int
from scipy.sparse import coo_matrix

from focus_jax.face_models.fitting import normals
from focus_jax.types import REGIONS, FaceModel

EYES = REGIONS.index("eyes")
# Millimetres that a lid or lip is thick, and a nostril deep: what folds inwards there looks another
# way, but belongs to the face.
FOLDS = {"eyes": 6.0, "nose": 15.0, "lips": 6.0}
REACH = 10.0  # millimetres between the two surfaces, at most
HOLE = 150.0  # square millimetres that a hole must have, or it is closed
SMOOTHING = 8  # rounds; a border then follows the mesh's edges over this many vertices
MARGIN = 4.0  # millimetres beyond the built-in face's border


def face_patch(
    vertices: Float[np.ndarray, "v 3"],
    triangles: Int[np.ndarray, "t 3"],
    placed: Float[np.ndarray, "n 3"],
    builtin: FaceModel,
) -> tuple[Int[np.ndarray, "k"], Int[np.ndarray, "s 3"]]:
    """Vertices of the face, in order, and its triangles numbered anew.

    What lies over the built-in face (`placed` by `fitting.lay_over`) and looks the same way, as one
    patch whose triangles share edges; eyeballs that are parts of their own are kept too. ValueError
    if there is no such patch.
    """
    from scipy.spatial import KDTree  # heavy, and only here

    nearest: Any = KDTree(placed).query(vertices)
    distance, index = nearest
    rim = np.zeros(len(placed), bool)
    rim[_outer_border(np.asarray(builtin.triangles))] = True
    region = np.asarray(builtin.region)[index]
    same_side = (
        normals(vertices, triangles) * normals(placed, np.asarray(builtin.triangles))[index]
    ).sum(axis=1) > 0
    fold = np.array([FOLDS.get(name, 0.0) for name in REGIONS])[region]
    near = (distance < REACH) & same_side & ~(rim[index] & (distance > MARGIN))
    inside = np.where(fold > 0, near, _smooth(near, triangles)) | (distance < fold)
    chosen = inside[triangles].all(axis=1)
    chosen[~chosen] = _small_parts(vertices, triangles[~chosen])
    kept = _without_teeth(triangles[chosen])
    if len(kept) == 0:
        raise ValueError("no part of the mesh lies where the face should be")
    label = _components(kept)
    sizes = np.bincount(label)
    main = label == sizes.argmax()
    balls = {
        part: vertices[np.unique(kept[label == part])]
        for part in np.flatnonzero((sizes >= 50) & (sizes < sizes.max()))
        if (region[kept[label == part]] == EYES).mean() > 0.9
    }
    # Of surfaces within one another, as cornea and iris are in some models, the foremost is seen.
    seen: list[np.ndarray] = []
    for part, points in sorted(balls.items(), key=lambda ball: -ball[1][:, 2].max()):
        if all(np.linalg.norm(points.mean(axis=0) - other) > REACH for other in seen):
            seen.append(points.mean(axis=0))
            main |= label == part
    kept = kept[main]
    used = np.unique(kept)
    return used, np.searchsorted(used, kept).astype(np.int32)


def eyeballs(
    triangles: Int[np.ndarray, "t 3"], region: Int[np.ndarray, "v"]
) -> Bool[np.ndarray, "v"]:
    """Vertices of the patches, but for the largest, that are eyes almost everywhere."""
    label = _components(triangles)
    sizes = np.bincount(label)
    part = np.bincount(label, region[triangles[:, 0]] == EYES) > 0.9 * sizes
    part[sizes.argmax()] = False
    found = np.zeros(len(region), bool)
    found[triangles[part[label]]] = True
    return found


def connected(triangles: Int[np.ndarray, "t 3"]) -> int:
    """Number of patches whose triangles hang together by edges."""
    return int(_components(triangles).max()) + 1


def _edges(triangles: np.ndarray) -> np.ndarray:
    """The three edges of each triangle, [3t 2], lower vertex first."""
    return np.sort(
        np.concatenate([triangles[:, [0, 1]], triangles[:, [1, 2]], triangles[:, [2, 0]]])
    )


def _alone(edges: np.ndarray) -> np.ndarray:
    """Which of the edges belong to one triangle only."""
    code = edges[:, 0].astype(np.int64) * (edges.max() + 1) + edges[:, 1]
    _, place, counts = np.unique(code, return_inverse=True, return_counts=True)
    return counts[place] == 1


def _smooth(inside: np.ndarray, triangles: np.ndarray) -> np.ndarray:
    """What most vertices around a vertex are, over some rings of neighbours."""
    a, b = _edges(triangles).T
    count = len(inside)
    graph = coo_matrix((np.ones(2 * len(a)), (np.r_[a, b], np.r_[b, a])), (count, count)).tocsr()
    degree = np.maximum(np.asarray(graph.sum(axis=1)).ravel(), 1)
    share = inside.astype(np.float64)
    for _ in range(SMOOTHING):
        share = (share + graph @ share / degree) / 2
    return share > 0.5


def _small_parts(vertices: np.ndarray, triangles: np.ndarray) -> np.ndarray:
    """Which triangles belong to patches smaller than HOLE."""
    if len(triangles) == 0:
        return np.zeros(0, bool)
    a, b, c = (vertices[triangles[:, k]] for k in range(3))
    label = _components(triangles)
    areas = np.bincount(label, np.linalg.norm(np.cross(b - a, c - a), axis=1) / 2)
    return areas[label] < HOLE


def _without_teeth(triangles: np.ndarray) -> np.ndarray:
    """Without triangles that hang on by one edge, which make a border jagged."""
    while len(triangles):
        free = _alone(_edges(triangles)).reshape(3, -1).sum(axis=0)
        if (free < 2).all():
            break
        triangles = triangles[free < 2]
    return triangles


def _components(triangles: np.ndarray) -> np.ndarray:
    """Number of the patch that each triangle belongs to."""
    from scipy.sparse.csgraph import connected_components  # heavy, and only here

    count = len(triangles)
    edges = _edges(triangles)
    order = np.lexsort(edges.T)
    same = (edges[order[1:]] == edges[order[:-1]]).all(axis=1)
    a, b = order[:-1][same] % count, order[1:][same] % count
    graph = coo_matrix((np.ones(len(a), bool), (a, b)), shape=(count, count))
    return connected_components(graph, directed=False)[1]


def _outer_border(triangles: np.ndarray) -> np.ndarray:
    """Vertices on the longest loop of edges that have one triangle only."""
    from scipy.sparse.csgraph import connected_components  # heavy, and only here

    edges = _edges(triangles)
    a, b = edges[_alone(edges)].T
    count = int(triangles.max()) + 1
    graph = coo_matrix((np.ones(len(a), bool), (a, b)), shape=(count, count))
    label = connected_components(graph, directed=False)[1]
    return np.flatnonzero(label == np.bincount(label[a]).argmax())
