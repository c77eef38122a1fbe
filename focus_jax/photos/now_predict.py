"""The prediction folder of the NoW benchmark, from a trained model and a list of photos.

Each photo gives a neutral mesh, without expression and pose, as `.obj`, its seven landmarks as
`.npy`, and a row of `poses.csv` with the estimated yaw. NeRSemble's single-view benchmark wants a
neutral and a posed mesh of each as `.ply`, in folders of the photos' names.
"""

import csv
import io
import re
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
from focus_jax.evaluation.svfr import TASKS
from focus_jax.face_models import misfit
from focus_jax.photos.inference import find_codes
from focus_jax.photos.trained import Model, make_batch
from focus_jax.rendering import morphable
from focus_jax.system.files import bare, with_end, write_whole
from focus_jax.types import FaceModel

BATCH = 16  # photos at once
_KEY = re.compile(r"[^/]+/[^/]+_\d+_[^/_]+/[^/]+")  # of a photo of NeRSemble's benchmark

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
    svfr: bool = False,
) -> list[str]:
    """Write the predictions of all photos; returns what was left out, with the reason for each.

    With `svfr` they are as NeRSemble's benchmark wants them, instead of NoW's. What an earlier run
    wrote of photos that are left out now is removed.

    `prior` is subtracted; `mean_expression` keeps the face model's in the neutral shapes; `whole`
    is the face model with all of its mesh, to be written instead of the training's. ValueError for
    both a prior, which is of the training's mesh, and `whole`, and for names that are none of the
    benchmark's.
    """
    if prior is not None and whole is not None:
        raise ValueError("a misfit prior is of the training's mesh; leave the whole one out")
    _refuse_clashes(images)
    if svfr and (odd := [name for name in images if not _KEY.fullmatch(name)]):
        raise ValueError(f"{odd[0]!r} is not PERSON/SEQUENCE_TIMESTEP_SERIAL/rgb.png")
    skipped: list[str] = []
    out.mkdir(parents=True, exist_ok=True)
    face_model = model.face_model if whole is None else whole
    smile = None if mean_expression else face_model.expression_mean
    rows, written = [["image", "yaw"]], set()
    bar = tqdm(images, desc="photos", unit="photo")
    for chunk in _chunks(_crops(model, bar, photos, find, skipped)):
        for name, neutral, posed, yaw in _shapes(model, chunk, whole, prior, smile):
            written.add(name)
            if svfr:
                _write_svfr(out / name, face_model, posed, neutral)
                continue
            path = out / name
            path.parent.mkdir(parents=True, exist_ok=True)
            mesh = trimesh.Trimesh(neutral, np.asarray(face_model.triangles), process=False)
            shape, points = _files(path)
            shape.write_text(mesh.export(file_type="obj", digits=6))
            np.save(points, seven_landmarks(face_model, neutral))
            rows.append([name, f"{yaw:.2f}"])
    for name in set(images) - written:  # what an earlier run wrote would be scored as this one's
        for path in _files(out / name, svfr=svfr):
            path.unlink(missing_ok=True)
    if not svfr:
        text = io.StringIO()
        csv.writer(text).writerows(rows)
        write_whole(out / "poses.csv", text.getvalue())
    return skipped


def _files(path: Path, *, svfr: bool = False) -> list[Path]:
    """What is written of a photo; of NeRSemble's `PERSON/SEQUENCE_TIMESTEP_SERIAL/rgb.png`."""
    if not svfr:
        return [with_end(path, ".obj"), with_end(path, ".npy")]
    sequence, timestep, serial = path.parent.name.rsplit("_", 2)
    folder = path.parent.with_name(f"{sequence}_{int(timestep):03d}_{serial}")
    kinds = ("mesh_{}.ply", "landmarks_{}.npy")
    return [folder / kind.format(task) for task in TASKS for kind in kinds]


def _write_svfr(path: Path, face_model: FaceModel, *shapes: np.ndarray) -> None:
    """The meshes of a photo, of `TASKS`."""
    files = iter(_files(path, svfr=True))
    for shape in shapes:
        mesh = trimesh.Trimesh(shape, np.asarray(face_model.triangles), process=False)
        place = next(files)
        place.parent.mkdir(parents=True, exist_ok=True)
        mesh.export(place)
        np.save(next(files), seven_landmarks(face_model, shape))


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
        try:
            landmarks = find(name, photo)
            if landmarks is None:
                skipped.append(f"{name}: no landmarks")
                continue
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
    prior: np.ndarray | None,
    smile: np.ndarray | None,
) -> Iterator[tuple[str, np.ndarray, np.ndarray, float]]:
    """Of each photo name, neutral shape `[v 3]` without `smile`, that with its expression, both
    minus the prior, and yaw in degrees."""
    # Filled up with the last photo, so that one compiled program serves all.
    full = [crop for _, crop in chunk] + [chunk[-1][1]] * (BATCH - len(chunk))
    batch = make_batch(
        model, np.stack([c.image for c in full]), np.stack([c.landmarks for c in full])
    )
    code = find_codes(model, batch)[0]
    face_model = model.face_model if whole is None else whole
    neutral = np.asarray(morphable.vertices(face_model, code.identity, code.expression[..., :0]))
    posed = np.asarray(morphable.vertices(face_model, code.identity, code.expression))
    if smile is not None:
        neutral = misfit.correct(neutral, np.asarray(smile))
    if prior is not None:
        neutral, posed = misfit.correct(neutral, prior), misfit.correct(posed, prior)
    yaws = np.rad2deg(np.asarray(code.pose)[:, 1])
    for (name, _), *shapes, yaw in zip(chunk, neutral, posed, yaws, strict=False):
        yield name, *shapes, float(yaw)


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
