"""How well a model's masks find the occluders of photos that people outlined.

    python -m experiments.outlined_report MODEL PHOTOS --out DIR [--part choose] [--refine 60]

MODEL is the folder of a training run or of an exported model, or `shipped`; PHOTOS a data set in
the layout of docs/training.md, whose val_landmarks.csv and train_landmarks.csv say where faces are.
The outlines are experiments/occluded_photos.json; `--part` takes one part of its split. `--cast`
asks what the masks lose in another light: the crops as they would be in that, and how much of the
face's hidden share changes by it. DIR gets report.md, one table over the kinds, and worst.png: the
photos on which the mask is furthest below calling everything face, each with the rendering, the
mask and the truth (black occluder, grey background). It shows photos and stays out of any
repository unless the photos may be shown."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from experiments.refinement import detected_there
from experiments.shipped_report import Seen, look
from focus_jax.data.decode import UnreadablePhoto, read_photo
from focus_jax.data.faces import Face, Photo, read_faces
from focus_jax.data.landmarks import read_landmarks
from focus_jax.data.photos import CSV
from focus_jax.evaluation.outlines import (
    SPLITS,
    Outlined,
    crop_labels,
    labels,
    outline_scores,
    read_outlines,
)
from focus_jax.evaluation.report import table
from focus_jax.photos.trained import load_model
from focus_jax.photos.white_balance import LUMINANCE
from focus_jax.rendering import pictures

OUTLINES = Path(__file__).parent / "occluded_photos.json"
WORST = 12  # photos in the picture
CASTS = {"cold": (0.8, 1.0, 1.2), "cool": (0.85, 1.0, 1.15), "warm": (1.2, 1.0, 0.8), "grey": None}
COLUMNS = {  # as they are printed -> of evaluation.outlines.scores_in
    "F1": "f1",
    "everything F1": "everything_f1",
    "IoU": "iou",
    "everything IoU": "everything_iou",
    "occluder IoU": "occluder_iou",
    "boundary IoU": "boundary_iou",
    "ECE": "ece",
}


def main(argv: Sequence[str] | None = None) -> int:
    """The command; returns its exit status."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("model", metavar="MODEL")
    parser.add_argument("photos", metavar="PHOTOS", type=Path)
    parser.add_argument("--out", type=Path, required=True, metavar="DIR")
    parser.add_argument("--outlines", type=Path, default=OUTLINES, metavar="FILE")
    parser.add_argument("--part", choices=SPLITS, help="of the split; all photos by default")
    parser.add_argument("--refine", type=int, default=0, help="steps")
    parser.add_argument("--cast", choices=CASTS, help="of the light; grey is without colours")
    arguments = parser.parse_args(argv)
    try:
        model = load_model(arguments.model)
        outlined = read_outlines(arguments.outlines)
        names = list(outlined.split[arguments.part] if arguments.part else outlined.photos)
        faces, truths = outlined_faces(arguments.photos, outlined, names, model.record_size)
    except (OSError, ValueError, UnreadablePhoto) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    seen = look(model, faces, arguments.refine)
    change = ""
    if arguments.cast:
        before = hidden(seen)
        faces = [face._replace(crop=cast(face.crop, arguments.cast)) for face in faces]
        seen = look(model, faces, arguments.refine)
        moved = hidden(seen) - before
        change = (
            f"With a {arguments.cast} cast; the hidden share of the face changes by "
            f"{np.abs(moved).mean():.3f} on average, {moved.mean():+.3f} with its sign.\n\n"
        )
    size = seen.mask.shape[1]
    found = np.stack(
        [
            crop_labels(truth, face.transform, len(face.crop), size)
            for face, truth in zip(faces, truths, strict=True)
        ]
    )
    scores = outline_scores(found, seen.mask, seen.coverage)
    arguments.out.mkdir(parents=True, exist_ok=True)
    text = change + report(scores, len(names), arguments.refine)
    text += worst(scores["all"], names, seen, found, arguments.out)
    (arguments.out / "report.md").write_text(text)
    print(text)
    return 0


