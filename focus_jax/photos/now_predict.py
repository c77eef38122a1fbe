"""The prediction folder of the NoW benchmark, from a trained model and a list of photos.

Each photo gives a neutral mesh, without expression and pose, as `.obj`, its seven landmarks as
`.npy`, and a row of `poses.csv` with the estimated yaw.
"""

import csv
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path

import numpy as np
import trimesh
from tqdm import tqdm

from focus_jax.data.align import Aligned, align_face
from focus_jax.data.decode import UnreadablePhoto, read_photo
from focus_jax.data.detect import DEFAULT, landmark_source
from focus_jax.data.landmarks import check_inside, read_landmarks
from focus_jax.evaluation.scans import SEVEN
from focus_jax.face_models import misfit
from focus_jax.photos.inference import find_codes
from focus_jax.photos.trained import Model, make_batch
from focus_jax.rendering import morphable
from focus_jax.system.files import bare, with_end
from focus_jax.types import FaceModel

BATCH = 16  # photos at once

FindLandmarks = Callable[[str, np.ndarray], np.ndarray | None]  # of a photo's name and pixels


def seven_landmarks(face_model: FaceModel, vertices: np.ndarray) -> np.ndarray:
    """The benchmark's seven points `[... 7 3]` of shapes `[... v 3]`."""
    return np.asarray(morphable.landmarks(face_model, vertices))[..., list(SEVEN), :]


def predict(
    model: Model,
    images: Sequence[str],
    photos: Path,
    out: Path,
    *,
    find: FindLandmarks,
    prior: np.ndarray | None = None,
    mean_expression: bool = False,
    whole: FaceModel | None = None,
) -> list[str]:
    """Write the predictions of all photos; returns what was left out, with the reason for each.

    `prior` is subtracted; `mean_expression` keeps the face model's in the neutral shapes; `whole`
    is the face model with all of its mesh, to be written instead of the training's. ValueError for
    both a prior, which is of the training's mesh, and `whole`.
    """
    if prior is not None and whole is not None:
        raise ValueError("a misfit prior is of the training's mesh; leave the whole one out")
    _refuse_clashes(images)
    skipped: list[str] = []
    out.mkdir(parents=True, exist_ok=True)
    face_model = model.face_model if whole is None else whole
    less = [] if prior is None else [prior]
    if not mean_expression and face_model.expression_mean is not None:
        less.append(np.asarray(face_model.expression_mean))
    with (out / "poses.csv").open("w", newline="", errors="surrogateescape") as file:
        rows = csv.writer(file)
        rows.writerow(["image", "yaw"])
        bar = tqdm(images, desc="photos", unit="photo")
        for chunk in _chunks(_crops(model, bar, photos, find, skipped)):
            for name, shape, yaw in _shapes(model, chunk, whole, less):
                path = out / name
                path.parent.mkdir(parents=True, exist_ok=True)
                mesh = trimesh.Trimesh(shape, np.asarray(face_model.triangles), process=False)
                with_end(path, ".obj").write_text(mesh.export(file_type="obj", digits=6))
                np.save(with_end(path, ".npy"), seven_landmarks(face_model, shape))
                rows.writerow([name, f"{yaw:.2f}"])
    return skipped


def _refuse_clashes(images: Sequence[str]) -> None:
    """ValueError where two photos' predictions would be one file."""
    owners: dict[Path, str] = {}
    for image in images:
        owner = owners.setdefault(bare(Path(image)), image)
        if owner != image:
            raise ValueError(f"the predictions of {owner} and {image} would have one name")


def _crops(
    model: Model, images: Iterable[str], photos: Path, find: FindLandmarks, skipped: list[str]
) -> Iterator[tuple[str, Aligned]]:
    for name in images:
        try:
            photo = read_photo(photos / name)
        except UnreadablePhoto as problem:
            skipped.append(f"{name}: {problem}")
            continue
        landmarks = find(name, photo)
        if landmarks is None:
            skipped.append(f"{name}: no landmarks")
            continue
        try:
            yield (
                name,
                align_face(photo, landmarks, model.record_size, fix_y_offset=model.fix_y_offset),
            )
        except ValueError as problem:
            skipped.append(f"{name}: {problem}")


def _chunks(crops: Iterable[tuple[str, Aligned]]) -> Iterator[list[tuple[str, Aligned]]]:
    chunk: list[tuple[str, Aligned]] = []
    for crop in crops:
        chunk.append(crop)
        if len(chunk) == BATCH:
            yield chunk
            chunk = []
    if chunk:
        yield chunk


def _shapes(
    model: Model,
    chunk: Sequence[tuple[str, Aligned]],
    whole: FaceModel | None,
    less: Sequence[np.ndarray],
) -> Iterator[tuple[str, np.ndarray, float]]:
    """Name, neutral shape `[v 3]` minus all of `less`, and yaw in degrees of each photo."""
    # Filled up with the last photo, so that one compiled program serves all.
    full = [crop for _, crop in chunk] + [chunk[-1][1]] * (BATCH - len(chunk))
    batch = make_batch(
        model, np.stack([c.image for c in full]), np.stack([c.landmarks for c in full])
    )
    code = find_codes(model, batch)[0]
    face_model = model.face_model if whole is None else whole
    neutral = np.asarray(morphable.vertices(face_model, code.identity, code.expression[..., :0]))
    for offset in less:
        neutral = misfit.correct(neutral, offset)
    for (name, _), shape, pose in zip(chunk, neutral, np.asarray(code.pose), strict=False):
        yield name, shape, float(np.rad2deg(pose[1]))


def from_csv(path: Path) -> FindLandmarks:
    """Landmarks of the rows of a csv, by the photo's name in the list."""
    rows = {row.filename: row for row in read_landmarks(path)}

    def find(name: str, photo: np.ndarray) -> np.ndarray | None:
        if name not in rows:
            return None
        check_inside(rows[name], path, *photo.shape[:2])
        return rows[name].landmarks

    return find


def from_photos() -> FindLandmarks:
    """Landmarks of the largest face that is found in the photo."""
    source = landmark_source(DEFAULT)

    def find(name: str, photo: np.ndarray) -> np.ndarray | None:
        faces = source(photo, Path(name))
        return faces[0].landmarks if faces else None

    return find
