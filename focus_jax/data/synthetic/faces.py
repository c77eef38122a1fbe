"""Synthetic photos of faces drawn from a face model, with everything about them known.

Faces differ in every mode of the model, in pose, light and surroundings; about half have something
in front of them. Each record is a pure function of the seed, the split and its number.
"""

import functools
import zlib
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import cv2
import jax
import jax.numpy as jnp
import numpy as np
from tqdm import tqdm

from focus_jax.data.align import crop_transform
from focus_jax.data.occluders.held import hair_colour
from focus_jax.data.occluders.occluder import OCCLUDERS, canvas_factor, paint_occluder, shrink
from focus_jax.data.occluders.painting import composite, over, soften, tinted
from focus_jax.data.occluders.painting import noise as noise_field
from focus_jax.data.occluders.scene import Scene, look_at
from focus_jax.data.synthetic.backgrounds import background, body
from focus_jax.data.workers import spread
from focus_jax.rendering import camera, geometry, morphable, shading
from focus_jax.rendering.render import render_mesh
from focus_jax.types import FaceModel

__all__ = ["OCCLUDERS", "synthesize"]

Record = dict[str, Any]
BATCH = 32  # faces rendered at once
DISTANCE = 1000.0  # of the camera, see `camera.extrinsics`
SH_CONSTANT = 0.28209479  # the constant spherical harmonic
# Of a detector's landmarks, in outer-eye distances: more on the jaw, most where it must guess.
NOISE = np.where(np.arange(68) < 17, 0.025, 0.015)
NOISE_DENSE, NOISE_HIDDEN = 0.015, 0.04


class Draw(NamedTuple):
    """The numbers that one face is made of."""

    identity: np.ndarray
    expression: np.ndarray
    albedo: np.ndarray
    pose: np.ndarray  # [6]
    light: np.ndarray  # [27]
    shine: np.ndarray  # [5]: direction halfway to the lamp (3), sharpness, strength


def synthesize(
    face_model: FaceModel,
    count: int,
    *,
    size: int,
    seed: int,
    split: str = "train",
    occluded: float = 0.5,
    noise: bool = True,
    progress: bool = False,
    coefficients: bool = False,
) -> Iterator[Record]:
    """Records of `count` faces at `size` pixels.

    Fields: `image` uint8 `[s s 3]`, `mask` uint8 `[s s]` (255 where the face is seen), `landmarks`
    `[68 2]` in pixels (with a detector's noise if `noise`), likewise `dense_landmarks` `[478 2]` of
    a face model that has them (nan without a place), `neutral` `[v 3]`, `pose` `[6]`, `occluder`
    (index into OCCLUDERS) and `filename`. A part `occluded` of the faces has one. With
    `coefficients` also those: identity, expression and albedo in one row.
    """
    make = functools.partial(
        _faces,
        face_model,
        size=size,
        seed=seed,
        split=split,
        occluded=occluded,
        noise=noise,
        coefficients=coefficients,
    )
    batches = [range(start, min(start + BATCH, count)) for start in range(0, count, BATCH)]
    bar = tqdm(total=count, desc=f"synthetic {split} faces", unit="face", disable=not progress)
    with bar:
        for records in spread(make, batches, count=len(batches)):
            bar.update(len(records))
            yield from records


def _faces(
    face_model: FaceModel,
    numbers: range,
    *,
    size: int,
    seed: int,
    split: str,
    occluded: float,
    noise: bool,
    coefficients: bool,
) -> list[Record]:
    """A batch of `synthesize`."""
    streams = [_stream(seed, split, number) for number in numbers]
    draws = [draw(face_model, rng) for rng in streams]
    full = draws + [draws[-1]] * (BATCH - len(draws))  # one compiled program for all
    rendered = _render(face_model, _stack(full), size * canvas_factor(size))
    records = []
    for number, rng, drawn, *face in zip(numbers, streams, draws, *rendered, strict=False):
        record = _photograph(rng, face, size=size, occluded=occluded, noise=noise)
        record["filename"] = f"synthetic_{split}_{number:06d}"
        if coefficients:
            known = (drawn.identity, drawn.expression, drawn.albedo)
            record["coefficients"] = np.concatenate(known)
        records.append(record)
    return records


