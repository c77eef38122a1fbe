"""Synthetic photos of people with a face of a face model, with everything about them known.

Faces differ in every mode of the model, in pose, light and surroundings; about half have something
in front of them. Each record is a pure function of the seed, the split and its number.
"""

import dataclasses
import functools
import zlib
from collections.abc import Iterator
from typing import Any, NamedTuple

import cv2
import numpy as np
from tqdm import tqdm

from focus_jax.data.align import crop_transform
from focus_jax.data.occluders import hair
from focus_jax.data.occluders.head import Head
from focus_jax.data.occluders.occluder import OCCLUDERS
from focus_jax.data.occluders.paste import canvas_factor, fitting_parts, part_mesh
from focus_jax.data.synthetic import backgrounds, lights, people
from focus_jax.data.synthetic.camera import random_camera, take
from focus_jax.data.workers import spread
from focus_jax.rendering import camera, scenes
from focus_jax.types import REGIONS, FaceModel

__all__ = ["OCCLUDERS", "synthesize"]

Record = dict[str, Any]
BATCH = 32  # faces a task
BEHIND = {"flash": 0.25, "side": 0.3, "back": 2.5}  # how brightly a background is lit, else 1
# Of a detector's landmarks, in outer-eye distances: more on the jaw, most where it must guess, and
# there most of it by one step for all (`benchmarks.landmarks --hidden`).
NOISE = np.where(np.arange(68) < 17, 0.025, 0.015)
NOISE_DENSE, NOISE_HIDDEN, TOGETHER = 0.015, 0.065, 0.7  # the last of the variance


