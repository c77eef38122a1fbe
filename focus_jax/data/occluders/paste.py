"""Things before the face of a photo: rendered, in the photo's light, with the shadows they cast.

The built-in face model, laid on the landmarks, tells where the face lies in space; the photo's skin
on it tells the light.
"""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import cv2
import numpy as np

from focus_jax.data.occluders.head import Head
from focus_jax.data.occluders.occluder import OCCLUDERS, draw_occluder
from focus_jax.data.occluders.part import FACE, HAIR, OCCLUDER, Part
from focus_jax.face_models import load_face_model
from focus_jax.rendering import camera, scenes
from focus_jax.types import REGIONS, FaceModel

CANVAS = 192  # the least width that a picture is drawn at, in pixels
HIDDEN = (0.05, 0.55)  # least and largest part of the face that an occluder may hide
THIN = {"glasses": 0.01, "headset": 0.01}  # the least that narrow things hide
_ATTEMPTS = 8
_LOOK = 64  # pixels a side of the picture in which hidden parts are counted
_TYPICAL = 0.25  # linear light of skin in a well exposed photo


class Pasted(NamedTuple):
    image: np.ndarray  # uint8 [s s 3]
    occluded: np.ndarray  # uint8 [s s]: 255 where the occluder hides what was there


def paste_occluder(
    image: np.ndarray, landmarks: np.ndarray, rng: np.random.Generator, kind: str
) -> Pasted:
    """An occluder pasted on a picture `[s s 3]` uint8 of a face with landmarks `[68 2]` in pixels.

    A pure function of its arguments and the generator's state. Returns the picture and a mask
    `[s s]` uint8, 255 where the occluder covers at least half of the pixel's light (clear lenses
    and shadows do not). Raises ValueError for other shapes, dtypes and kinds.
    """
    size = image.shape[0]
    if image.shape != (size, size, 3) or image.dtype != np.uint8:
        raise ValueError(f"a square uint8 RGB picture is needed, not {image.dtype}{image.shape}")
    if landmarks.shape != (68, 2):
        raise ValueError(f"68 landmarks (x, y) are needed, not an array of {landmarks.shape}")
    if kind not in OCCLUDERS:
        raise ValueError(f"occluder must be one of {OCCLUDERS}, not {kind!r}")
    if kind == "none":
        return Pasted(image.copy(), np.zeros((size, size), np.uint8))
    factor = canvas_factor(size)
    canvas = size * factor
    large: Any = cv2.resize(image, (canvas, canvas), interpolation=cv2.INTER_LINEAR)
    backdrop = scenes.linear_table()[large]
    face, vertices, place = _laid((np.asarray(landmarks, np.float64) + 0.5) * factor - 0.5, canvas)
    seen = place(vertices)
    focal = camera.FOCAL * canvas / 2
    skin, light = _light(face, seen, backdrop, focal)
    head = _mesh(seen, face.triangles)
    parts = fitting_parts(kind, vertices, face, skin, rng, place, focal / canvas)
    drawn = scenes.draw(
        [head, *(part_mesh(p, place) for p in parts)], light, backdrop, focal, closeness=canvas / 30
    )
    soft = rng.uniform(0.2, 0.7) * factor
    planes = (drawn.picture, backdrop, drawn.shares)
    planes = (cv2.GaussianBlur(p, (0, 0), soft) for p in planes)
    after, behind, shares = (
        cv2.resize(p, (size, size), interpolation=cv2.INTER_AREA) for p in planes
    )
    hidden = shares[..., [HAIR, OCCLUDER]].sum(axis=-1)
    # What the photo has in detail beyond the canvas stays where it is seen.
    detail = scenes.linear_table()[image] - behind
    moved = np.abs(after - behind).max(axis=-1, keepdims=True) > 1e-4
    taken = np.clip(after + detail * (1 - hidden[..., None]), 0, 1) ** np.float32(1 / scenes.GAMMA)
    grain = rng.normal(0, 0.008, (size, size, 1)) * hidden[..., None]
    picture = np.where(moved, np.round(np.clip(taken + grain, 0, 1) * 255), image)
    occluded = np.where(hidden > 0.5, 255, 0)
    return Pasted(picture.astype(np.uint8), occluded.astype(np.uint8))


