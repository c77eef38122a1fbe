"""The face's mesh, cut out of MakeHuman's base mesh, and its landmarks.

Every vertex of the face is a fixed mixture of the base mesh's vertices, one row of a sparse matrix,
so that what moves the base mesh moves the face. Lengths here are millimetres, x to the subject's
left, y up, z forwards, with MakeHuman's origin.
"""

import numpy as np
from scipy import sparse
from scipy.spatial import cKDTree

# Where iBUG points lie on the base mesh: x (the subject's right is negative) and y.
# The jaw (0 to 16) is found as an outline; the left half mirrors the right.
RIGHT_POINTS = {
    17: (-53.5, 744), 18: (-46.5, 749.5), 19: (-37.5, 752), 20: (-27, 751.7), 21: (-16.5, 749.3),
    27: (0, 727), 28: (0, 715), 29: (0, 703), 30: (0, 692),
    31: (-12, 681.5), 32: (-6.5, 680.3), 33: (0, 678.9),
    36: (-44.4, 729), 37: (-38.2, 732.8), 38: (-26.4, 732.6), 39: (-17.5, 727.4),
    40: (-26.4, 724.1), 41: (-36.5, 724),
    48: (-25, 661), 49: (-15, 670), 50: (-7, 672), 51: (0, 669.6),
    59: (-17, 653), 58: (-8.5, 650), 57: (0, 648.8),
    60: (-22.4, 661.2), 61: (-8, 661.3), 62: (0, 660.8), 67: (-8, 660.3), 66: (0, 660.1),
}  # fmt: skip
MIRROR = {
    17: 26, 18: 25, 19: 24, 20: 23, 21: 22, 31: 35, 32: 34, 36: 45, 37: 44, 38: 43, 39: 42, 40: 47,
    41: 46, 48: 54, 49: 53, 50: 52, 59: 55, 58: 56, 60: 64, 61: 63, 67: 65,
}  # fmt: skip
LOWER_LIP = (55, 56, 57, 58, 59, 65, 66, 67)
# Directions of the points 0 to 8 seen from the middle between the eyes, as on the standard face.
JAW_ANGLES = np.deg2rad([-5, -20, -33, -44, -54, -63, -71, -80, -90])
EYES_MIDDLE = np.array([0.0, 729.0])

# Radii of the rings that an eyeball's front is made of: pupil, iris, white, in parts of the ball's
# radius. Two rings close together make an edge of the paint sharp.
RINGS = (0.11, 0.155, 0.25, 0.345, 0.40, 0.56, 0.72, 0.85, 0.94)
SPOKES = 32


# --- the part that is a face ---------------------------------------------------------------------


def depth_inside(points: np.ndarray) -> np.ndarray:
    """How far (about) a point lies inside the face, rounded where two limits meet.

    The face reaches up to the hairline, back to the ears, and a strip under the jaw.
    """
    x, y, z = points.T
    limits = np.stack([
        z - 72,
        812 - y - 0.007 * x**2,  # the hairline, rounded
        (z - 72 - 0.55 * (y - 745)) / 1.14,  # the hairline slopes forwards at the temples
        (z - 68 - 2.0 * (649 - y)) / 2.24,  # under the jaw, across what slopes down to the neck
    ])  # fmt: skip
    softness = 6.0
    return -softness * np.log(np.exp(-limits / softness).sum(axis=0))


def grow(marked: np.ndarray, quads: np.ndarray, rings: int) -> np.ndarray:
    """The marked vertices and those up to so many quads away."""
    marked = marked.copy()
    for _ in range(rings):
        marked[quads[marked[quads].any(axis=1)]] = True
    return marked


def largest_patch(quads: np.ndarray) -> np.ndarray:
    """The quads of the largest connected patch."""
    a, b = quads.ravel(), np.roll(quads, 1, axis=1).ravel()
    count = quads.max() + 1
    graph = sparse.coo_matrix((np.ones(len(a)), (a, b)), (count, count))
    _, label = sparse.csgraph.connected_components(graph, directed=False)
    patch = label[quads[:, 0]]
    return quads[patch == np.bincount(patch).argmax()]


def split_quads(quads: np.ndarray, points: np.ndarray) -> np.ndarray:
    """Two triangles for each quad, along its shorter diagonal, so that left mirrors right."""
    a, b, c, d = (points[quads[:, k]] for k in range(4))
    other = np.linalg.norm(b - d, axis=1) < np.linalg.norm(a - c, axis=1) - 1e-6
    q = np.where(other[:, None], np.roll(quads, -1, axis=1), quads)
    return np.concatenate([q[:, [0, 1, 2]], q[:, [0, 2, 3]]])