class Draw(NamedTuple):
    """The numbers that one face is made of."""

    identity: np.ndarray
    expression: np.ndarray
    albedo: np.ndarray
    angles: np.ndarray  # [3] radians
    wide: float  # how much nearer a wider lens is than the camera of the model


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
    truths: bool = False,
) -> Iterator[Record]:
    """Records of `count` faces at `size` pixels.

    Fields: `image` uint8 `[s s 3]`, `mask` uint8 `[s s]` (255 where the face is seen), `landmarks`
    `[68 2]` in pixels (with a detector's noise if `noise`, else there are `found_landmarks` that
    have it), likewise `dense_landmarks` `[478 2]` of a face model that has them (nan without a
    place), `neutral` `[v 3]`, `pose` `[6]`, `occluder`
    (index into OCCLUDERS) and `filename`. A part `occluded` of the faces has one. With
    `coefficients` also those: identity, expression and albedo in one row. With `truths` also
    `labels` uint8 `[s s]` (0 background, 1 face, 2 hair, 3 occluder), `light` `[27]` as in
    `shading.shade`, `vertices` `[v 3]` (x, y in pixels, depth) and, of what is not seen through,
    `depth` `[s s]` (0 outside) and `normals` `[s s 3]` in camera space.

    Lenses differ; `pose` is that of the model's own camera where it sees the head's middle alike.
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
        truths=truths,
    )
    batches = [range(start, min(start + BATCH, count)) for start in range(0, count, BATCH)]
    bar = tqdm(total=count, desc=f"synthetic {split} faces", unit="face", disable=not progress)
    with bar:
        for records in spread(make, batches, count=len(batches)):
            bar.update(len(records))
            yield from records


class Model(NamedTuple):
    """A face model as arrays, and what is known of all its people."""

    face: FaceModel
    body: people.Body | None
    shine: np.ndarray  # [v 2] how skin, lips, eyes and teeth mirror
    skin: np.ndarray  # [v] bool


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
    truths: bool,
) -> list[Record]:
    """A batch of `synthesize`."""
    model = _known(face_model)
    records = []
    for number in numbers:
        rng = np.random.default_rng((seed, zlib.crc32(split.encode()), number))
        record = _record(model, rng, size=size, occluded=occluded, noise=noise, truths=truths)
        record["filename"] = f"synthetic_{split}_{number:06d}"
        if not coefficients:
            del record["coefficients"]
        records.append(record)
    return records


def _known(face_model: FaceModel) -> Model:
    fields = ("shape_mean", "identity_basis", "expression_basis", "albedo_mean", "albedo_basis",
              "triangles", "landmark_vertices", "landmark_weights", "region")  # fmt: skip
    plain = {name: np.asarray(getattr(face_model, name)) for name in fields}
    face = dataclasses.replace(face_model, **plain)
    shine = np.tile(np.float32([1, 18]), (len(face.region), 1))  # of the person's own strength
    for name, factor, exponent in (("eyes", 6, 150), ("lips", 1.6, 25), ("teeth", 3, 60)):
        shine[face.region == REGIONS.index(name)] = factor, exponent
    shine[face.region == REGIONS.index("mouth")] = 1.5, 40
    shine[face.region == REGIONS.index("brows")] = 0.3, 15
    inner = [REGIONS.index(n) for n in ("eyes", "brows", "lips", "teeth", "gums", "mouth")]
    return Model(face, people.around(face), shine, ~np.isin(face.region, inner))


def draw(face: FaceModel, rng: np.random.Generator) -> Draw:
    """A random face: coefficients of unit variance, a head mostly turned little, a lens."""
    widths = [b.shape[-1] for b in (face.identity_basis, face.expression_basis, face.albedo_basis)]
    identity, expression, albedo = (rng.standard_normal(n).astype(np.float32) for n in widths)
    # Most photographed faces are near rest.
    expression *= rng.uniform(0.1, 1.0)
    spread = [7, 15, 6] if rng.random() < 0.75 else [16, 45, 14]
    angles = np.deg2rad(np.clip(rng.normal(0, spread), [-40, -80, -30], [40, 80, 30]))
    wide = float(np.exp(rng.uniform(np.log(0.35), np.log(2.5))))
    return Draw(identity, expression, albedo, angles, wide)


def _record(
    model: Model, rng: np.random.Generator, *, size: int, occluded: float, noise: bool, truths: bool
) -> Record:
    """One person: drawn, put before a camera, lit, and photographed."""
    face, factor = model.face, canvas_factor(size)
    canvas = size * factor
    drawn = draw(face, rng)
    neutral = face.shape_mean + _mixed(face.identity_basis, drawn.identity)
    vertices = neutral + _mixed(face.expression_basis, drawn.expression)
    albedo = np.clip(face.albedo_mean + _mixed(face.albedo_basis, drawn.albedo), 0.01, 1)
    pose, landmarks = _aligned(face, vertices, drawn, canvas)
    rotation, translation = _camera(pose, drawn.wide)
    focal = camera.FOCAL * drawn.wide * canvas / 2

    kind = int(rng.integers(1, len(OCCLUDERS))) if rng.random() < occluded else 0
    setting, light = lights.random_light(rng)
    seen = functools.partial(_seen, rotation, translation)
    meshes = [_face_mesh(model, rng, seen(vertices), albedo)]
    tone = np.median(albedo[model.skin], axis=0)
    colour, name = hair.hair_colour(rng), OCCLUDERS[kind]
    if model.body is not None:
        meshes += _body_meshes(model, rng, seen, vertices, albedo, tone, drawn, colour)
    own = (vertices, face, tone, rng, seen, focal / canvas)
    parts = fitting_parts(name, *own, hair=colour) if kind else []
    if name not in ("hat", "veil") and rng.random() < 0.88:
        points = np.einsum("lkc,lk->lc", neutral[face.landmark_vertices], face.landmark_weights)
        parts += hair.hairdo(Head(neutral, points, tone), rng, colour)
    meshes += [part_mesh(part, seen) for part in parts]
    level = light.ambient[0] + 0.5 * light.colours.sum(axis=0)
    bright = np.exp(rng.normal(0, 0.4)) * BEHIND.get(setting, 1)
    behind = backgrounds.background(rng, canvas) * bright * level
    drawing = scenes.draw(meshes, light, behind, focal, closeness=canvas / 30)

    bare = np.concatenate([model.skin[face.triangles[:, 0]], [False]])
    own = bare[np.clip(drawing.triangle_id, -1, len(bare) - 1)]
    shot = random_camera(rng, setting, _luminance(drawing.picture, own), level / level.mean())
    points = (landmarks + 0.5) / factor - 0.5
    picture = cv2.resize(drawing.picture, (size, size), interpolation=cv2.INTER_AREA)
    shares = cv2.resize(drawing.shares, (size, size), interpolation=cv2.INTER_AREA)
    image = take(picture, shot, rng)
    labels = shares.argmax(axis=-1).astype(np.uint8)
    if rng.random() < 0.08:
        _cut(rng, image, labels)
    eyes = eye_distance(points)
    step = rng.standard_normal(2)
    found = points + _detector_noise(rng, points, labels, NOISE * eyes, eyes, step)
    record = {
        "image": image,
        "mask": np.where(labels == 1, 255, 0).astype(np.uint8),
        "landmarks": (found if noise else points).astype(np.float32),
        "neutral": neutral.astype(np.float32),
        "pose": pose.astype(np.float32),
        "occluder": np.int32(kind),
        "coefficients": np.concatenate([drawn.identity, drawn.expression, drawn.albedo]),
    }
    if not noise:
        record["found_landmarks"] = found.astype(np.float32)
    if face.dense_landmark_weights is not None:
        corners, weights = face.dense_landmark_vertices, np.asarray(face.dense_landmark_weights)
        dense = np.einsum("lkc,lk->lc", vertices[np.asarray(corners)], weights)
        dense = (scenes.project(seen(dense), focal, canvas, canvas)[:, :2] + 0.5) / factor - 0.5
        dense[~weights.any(axis=1)] = np.nan
        if noise:
            dense = dense + _detector_noise(rng, dense, labels, NOISE_DENSE * eyes, eyes, step)
        record["dense_landmarks"] = dense.astype(np.float32)
    if truths:
        screen = scenes.project(seen(vertices), focal, canvas, canvas)
        screen[:, :2] = (screen[:, :2] + 0.5) / factor - 0.5
        middle = np.s_[factor // 2 :: factor, factor // 2 :: factor]
        depth = drawing.depth[middle]
        record["labels"], record["light"] = labels, lights.harmonics(light, shot.gains)
        record["vertices"] = screen
        record["depth"] = np.where(depth < scenes.NOTHING, depth, 0)
        record["normals"] = drawing.normals[middle]
    return record


def _mixed(basis: np.ndarray, code: np.ndarray) -> np.ndarray:
    # Not BLAS, whose last bits depend on the number of threads.
    return np.einsum("vck,k->vc", basis, code)


def eye_distance(points: np.ndarray) -> float:
    """Between the outer corners of 68 landmarks' eyes, by the face's height where it is turned."""
    across, down = points[45] - points[36], points[8] - points[27]
    return float(max(np.linalg.norm(across), np.linalg.norm(down) / 1.25))


# --- Place ---------------------------------------------------------------------------------------


def _aligned(
    face: FaceModel, vertices: np.ndarray, drawn: Draw, canvas: int
) -> tuple[np.ndarray, np.ndarray]:
    """The pose of a head where the five-point alignment would put it in a crop of this size, and
    its landmarks there."""
    points = np.einsum("lkc,lk->lc", vertices[face.landmark_vertices], face.landmark_weights)
    pose = np.array([*drawn.angles, 0, 0, 0])
    focal = camera.FOCAL * drawn.wide * canvas / 2

    def look() -> np.ndarray:
        places = _seen(*_camera(pose, drawn.wide), points)
        return scenes.project(places, focal, canvas, canvas)[:, :2]

    # Several times: moving the head in depth changes its perspective a little.
    for _ in range(4):
        transform = crop_transform(look(), canvas)
        depth = (camera.DISTANCE + pose[5]) / transform[0, 0]
        middle = (canvas - 1) / 2
        # Where the alignment moves the camera's axis to, in millimetres at that depth.
        moved = transform @ np.array([middle, middle, 1.0]) - middle
        pose[3:5] += moved * depth / (camera.FOCAL * canvas / 2)
        pose[5] = depth - camera.DISTANCE
    return pose, look()


def _camera(pose: np.ndarray, wide: float) -> tuple[np.ndarray, np.ndarray]:
    """World to camera `[3 3]`, `[3]`, of a lens that sees the head's middle as the model's does."""
    translation = pose[3:] + np.array([0, 0, camera.DISTANCE])
    return np.diag([1.0, -1, -1]) @ _turn(pose[:3]), translation * [1, 1, wide]


def _turn(angles: np.ndarray) -> np.ndarray:
    """`camera.rotation_matrix` in NumPy, which for one picture is faster."""
    (cx, cy, cz), (sx, sy, sz) = np.cos(angles), np.sin(angles)
    pitch = np.array([[1, 0, 0], [0, cx, -sx], [0, sx, cx]])
    yaw = np.array([[cy, 0, sy], [0, 1, 0], [-sy, 0, cy]])
    return pitch @ yaw @ np.array([[cz, -sz, 0], [sz, cz, 0], [0, 0, 1]])


def _seen(rotation: np.ndarray, translation: np.ndarray, points: np.ndarray) -> np.ndarray:
    """Points in the camera's space."""
    turned = points.astype(np.float32) @ rotation.T.astype(np.float32)
    return turned + translation.astype(np.float32)


