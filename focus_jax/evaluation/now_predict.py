"""Write the prediction folder of the NoW benchmark from a trained model and a list of photos.

    python -m focus_jax.evaluation.now_predict --workdir=runs/em-photos --photos=NOW/photos \\
        --images=NOW/imagepathsvalidation.txt --out=predictions/em [--landmarks=landmarks.csv]

The list has a line `SUBJECT/CHALLENGE/IMAGE.jpg` per photo, below the folder of photos. Landmarks
are rows `SUBJECT/CHALLENGE/IMAGE.jpg,x0,y0,...,x67,y67`, or dlib finds them (`pip install
focus_jax[photos]`); photos without a face are counted and listed. Each photo gives a neutral mesh,
without expression and pose, as `.obj`, its seven landmarks as `.npy`, and a row of `poses.csv` with
the estimated yaw. The mesh is the whole one of the face model's file; with `--misfit=misfit.npz`,
which subtracts a misfit prior (see `focus_jax.training.misfit`), it is that of the training. Neutral is also
without the mean expression of face models that have one (Basel 2017 and 2019), as in the authors'
release; `--mean_expression` keeps it.
"""

import csv
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path

import jax
import numpy as np
import trimesh
from absl import flags
from tqdm import tqdm

from focus_jax.data.detect import dlib_source
from focus_jax.data.landmarks import check_inside, read_landmarks
from focus_jax.data.photos import UnreadablePhoto, read_photo
from focus_jax.evaluation.now import read_images
from focus_jax.evaluation.scans import SEVEN
from focus_jax.face_models import load_face_model
from focus_jax.rendering import morphable
from focus_jax.system import command
from focus_jax.training import misfit, updates
from focus_jax.types import FaceModel
from focus_jax.weights.run import Trained, align, load_trained, record_batches

CHUNK = 64  # photos in memory at once

FindLandmarks = Callable[[str, np.ndarray], np.ndarray | None]  # of a photo's name and pixels


def seven_landmarks(face_model: FaceModel, vertices: np.ndarray) -> np.ndarray:
    """The benchmark's seven points `[... 7 3]` of shapes `[... v 3]`."""
    return np.asarray(morphable.landmarks(face_model, vertices))[..., list(SEVEN), :]


def predict(
    trained: Trained,
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
    skipped: list[str] = []
    out.mkdir(parents=True, exist_ok=True)
    face_model = trained.constants.face_model if whole is None else whole
    less = [] if prior is None else [prior]
    if not mean_expression and face_model.expression_mean is not None:
        less.append(np.asarray(face_model.expression_mean))
    with (out / "poses.csv").open("w", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(["image", "yaw"])
        bar = tqdm(images, desc="photos", unit="photo")
        for chunk in _chunks(_crops(trained, bar, photos, find, skipped)):
            names, records = zip(*chunk, strict=True)
            for name, shape, yaw in _shapes(trained, names, records, whole, less):
                stem = (out / name).with_suffix("")
                stem.parent.mkdir(parents=True, exist_ok=True)
                mesh = trimesh.Trimesh(shape, np.asarray(face_model.triangles), process=False)
                stem.with_suffix(".obj").write_text(mesh.export(file_type="obj", digits=6))
                np.save(stem.with_suffix(".npy"), seven_landmarks(face_model, shape))
                rows.writerow([name, f"{yaw:.2f}"])
    return skipped


def _crops(
    trained: Trained, images: Iterable[str], photos: Path, find: FindLandmarks, skipped: list[str]
) -> Iterator[tuple[str, dict]]:
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
            yield name, align(photo, landmarks, trained.config)
        except ValueError as problem:
            skipped.append(f"{name}: {problem}")


def _chunks(crops: Iterable[tuple[str, dict]]) -> Iterator[list[tuple[str, dict]]]:
    chunk: list[tuple[str, dict]] = []
    for crop in crops:
        chunk.append(crop)
        if len(chunk) == CHUNK:
            yield chunk
            chunk = []
    if chunk:
        yield chunk


def _shapes(
    trained: Trained,
    names: Sequence[str],
    records: Sequence[dict],
    whole: FaceModel | None,
    less: Sequence[np.ndarray],
) -> Iterator[tuple[str, np.ndarray, float]]:
    """Name, neutral shape `[v 3]` minus all of `less`, and yaw in degrees of each photo."""
    start = 0
    for batch, count in record_batches(records, trained.config, trained.constants.recognizer):
        found = updates.predict(trained.state, batch, trained.constants, method=trained.method)
        code = found.face.code
        neutral, pose = jax.device_get((found.face.neutral, code.pose))
        if whole is not None:
            neutral = np.asarray(morphable.vertices(whole, code.identity, code.expression[..., :0]))
        for offset in less:
            neutral = misfit.correct(neutral, offset)
        for i in range(count):
            yield names[start + i], neutral[i], float(np.rad2deg(pose[i, 1]))
        start += count


def from_csv(path: Path) -> FindLandmarks:
    """Landmarks of the rows of a csv, by the photo's name in the list."""
    rows = {row.filename: row for row in read_landmarks(path)}

    def find(name: str, photo: np.ndarray) -> np.ndarray | None:
        if name not in rows:
            return None
        check_inside(rows[name], path, *photo.shape[:2])
        return rows[name].landmarks

    return find


def from_dlib() -> FindLandmarks:
    """Landmarks that dlib finds in the largest face of the photo."""
    source = dlib_source()

    def find(name: str, photo: np.ndarray) -> np.ndarray | None:
        faces = source(photo, Path(name))
        return faces[0].landmarks if faces else None

    return find


def main(argv: list[str]) -> None:
    del argv
    trained = load_trained(Path(_WORKDIR.value))
    find = from_csv(Path(_LANDMARKS.value)) if _LANDMARKS.value else from_dlib()
    face_model = trained.constants.face_model
    prior = misfit.load(Path(_MISFIT.value), face_model) if _MISFIT.value else None
    model = trained.config.face_model
    whole = None if prior is not None else load_face_model(model.name, **model.modes, mesh="full")
    images = read_images(Path(_IMAGES.value))
    out = Path(_OUT.value)
    skipped = predict(
        trained,
        images,
        Path(_PHOTOS.value),
        out,
        find=find,
        prior=prior,
        mean_expression=_MEAN_EXPRESSION.value,
        whole=whole,
    )
    print(f"wrote {len(images) - len(skipped)} of {len(images)} predictions to {out}")
    if skipped:
        print("without a prediction: " + "; ".join(skipped))


if __name__ == "__main__":
    _WORKDIR = flags.DEFINE_string("workdir", None, "Of the training run.", required=True)
    _PHOTOS = flags.DEFINE_string("photos", None, "Folder of the photos.", required=True)
    _IMAGES = flags.DEFINE_string("images", None, "List of photos.", required=True)
    _LANDMARKS = flags.DEFINE_string("landmarks", None, "68 landmarks of each photo, csv.")
    _MISFIT = flags.DEFINE_string("misfit", None, "Misfit prior to subtract.")
    _MEAN_EXPRESSION = flags.DEFINE_bool("mean_expression", False, "Keep it in neutral shapes.")
    _OUT = flags.DEFINE_string("out", None, "The prediction folder.", required=True)
    command.run(main)
