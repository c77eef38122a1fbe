"""What is around a face: ears, skull, neck and shoulders of MakeHuman's mesh, and clothes."""

from pathlib import Path
from typing import NamedTuple

import numpy as np
from scipy import sparse

from focus_jax.rendering import scenes
from focus_jax.types import FaceModel

NAPE = np.array([0.0, -95.0, -85.0])  # about which a head turns on its neck, mm
WHOLE = 170.0  # mm from front to back, from which a face model is a whole head
SMOOTH = 12.0  # mm over which the border's shape is averaged
FADE = 40.0  # mm over which the body forgets it


class Body(NamedTuple):
    """The body at rest around the mean of a face model, and how it follows the face's border."""

    vertices: np.ndarray  # [n 3] float32
    triangles: np.ndarray  # [t 3] int32
    border: np.ndarray  # [k] the face's vertices on its border
    shares: sparse.csr_matrix  # [n k] of the border's vertices in the nearest of it
    follow: np.ndarray  # [n 1] how far a vertex moves with it: 1 next to it
    blend: np.ndarray  # [n 1] how far a vertex turns with the head
    scalp: np.ndarray  # [n] where hair grows, 0 to 1


def around(face_model: FaceModel) -> Body | None:
    """The body that belongs to a face model; None if that is a head already, or no face."""
    mean = np.asarray(face_model.shape_mean)
    triangles = np.asarray(face_model.triangles)
    if np.ptp(mean[:, 2]) > WHOLE:
        return None
    with np.load(Path(__file__).with_name("body.npz")) as file:
        vertices, own, known = (file[k] for k in ("vertices", "triangles", "landmarks"))
    corners, weights = face_model.landmark_vertices, face_model.landmark_weights
    landmarks = np.einsum("lkc,lk->lc", mean[np.asarray(corners)], np.asarray(weights))
    tall = np.concatenate([known, np.ones((68, 1))], axis=1)
    motion = np.linalg.lstsq(tall, landmarks, rcond=None)[0]
    scalp = _scalp(vertices)
    blend = np.clip((vertices[:, 1:2] + 150) / 60, 0, 1)
    vertices = vertices @ motion[:3] + motion[3]
    border = outline(triangles, mean)
    apart = np.linalg.norm(vertices[:, None] - mean[border], axis=-1)
    least = apart.min(axis=1, keepdims=True)
    shares = np.exp((least - apart) / SMOOTH)
    shares /= shares.sum(axis=1, keepdims=True)
    follow = np.exp(-least / FADE)
    # Where the body is nearest to the border it must meet it: a face model of other people may not.
    nearest = np.linalg.norm(mean[border][:, None] - vertices, axis=-1).argmin(axis=1)
    gaps = mean[border] - vertices[nearest]
    vertices = vertices + follow * (shares @ gaps)
    few = sparse.csr_matrix(np.where(shares > 0.02, shares, 0).astype(np.float32))
    vertices, follow, blend, scalp = (
        a.astype(np.float32) for a in (vertices, follow, blend, scalp)
    )
    return Body(vertices, own, border, few, follow, blend, scalp)


def _scalp(vertices: np.ndarray) -> np.ndarray:
    """How much hair grows at places of the body, 0 to 1."""
    x, y, z = vertices.T
    back = np.clip((-45 - z) / 25, 0, 1) * np.clip((y + 45) / 25, 0, 1)  # behind the ears
    top = np.clip((y - 62) / 12, 0, 1)
    ears = (np.abs(x) > 68) & (np.abs(y - 12) < 42) & (z > -110)
    return np.maximum(back, top) * (1 - ears * np.clip((58 - y) / 12, 0, 1))


def outline(triangles: np.ndarray, vertices: np.ndarray) -> np.ndarray:
    """The vertices of a mesh's longest border."""
    pairs = np.sort(
        np.concatenate([triangles[:, [0, 1]], triangles[:, [1, 2]], triangles[:, [2, 0]]])
    )
    edges, uses = np.unique(pairs, axis=0, return_counts=True)
    edges = edges[uses == 1]
    if not len(edges):
        raise ValueError("the face model's mesh has no border, behind which its head could begin")
    graph = sparse.coo_matrix((np.ones(len(edges)), edges.T), (len(vertices), len(vertices)))
    label = sparse.csgraph.connected_components(graph, directed=False)[1]
    lengths = np.linalg.norm(vertices[edges[:, 0]] - vertices[edges[:, 1]], axis=1)
    longest = np.bincount(label[edges[:, 0]], lengths).argmax()
    return np.flatnonzero(label == longest)


