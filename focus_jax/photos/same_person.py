"""Several photos of one person: one identity and albedo, the rest of each photo by itself.

Photos of one folder are one person's. In each the face is taken that is most like those of the
others; identity and albedo are the mean of what the photos say, each weighed by how far it is to be
trusted, and of shape by what it shows. The landmarks of all photos together then move identity, and
so does refinement.
"""

import dataclasses
import json
import math
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from focus_jax.data.align import invert_transform
from focus_jax.data.decode import UnreadablePhoto
from focus_jax.data.detect import Source
from focus_jax.data.faces import Face, Photo, read_pixels
from focus_jax.photos import masks, mesh_files, process, results, texture, tracking
from focus_jax.photos.inference import Inference, refine_together, relight, show
from focus_jax.photos.landmark_fit import fit_together
from focus_jax.photos.programs import program
from focus_jax.photos.trained import Model, make_batch
from focus_jax.photos.video_people import features
from focus_jax.rendering import camera, geometry, morphable
from focus_jax.types import Batch, FaceCode, FaceModel

FILES = ("person.glb", "person.json")
MOST = 64  # photos that are refined as one: what they draw is in memory at once
LEAST = 0.05  # weight of a photo that is not trusted at all, of one that is wholly
# What a photo's departure along the line of sight counts, of one across it; chosen on 16 heads of
# their own. EVERY: of the vertices that are compared.
DEPTH, EVERY = 0.02, 5
# Cosine between the features of two photos' faces, below which they are not one person's: dlib's
# own bound, and as `tracking` has it for ArcFace.
ALIKE = {"dlib": 0.91}


class View(NamedTuple):
    """One photo of a person."""

    photo: Photo  # read again where its pixels are asked for: all at once would fill the memory
    face: Face
    found: Inference
    likeness: float  # as `choose` gives it


class _Candidate(NamedTuple):
    face: Face
    code: FaceCode
    encoded: np.ndarray  # as in `Inference`: it tells how far a photo is to be trusted
    confidence: float
    features: np.ndarray


def process_people(
    photos: Sequence[Photo],
    model: Model,
    source: Source,
    write: process.Write,
    *,
    steps: int = 0,
    batch_size: int = 8,
    progress: bool = True,
    done: Callable[[Photo], bool] = lambda photo: False,
    person: Callable[[str, list[View]], None] | None = None,
    tell: Callable[[str], object] = lambda line: None,
) -> process.Summary:
    """As `process.process`, of photos whose folders are a person each: a face a photo.

    `person` is called with the folder's name and the person's views, the most trusted first. A
    person of whom all photos are done is passed over. ValueError without a trained model, and for
    more photos of a person than are refined as one.
    """
    if model.networks is None:
        raise ValueError("photos of one person need a trained model; --model none is not one")
    groups: dict[str, list[Photo]] = {}
    for photo in photos:
        groups.setdefault(Path(photo.name).parent.as_posix(), []).append(photo)
    todo = {name: group for name, group in groups.items() if not all(map(done, group))}
    largest = max(map(len, todo.values()), default=0)
    if steps and largest > MOST:
        raise ValueError(f"{largest} photos of one person; at most {MOST} are refined as one")
    counts, skipped = [0, 0], []

    def attempt(name: str, work: Callable[..., None], *given: Any) -> bool:
        try:
            work(*given)
        except (*process.FAILURES, OSError, UnreadablePhoto) as problem:
            skipped.append(process.why_unwritten(name, problem))
            tell(skipped[-1])
            if progress:
                print(f"skipped {skipped[-1]}", file=sys.stderr)
            return False
        return True

    def write_view(view: View) -> None:
        write(view.photo, read_pixels(view.photo), [(view.face, view.found)])

    for name, group in todo.items():
        options = {"batch_size": batch_size, "progress": progress, "tell": tell}
        candidates, problems = _candidates(group, model, source, **options)
        skipped += problems
        views = find_person(candidates, model, steps=steps, batch_size=batch_size)
        # Before the photos, which say that they are done.
        if person is not None and views:
            attempt((Path(name) / FILES[0]).as_posix(), person, name, views)
        counts[0] += len(group)
        counts[1] += sum(attempt(view.photo.name, write_view, view) for view in views)
    return process.Summary(counts[0], counts[1], len(photos) - counts[0], skipped)


Candidates = list[tuple[Photo, list[_Candidate]]]