def canvas_factor(size: int) -> int:
    """How many times larger than a picture of `size` pixels it is drawn."""
    return max(2, -(-CANVAS // size))


def part_mesh(part: Part, place: Callable[[np.ndarray], np.ndarray]) -> scenes.Mesh:
    """The part in camera space, where `place` puts points of the head's."""
    colours = np.concatenate([scenes.linear(part.colours[:, :3]), part.colours[:, 3:]], axis=1)
    shine = np.asarray(part.shine, np.float32)
    return scenes.Mesh(
        place(part.vertices), part.triangles, colours.astype(np.float32), part.label, shine,
        part.two_sided, part.uv, part.texture,
    )  # fmt: skip


def fitting_parts(
    kind: str,
    vertices: np.ndarray,
    face: FaceModel,
    skin: np.ndarray,
    rng: np.random.Generator,
    place: Callable[[np.ndarray], np.ndarray],
    focal: float,
    hair: np.ndarray | None = None,
) -> list[Part]:
    """An occluder that hides a part of the face within HIDDEN, seen from where `place` puts it.

    It is drawn anew until it does; after some attempts the one that came closest is taken. `focal`
    is in parts of the picture's width, `hair` the colour `[3]` of a fringe.
    """
    points = np.einsum("lkc,lk->lc", vertices[face.landmark_vertices], face.landmark_weights)
    head = Head(vertices, points, skin)
    best, best_miss = [], np.inf
    bare = _mesh(place(vertices), face.triangles)
    seen = scenes.coverage([bare], focal * _LOOK, _LOOK) == FACE
    for _ in range(_ATTEMPTS):
        parts = draw_occluder(kind, head, rng, hair)
        solid = [part_mesh(p, place) for p in parts if p.label != FACE]
        left = (scenes.coverage([bare, *solid], focal * _LOOK, _LOOK) == FACE) & seen
        part = 1 - left.sum() / max(seen.sum(), 1)
        least = THIN.get(kind, HIDDEN[0])
        miss = max(least - part, part - HIDDEN[1], 0.0)
        if miss < best_miss:
            best, best_miss = parts, miss
        if miss == 0:
            break
    return best


def _mesh(places: np.ndarray, triangles: np.ndarray) -> scenes.Mesh:
    """The face of the photo, which looks as the photo does."""
    white = np.ones((len(places), 4), np.float32)
    return scenes.Mesh(places, np.asarray(triangles), white, -FACE, np.zeros(2, np.float32))


# --- Where the face is ---------------------------------------------------------------------------


@functools.cache
def _model() -> FaceModel:
    return load_face_model("builtin", identity=12, expression=12, albedo=1)


def _laid(
    points: np.ndarray, canvas: int
) -> tuple[FaceModel, np.ndarray, Callable[[np.ndarray], np.ndarray]]:
    """The face model, its vertices `[v 3]` and what places them in camera space, so that its
    landmarks fall on `points [68 2]` in pixels.

    By turns: where the landmarks would fall without perspective (POSIT, DeMenthon and Davis 1995),
    the pose that takes them there, the shape that is left.
    """
    focal, centre = camera.FOCAL * canvas / 2, (canvas - 1) / 2
    face = _model()
    basis = np.concatenate([face.identity_basis, face.expression_basis], axis=-1)
    at = np.einsum("lkcm,lk->lcm", basis[face.landmark_vertices], face.landmark_weights)
    mean = np.einsum("lkc,lk->lc", face.shape_mean[face.landmark_vertices], face.landmark_weights)
    code, aim = np.zeros(basis.shape[-1]), points
    for _ in range(5):
        shape = mean + at @ code
        rotation, scale, shift = _orthographic(shape, aim)
        aim = centre + (points - centre) * (1 + shape @ rotation[2] * scale / focal)[:, None]
        flat = scale * rotation[:2]
        system = np.einsum("ic,lcm->lim", flat, at).reshape(136, -1)
        rest = (aim - mean @ flat.T - shift).ravel()
        # A landmark is worth 3 mm of it.
        ridge = (3.0 * scale) ** 2 * np.eye(len(code))
        code = np.linalg.solve(system.T @ system + ridge, system.T @ rest)
    vertices = np.asarray(face.shape_mean + basis @ code, np.float32)
    offset = np.float32([shift[0] - centre, shift[1] - centre, focal]) / np.float32(scale)
    turn = rotation.T.astype(np.float32)
    return face, vertices, lambda p: p.astype(np.float32) @ turn + offset


def _orthographic(shape: np.ndarray, points: np.ndarray) -> tuple[np.ndarray, float, np.ndarray]:
    """Rotation to camera space, scale and shift that take `[n 3]` next to `[n 2]`."""
    middle, centre = shape.mean(axis=0), points.mean(axis=0)
    rows = np.linalg.lstsq(shape - middle, points - centre, rcond=None)[0].T
    lengths = np.linalg.norm(rows, axis=1)
    scale = max(float(lengths.mean()), 1e-3)
    u, _, v = np.linalg.svd(rows / np.maximum(lengths, 1e-9)[:, None], full_matrices=False)
    first, second = u @ v
    rotation = np.stack([first, second, np.cross(first, second)])
    return rotation, scale, centre - scale * rotation[:2] @ middle


# --- What light falls on it ----------------------------------------------------------------------


def _light(
    face: FaceModel, seen: np.ndarray, backdrop: np.ndarray, focal: float
) -> tuple[np.ndarray, scenes.Light]:
    """The skin's colour `[3]` under plain light, and the light: ambient and one lamp.

    Harmonics of order one, fitted to the skin that faces the camera. A lamp's cosine, cut at zero,
    has half its slope in them.
    """
    size = len(backdrop)
    names = ("skin", "nose", "cheeks", "forehead", "chin")
    skin = np.isin(face.region, [REGIONS.index(n) for n in names])
    normals = scenes.normals(seen, np.asarray(face.triangles, np.int32))
    x, y = scenes.project(seen, focal, size, size)[:, :2].round().astype(int).T
    own = skin & (normals[:, 2] < -0.3) & (np.minimum(x, y) >= 0) & (np.maximum(x, y) < size)
    blurred = cv2.GaussianBlur(backdrop, (0, 0), size / 60)
    colours = blurred[y[own], x[own]] if own.sum() > 50 else blurred.reshape(-1, 3)[::7][:400]
    tone = np.maximum(np.median(colours, axis=0), 0.002)
    level = float(np.clip(np.sqrt(tone.mean() / _TYPICAL), 0.15, 1.6))
    slope = np.zeros(3)
    if own.sum() > 50:
        grey = colours.mean(axis=-1) / tone.mean()
        kept = np.abs(np.log(np.maximum(grey, 1e-3))) < 0.9  # no hair, no brows, no glint
        system = np.concatenate([np.ones((own.sum(), 1)), normals[own]], axis=1)[kept]
        ridge = np.diag([1e-3, 0.05, 0.05, 0.15]) * len(system)
        slope = np.linalg.solve(system.T @ system + ridge, system.T @ grey[kept])[1:]
    strength = float(np.clip(2 * np.linalg.norm(slope), 0.25, 1.5))
    towards = slope - np.array([0, 0.15, 0.25])
    towards = towards / np.linalg.norm(towards)
    warmth = np.sqrt(tone / tone.mean() / np.array([1.5, 0.88, 0.62]))
    cast = np.clip(warmth / warmth.mean(), 0.6, 1.6)
    ambient = np.zeros((4, 3), np.float32)
    ambient[0] = max(1 - 0.5 * strength, 0.25) * level * cast
    light = scenes.Light(ambient, towards[None], (strength * level * cast)[None], np.array([5.0]))
    return np.clip(tone / (level * cast), 0.01, 0.9) ** (1 / scenes.GAMMA), light
