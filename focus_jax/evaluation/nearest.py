"""Whether reconstructions are personal: how often each is nearest to its own scan among all."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float, Int

from focus_jax.evaluation import scans
from focus_jax.face_models.fitting import similarity

POINTS = 120  # of a scan: enough to tell which is nearer
STEPS = 8  # of the alignment

Scanned = tuple[Float[np.ndarray, "n 3"], Float[np.ndarray, "7 3"]]  # vertices, landmarks
Mesh = tuple[Float[np.ndarray, "v 3"], Int[np.ndarray, "t 3"], Float[np.ndarray, "7 3"]]


def own_nearest(targets: Sequence[Scanned], meshes: Sequence[Mesh]) -> tuple[float, float]:
    """Of as many meshes as scans: share of those nearest to their own scan, and its mean rank.

    Rank 1 is the nearest. Of n scans chance is a share of 1/n and a rank of (n + 1) / 2; a face
    that is the same for everyone has the rank of chance.
    """
    distance = distances(targets, meshes)
    rank = 1 + (distance < distance.diagonal()[:, None]).sum(axis=1)
    return float((rank == 1).mean()), float(rank.mean())


def distances(targets: Sequence[Scanned], meshes: Sequence[Mesh]) -> Float[np.ndarray, "k l"]:
    """Mean distance of each scan to each mesh, aligned and scaled, in the mesh's own unit.

    In the scan's, small heads would be near to everything.
    """
    thinned = []
    for points, landmarks in targets:
        face = scans.crop(points, landmarks)
        thinned.append((face[:: max(1, len(face) // POINTS)], landmarks))
    rows = []
    for vertices, triangles, own in meshes:
        surface = scans.Surface(vertices, triangles)
        rows.append([_distance(points, marks, surface, own) for points, marks in thinned])
    return np.array(rows)


def _distance(
    points: np.ndarray, landmarks: np.ndarray, surface: scans.Surface, own: np.ndarray
) -> float:
    start = similarity(own, landmarks)
    motion = scans.refine(points, surface, start, steps=STEPS)
    return float(scans.distances(points, surface, motion).mean() / motion.scale)
