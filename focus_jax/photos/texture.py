"""Colour of the whole face from photos: what they show, and elsewhere what the model knows.

Where a photo does not show the face, because it is turned away or covered, the model's lit albedo
stands in. It is shifted by the difference between photo and model, carried on smoothly over the
surface from where both are known, so that no seam shows.
"""

import functools
from collections.abc import Sequence
from typing import Any, NamedTuple

import cv2
import numpy as np
import scipy.sparse as sp
from jaxtyping import Float, Int, UInt8

from focus_jax.photos.export import Atlas
from focus_jax.photos.programs import program
from focus_jax.rendering import rasterize

SIZE = 1024  # pixels of the texture's side
GRAZING, FRONTAL = 0.15, 0.45  # cosine to the camera below which the photo counts nothing, and all
PULL = 5e-3  # towards the mean difference; it also decides where nothing else does
ROW = 1024  # pixels of charts in a row, of those that are handled as a picture
RELIT = 3.0  # by how much a photo's colours are brightened or dimmed into another's light, at most
SURE = 0.05  # weight of all photos together from which on the model counts nothing
DEPTH_TOLERANCE = 4.0  # millimetres; a surface further behind the nearest one is hidden


class Texels(NamedTuple):
    """Where on the surface the pixels of a texture lie, those in a chart; the others show these."""

    places: sp.csr_matrix  # [n v] float32: barycentric weights in the face model's vertices
    shown: Int[np.ndarray, "s s"]  # which of the n each pixel shows, the nearest between charts

    def picture(self, colours: UInt8[np.ndarray, "n 4"]) -> UInt8[np.ndarray, "s s 3"]:
        """The texture of the n pixels' colours; four bytes each, which are moved as one number."""
        whole = colours.view(np.uint32)[:, 0][self.shown]
        four = whole.view(np.uint8).reshape(*self.shown.shape, 4)
        return cv2.cvtColor(four, cv2.COLOR_RGBA2RGB)


def make_texels(atlas: Atlas, size: int = SIZE) -> Texels:
    """The surface point of each pixel of a texture; pixels off the charts take the nearest one."""
    flat = np.stack([atlas.uv[:, 0] * size - 0.5, (1 - atlas.uv[:, 1]) * size - 0.5], -1)
    a, b, c = (flat[atlas.triangles[:, k]] for k in range(3))
    area = (b[:, 0] - a[:, 0]) * (c[:, 1] - a[:, 1]) - (c[:, 0] - a[:, 0]) * (b[:, 1] - a[:, 1])
    # The rasterizer sees triangles of negative area; the others lie face down in the atlas.
    order = np.where((area > 0)[:, None], [0, 2, 1], [0, 1, 2])
    triangles = np.take_along_axis(atlas.triangles, order, 1).astype(np.int32)
    screen = np.concatenate([flat, np.ones((len(flat), 1))], -1).astype(np.float32)
    found = _rasterize(screen[None], triangles, height=size, width=size)
    triangle = np.array(found.triangle_id)[0]
    barycentric = np.zeros((size, size, 3), np.float32)
    np.put_along_axis(barycentric, order[triangle], np.asarray(found.barycentric)[0], -1)
    empty = (triangle < 0).astype(np.uint8)
    labels: Any = np.asarray(
        cv2.distanceTransformWithLabels(empty, cv2.DIST_L2, 5, labelType=cv2.DIST_LABEL_PIXEL)[1]
    )
    rows, columns = np.nonzero(empty == 0)
    nearest = np.zeros(labels.max() + 1, np.int32)
    nearest[labels[rows, columns]] = np.arange(len(rows))
    # The last is there again and again, up to whole rows of `_sample`.
    more = -len(rows) % ROW
    rows, columns = (np.pad(x, (0, more), mode="edge") for x in (rows, columns))
    corners = atlas.vertex[atlas.triangles[triangle[rows, columns]]].astype(np.int32)
    # A row for a pixel, its corners in the triangle's order, in which they are added up.
    ends = np.arange(len(rows) + 1, dtype=np.int32) * 3
    weights = barycentric[rows, columns].ravel()
    shape = (len(rows), int(atlas.vertex.max()) + 1)
    return Texels(sp.csr_matrix((weights, corners.ravel(), ends), shape), nearest[labels])