# --- Looks ---------------------------------------------------------------------------------------


def _face_mesh(
    model: Model, rng: np.random.Generator, places: np.ndarray, albedo: np.ndarray
) -> scenes.Mesh:
    """The face with blotches, freckles or wrinkles, which no mode of the albedo stands for."""
    amount = rng.choice([0.008, 0.016, 0.03], p=[0.4, 0.4, 0.2])
    waves = rng.normal(0, rng.uniform(0.1, 0.5), (3, 24)).astype(np.float32)
    phases = rng.uniform(0, 2 * np.pi, 24).astype(np.float32)
    bumps = np.sin(model.face.shape_mean @ waves + phases).sum(axis=1) / np.sqrt(12)
    # Redness varies more than tone.
    blotches = 1 + amount * bumps[:, None] * [0.7, 1.2, 1.2] * model.skin[:, None]
    colours = scenes.linear(albedo * blotches)
    whole = np.concatenate([colours, np.ones((len(colours), 1))], axis=1).astype(np.float32)
    oily = model.shine * [max(0.02, rng.normal(0.08, 0.06)), rng.uniform(0.7, 1.8)]
    return scenes.Mesh(places, model.face.triangles, whole, 1, oily.astype(np.float32))


def _body_meshes(model, rng, seen, vertices, albedo, tone, drawn, colour) -> list[scenes.Mesh]:
    """Neck, ears, scalp and clothes."""
    follows = rng.uniform(0.2, 0.9)
    back = -follows * drawn.angles * [0.8, 1, 0.7]
    body = people.placed(model.body, model.face.shape_mean, vertices, _turn(back))
    colours = people.skin_colours(model.body, albedo, 0.93 * tone)
    return people.meshes(model.body, seen(body), colours, colour, backgrounds.garment(rng), rng)