def cut(points: np.ndarray, quads: np.ndarray, inside_mouth: np.ndarray):
    """Quads of the skin with all of the mouth's inside, and the mixture `[n n]` that slides the
    border onto the smooth cut."""
    depth = depth_inside(points)
    outer = inside_mouth < 0.5
    face = grow(outer & (depth > -10), quads, 2)
    quads = quads[((face & outer) | ~outer)[quads].all(axis=1)]
    keep = (depth > 1.5)[quads].any(axis=1) | ~outer[quads].any(axis=1)
    quads = largest_patch(quads[keep])
    mixture = sparse.identity(len(points), format="lil")
    near = np.stack([quads.ravel(), np.roll(quads, 1, axis=1).ravel()], axis=1)
    near = np.concatenate([near, near[:, ::-1]])
    diagonal = np.concatenate(
        [quads[:, [0, 2]], quads[:, [1, 3]], quads[:, [2, 0]], quads[:, [3, 1]]]
    )
    deep = (depth > 1.5) & outer
    for vertex in np.unique(quads[((depth <= 1.5) & outer)[quads]]):
        within = near[(near[:, 0] == vertex) & deep[near[:, 1]], 1]
        if not len(within):
            within = diagonal[(diagonal[:, 0] == vertex) & deep[diagonal[:, 1]], 1]
        within = np.unique(within)
        if not len(within):
            continue
        part = depth[within] / (depth[within] - depth[vertex])  # of the way from inside to the cut
        part = np.clip(part, 0, 1) / len(within)
        mixture[vertex, vertex] = part.sum()
        mixture[vertex, within] = 1 / len(within) - part
    return quads, mixture.tocsr()


# --- finer everywhere ----------------------------------------------------------------------------


def incidence(rows: np.ndarray, columns: np.ndarray, shape: tuple[int, int]) -> sparse.csr_matrix:
    """Ones at the given places."""
    return sparse.coo_matrix(
        (np.ones(np.size(rows)), (np.ravel(rows), np.ravel(columns))), shape
    ).tocsr()


def catmull_clark(quads: np.ndarray, count: int):
    """Four quads for each (Catmull and Clark 1978), the old vertices first.

    Returns the quads and two mixtures `[m count]`: a smooth one for places, and a linear one for
    texture coordinates.
    """
    pairs = np.sort(np.stack([quads, np.roll(quads, -1, axis=1)], axis=-1), axis=-1)
    names, index, uses = np.unique(
        pairs.reshape(-1, 2), axis=0, return_inverse=True, return_counts=True
    )
    index, faces, edges = index.reshape(-1, 4), len(quads), len(names)
    own = np.repeat(np.arange(faces), 4)
    middle_of_face = incidence(own, quads, (faces, count)) / 4
    middle_of_edge = incidence(np.repeat(np.arange(edges), 2), names, (edges, count)) / 2
    border = uses == 1
    of_edge = sparse.diags(np.where(border, 1, 0.5)) @ middle_of_edge + sparse.diags(
        np.where(border, 0, 0.25)
    ) @ (incidence(index, own, (edges, faces)) @ middle_of_face)
    to_faces = incidence(quads, own, (count, faces))
    to_edges = incidence(names, np.repeat(np.arange(edges), 2), (count, edges))
    valence, spokes = (
        np.maximum(np.asarray(m.sum(axis=1)).ravel(), 1) for m in (to_faces, to_edges)
    )
    inner = (
        sparse.diags(1 / valence**2) @ (to_faces @ middle_of_face)
        + sparse.diags(2 / (valence * spokes)) @ (to_edges @ middle_of_edge)
        + sparse.diags((valence - 3) / valence)
    )
    rim = to_edges[:, np.flatnonzero(border)]
    outer = 0.5 * sparse.identity(count) + 0.25 * (rim @ middle_of_edge[np.flatnonzero(border)])
    on_rim = np.asarray(rim.sum(axis=1)).ravel() == 2
    of_vertex = sparse.diags(1.0 * ~on_rim) @ inner + sparse.diags(1.0 * on_rim) @ outer
    smooth = sparse.vstack([of_vertex, of_edge, middle_of_face]).tocsr()
    linear = sparse.vstack([sparse.identity(count), middle_of_edge, middle_of_face]).tocsr()
    middle = count + edges + np.arange(faces)
    finer = [
        np.stack([quads[:, k], count + index[:, k], middle, count + index[:, k - 1]], axis=1)
        for k in range(4)
    ]
    return np.concatenate(finer), smooth, linear


