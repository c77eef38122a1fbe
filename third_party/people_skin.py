"""Colours of skin, free of light and hair, on the face model's vertices, from photos in the frame.

Colours are logarithms here, so that light and tone are sums. What is left of a person when both are
taken away is called detail: brows, lips, lash lines, beard, freckles, folds.
"""

from collections.abc import Callable
from typing import NamedTuple

import cv2
import numpy as np
import people_photos as photos
from scipy import sparse
from scipy.interpolate import CubicSpline
from scipy.sparse.linalg import splu

DARKEST = 0.004
CAMERA = 1100.0  # millimetres from the face to the camera that the vertices are seen by
LIP_TWINS = {49: 88, 50: 89, 51: 90, 52: 91, 53: 92, 61: 95, 62: 96, 63: 97, 65: 97, 66: 96, 67: 95}


class Mesh(NamedTuple):
    """What is needed of the face model, all of its first `v` vertices."""

    points: np.ndarray  # [v 3] mean shape, mm
    triangles: np.ndarray
    landmark_vertices: np.ndarray
    landmark_weights: np.ndarray
    uv: np.ndarray  # [v 2], MakeHuman's
    mirror: np.ndarray  # [v] the vertex on the other side
    axis: np.ndarray  # [v] distance from the eye's axis in parts of its radius; infinite off eyes
    inside: np.ndarray  # [v] in [0, 1]: inside of the mouth

    @property
    def skin(self) -> np.ndarray:
        return ~np.isfinite(self.axis) & (self.inside <= 0.5)


class Seen(NamedTuple):
    """Everybody's colours on the vertices."""

    detail: np.ndarray  # [n v 3]
    tone: np.ndarray  # [n 3]
    valid: np.ndarray  # [n v]: of skin, seen, and no hair before it
    shift: np.ndarray  # [n 3], of the studio's colours; the tones have it already


# --- from the mesh to the frame ------------------------------------------------------------------


def places(mesh: Mesh, mean: np.ndarray) -> np.ndarray:
    """Where the vertices lie in the frame `[v 2]`: seen from the front, then warped so that the
    landmarks fall on the people's mean points `[189 2]`."""
    flat = mesh.points[:, :2] * [1, -1] * (CAMERA / (CAMERA - mesh.points[:, 2:]))
    marks = np.einsum("lk,lkc->lc", mesh.landmark_weights, flat[mesh.landmark_vertices])
    target = landmark_targets(marks, mean)
    ids = sorted(target)
    wanted = np.stack([target[i] for i in ids])
    flat, marks = (photos.similar(x, marks[ids], wanted) for x in (flat, marks))
    target |= _jaw_targets(marks, mean)
    ids = sorted(target)
    return photos.spline(marks[ids], np.stack([target[i] for i in ids]), 1e-3)(flat)


def landmark_targets(marks: np.ndarray, mean: np.ndarray) -> dict[int, np.ndarray]:
    """Where iBUG landmarks belong in the frame; those without a certain place are left out.

    On a curve of the people's points, a landmark lies as far from its ends as on the mesh.
    """
    target = {ibug: mean[point] for ibug, point in LIP_TWINS.items()}
    curves = [
        ([36, 37, 38, 39], photos.UPPER_LID[0]),
        ([36, 41, 40, 39], photos.LOWER_LID[0]),
        ([42, 43, 44, 45], photos.UPPER_LID[1]),
        ([42, 47, 46, 45], photos.LOWER_LID[1]),
        ([54, 55, 56, 57, 58, 59, 48], photos.LOWER_LIP),
        ([48, 49, 50], photos.UPPER_LIP[:3]),
        ([52, 53, 54], photos.UPPER_LIP[4:]),
    ]
    for ids, curve in curves:
        target |= dict(zip(ids, _on_curve(mean[curve], _part(marks[ids])), strict=True))
    target[60], target[64] = (0.75 * mean[a] + 0.25 * mean[b] for a, b in ((87, 94), (93, 98)))
    ridge_end = (mean[54] + mean[60]) / 2
    target[30] = ridge_end + 0.25 * (mean[photos.NOSE_BASE] - ridge_end)
    target |= {33: mean[55], 31: (mean[63] + mean[64]) / 2, 35: (mean[68] + mean[69]) / 2}
    for side, ids in enumerate(([17, 18, 19, 20, 21], [26, 25, 24, 23, 22])):
        target |= dict(zip(ids, _on_brow(marks[ids], mean, side), strict=True))
    return target


def _part(points: np.ndarray) -> np.ndarray:
    x = points[:, 0]
    return (x - x[0]) / (x[-1] - x[0])


def _smooth_curve(points: np.ndarray) -> np.ndarray:
    length = np.r_[0, np.cumsum(np.linalg.norm(np.diff(points, axis=0), axis=1))]
    return CubicSpline(length, points)(np.linspace(0, length[-1], 500))


