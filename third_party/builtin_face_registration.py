"""ICT-FaceKit's scanned faces on the built-in mesh.

The mesh is laid over ICT's mean face once: a similarity by landmarks, then non-rigid closest points
(Amberg et al. 2007, with displacements instead of affine maps): each vertex is drawn to the closest
point that looks the same way, a Laplacian keeps the displacements of neighbours alike, and its
weight falls from round to round. Margins of lids and lips are drawn to those of the scans as
curves, since closest points cannot tell an upper lip from a lower one. What ICT's modes do at the
points where the vertices came to lie is what they do to the built-in mesh. Lengths are millimetres.
"""

from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

import builtin_face_mesh as mesh
import igl
import numpy as np
from scipy import sparse
from scipy.sparse.csgraph import dijkstra
from scipy.sparse.linalg import splu
from scipy.spatial import cKDTree

CENTIMETRE = 10.0
FACE, EYEBALLS = 9409, (21451, 24591)  # vertices of ICT's mesh, see focus_jax/face_models/ict.py
# Landmarks along the margins of lids (upper, lower; right, left), lips (outside, inside).
CURVES = (
    (36, 37, 38, 39), (36, 41, 40, 39), (42, 43, 44, 45), (42, 47, 46, 45),
    (48, 49, 50, 51, 52, 53, 54), (48, 59, 58, 57, 56, 55, 54),
    (60, 61, 62, 63, 64), (60, 67, 66, 65, 64),
)  # fmt: skip
HOLES = (CURVES[0:2], CURVES[2:4], CURVES[6:8])  # eyes and mouth, whose insides no scan has
# Landmarks at the end of curves, whose place on the skin is beyond doubt, hold the curves.
ALIGNING = (30, 31, 32, 33, 34, 35, 36, 39, 42, 45, 48, 51, 54, 57, 62, 66)
CURVE_WEIGHT = 20.0  # of a vertex on a curve, where one on the skin has 1
STIFFNESS = (500.0, 2.0)  # against bending, in the first and the last round
HIDDEN = 0.01  # against steps where nothing is known, beside the above
ROUNDS = 30
REACH = 8.0  # to the closest point, at most
FACING = 0.6  # cosine between the normals, at least
SHALLOW = 0.7  # from our surface: what of the scans' nostrils is farther draws it
DRAWN = 0.2  # weight of one that is drawn, where one on the skin has 1
TURNING = 6.0  # millimetres that a normal turned by a radian is worth there
OVERLAP = 0.5  # of closed lids
SMOOTHING = 0.3  # of the modes, in the unit of STIFFNESS


class Scans(NamedTuple):
    """ICT's face and eyeballs."""

    mean: np.ndarray  # [n 3]
    triangles: np.ndarray  # of the skin
    eyes: np.ndarray  # triangles of the eyeballs
    landmarks: np.ndarray  # [68] vertices
    identity: np.ndarray  # [n 3 100], unit variance
    expression: dict[str, np.ndarray]  # [n 3] at full weight


def read_scans(path: Path) -> Scans:
    """The npz of ICT-FaceKit Light that `focus_jax/face_models/ict.py` describes."""
    with np.load(path) as file:
        arrays = {name: file[name] for name in file.files}
    number, triangles = arrays["orig_index"], arrays["triangles"].astype(np.int64)
    skin, eyes = number < FACE, (EYEBALLS[0] <= number) & (number < EYEBALLS[1])
    changes = CENTIMETRE * arrays["exp_basis"].astype(np.float64)
    return Scans(
        CENTIMETRE * arrays["mean"].astype(np.float64),
        triangles[skin[triangles].all(axis=1)],
        triangles[eyes[triangles].all(axis=1)],
        arrays["lm68"],
        CENTIMETRE * np.moveaxis(arrays["id_basis"].astype(np.float64), 0, -1),
        dict(zip(map(str, arrays["exp_names"]), changes, strict=True)),
    )