_rasterize = program(rasterize.rasterize, static=("height", "width"))


class View(NamedTuple):
    """What a photo shows of one face. Pictures and `screen` are in pixels of the fine crop."""

    photo: np.ndarray  # uint8 [h w 3], the original, or what `cut` leaves of it
    to_photo: np.ndarray  # [2 3]: photo pixel = to_photo @ (x, y, 1) of the fine crop
    screen: Float[np.ndarray, "v 3"]
    facing: Float[np.ndarray, "v"]
    depth: Float[np.ndarray, "f f"]  # 0 outside the face
    mask: Float[np.ndarray, "f f"]  # 1 where the photo shows the face


def paint(
    view: View,
    shaded: Float[np.ndarray, "v 3"],
    triangles: Int[np.ndarray, "t 3"],
    texels: Texels | None,
) -> tuple[UInt8[np.ndarray, "s s 3"] | None, Float[np.ndarray, "v 3"]]:
    """Texture over the `texels`, None without any, and colours of the vertices in [0, 1].

    `shaded` are the model's colours of the vertices in the light of the photo.
    """
    trust = _trust_map(view.mask, view.depth)
    photo, to_photo = _at_scale(view.photo, view.to_photo, SIZE)
    seen, weight = _sample(photo, to_photo, view, trust, view.screen, view.facing)
    seen = seen / np.float32(255)
    difference = extend(seen - shaded, weight > 0.5, triangles)
    model = np.clip(shaded + difference, 0, 1)
    colours = (weight[:, None] * seen + (1 - weight[:, None]) * model).astype(np.float32)
    if texels is None:
        return None, colours

    places: Any = texels.places
    surface = np.concatenate([view.screen, view.facing[:, None], 255 * model], -1, dtype=np.float32)
    at = places @ surface[: places.shape[1]]
    seen, weight = _sample(photo, to_photo, view, trust, at[:, :3], at[:, 3])
    # OpenCV rounds and mixes bytes, far faster than NumPy does the same with fractions.
    rows, model = (-1, ROW, 3), cv2.convertScaleAbs(np.ascontiguousarray(at[:, 4:]))
    weight = weight.reshape(-1, ROW)
    painted = cv2.blendLinear(seen.reshape(rows), model.reshape(rows), weight, 1 - weight)
    return texels.picture(cv2.cvtColor(painted, cv2.COLOR_RGB2RGBA).reshape(-1, 4)), colours


def cut(
    photo: UInt8[np.ndarray, "h w 3"], to_photo: np.ndarray
) -> tuple[UInt8[np.ndarray, "y x 3"], np.ndarray]:
    """What a texture needs of a photo, a copy of its own, and the map to it, as a `View` has."""
    piece, moved = _at_scale(photo, to_photo, SIZE)
    return piece.copy(), moved