def cast(crop: np.ndarray, name: str) -> np.ndarray:
    """A crop in the light of that name, one of CASTS."""
    factors = CASTS[name]
    if factors is None:
        grey = np.rint(crop @ LUMINANCE)
        return np.repeat(grey[..., None], 3, axis=-1).astype(np.uint8)
    return np.rint(crop * np.array(factors)).clip(0, 255).astype(np.uint8)


def hidden(seen: Seen) -> np.ndarray:
    """Share of each rendered face that the mask hides."""
    covered = seen.coverage > 0
    return (covered & (seen.mask < 0.5)).sum((1, 2, 3)) / np.maximum(covered.sum((1, 2, 3)), 1)


def outlined_faces(
    photos: Path, outlined: Outlined, names: Sequence[str], size: int
) -> tuple[list[Face], list[np.ndarray]]:
    """The faces of the photos `names`, and the labels of each photo's pixels.

    ValueError for a photo that is not there or stands in neither csv, and for outlines that leave
    it.
    """
    sources = {row.filename: path for path in _csvs(photos) for row in read_landmarks(path)}
    if missing := [name for name in names if name not in sources]:
        raise ValueError(
            f"{len(missing)} of {len(names)} outlined photos, such as {missing[0]}, stand in "
            f"neither {' nor '.join(CSV.values())} of {photos}"
        )
    read = {path: detected_there(path) for path in set(sources.values())}
    folder = photos / "Dataset" if (photos / "Dataset").is_dir() else photos
    faces, truths = [], []
    for name in names:
        photo = Photo(folder / name, name)
        faces.append(read_faces(photo, read[sources[name]], size)[1][0])
        truths.append(labels(outlined.photos[name], *read_photo(photo.path).shape[:2], name))
    return faces, truths


def _csvs(photos: Path) -> list[Path]:
    found = [photos / name for name in CSV.values() if (photos / name).is_file()]
    if not found:
        raise ValueError(f"{photos} holds neither of {', '.join(CSV.values())}")
    return found


def report(scores: dict[str, dict[str, np.ndarray]], count: int, steps: int) -> str:
    """The table, a row for each kind: photos that show it and means over them."""
    rows = [
        [kind, len(columns["index"]), *(float(columns[c].mean()) for c in COLUMNS.values())]
        for kind, columns in scores.items()
    ]
    return (
        f"{count} outlined photos, {steps} steps of refinement.\n\n"
        + table(["outlined", "photos", *COLUMNS], rows)
        + "\n\n"
    )


def worst(
    scores: dict[str, np.ndarray], names: Sequence[str], seen: Seen, found: np.ndarray, out: Path
) -> str:
    """Draws the worst photos and returns their list, of names with F1 and that of everything."""
    order = np.argsort(scores["f1"] - scores["everything_f1"])[:WORST]
    chosen = scores["index"][order]
    truth = np.select([found > 0, found < 0], [0.0, 0.5], 1.0)[..., None]
    columns = [
        seen.image,
        pictures.overlay(seen.image, seen.rendering, seen.coverage),
        seen.mask,
        truth * seen.coverage,
    ]
    halves = [
        pictures.grid([c[half] for c in columns], side=160) for half in np.array_split(chosen, 2)
    ]
    height = max(half.shape[0] for half in halves)
    sheets = [np.pad(h, ((0, height - h.shape[0]), (0, 12), (0, 0))) for h in halves]
    pictures.write_png(out / "worst.png", np.concatenate(sheets, axis=1))
    rows = [
        [names[photo], float(scores["f1"][i]), float(scores["everything_f1"][i])]
        for i, photo in zip(order, chosen, strict=True)
    ]
    return table(["furthest below everything", "F1", "everything F1"], rows) + "\n"


if __name__ == "__main__":
    sys.exit(main())