def _candidates(
    photos: Sequence[Photo], model: Model, source: Source, **options: Any
) -> tuple[Candidates, list[str]]:
    """All faces of the photos, in their order, and which photos gave none, and why."""
    found: dict[str, tuple[Photo, list[_Candidate]]] = {}

    def take(photo: Photo, image: np.ndarray, pairs: list[tuple[Face, Inference]]) -> None:
        faces = []
        for face, one in pairs:
            sure = results.describe(photo.name, face, one, model, image.shape)["confidence"]
            own = features(model, [face])[0]
            faces.append(_Candidate(face, one.code, np.asarray(one.encoded), sure, own))
        found[photo.name] = photo, faces

    summary = process.process(photos, model, source, take, **options)
    return [found[p.name] for p in photos if p.name in found], summary.skipped


def find_person(candidates: Candidates, model: Model, *, steps: int, batch_size: int) -> list[View]:
    """The person whom all photos show, in each, the most trusted photo first."""
    if not candidates:
        return []
    seen = [np.stack([face.features for face in faces]) for _, faces in candidates]
    which, likeness = choose(seen)
    chosen = [faces[k] for (_, faces), k in zip(candidates, which, strict=True)]
    codes = of_one(
        jax.tree.map(lambda *x: np.stack(x), *[face.code for face in chosen]),
        np.array([face.confidence for face in chosen]),
        model.face_model,
    )
    faces = [face.face for face in chosen]
    errors = [(None, None)] * len(faces)
    together = _batch(model, faces)
    if len(faces) > 1:
        points = together.landmarks, together.dense_landmarks
        codes = fit_together(codes, *points, model.face_model, size=together.image.shape[1])
        # Each photo's light was found with an albedo and a shape of its own.
        lit = _each(relight, model, together, codes, batch_size)
        codes = jax.tree.map(lambda *x: np.stack(x), *lit)
    if steps:
        refined = jax.device_get(refine_together(model, together, codes, steps))
        codes = refined.code
        errors = [
            tuple(jax.tree.map(lambda x, k=k: np.asarray(x)[k], e) for e in refined[1:3])
            for k in range(len(faces))
        ]
    shown = _each(show, model, together, codes, batch_size)
    views = []
    for k, (photo, _) in enumerate(candidates):
        before, after = errors[k]
        found = shown[k]._replace(errors=before, refined=after, encoded=chosen[k].encoded)
        views.append((chosen[k].confidence, View(photo, faces[k], found, likeness[k])))
    return [view for _, view in sorted(views, key=lambda pair: -pair[0])]


def _batch(model: Model, faces: Sequence[Face]) -> Batch:
    parts = ("crop", "landmarks", "dense_landmarks")
    stacks = (np.stack([getattr(f, part) for f in faces]) for part in parts)
    return make_batch(model, *stacks, encoded=False)


def _each(
    look: Callable[[Model, Batch, FaceCode], Any],
    model: Model,
    batch: Batch,
    code: FaceCode,
    batch_size: int,
) -> list[Any]:
    """What `look` gives of each photo: by batches filled up with the last one, so that one program
    serves any number."""
    found: list[Any] = []
    count = len(batch.image)
    for start in range(0, count, batch_size):
        rows = np.minimum(np.arange(start, start + batch_size), count - 1)
        part = jax.tree.map(lambda x, rows=rows: np.asarray(x)[rows], (batch, code))
        several = jax.device_get(look(model, *part))
        own = range(min(batch_size, count - start))
        found += [jax.tree.map(lambda x, k=k: np.asarray(x)[k].copy(), several) for k in own]
    return found


def choose(
    seen: Sequence[Float[np.ndarray, "k c"]],
) -> tuple[Int[np.ndarray, "n"], Float[np.ndarray, "n"]]:
    """Of each photo's faces, by their features, the one that is most like the others' chosen.

    The largest, first ones are where it begins. Also how alike it is: the cosine that it has, or
    surpasses, with half of the others, so that a stranger among them says nothing against the rest.
    """
    which = np.zeros(len(seen), int)
    for _ in range(5):
        for k, own in enumerate(seen):
            if others := _others(seen, which, k):
                which[k] = (own @ np.sum(others, axis=0)).argmax()
    likeness = np.ones(len(seen))
    for k, own in enumerate(seen):
        if others := _others(seen, which, k):
            likeness[k] = np.quantile(np.stack(others) @ own[which[k]], 0.5, method="higher")
    return which, likeness


def _others(seen: Sequence[np.ndarray], which: np.ndarray, number: int) -> list[np.ndarray]:
    """Features of what is chosen in all photos but one."""
    chosen = (faces[k] for faces, k in zip(seen, which, strict=True))
    return [features for k, features in enumerate(chosen) if k != number]


