"""Fewer vertices where nobody looks: the sockets behind the eyeballs, the inside of the mouth.

A third of a mesh that is as fine everywhere lies where it is never seen, and the renderer's work
grows with each vertex. Vertices are left out, none is moved.
"""

import builtin_face_registration as registration
import numpy as np
from scipy import sparse

SOCKET = 4  # edges behind a lid's margin that are kept
LINING = 4  # edges behind a lip's that stay as fine as the lips


def kept(
    triangles: np.ndarray, hierarchy: np.ndarray, sockets: np.ndarray, lining: np.ndarray
) -> np.ndarray:
    """The triangles `[t 3]` without those deep in the sockets, and with one quad where four were
    deep in the mouth.

    `hierarchy` `[q 9]` are each quad's corners, the middles of the edges that follow them, and its
    own middle; `sockets` and `lining` `[v]` say which vertices lie behind the lids and lips.
    """
    socket = deep(triangles, sockets, SOCKET)
    triangles = triangles[~socket[triangles].all(axis=1)]
    coarse = hierarchy[deep(triangles, lining, LINING)[hierarchy].all(axis=1)]
    if not len(coarse):
        return triangles
    of = sparse.coo_matrix(
        (np.ones(coarse.size), (coarse.ravel(), np.repeat(np.arange(len(coarse)), 9))),
        (triangles.max() + 1, len(coarse)),
    ).tocsr()
    together = of[triangles[:, 0]].multiply(of[triangles[:, 1]]).multiply(of[triangles[:, 2]])
    fine = triangles[np.asarray(together.sum(axis=1)).ravel() == 0]
    used = np.isin(np.arange(triangles.max() + 1), fine)
    merged = []
    for quad in coarse:
        corners, middles, middle = quad[:4], quad[4:8], quad[8]
        if not used[middles].any():
            merged += [corners[[0, 1, 2]], corners[[0, 2, 3]]]
            continue
        # Its finer neighbours have a vertex in the middle of an edge, and so must it.
        outline = np.stack([corners, np.where(used[middles], middles, -1)], axis=1).ravel()
        outline = outline[outline >= 0]
        merged += [[middle, a, b] for a, b in zip(outline, np.roll(outline, -1), strict=True)]
    return np.concatenate([fine, np.array(merged)])


def deep(triangles: np.ndarray, inside: np.ndarray, steps: int) -> np.ndarray:
    """Of the vertices `inside`, those that are more than so many edges away from all others."""
    a, b = registration.edges_of(triangles).T
    near = ~inside
    for _ in range(steps):
        grown = near.copy()
        grown[a[near[b]]] = True
        grown[b[near[a]]] = True
        near = grown
    return ~near


def rows(arrays: dict[str, np.ndarray], count: int, keep: np.ndarray) -> dict[str, np.ndarray]:
    """The arrays, of those with `count` rows only the rows `keep`."""
    return {k: a[keep] if a.ndim and len(a) == count else a for k, a in arrays.items()}