def _stream(seed: int, split: str, number: int) -> np.random.Generator:
    return np.random.default_rng((seed, zlib.crc32(split.encode()), number))


def draw(face_model: FaceModel, rng: np.random.Generator) -> Draw:
    """A random face: coefficients of unit variance, a head mostly turned little, light."""
    widths = [
        b.shape[-1]
        for b in (face_model.identity_basis, face_model.expression_basis, face_model.albedo_basis)
    ]
    identity, expression, albedo = (rng.standard_normal(n).astype(np.float32) for n in widths)
    # Most photographed faces are near rest.
    expression *= rng.uniform(0.1, 1.0)
    yaw = np.clip(rng.normal(0, 15), -40, 40)
    pitch, roll = np.clip(rng.normal(0, [7, 6]), [-15, -12], [15, 12])
    pose = np.zeros(6, np.float32)
    pose[:3] = np.deg2rad([pitch, yaw, roll])
    # Oily or moist skin mirrors a lamp; a Lambertian face model cannot.
    halfway = np.array([rng.normal(0, 0.3), rng.normal(-0.25, 0.2), -1.0])
    halfway /= np.linalg.norm(halfway)
    shine = np.array([*halfway, rng.uniform(8, 40), max(0.0, rng.normal(0.12, 0.12))], np.float32)
    return Draw(identity, expression, albedo, pose, random_light(rng), shine)