def lay_over(
    points: np.ndarray, landmarks: tuple[np.ndarray, np.ndarray], scans: Scans
) -> tuple[np.ndarray, float]:
    """The points, moved and scaled onto the scans' mean face by landmarks; and the scale."""
    corners, weights = (values[list(ALIGNING)] for values in landmarks)
    own = np.einsum("lkc,lk->lc", points[corners], weights)
    wanted = scans.mean[scans.landmarks[list(ALIGNING)]]
    a, b = own - own.mean(axis=0), wanted - wanted.mean(axis=0)
    u, s, vt = np.linalg.svd(a.T @ b)
    scale = float(s.sum() / (a**2).sum())
    return scale * (points - own.mean(axis=0)) @ (u @ vt) + wanted.mean(axis=0), scale


# --- curves --------------------------------------------------------------------------------------


def edges_of(triangles: np.ndarray) -> np.ndarray:
    """Every edge `[e 2]` once."""
    pairs = np.stack([triangles, np.roll(triangles, -1, axis=1)], axis=-1)
    return np.unique(np.sort(pairs.reshape(-1, 2), axis=1), axis=0)


def shortest_paths(points: np.ndarray, triangles: np.ndarray, stops: np.ndarray) -> np.ndarray:
    """Vertices along edges from stop to stop, each once."""
    edges = edges_of(triangles)
    length = np.linalg.norm(points[edges[:, 0]] - points[edges[:, 1]], axis=1)
    graph = sparse.coo_matrix((length, tuple(edges.T)), (len(points), len(points))).tocsr()
    found = [stops[0]]
    for _, last in pairwise(stops):
        _, before = dijkstra(graph, directed=False, indices=last, return_predecessors=True)
        while found[-1] != last:
            found.append(before[found[-1]])
    return np.array(found)


def along(points: np.ndarray) -> np.ndarray:
    """How far along a line `[n 3]` each of its points lies, from 0 to 1."""
    steps = np.r_[0, np.cumsum(np.linalg.norm(np.diff(points, axis=0), axis=1))]
    return steps / steps[-1]


def curve_targets(
    points: np.ndarray, triangles: np.ndarray, corners: np.ndarray, scans: Scans
) -> tuple[np.ndarray, np.ndarray]:
    """Vertices on the curves, and where on the scans' curves they belong: as far along.

    `corners` `[68]` are the landmarks' vertices.
    """
    vertices, targets = [], []
    for curve in CURVES:
        own = shortest_paths(points, triangles, corners[list(curve)])
        theirs = scans.mean[
            shortest_paths(scans.mean, scans.triangles, scans.landmarks[list(curve)])
        ]
        place, there = along(points[own]), along(theirs)
        vertices.append(own)
        targets.append(np.stack([np.interp(place, there, theirs[:, k]) for k in range(3)], axis=1))
    return np.concatenate(vertices), np.concatenate(targets)


def enclosed(triangles: np.ndarray, curve: np.ndarray, count: int) -> np.ndarray:
    """Vertices behind a closed curve: all patches that the curve cuts off but the largest."""
    edges = edges_of(triangles)
    edges = edges[~np.isin(edges, curve).any(axis=1)]
    graph = sparse.coo_matrix((np.ones(len(edges)), tuple(edges.T)), (count, count))
    label = sparse.csgraph.connected_components(graph, directed=False)[1]
    sizes = np.bincount(label[np.unique(triangles)])
    inside = label != sizes.argmax()
    inside[np.setdiff1d(np.arange(count), triangles)] = False
    inside[curve] = False
    return inside


# --- the surface ---------------------------------------------------------------------------------