def gather(
    views: Sequence[View],
    lit: Sequence[Float[np.ndarray, "v 3"]],
    triangles: Int[np.ndarray, "t 3"],
    texels: Texels,
) -> tuple[UInt8[np.ndarray, "s s 3"], Float[np.ndarray, "v 3"]]:
    """As `paint`, of several photos of one person; the first one's light is that of the texture.

    `lit` are the model's colours of the vertices in the light of each photo. What a photo shows is
    brought into the first one's light by the model's two colours of a place, then to the tone of
    what the others show there, and each place is most of the photo that sees it best.
    """
    prepared = []
    for view, shaded in zip(views, lit, strict=True):
        relight = np.clip(lit[0] / np.maximum(shaded, 1e-2), 1 / RELIT, RELIT)
        photo = _at_scale(view.photo, view.to_photo, SIZE)
        prepared.append((view, *photo, _trust_map(view.mask, view.depth), relight))
    colours, weights = [], []
    for view, photo, to_photo, trust, relight in prepared:
        seen, weight = _sample(photo, to_photo, view, trust, view.screen, view.facing)
        colours.append(seen / np.float32(255) * relight)
        weights.append(_choosing(weight, view.facing))
    tones, total = _tones(np.stack(colours), np.stack(weights)), np.sum(weights, 0)
    mean = sum(c * t * w[:, None] for c, t, w in zip(colours, tones, weights, strict=True))
    mean /= np.maximum(total, 1e-6)[:, None]
    known = np.clip(total / SURE, 0, 1)
    model = np.clip(lit[0] + extend(mean - lit[0], known > 0.5, triangles), 0, 1)
    of_vertices = known[:, None] * np.clip(mean, 0, 1) + (1 - known[:, None]) * model

    places: Any = texels.places
    painted = np.zeros((places.shape[0], 3), np.float32)
    total = np.zeros(len(painted), np.float32)
    for (view, photo, to_photo, trust, relight), tone in zip(prepared, tones, strict=True):
        surface = np.concatenate([view.screen, view.facing[:, None], relight * tone], -1)
        at = places @ surface.astype(np.float32)[: places.shape[1]]
        seen, weight = _sample(photo, to_photo, view, trust, at[:, :3], at[:, 3])
        weight = _choosing(weight, at[:, 3])
        painted += weight[:, None] * (seen * at[:, 4:])
        total += weight
    known = np.clip(total / SURE, 0, 1)[:, None]
    painted = known * painted / np.maximum(total, 1e-6)[:, None]
    painted += (1 - known) * (places @ (255 * model).astype(np.float32)[: places.shape[1]])
    bytes_ = np.rint(np.clip(painted, 0, 255)).astype(np.uint8)
    four = np.concatenate([bytes_, np.full((len(bytes_), 1), 255, np.uint8)], -1)
    return texels.picture(four), of_vertices.astype(np.float32)


def _choosing(weight: np.ndarray, facing: np.ndarray) -> np.ndarray:
    """Weights by which the photo that sees a place best is most of it."""
    return (weight * np.clip(facing, 0, 1) ** 2) ** 2


def _tones(
    colours: Float[np.ndarray, "p v 3"], weights: Float[np.ndarray, "p v"]
) -> Float[np.ndarray, "p 3"]:
    """Gains of each photo's channels by which photos agree where they show the same.

    1 in the first. Least squares between each photo and the mean of all, a few rounds.
    """
    tones = np.ones((len(colours), 3), np.float32)
    for _ in range(5):
        mean = np.einsum("pv,pvc,pc->vc", weights, colours, tones)
        mean /= np.maximum(weights.sum(0), 1e-6)[:, None]
        own = np.einsum("pv,pvc->pc", weights, colours**2)
        tones = np.einsum("pv,pvc,vc->pc", weights, colours, mean) / np.maximum(own, 1e-6)
        tones = np.where(own > 1e-6, tones, 1) / np.where(own[:1] > 1e-6, tones[:1], 1)
    return np.clip(tones, 1 / RELIT, RELIT).astype(np.float32)


def _trust_map(mask: np.ndarray, depth: np.ndarray) -> np.ndarray:
    """The mask less its rim, fading out inwards: colours there mix with what lies beside."""
    side = max(3, round(len(mask) / 32)) | 1
    known = ((mask > 0.5) & (depth > 0)).astype(np.float32)
    inner = cv2.erode(known, np.ones((side, side), np.uint8), borderValue=1.0)
    return cv2.GaussianBlur(inner, (0, 0), side / 3) * known