def of_one(code: FaceCode, confidence: Float[np.ndarray, "n"], face_model: FaceModel) -> FaceCode:
    """The codes with one identity and albedo, the mean of all by their confidence.

    Of identity a photo says what it shows: how far points that are turned to the camera depart
    across the line of sight, hardly along it (`DEPTH`), where another side says more.
    """
    weights = np.maximum(confidence, LEAST).astype(np.float32)
    identity = _of_all_sides(code, weights, face_model)
    albedo = (weights[:, None] * code.albedo).sum(0) / weights.sum()
    shared = {"identity": np.asarray(identity), "albedo": albedo.astype(np.float32)}
    given = {name: np.broadcast_to(x, (len(weights), len(x))) for name, x in shared.items()}
    return dataclasses.replace(code, **given)


@program
def _of_all_sides(
    code: FaceCode, weights: Float[Array, "n"], face_model: FaceModel
) -> Float[Array, "i"]:
    """The identity whose shape departs least from those of all codes, as their photos see them."""
    rotation, translation = camera.extrinsics(code.pose)
    vertices = morphable.vertices(face_model, code.identity, code.expression)
    normals = camera.rotate(rotation, geometry.vertex_normals(vertices, face_model.triangles))
    towards = (camera.rotate(rotation, vertices) + translation[:, None])[:, ::EVERY]
    sight = towards / jnp.linalg.norm(towards, axis=-1, keepdims=True)
    turned = jnp.sum(normals[:, ::EVERY] * sight, axis=-1) < 0
    modes = jnp.asarray(face_model.identity_basis)[::EVERY]

    def square(
        rotation: Float[Array, "3 3"], sight: Float[Array, "v 3"], turned: Float[Array, "v"]
    ) -> Float[Array, "i i"]:
        moved = jnp.einsum("ij,vjk->vik", rotation, modes)
        along = jnp.einsum("vi,vik->vk", sight, moved)
        moved = moved - (1 - math.sqrt(DEPTH)) * sight[..., None] * along[:, None]
        flat = (moved * turned[:, None, None]).reshape(-1, modes.shape[-1])
        return flat.T @ flat

    each = weights[:, None, None] * jax.vmap(square)(rotation, sight, turned)
    matrix, right = each.sum(0), jnp.einsum("nij,nj->i", each, code.identity)
    # What no photo shows is the plain mean.
    slight = 1e-3 * jnp.trace(matrix) / len(matrix)
    mean = weights @ code.identity / weights.sum()
    return jnp.linalg.solve(matrix + slight * jnp.eye(len(matrix)), right + slight * mean)


def unlike(view: View, model: Model) -> bool:
    """Whether a photo's face is rather somebody else's."""
    kind = model.networks.recognizer if model.networks else "dlib"
    return view.likeness < ALIKE.get(kind, tracking.SAME_ARCFACE)


def write_person(folder: Path, views: Sequence[View], shared: results.Shared) -> None:
    """FOLDER/person.glb, the face without expression, its texture gathered from all photos, and
    person.json, what the photos have in common. OSError where that fails, UnreadablePhoto where a
    photo is no longer there.
    """
    folder.mkdir(parents=True, exist_ok=True)
    numbers = {
        "identity": np.asarray(views[0].found.code.identity).tolist(),
        "albedo": np.asarray(views[0].found.code.albedo).tolist(),
        "photos": [
            {
                "photo": view.photo.name,
                "face": view.face.number,
                "likeness": round(view.likeness, 4),
            }
            for view in views
        ],
    }
    results.write_text(folder / "person.json", json.dumps(numbers) + "\n")
    if shared.surface is None or shared.texels is None:
        return
    looks = []
    for view in views:
        back, one = invert_transform(masks.fine_transform(view.face)), view.found
        place = one.screen, one.facing, one.depth, one.mask[..., 0]
        looks.append(texture.View(*texture.cut(read_pixels(view.photo), back), *place))
    lit = [view.found.colours for view in views]
    picture, _ = texture.gather(looks, lit, shared.triangles, shared.texels)
    _, neutral = results.shapes(views[0].found, shared.model)
    normals = mesh_files.vertex_normals(neutral, shared.triangles)
    content = mesh_files.glb(
        neutral,
        normals,
        shared.surface,
        mesh_files.encode_jpeg(picture),
        units=shared.model.face_model.units,
        name="person",
    )
    (folder / "person.glb").write_bytes(content)