def _on_curve(points: np.ndarray, part: np.ndarray) -> np.ndarray:
    fine = _smooth_curve(points)
    return np.stack([np.interp(part, _part(fine), fine[:, k]) for k in (0, 1)], 1)


def _on_brow(marks: np.ndarray, mean: np.ndarray, side: int) -> np.ndarray:
    """Between the middle and the upper rim of a brow, where detectors put their points."""
    upper, lower, ends = (
        mean[part[side]] for part in (photos.BROW_UPPER, photos.BROW_LOWER, photos.BROW_ENDS)
    )
    x = ends[0, 0] + _part(marks) * (0.6 * upper[-1, 0] + 0.4 * ends[1, 0] - ends[0, 0])
    rims = [np.r_[ends[:1], upper], np.r_[ends[:1], lower, ends[1:]]]
    above, below = (np.polyval(np.polyfit(*rim.T, 3), x) for rim in rims)
    return np.stack([x, 0.65 * above + 0.35 * below], 1)


def _jaw_targets(marks: np.ndarray, mean: np.ndarray) -> dict[int, np.ndarray]:
    """Points of the jaw in the directions in which the mesh's lie from between the eyes."""
    jaw = _smooth_curve(mean[photos.JAW])
    angle = np.arctan2(jaw[:, 0], jaw[:, 1])
    order = np.argsort(angle)
    own = {i: np.arctan2(*marks[i]) for i in range(2, 15)}
    return {
        i: np.array([np.interp(a, angle[order], jaw[order, k]) for k in (0, 1)])
        for i, a in own.items()
        if angle.min() < a < angle.max()
    }


def hidden(mesh: Mesh, place: np.ndarray) -> np.ndarray:
    """Vertices `[v]` that lie more than 1.5 mm behind another part of the skin, seen in front."""
    at, depth = 2 * photos.pixels(place), mesh.points[:, 2]
    nearest = np.full((2 * photos.HEIGHT, 2 * photos.WIDTH), -np.inf)
    for corners in mesh.triangles[~np.isfinite(mesh.axis)[mesh.triangles].any(1)]:
        _draw_depth(nearest, at[corners], depth[corners])
    column, row = np.clip(np.round(at).astype(int), 0, np.array(nearest.shape[::-1]) - 1).T
    return nearest[row, column] > depth + 1.5


def _draw_depth(nearest: np.ndarray, at: np.ndarray, depth: np.ndarray) -> None:
    low, high = np.floor(at.min(0)).astype(int), np.ceil(at.max(0)).astype(int) + 1
    (ax, ay), (bx, by), (cx, cy) = at
    area = (bx - ax) * (cy - ay) - (by - ay) * (cx - ax)
    if (low < 0).any() or (high > nearest.shape[::-1]).any() or abs(area) < 1e-9:
        return
    x, y = np.meshgrid(np.arange(low[0], high[0]), np.arange(low[1], high[1]))
    v = ((x - ax) * (cy - ay) - (y - ay) * (cx - ax)) / area
    w = ((bx - ax) * (y - ay) - (by - ay) * (x - ax)) / area
    inside = (v >= -0.01) & (w >= -0.01) & (v + w <= 1.01)
    height = np.where(inside, (1 - v - w) * depth[0] + v * depth[1] + w * depth[2], -np.inf)
    part = nearest[low[1] : high[1], low[0] : high[0]]
    np.maximum(part, height, out=part)


# --- hair ----------------------------------------------------------------------------------------


def frame_regions(mean: np.ndarray) -> dict[str, np.ndarray]:
    """Parts of the face in frame pictures, bool `[HEIGHT WIDTH]`."""
    at = photos.pixels(mean)

    def both(sides: list[list[int]], grown: int) -> np.ndarray:
        return photos.polygon(at[sides[0]], grown) | photos.polygon(at[sides[1]], grown)

    x, y = photos.grid()
    brows = [
        [e[0], *u, e[1], *low[::-1]]
        for u, low, e in zip(photos.BROW_UPPER, photos.BROW_LOWER, photos.BROW_ENDS, strict=True)
    ]
    lids = [[*c, *low[-1:0:-1]] for c, low in zip(photos.CREASE, photos.LOWER_LID, strict=True)]
    lips = photos.UPPER_LIP + photos.LOWER_LIP[1:-1]
    brow_top = mean[[n for upper in photos.BROW_UPPER for n in upper[:3]], 1].min()
    found = {
        "brows": both(brows, 11),
        "lids": both(lids, 8),
        "lips": photos.polygon(at[lips], 2),
        "nostrils": photos.polygon(at[photos.NOSTRILS], 3),
        "forehead": (y < brow_top) & (np.abs(x) < 45),
        "cheeks": (y > 35) & (y < 75) & (np.abs(x) > 25) & (np.abs(x) < 60),
    }
    high = (y < brow_top + 3) | ((np.abs(x) > 84) & (y < 40)) | ((np.abs(x) > 76) & (y < 0))
    return found | {"hair": high & ~found["brows"] & ~found["lids"]}  # where hair may be