@functools.cache
def _lobes() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Directions over the sphere, and what fits nine harmonics to a function given there."""
    golden = np.pi * (3 - np.sqrt(5))
    z = np.linspace(-1, 1, 400)
    turn = golden * np.arange(400)
    ring = np.sqrt(1 - z * z)
    directions = np.stack([ring * np.cos(turn), ring * np.sin(turn), z], axis=1)
    basis = np.asarray(shading.sh_basis(jnp.asarray(directions, jnp.float32)))
    return directions, np.linalg.pinv(basis), basis


def random_light(rng: np.random.Generator) -> np.ndarray:
    """Light coefficients `[27]`: ambient, and one or two lamps before the face, nearly white."""
    directions, fit, _ = _lobes()
    total = np.full(400, rng.uniform(0.55, 1.0))
    for _ in range(rng.integers(1, 3)):
        # x right, y down, z away from the camera: lamps stand before the face and mostly above.
        lamp = np.array([rng.normal(0, 0.7), rng.normal(-0.4, 0.5), -1.0])
        lamp /= np.linalg.norm(lamp)
        total = total + rng.uniform(0.05, 0.5) * np.maximum(directions @ lamp, 0)
    channels = (fit @ total) * (1 + rng.normal(0, 0.04, (3, 1)))
    return channels.reshape(27).astype(np.float32)


def _stack(draws: list[Draw]) -> Draw:
    return Draw(*(np.stack(column) for column in zip(*draws, strict=True)))


def _render(face_model: FaceModel, drawn: Draw, canvas: int) -> tuple[np.ndarray, ...]:
    """Picture, coverage, landmarks on the canvas, dense ones, neutral shape and pose of each face.

    Dense ones are nan where the face model has no place for them, or none at all.
    """
    landmarks = _landmarks(face_model, drawn, canvas)
    pose = np.array(drawn.pose)
    # Twice: moving the head in depth changes its perspective a little.
    for _ in range(2):
        for row, points in zip(pose, np.asarray(landmarks), strict=True):
            _place(row, points, canvas)
        drawn = drawn._replace(pose=pose)
        landmarks = _landmarks(face_model, drawn, canvas)
    dense = _dense_landmarks(face_model, drawn, canvas)
    image, coverage, neutral = _shade(face_model, drawn, canvas)
    return tuple(np.asarray(x) for x in (image, coverage, landmarks, dense, neutral, pose))


def _place(pose: np.ndarray, landmarks: np.ndarray, canvas: int) -> None:
    """Move the head to where the five-point alignment would put it in a crop of this size."""
    transform = crop_transform(landmarks, canvas)
    factor = transform[0, 0]
    depth = (DISTANCE + pose[5]) / factor
    centre = (canvas - 1) / 2
    # Where the alignment moves the camera's axis to, in millimetres at that depth.
    moved = transform @ np.array([centre, centre, 1.0]) - centre
    pose[3:5] = (pose[3:5] + moved * depth / (camera.FOCAL * canvas / 2)).astype(np.float32)
    pose[5] = depth - DISTANCE


@functools.partial(jax.jit, static_argnames="canvas")
def _landmarks(face_model: FaceModel, drawn: Draw, canvas: int) -> jax.Array:
    vertices = morphable.vertices(face_model, drawn.identity, drawn.expression)
    return _project(morphable.landmarks(face_model, vertices), drawn, canvas)


@functools.partial(jax.jit, static_argnames="canvas")
def _dense_landmarks(face_model: FaceModel, drawn: Draw, canvas: int) -> jax.Array:
    if face_model.dense_landmark_weights is None:
        return jnp.full((len(drawn.pose), 478, 2), jnp.nan)
    vertices = morphable.vertices(face_model, drawn.identity, drawn.expression)
    points = _project(morphable.dense_landmarks(face_model, vertices), drawn, canvas)
    known = jnp.any(jnp.asarray(face_model.dense_landmark_weights) > 0, axis=-1)
    return jnp.where(known[:, None], points, jnp.nan)


def _project(points: jax.Array, drawn: Draw, canvas: int) -> jax.Array:
    rotation, translation = camera.extrinsics(drawn.pose)
    return camera.project(points, rotation, translation, camera.intrinsics(canvas, canvas))[..., :2]


@functools.partial(jax.jit, static_argnames="canvas")
def _shade(face_model: FaceModel, drawn: Draw, canvas: int) -> tuple[jax.Array, ...]:
    vertices = morphable.vertices(face_model, drawn.identity, drawn.expression)
    neutral = morphable.vertices(face_model, drawn.identity, drawn.expression[..., :0])
    albedo = jnp.clip(morphable.albedo(face_model, drawn.albedo), 0.01, 1.0)
    triangles = jnp.asarray(face_model.triangles)
    rendering = render_mesh(vertices, albedo, triangles, drawn.pose, drawn.light, canvas, canvas)
    # Blinn-Phong, as the picture of a mesh whose albedo is its mirrored light.
    rotation, _ = camera.extrinsics(drawn.pose)
    normals = geometry.vertex_normals(vertices, triangles, renormalize=True) @ jnp.swapaxes(
        rotation, -1, -2
    )
    towards = jnp.maximum(jnp.einsum("bvc,bc->bv", normals, drawn.shine[:, :3]), 0.0)
    gloss = drawn.shine[:, 4:] * towards ** drawn.shine[:, 3:4]
    white = jnp.zeros_like(drawn.light).at[:, jnp.array([0, 9, 18])].set(1 / SH_CONSTANT)
    shining = render_mesh(
        vertices, gloss[..., None] + jnp.zeros(3), triangles, drawn.pose, white, canvas, canvas
    )
    image = jnp.clip(rendering.image + shining.image, 0, 1)
    return image, rendering.coverage[..., 0], neutral


def _photograph(
    rng: np.random.Generator,
    face: Sequence[np.ndarray],
    *,
    size: int,
    occluded: float,
    noise: bool,
) -> Record:
    """Everything that is not the face painted around and before it, then taken at `size` pixels."""
    image, coverage, landmarks, dense, neutral, pose = face
    canvas = len(image)
    factor = canvas // size
    scene = look_at(image, landmarks.astype(np.float64))._replace(hair=hair_colour(rng))
    kind = 0
    if rng.random() < occluded:
        kind = int(rng.integers(1, len(OCCLUDERS)))
    image = _skin_detail(image, scene, rng)
    around = body(background(rng, canvas), scene, rng)
    edge = soften(coverage, 0.5 * factor)
    picture = over(around, np.minimum(edge, coverage), image)
    layer = paint_occluder(scene, OCCLUDERS[kind], coverage > 0.5, rng)
    picture = cv2.resize(
        composite(picture, layer).astype(np.float32), (size, size), interpolation=cv2.INTER_AREA
    )
    seen = cv2.resize(coverage * (layer.alpha <= 0.5), (size, size), interpolation=cv2.INTER_AREA)
    points = (landmarks + 0.5) / factor - 0.5
    hidden = shrink(layer, size).alpha
    eyes = float(np.linalg.norm(points[45] - points[36]))
    if noise:
        points = points + _detector_noise(rng, points, hidden, NOISE * eyes, eyes)
    record = {
        "image": _take(picture, rng),
        "mask": np.where(seen > 0.5, 255, 0).astype(np.uint8),
        "landmarks": points.astype(np.float32),
        "neutral": neutral.astype(np.float32),
        "pose": pose.astype(np.float32),
        "occluder": np.int32(kind),
    }
    if np.isfinite(dense).any():
        known = (dense + 0.5) / factor - 0.5
        if noise:
            known = known + _detector_noise(rng, known, hidden, NOISE_DENSE * eyes, eyes)
        record["dense_landmarks"] = known.astype(np.float32)
    return record


def _skin_detail(image: np.ndarray, scene: Scene, rng: np.random.Generator) -> np.ndarray:
    """The face with blotches, freckles or wrinkles, which no mode of the albedo stands for."""
    cells = scene.size / (scene.mm * rng.uniform(5, 16))
    amount = rng.choice([0.02, 0.05, 0.1], p=[0.4, 0.35, 0.25])
    bumps = soften(noise_field(rng, scene.size, cells, 2), 0.6)
    tint = 1 + rng.normal(0, 0.15, 3)
    return np.clip(image * (1 + tinted(amount * bumps, tint)), 0, 1).astype(np.float32)


def _detector_noise(
    rng: np.random.Generator,
    points: np.ndarray,
    hidden: np.ndarray,
    deviation: np.ndarray | float,
    eyes: float,
) -> np.ndarray:
    """Errors `[n 2]` of points in pixels, as a detector's of that `deviation`, and more where it
    must guess; `eyes` is the distance of their outer corners."""
    x, y = np.clip(np.nan_to_num(points).round().astype(int), 0, len(hidden) - 1).T
    deviation = np.where(hidden[y, x] > 0.5, NOISE_HIDDEN * eyes, deviation)
    return rng.standard_normal(points.shape) * deviation[:, None]


def _take(picture: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """The picture `[s s 3]` as a camera of no great quality saves it, uint8."""
    # Cameras raise contrast, and colours more or less.
    picture = np.clip(picture, 1e-3, 1) ** rng.uniform(0.8, 1.25)
    grey = picture.mean(axis=-1, keepdims=True)
    picture = grey + rng.uniform(0.75, 1.3) * (picture - grey)
    picture = soften(picture, rng.uniform(0, 0.7))
    picture = picture + rng.normal(0, rng.uniform(0.003, 0.02), picture.shape)
    taken = np.round(np.clip(picture, 0, 1) * 255).astype(np.uint8)
    if rng.random() < 0.5:
        quality = [cv2.IMWRITE_JPEG_QUALITY, int(rng.integers(60, 96))]
        encoded = cv2.imencode(".jpg", taken[..., ::-1], quality)[1]
        taken = np.asarray(cv2.imdecode(encoded, cv2.IMREAD_COLOR))[..., ::-1]
    return np.ascontiguousarray(taken)
