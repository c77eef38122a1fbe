"""A mesh deformed onto points: the non-rigid closest points of Amberg, Romdhani and Vetter (2007).

Each vertex has an affine map of its own. Those of neighbours are to be alike, the more so the
stiffer, while vertices go to the points nearest to them and some to places that are given.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import scipy.sparse
import scipy.sparse.linalg
from jaxtyping import Float, Int
from scipy.spatial import KDTree

FAR = 2.0  # times the mean distance: points further away than that, and than 1, do not count
LOOSE = 1e-13  # of the matrix's trace a row: holds vertices that nothing else does


class Stage(NamedTuple):
    """A part of the way, of constant stiffness."""

    stiffness: float
    change: float  # of all maps' entries, root of squares: the stage is over when a step's is less
    most: int | None = None  # steps
    nearest: bool = True  # whether the points count, or the places alone
    axes: tuple[float, float, float, float] = (1.0, 1.0, 1.0, 1.0)  # stiffness of the maps' rows
    place: float = 0.0  # weight of the places in the first of all steps
    fading: float = 0.0  # by exp(-fading) in each step after it


def deform(
    vertices: Float[np.ndarray, "v 3"],
    triangles: Int[np.ndarray, "t 3"],
    points: Float[np.ndarray, "n 3"],
    stages: Sequence[Stage],
    numbers: Int[np.ndarray, "k"] | None = None,
    places: Float[np.ndarray, "k 3"] | None = None,
) -> Float[np.ndarray, "v 3"]:
    """The vertices, deformed onto the points stage by stage; `numbers` of them go to `places`."""
    numbers = np.zeros(0, int) if numbers is None else numbers
    places = np.zeros((0, 3)) if places is None else places
    tree, current, steps = KDTree(points), np.array(vertices, np.float64), 0
    edges = np.unique(np.sort(triangles[:, [0, 1, 1, 2, 2, 0]].reshape(-1, 2), axis=1), axis=0)
    rows = np.repeat(np.arange(len(edges)), 2)
    signs = np.tile([1.0, -1.0], len(edges))
    shape = len(edges), len(vertices)
    arcs = scipy.sparse.csr_matrix((signs, (rows, edges.ravel())), shape=shape)
    maps, change = np.zeros((len(vertices), 4, 3)), np.inf
    for stage in stages:
        stiff = stage.stiffness**2 * np.square(stage.axes)
        rigid = scipy.sparse.kron(arcs.T @ arcs, scipy.sparse.diags(stiff), format="csc")
        taken = 0
        while change > stage.change and (stage.most is None or taken < stage.most):
            away, nearest = tree.query(current)
            near = (away < max(FAR * away.mean(), 1.0)) & stage.nearest
            held = np.zeros(len(vertices))
            held[numbers] = (stage.place * np.exp(-stage.fading * steps)) ** 2
            aims = near[:, None] * points[nearest]
            aims[numbers] += held[numbers, None] * places
            before, maps = maps, _solve(rigid, current, near + held, aims)
            current = (_homogeneous(current)[:, None] @ maps)[:, 0]
            steps, taken, change = steps + 1, taken + 1, float(np.linalg.norm(maps - before))
    return current


def _homogeneous(vertices: np.ndarray) -> np.ndarray:
    return np.concatenate([vertices, np.ones((len(vertices), 1))], axis=1)


def _solve(
    rigid: scipy.sparse.csc_matrix, vertices: np.ndarray, weights: np.ndarray, aims: np.ndarray
) -> np.ndarray:
    """The maps `[v 4 3]` of least squares; `aims` are targets times `weights`."""
    own = _homogeneous(vertices)
    blocks = weights[:, None, None] * own[:, :, None] * own[:, None]
    count = np.arange(len(vertices) + 1)
    data = scipy.sparse.bsr_matrix((blocks, count[:-1], count)).tocsc()
    loose = LOOSE * (rigid.diagonal().sum() + data.diagonal().sum()) / len(own)
    matrix = rigid + data + loose * scipy.sparse.identity(4 * len(own), format="csc")
    still = np.broadcast_to(loose * np.eye(4, 3), (len(own), 4, 3))
    wanted = (own[:, :, None] * aims[:, None] + still).reshape(-1, 3)
    factors = scipy.sparse.linalg.splu(
        matrix, permc_spec="MMD_AT_PLUS_A", diag_pivot_thresh=0.0, options={"SymmetricMode": True}
    )
    return factors.solve(wanted).reshape(-1, 4, 3)