def placed(body: Body, mean: np.ndarray, face: np.ndarray, turn: np.ndarray) -> np.ndarray:
    """Vertices `[n 3]` of the body of a face `[v 3]`, in the head's space.

    `turn [3 3]` is how the shoulders stand as seen from the head.
    """
    moved = body.vertices + body.follow * (body.shares @ (face[body.border] - mean[body.border]))
    low = (moved - NAPE) @ turn.T + NAPE
    return (body.blend * moved + (1 - body.blend) * low).astype(np.float32)


def skin_colours(body: Body, albedo: np.ndarray, tone: np.ndarray) -> np.ndarray:
    """Albedo `[n 3]` of the body: that of the face's border `[v 3]` beside it, `tone` elsewhere."""
    near = body.shares @ albedo[body.border]
    return body.follow**2 * near + (1 - body.follow**2) * (0.5 * near + 0.5 * tone)


def meshes(
    body: Body,
    places: np.ndarray,
    colours: np.ndarray,
    hair: np.ndarray,
    garment: np.ndarray,
    rng: np.random.Generator,
) -> list[scenes.Mesh]:
    """Skin, shorn hair and a garment as meshes in camera space, for `places [n 3]` there.

    Colours are `[n 3]` and `[3]`; `garment` is a texture.
    """
    rest = body.vertices
    # A little farther away on the same rays, so that the face's own border stays in front.
    places = places * (1 + 3 / places[:, 2:])
    grain = rng.normal(1, 0.15, (len(rest), 1)).astype(np.float32)
    scalp = (rng.uniform(0.5, 1) * body.scalp)[:, None]
    colours = scenes.linear(colours * (1 - scalp) + scalp * hair * grain)
    whole = np.concatenate([colours, np.ones((len(rest), 1), np.float32)], axis=1)
    normals = scenes.normals(places, body.triangles)
    # Below the collar; it lies lower in front.
    rise = rng.uniform(-0.1, 0.15)
    height = rest[:, 1] - rise * np.abs(rest[:, 0]) + 0.35 * (60 + rest[:, 2])
    height = height - rng.uniform(-155, -100)
    hairy = (scalp[:, 0] > 0.5)[body.triangles].all(axis=1)
    skin = scenes.Mesh(places, body.triangles[~hairy], whole, 0, np.array([0.05, 15]))
    mop = skin._replace(triangles=body.triangles[hairy], label=2, shine=np.array([0.04, 8]))
    thick = 5 * np.clip(-height / 20, 0.1, 1)[:, None].astype(np.float32)
    flat = rest[:, :2] / 350 * [1, -1] + 0.5
    columns, triangles = clipped(
        np.concatenate([places + thick * normals, flat], axis=1), body.triangles, height
    )
    cloth = scenes.Mesh(
        np.ascontiguousarray(columns[:, :3], np.float32),
        triangles,
        np.ones((len(columns), 4), np.float32),
        0,
        np.array([0.02, 6]),
        uv=columns[:, 3:],
        texture=garment,
    )
    return [m for m in (skin, mop, cloth) if len(m.triangles)]


def clipped(
    columns: np.ndarray, triangles: np.ndarray, height: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """The part of a mesh with `columns [n k]` of numbers where `height [n]` is below zero."""
    below = height < 0
    count = below[triangles].sum(axis=1)
    kept, parts, more = [triangles[count == 3]], [columns], len(columns)
    for inside in (1, 2):
        some = triangles[count == inside]
        # Turned so that the corner that differs from the other two comes first.
        first = (below[some] == (inside == 1)).argmax(axis=1)
        a, b, c = (np.take_along_axis(some, (first[:, None] + k) % 3, 1)[:, 0] for k in range(3))
        share = [(height[a] / (height[a] - height[x]))[:, None] for x in (b, c)]
        cuts = [
            columns[a] + t * (columns[x] - columns[a]) for t, x in zip(share, (b, c), strict=True)
        ]
        ab, ac = (more + k * len(some) + np.arange(len(some)) for k in (0, 1))
        parts, more = [*parts, *cuts], more + 2 * len(some)
        corners = [(a, ab, ac)] if inside == 1 else [(ab, b, c), (ab, c, ac)]
        kept += [np.stack(t, axis=1) for t in corners]
    return np.concatenate(parts), np.concatenate(kept).astype(np.int32)