# --- finer where paint needs it ------------------------------------------------------------------


def refine(triangles: np.ndarray, marked: np.ndarray, count: int):
    """Split the marked triangles in four and their neighbours to fit.

    Returns the triangles and the mixture `[m count]` that adds the middles of the split edges.
    """
    edges = np.sort(np.stack([triangles, np.roll(triangles, -1, axis=1)], axis=-1), axis=-1)
    names, index = np.unique(edges.reshape(-1, 2), axis=0, return_inverse=True)
    index = index.reshape(-1, 3)
    split = np.zeros(len(names), bool)
    split[index[marked]] = True
    middle = np.full(len(names), -1)
    middle[split] = count + np.arange(split.sum())
    out = []
    for triangle, m in zip(triangles, middle[index], strict=True):
        # Turn the triangle until the unsplit edges, if any, come last.
        turn = next((k for k in range(3) if m[k] >= 0 and m[k - 1] < 0), 0)
        (a, b, c), (ab, bc, ca) = np.roll(triangle, -turn), np.roll(m, -turn)
        if ca >= 0:
            out += [(a, ab, ca), (ab, b, bc), (bc, c, ca), (ab, bc, ca)]
        elif bc >= 0:
            out += [(a, ab, c), (ab, bc, c), (ab, b, bc)]
        elif ab >= 0:
            out += [(a, ab, c), (ab, b, c)]
        else:
            out += [(a, b, c)]
    rows = np.repeat(np.arange(split.sum()), 2)
    halves = sparse.coo_matrix(
        (np.full(len(rows), 0.5), (rows, names[split].ravel())), (split.sum(), count)
    )
    return np.array(out), sparse.vstack([sparse.identity(count), halves]).tocsr()


# --- eyeballs ------------------------------------------------------------------------------------


def eyeball(points: np.ndarray, ball: np.ndarray):
    """Front of one eyeball as rings round its pupil: triangles, mixture `[n all]`, and for each
    vertex its distance from the axis in parts of the radius.

    MakeHuman's own eyeball has too few vertices for an iris. Targets move an eyeball about
    affinely, so each new vertex is the affine function of the old ones that is exact at its place.
    """
    old = points[ball]
    centre = (old.min(axis=0) + old.max(axis=0)) / 2
    # The ball's own front is flattened: a cornea does not bulge enough to show.
    radius = (np.ptp(old[:, 0]) + np.ptp(old[:, 1])) / 4
    angle = np.arange(SPOKES) * 2 * np.pi / SPOKES
    polar = np.array([(0.0, 0.0)] + [(r, a) for r in RINGS for a in angle])
    x, y = polar[:, 0] * np.cos(polar[:, 1]), polar[:, 0] * np.sin(polar[:, 1])
    depth = (old[:, 2].max() - centre[2]) * np.sqrt(1 - polar[:, 0] ** 2)
    new = centre + np.stack([radius * x, radius * y, depth], axis=1)
    ones = np.ones((len(old), 1))
    weights = np.hstack([new, np.ones((len(new), 1))]) @ np.linalg.pinv(np.hstack([old, ones]))
    mixture = sparse.lil_matrix((len(new), len(points)))
    mixture[:, ball] = weights
    first = 1 + np.arange(SPOKES)
    triangles = [np.stack([np.zeros(SPOKES, int), first, np.roll(first, -1)], axis=1)]
    for ring in range(len(RINGS) - 1):
        a, b = first + ring * SPOKES, first + (ring + 1) * SPOKES
        an, bn = np.roll(a, -1), np.roll(b, -1)
        triangles += [np.stack([a, b, bn], axis=1), np.stack([a, bn, an], axis=1)]
    return np.concatenate(triangles), mixture.tocsr(), polar[:, 0]


# --- geometry ------------------------------------------------------------------------------------


def vertex_normals(points: np.ndarray, triangles: np.ndarray) -> np.ndarray:
    a, b, c = (points[triangles[:, k]] for k in range(3))
    normals = np.zeros_like(points)
    for k in range(3):
        np.add.at(normals, triangles[:, k], np.cross(b - a, c - a))
    return normals / np.maximum(np.linalg.norm(normals, axis=1, keepdims=True), 1e-12)


def mirror_of(points: np.ndarray) -> np.ndarray:
    """For each vertex the one at its mirror image."""
    distance, index = cKDTree(points).query(points * [-1, 1, 1])
    if distance.max() > 0.3 or len(np.unique(index)) != len(points):
        raise ValueError(f"the base mesh is not symmetric: {distance.max():.3f} mm")
    return index


