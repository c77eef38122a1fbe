"""What `focus-reconstruct --refine N` does to validation photos, beside what it costs.

    python -m experiments.refinement MODEL FOLDER [--steps 20 60 100] [--count 262]
        [--synthetic 0] [--without likeness]

MODEL is the folder of a training run, shipped, or none; FOLDER a data set of photos, whose
val_landmarks.csv is read, or any folder of photos. Prints a table: the colour distance inside the
mask, the distance of the landmarks (root mean square, in crop widths) from those of the detector,
and the likeness of photo and rendering to the recognizer, inside the mask, before and after. With
`--synthetic` another one of so many synthetic faces, whose shape is known: the mean distance of
neutral faces after similarity alignment, before and after. `--without` leaves a term out.
"""

import argparse
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import jax
import numpy as np
from tqdm import tqdm

from focus_jax.data.decode import UnreadablePhoto
from focus_jax.data.detect import DEFAULT, landmark_source
from focus_jax.data.faces import Face, Photo, find_photos, read_faces
from focus_jax.data.landmark_files import csv_source
from focus_jax.data.landmarks import Detection, Source, read_landmarks
from focus_jax.data.photos import CSV
from focus_jax.data.synthetic.faces import synthesize
from focus_jax.evaluation.report import table
from focus_jax.evaluation.shape import shape_error
from focus_jax.photos import refine
from focus_jax.photos.inference import find_codes
from focus_jax.photos.trained import Model, load_model, make_batch
from focus_jax.rendering import morphable

BATCH, SEED = 8, 7
HEAD = (
    "| steps | colour distance, of 255 | after | lower in | landmarks, % of the crop | after "
    "| higher in | likeness | after | lower in | processor s a face |\n|" + " --- |" * 11
)


def main(argv: Sequence[str] | None = None) -> int:
    """The command; returns its exit status."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("model", metavar="MODEL")
    parser.add_argument("folder", metavar="FOLDER", type=Path)
    parser.add_argument("--steps", type=int, nargs="+", default=[20, 60, 100])
    parser.add_argument("--count", type=int, help="of the photos, the first so many")
    parser.add_argument("--synthetic", type=int, default=0, help="faces of known shape")
    parser.add_argument("--without", choices=refine.WEIGHTS, help="term to leave out")
    arguments = parser.parse_args(argv)
    if min(arguments.steps) < 1:
        parser.error("--steps must be 1 or more")
    if arguments.without:
        refine.WEIGHTS[arguments.without] = 0.0
    try:
        model = load_model(arguments.model)
        named = validation_faces(arguments.folder, model.record_size, arguments.count)
        faces = [face for _, face in named]
    except (OSError, ValueError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    print(f"{len(faces)} photos of {arguments.folder}, model {arguments.model}\n\n{HEAD}")
    for steps in arguments.steps:
        print(row(steps, *measure(model, faces, steps)), flush=True)
    if arguments.synthetic:
        rows = []
        for steps in arguments.steps:
            before, after = (shape_errors(model, arguments.synthetic, n) for n in (0, steps))
            nearer = f"{(after < before).sum()} of {len(after)}"
            rows.append([steps, float(before.mean()), float(after.mean()), nearer])
        print("\n" + table(["steps", "shape, mm", "after", "nearer in"], rows))
    return 0


def shape_errors(model: Model, count: int, steps: int) -> np.ndarray:
    """Mean distance `[n]` in mm of each neutral face from its truth, of synthetic ones."""
    options = {"size": model.record_size, "seed": SEED, "split": "test", "occluded": 0.0}
    records = list(synthesize(model.face_model, count, **options))
    errors = []
    for start in range(0, count, BATCH):
        chosen = records[start : start + BATCH]
        full = chosen + [chosen[-1]] * (BATCH - len(chosen))
        crops, points, true = (
            np.stack([r[k] for r in full]) for k in ("image", "landmarks", "neutral")
        )
        code = find_codes(model, make_batch(model, crops, points), steps).code
        found = morphable.vertices(model.face_model, code.identity, 0 * code.expression)
        errors.append(np.asarray(shape_error(found, true, scale=True))[: len(chosen)])
    return np.concatenate(errors)


def detected_there(csv: Path) -> Source:
    """The default detector's face where the csv says that one is; the csv's if it finds none."""
    placed, find = csv_source(csv), landmark_source(DEFAULT)

    def source(photo: np.ndarray, path: Path) -> list[Detection]:
        [there] = placed(photo, path)
        wide = np.linalg.norm(there.landmarks[36] - there.landmarks[45])

        def apart(face: Detection) -> float:
            return np.linalg.norm(face.landmarks - there.landmarks, axis=-1).mean() / wide

        nearest = min(find(photo, path), key=apart, default=there)
        return [nearest if apart(nearest) < 0.5 else there]

    return source


def validation_faces(folder: Path, size: int, count: int | None) -> list[tuple[str, Face]]:
    """Validation photos' names and crops, by `detected_there`. ValueError for none.

    Of a folder without a csv, the first face of each photo.
    """
    csv = folder / CSV["validation"]
    if csv.is_file():
        source, names = detected_there(csv), [row.filename for row in read_landmarks(csv)]
        photos = folder / "Dataset" if (folder / "Dataset").is_dir() else folder
        listed = [Photo(photos / name, name) for name in names]
    else:
        source, listed = landmark_source(DEFAULT), find_photos([str(folder)]).photos
    faces: list[tuple[str, Face]] = []
    for photo in listed[:count]:
        try:
            found = read_faces(photo, source, size)[1]
        except UnreadablePhoto as problem:
            print(f"skipped {problem}", file=sys.stderr)
            continue
        faces += [(photo.name, face) for face in found[:1]]
    if not faces:
        raise ValueError(f"none of the photos of {folder} can be read, or none shows a face")
    return faces


def measure(model: Model, faces: list[Face], steps: int) -> tuple[dict[str, np.ndarray], float]:
    """Errors `[n 2]` of each kind, before and after; seconds of the processor a face.

    The time is that of whole batches after the first, which compiles.
    """
    parts, seconds = [], []
    for start in tqdm(range(0, len(faces), BATCH), desc=f"{steps} steps", unit="batch"):
        chosen = faces[start : start + BATCH]
        full = chosen + [chosen[-1]] * (BATCH - len(chosen))
        crops, points = (np.stack([getattr(f, k) for f in full]) for k in ("crop", "landmarks"))
        begun = time.process_time()
        found = jax.device_get(find_codes(model, make_batch(model, crops, points), steps))
        seconds.append((time.process_time() - begun) / BATCH)
        both = np.array([found.errors, found.refined]).transpose(1, 2, 0)
        parts.append(both[:, : len(chosen)])
    pace = float(np.median(seconds[1:])) if seconds[1:] else float("nan")
    return dict(zip(refine.Errors._fields, np.concatenate(parts, 1), strict=True)), pace


def row(steps: int, errors: dict[str, np.ndarray], seconds: float) -> str:
    """A line of the table, of errors `[n 2]` before and after."""
    shown = (
        (255 * errors["photometric"], np.less, "{:.2f}"),
        (100 * np.sqrt(2 * errors["landmark"]), np.greater, "{:.2f}"),
        (1 - errors["likeness"], np.less, "{:.4f}"),
    )
    cells = [str(steps)]
    for values, changed, form in shown:
        cells += [form.format(mean) for mean in values.mean(0)]
        cells.append(f"{int(changed(values[:, 1], values[:, 0]).sum())} of {len(values)}")
    return "| " + " | ".join([*cells, f"{seconds:.2f}"]) + " |"


if __name__ == "__main__":
    sys.exit(main())