def smooth_log(frame: photos.Frame, regions: dict[str, np.ndarray]) -> np.ndarray:
    """Log colours less the skin's: the cheeks' below, the forehead's above if it can be seen."""
    logs = log(cv2.GaussianBlur(frame.image.astype(np.float32) / 255, (0, 0), 1.2))
    cheeks = np.median(logs[frame.face & regions["cheeks"]], axis=0)
    forehead = cheeks
    if (frame.face & regions["forehead"]).sum() > 3000:
        forehead = np.median(logs[frame.face & regions["forehead"]], axis=0)
        forehead = cheeks if np.abs(forehead - cheeks).max() > 0.3 else forehead
    return logs - np.where((photos.grid()[1] < 20)[..., None], forehead, cheeks)


def usual(frames: list[photos.Frame], regions: dict[str, np.ndarray]) -> np.ndarray:
    """What light makes of the skin of most people, `[HEIGHT WIDTH 3]`."""
    half = [
        np.where(f.face[::2, ::2, None], smooth_log(f, regions)[::2, ::2], np.nan) for f in frames
    ]
    nowhere = np.isnan(half).all(0)
    median = np.nanmedian(np.where(nowhere, 0.0, half), axis=0)
    whole = cv2.resize(np.clip(median, -0.6, 0.3), (photos.WIDTH, photos.HEIGHT))
    return cv2.GaussianBlur(whole, (0, 0), 4)


def free_of_hair(frame: photos.Frame, most: np.ndarray, regions: dict[str, np.ndarray]):
    """Where the frame shows the face and no hair on it, bool."""
    change = smooth_log(frame, regions) - most
    light = change.mean(-1)
    colour = np.abs(change - light[..., None]).max(-1)
    hair = regions["hair"] & ((light < -0.25) | (light > 0.35) | (colour > 0.13))
    hair = cv2.morphologyEx(hair.astype(np.uint8), cv2.MORPH_OPEN, np.ones((2, 2)))
    hair = cv2.dilate(hair, cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (7, 7))) > 0
    seen = frame.face & ~hair
    if seen[regions["forehead"]].mean() < 0.25:  # a fringe, which reaches the brows
        seen &= photos.grid()[1] > -16
    return seen


# --- numbers on vertices -------------------------------------------------------------------------


def log(colours: np.ndarray) -> np.ndarray:
    return np.log(np.maximum(colours, DARKEST))


def sample(picture: np.ndarray, at: np.ndarray) -> np.ndarray:
    """Values of a picture at pixels `[v 2]`, bilinear."""
    x, y = at.astype(np.float32).T
    picture = picture.astype(np.float32)
    return cv2.remap(picture, x[None], y[None], cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)[
        0
    ]


def normals(points: np.ndarray, triangles: np.ndarray) -> np.ndarray:
    a, b, c = (points[triangles[:, k]] for k in range(3))
    crosses, total = np.cross(b - a, c - a), np.zeros_like(points)
    for k in range(3):
        np.add.at(total, triangles[:, k], crosses)
    return total / np.maximum(np.linalg.norm(total, axis=1, keepdims=True), 1e-9)


def filling(mesh: Mesh) -> Callable[[np.ndarray, np.ndarray, float], np.ndarray]:
    """How what is known on some of the skin's vertices is continued harmonically to the others:
    a function of values `[v c]`, known `[v]` and the pull towards zero."""
    triangles, points = mesh.triangles, mesh.points
    edges = np.concatenate([triangles[:, [0, 1]], triangles[:, [1, 2]], triangles[:, [2, 0]]])
    a, b = np.unique(np.sort(edges, axis=1), axis=0).T
    weight = 1 / np.maximum(np.linalg.norm(points[a] - points[b], axis=1), 0.2)
    links = sparse.coo_matrix((weight, (a, b)), (len(points),) * 2)
    links = (links + links.T).tocsr()
    skin = np.flatnonzero(~np.isfinite(mesh.axis))
    laplacian = (sparse.diags(np.asarray(links.sum(1)).ravel()) - links)[skin][:, skin]

    def fill(values: np.ndarray, known: np.ndarray, pull: float) -> np.ndarray:
        part, free = values[skin], ~known[skin]
        matrix = laplacian[free][:, free] + pull * sparse.identity(free.sum())
        part[free] = splu(matrix.tocsc()).solve(-laplacian[free][:, ~free] @ part[~free])
        filled = values.copy()
        filled[skin] = part
        return filled

    return fill