def seen_from_front(points: np.ndarray, triangles: np.ndarray, normals: np.ndarray) -> np.ndarray:
    """Whether each vertex faces forwards with nothing before it."""
    a, b, c = (points[triangles[:, k]] for k in range(3))
    area = (b[:, 0] - a[:, 0]) * (c[:, 1] - a[:, 1]) - (b[:, 1] - a[:, 1]) * (c[:, 0] - a[:, 0])
    front = area > 1e-6
    corners, areas = np.stack([a, b, c])[:, front], area[front]
    low, high = corners[..., 1].min(axis=0) - 1e-3, corners[..., 1].max(axis=0) + 1e-3
    hidden = np.zeros(len(points), bool)
    for chunk in np.array_split(np.argsort(points[:, 1]), 100):
        x, y, z = points[chunk].T[:, :, None]
        near = (low <= y.max()) & (high >= y.min())
        (a, b, c), area = corners[:, near], areas[near]
        v = ((x - a[:, 0]) * (c[:, 1] - a[:, 1]) - (y - a[:, 1]) * (c[:, 0] - a[:, 0])) / area
        w = ((b[:, 0] - a[:, 0]) * (y - a[:, 1]) - (b[:, 1] - a[:, 1]) * (x - a[:, 0])) / area
        height = (1 - v - w) * a[:, 2] + v * b[:, 2] + w * c[:, 2]
        hidden[chunk] = ((v >= 0) & (w >= 0) & (v + w <= 1) & (height > z + 0.5)).any(axis=1)
    return ~hidden & (normals[:, 2] > 0.1)


# --- landmarks -----------------------------------------------------------------------------------


def landmarks(points: np.ndarray, triangles: np.ndarray, skin: np.ndarray, jaw_open: np.ndarray):
    """Vertices `[68 3]` and weights `[68 3]` of the landmarks. `jaw_open` is how jawOpen moves."""
    normals = vertex_normals(points, triangles)
    free = seen_from_front(points, triangles, normals) & skin
    lower = jaw_open[:, 1] < -9
    vertices, weights = np.zeros((68, 3), int), np.tile([1.0, 0, 0], (68, 1))
    for landmark, place in RIGHT_POINTS.items():
        distance = np.linalg.norm(points[:, :2] - place, axis=1) + 100 * ~free
        distance[points[:, 0] > 0.01] += 100
        if place[0] == 0:
            distance[np.abs(points[:, 0]) > 0.01] += 100
        if landmark >= 48:  # of the lips' rims the one that belongs to the point
            distance[lower != (landmark in LOWER_LIP)] += 10
        vertices[landmark] = distance.argmin()
    opposite = mirror_of(points)
    for right, left in MIRROR.items():
        vertices[left] = opposite[vertices[right]]
    edges = np.sort(
        np.stack([triangles, np.roll(triangles, -1, axis=1)], axis=-1).reshape(-1, 2), axis=-1
    )
    edges = np.unique(edges, axis=0)
    outline = (normals[:, 1] > -0.8) & (normals[:, 2] > -0.35) & skin
    edges = edges[outline[edges].all(axis=1) & (points[edges, 0] < 0.01).all(axis=1)]
    for number, angle in enumerate(JAW_ANGLES):
        pair, part = outermost(points, edges, np.array([-np.cos(angle), np.sin(angle)]))
        vertices[number], weights[number] = (*pair, pair[0]), (1 - part, part, 0)
        pair = opposite[pair]
        vertices[16 - number], weights[16 - number] = (*pair, pair[0]), (1 - part, part, 0)
    return vertices, weights


def outermost(points: np.ndarray, edges: np.ndarray, direction: np.ndarray):
    """The edge that meets the ray from between the eyes farthest out, and where on it.

    The nearer end comes first, so that the place is in [0, 0.5].
    """
    offset = points[edges][..., :2] - EYES_MIDDLE
    across = offset @ np.array([-direction[1], direction[0]])
    touching = np.abs(across) < 1e-9
    across = np.where(touching, 0, across)
    crossing = (across[:, 0] * across[:, 1] <= 0) & ~touching.all(axis=1)
    part = np.where(crossing, across[:, 0] / np.where(crossing, across[:, 0] - across[:, 1], 1), 0)
    along = (offset @ direction * np.stack([1 - part, part], axis=1)).sum(axis=1)
    best = np.where(crossing, along, -np.inf).argmax()
    if part[best] > 0.5:
        return edges[best][::-1], 1 - part[best]
    return edges[best], part[best]