def stiffness(triangles: np.ndarray, hidden: np.ndarray) -> sparse.csc_matrix:
    """What a displacement costs: its bending, by the square of the uniform Laplacian; and its
    steps, where `hidden`, so that what is filled in there stays within what surrounds it."""
    count = len(hidden)
    a, b = edges_of(triangles).T
    links = sparse.coo_matrix((np.ones(2 * len(a)), (np.r_[a, b], np.r_[b, a])), (count, count))
    degree = np.maximum(np.asarray(links.sum(axis=1)).ravel(), 1)
    linear = sparse.identity(count) - sparse.diags(1 / degree) @ links
    bending = linear.T @ sparse.diags(1.0 * ~hidden) @ linear
    a, b = np.stack([a, b])[:, hidden[a] | hidden[b]]
    rows = np.arange(len(a))
    step = sparse.coo_matrix(
        (np.r_[np.ones(len(a)), -np.ones(len(a))], (np.r_[rows, rows], np.r_[a, b])),
        (len(a), count),
    )
    return (bending + HIDDEN * step.T @ step).tocsc()


def closest(points: np.ndarray, surface: np.ndarray, triangles: np.ndarray):
    """Distance to, triangle of and place of the closest points of a surface."""
    squared, triangle, place = igl.point_mesh_squared_distance(
        np.ascontiguousarray(points), surface, triangles
    )
    return np.sqrt(squared), np.asarray(triangle), np.asarray(place)


def matched(points: np.ndarray, triangles: np.ndarray, scans: Scans):
    """Triangle and place of the closest points, which of them look the same way nearby."""
    distance, triangle, place = closest(points, scans.mean, scans.triangles)
    a, b, c = (scans.mean[scans.triangles[triangle, k]] for k in range(3))
    facing = np.cross(b - a, c - a)
    facing /= np.maximum(np.linalg.norm(facing, axis=1, keepdims=True), 1e-12)
    same = (mesh.vertex_normals(points, triangles) * facing).sum(axis=1) > FACING
    return triangle, place, same & (distance < REACH)


def register(
    start: np.ndarray,
    triangles: np.ndarray,
    hidden: np.ndarray,
    curves: tuple[np.ndarray, np.ndarray],
    scans: Scans,
) -> np.ndarray:
    """The vertices `[v 3]` that `start` moves to. `hidden` ones only follow their neighbours."""
    bending = stiffness(triangles, hidden)
    on_curve = np.zeros(len(start))
    pull = np.zeros_like(start)
    np.add.at(on_curve, curves[0], 1.0)
    np.add.at(pull, curves[0], curves[1] - start[curves[0]])
    pull[on_curve > 0] /= on_curve[on_curve > 0, None]
    on_curve = CURVE_WEIGHT * (on_curve > 0)
    moved = start
    for weight_of_bending in np.geomspace(*STIFFNESS, ROUNDS):
        _, place, good = matched(moved, triangles, scans)
        weight = (good & ~hidden & (on_curve == 0)).astype(float)
        system = sparse.diags(weight + on_curve + 1e-6) + weight_of_bending * bending
        wanted = weight[:, None] * (place - start) + on_curve[:, None] * pull
        moved = start + splu(system.tocsc()).solve(wanted)
    return moved


def deepened(
    moved: np.ndarray, triangles: np.ndarray, hidden: np.ndarray, scans: Scans
) -> np.ndarray:
    """The vertices `[v 3]` with nostrils as deep as the scans'.

    Closest points stay at the entrance; here the scans' cavity, vertex by vertex, draws the nearest
    of ours that looks the same way.
    """
    bending = stiffness(triangles, hidden)
    theirs = mesh.vertex_normals(scans.mean, scans.triangles)
    middle = scans.mean[scans.landmarks[33]]
    cavity = np.unique(scans.triangles)
    cavity = cavity[near_nostrils(scans.mean[cavity], middle)]
    cavity = cavity[closest(scans.mean[cavity], moved, triangles)[0] > SHALLOW]
    inner = np.flatnonzero(near_nostrils(moved, middle) & ~hidden)
    for _ in range(10):
        _, place, good = matched(moved, triangles, scans)
        weight = (good & ~hidden).astype(float)
        facing = mesh.vertex_normals(moved, triangles)
        features = np.c_[moved[inner], TURNING * facing[inner]]
        own = cKDTree(features).query(np.c_[scans.mean[cavity], TURNING * theirs[cavity]])[1]
        for vertex in np.unique(own):
            place[inner[vertex]] = scans.mean[cavity[own == vertex]].mean(axis=0)
            weight[inner[vertex]] = DRAWN
        system = sparse.diags(weight + 1e-6) + STIFFNESS[1] * bending
        moved = moved + splu(system.tocsc()).solve(weight[:, None] * (place - moved))
    return moved