def _at_scale(photo: np.ndarray, to_photo: np.ndarray, side: int) -> tuple[np.ndarray, np.ndarray]:
    """The part of the photo that the crop shows, not finer than `side` pixels, and the map to it.

    Sampling a finer picture at the texture's pixels would alias.
    """
    corners = to_photo @ np.array(
        [[-60.0, 508.0, -60.0, 508.0], [-60.0, 508.0, 508.0, -60.0], [1.0, 1.0, 1.0, 1.0]]
    )
    low = np.maximum(np.floor(corners.min(1)).astype(int), 0)
    high = np.minimum(np.ceil(corners.max(1)).astype(int) + 1, photo.shape[1::-1])
    if (high <= low).any():
        return photo, to_photo
    piece = photo[low[1] : high[1], low[0] : high[0]]
    factor = min(1.0, side / max(piece.shape[:2]))
    moved = np.array(to_photo, np.float64)
    moved[:, 2] -= low
    if factor < 1:
        width, height = (max(1, round(n * factor)) for n in piece.shape[1::-1])
        scale = np.array([width / piece.shape[1], height / piece.shape[0]])
        piece = cv2.resize(piece, (width, height), interpolation=cv2.INTER_AREA)
        moved[:, 2] = (moved[:, 2] + 0.5) * scale - 0.5
        moved[:, :2] *= scale[:, None]
    return piece, moved


def _sample(photo, to_photo, view: View, trust, places, facing) -> tuple[np.ndarray, np.ndarray]:
    """Bytes `[n 3]` of the photo at places `[n 3]` of the fine crop, and how they count."""
    # remap wants no side of more than 32767; a column of texels is folded.
    count = len(places)
    padded = np.zeros((-(-count // ROW) * ROW, 3), np.float32) if count % ROW else places
    padded[:count] = places
    x, y, depth = (np.ascontiguousarray(padded[:, k]).reshape(-1, ROW) for k in range(3))
    px, py = (
        (to_photo[k, 0] * x + to_photo[k, 1] * y + to_photo[k, 2]).astype(np.float32)
        for k in range(2)
    )
    height, width = photo.shape[:2]
    colours = cv2.remap(photo, px, py, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    inside = (px > -0.5) & (px < width - 0.5) & (py > -0.5) & (py < height - 0.5)
    counts = cv2.remap(trust, x, y, cv2.INTER_LINEAR) * inside
    near = cv2.remap(view.depth, x, y, cv2.INTER_NEAREST)
    counts *= (near > 0) & (depth < near + DEPTH_TOLERANCE)
    ramp = np.clip((np.asarray(facing, np.float32) - GRAZING) / (FRONTAL - GRAZING), 0, 1)
    return colours.reshape(-1, 3)[:count], counts.ravel()[:count] * ramp


def extend(
    values: Float[np.ndarray, "v c"], known: np.ndarray, triangles: Int[np.ndarray, "t 3"]
) -> Float[np.ndarray, "v c"]:
    """Known values carried on over the surface: each unknown vertex the mean of its neighbours.

    A piece of the surface without known vertices takes the mean of all known ones.
    """
    from scipy.sparse.linalg import splu  # heavy, and only here

    if known.all() or not known.any():
        return np.where(known[:, None], values, 0.0)
    laplacian = _laplacian(triangles.tobytes(), triangles.dtype.str, len(values))
    free = np.nonzero(~known)[0]
    mean = np.mean(values[known], axis=0)
    system = laplacian[free][:, free] + sp.eye(len(free)) * PULL
    right = -laplacian[free][:, known.nonzero()[0]] @ (values[known] - mean)
    found = np.array(values, np.float32)
    found[free] = splu(sp.csc_matrix(system)).solve(np.asarray(right)) + mean
    return found


@functools.lru_cache(maxsize=2)
def _laplacian(triangles: bytes, dtype: str, count: int) -> sp.csr_matrix:
    t = np.frombuffer(triangles, dtype).reshape(-1, 3)
    edges = np.concatenate([t[:, [0, 1]], t[:, [1, 2]], t[:, [2, 0]]])
    edges = np.unique(np.sort(edges, axis=1), axis=0)
    ones = np.ones(len(edges))
    near = sp.coo_matrix((ones, (edges[:, 0], edges[:, 1])), (count, count))
    near = near + near.T
    return sp.csr_matrix(sp.diags(np.asarray(near.sum(1)).ravel()) - near)