def _luminance(picture: np.ndarray, own: np.ndarray) -> float:
    """Of the face mostly, and of the whole picture a little, as cameras weigh them."""
    face = float(picture[own].mean()) if own.any() else float(picture.mean())
    return 0.8 * face + 0.2 * float(np.minimum(picture, 1.5).mean())


def _cut(rng: np.random.Generator, image: np.ndarray, labels: np.ndarray) -> None:
    """The photo ends within the crop; black beyond, as where photos are aligned."""
    end = round(rng.uniform(0.03, 0.3) * len(image))
    beyond = [np.s_[:end], np.s_[-end:], np.s_[:, :end], np.s_[:, -end:]][rng.integers(4)]
    image[beyond], labels[beyond] = 0, 0


def _detector_noise(
    rng: np.random.Generator,
    points: np.ndarray,
    labels: np.ndarray,
    deviation: np.ndarray | float,
    eyes: float,
    step: np.ndarray,
) -> np.ndarray:
    """Errors `[n 2]` of points in pixels, as a detector's of that `deviation`, and more where it
    must guess, there also by a common random `step` `[2]` of unit variance; `eyes` is the distance
    of their outer corners."""
    x, y = np.clip(np.nan_to_num(points).round().astype(int), 0, len(labels) - 1).T
    own = rng.standard_normal(points.shape)
    guessed = NOISE_HIDDEN * eyes * (TOGETHER**0.5 * step + (1 - TOGETHER) ** 0.5 * own)
    deviation = np.broadcast_to(deviation, len(points))[:, None]
    return np.where((labels[y, x] >= 2)[:, None], guessed, own * deviation)