def near_nostrils(points: np.ndarray, middle: np.ndarray) -> np.ndarray:
    """Which points are within a box round the nostrils, given the point below the nose."""
    away = points - middle
    return ((away > [-14, -3, -13]) & (away < [14, 13, 13])).all(axis=1)


def carried(moved: np.ndarray, triangles: np.ndarray, hidden: np.ndarray, scans: Scans):
    """A function that carries what happens to the scans' vertices `[n k]` over to ours `[v k]`.

    Read at the closest points, by barycentric coordinates, and lightly smoothed; where there is
    none, as the neighbours.
    """
    triangle, place, good = matched(moved, triangles, scans)
    weight = (good & ~hidden).astype(float)
    read = reading(scans.mean, scans.triangles, triangle, place)
    bending = stiffness(triangles, hidden)
    solver = splu((sparse.diags(weight + 1e-6) + SMOOTHING * bending).tocsc())

    def carry(values: np.ndarray) -> np.ndarray:
        flat = values.reshape(len(values), -1)
        return solver.solve(weight[:, None] * (read @ flat)).reshape(-1, *values.shape[1:])

    return carry


def closing(
    points: np.ndarray,
    triangles: np.ndarray,
    hidden: np.ndarray,
    change: np.ndarray,
    upper: np.ndarray,
    lower: np.ndarray,
) -> np.ndarray:
    """What to add to a blink's `change` so that the lids' margins, vertices from corner to corner,
    meet: both go half of what is missing, and OVERLAP, and take the lids along."""
    moved = points + change
    place, there = along(points[upper]), along(points[lower])
    line = np.stack([np.interp(place, there, moved[lower, k]) for k in range(3)], axis=1)
    back = np.stack([np.interp(there, place, moved[upper, k]) for k in range(3)], axis=1)
    within = np.sin(np.pi * place)[:, None] ** 0.5, np.sin(np.pi * there)[:, None] ** 0.5
    wanted = np.zeros_like(points)
    wanted[upper] = within[0] * ((line - moved[upper]) / 2 - [0, OVERLAP / 2, 0])
    wanted[lower] = within[1] * ((back - moved[lower]) / 2 + [0, OVERLAP / 2, 0])
    weight = np.full(len(points), 0.02)
    weight[np.r_[upper, lower]] = CURVE_WEIGHT
    system = sparse.diags(weight) + stiffness(triangles, hidden)
    return splu(system.tocsc()).solve(weight[:, None] * wanted)


def reading(
    points: np.ndarray, triangles: np.ndarray, triangle: np.ndarray, place: np.ndarray
) -> sparse.csr_matrix:
    """Barycentric coordinates of places in triangles, as a matrix `[places points]`."""
    a, b, c = (points[triangles[triangle, k]] for k in range(3))
    sides = np.stack([b - a, c - a], axis=-1)
    gram = np.einsum("nci,ncj->nij", sides, sides) + 1e-12 * np.eye(2)
    inner = np.linalg.solve(gram, np.einsum("nci,nc->ni", sides, place - a)[..., None])[..., 0]
    weights = np.concatenate([1 - inner.sum(axis=1, keepdims=True), inner], axis=1)
    rows = np.repeat(np.arange(len(place)), 3)
    shape = (len(place), len(points))
    return sparse.coo_matrix((weights.ravel(), (rows, triangles[triangle].ravel())), shape).tocsr()
