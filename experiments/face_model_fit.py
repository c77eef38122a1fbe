"""How well photos can be explained with a face model: descent on all of its coefficients.

    python -m experiments.face_model_fit builtin PHOTOS --clean experiments/clean_validation.txt
    python -m experiments.face_model_fit builtin FRL --people

PHOTOS is a data set in the layout of docs/training.md, of whose val_landmarks.csv the photos that
`--clean` names are fitted. With `--people` the folder is that of the Face Research Lab London Set
and the Young Adult White Faces, with split.csv: the test people are fitted by a detector's
landmarks and judged by the points that were placed by hand, a row for each ethnicity.

Each face begins with that of its landmarks, `--start` steps of colours, then `--steps` with
everything, under the mask that the shipped model's networks find once and that stays fixed. What is
asked is what a face model can show, so `--prior` holds its coefficients less than refinement does.
"""

import argparse
import csv
import functools
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from tqdm import tqdm

from experiments.refinement import validation_faces
from focus_jax import forward
from focus_jax.data.detect import DEFAULT, landmark_source
from focus_jax.data.faces import Face, Photo, read_faces
from focus_jax.evaluation.photometric import landmark_error, rmse
from focus_jax.evaluation.report import table
from focus_jax.face_models import load_face_model
from focus_jax.networks import recognizer
from focus_jax.photos.refine import freed, refine, start, write_freed
from focus_jax.photos.trained import UNTRAINED, Model, load_model, make_batch
from focus_jax.rendering import pictures
from focus_jax.types import FaceModel

BATCH = 8
# Of the 189 points, those that are iBUG points without doubt: corners of eyes and mouth, the middle
# of each lip's outer and inner line, base of the nose.
IBUG = np.array([36, 39, 42, 45, 48, 54, 51, 57, 62, 66, 33])
PLACED = np.array([18, 22, 23, 27, 87, 93, 90, 106, 96, 101, 55])


class Fitted(NamedTuple):
    """Photos and what was found for them. Arrays `[n ...]`."""

    image: np.ndarray
    rendering: np.ndarray
    inside: np.ndarray  # root mean squared error in grey levels, inside the mask
    everywhere: np.ndarray  # over the rendered face, with hair and whatever else is before it
    found: np.ndarray  # landmarks
    landmarks: np.ndarray  # of the photo
    own: np.ndarray  # the recognizer's embedding of the photo's face
    drawn: np.ndarray  # and of the rendering


def main(argv: Sequence[str] | None = None) -> int:
    """The command; returns its exit status."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("face_model", metavar="FACE_MODEL", help="builtin, or a file")
    parser.add_argument("photos", metavar="PHOTOS", type=Path)
    chosen = parser.add_mutually_exclusive_group(required=True)
    chosen.add_argument("--clean", type=Path, help="names of the photos, one a line")
    chosen.add_argument("--people", action="store_true", help="the test people, by ethnicity")
    parser.add_argument("--start", type=int, default=30, metavar="STEPS")
    parser.add_argument("--steps", type=int, default=150)
    parser.add_argument("--prior", type=float, default=0.1, help="1: as refinement has it")
    parser.add_argument("--every", type=int, default=1, help="fit only every so manieth photo")
    parser.add_argument(
        "--out", type=Path, metavar="PICTURE", help="photos beside their renderings"
    )
    arguments = parser.parse_args(argv)
    try:
        face_model, judge = load_face_model(arguments.face_model), load_model("shipped")
        if arguments.people:
            faces, groups, placed = people(arguments.photos, judge.record_size)
            placed = (placed + 0.5) * judge.size / judge.record_size - 0.5
        else:
            faces, groups = clean_faces(arguments.photos, arguments.clean, judge.record_size), None
            placed = None
    except (OSError, ValueError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    kept = slice(None, None, arguments.every)
    fitted = fit(faces[kept], judge, face_model, arguments.start, arguments.steps, arguments.prior)
    rows = [
        row(
            "all",
            fitted,
            np.ones(len(fitted.inside), bool),
            None if placed is None else placed[kept],
        )
    ]
    if groups is not None:
        for name in sorted(set(groups[kept])):
            rows.append(row(name, fitted, groups[kept] == name, placed[kept]))
    judged = "NME % (placed by hand)" if arguments.people else "NME %"
    print(
        f"{arguments.face_model}: {len(fitted.inside)} photos at {judge.size} pixels, "
        f"{arguments.start} + {arguments.steps} steps, prior x {arguments.prior:g}.\n\n"
        + table(
            [
                *("photos of", "photos", "RMSE in the mask", "RMSE of the face", judged),
                *("own photo nearest %", "similarity own", "similarity others"),
            ],
            rows,
        )
    )
    if arguments.out:
        pictures.write_image(arguments.out, sheet(fitted))
    return 0


def clean_faces(folder: Path, names: Path, size: int) -> list[Face]:
    """Crops of the named validation photos. ValueError if one of them is missing."""
    wanted = set(names.read_text().split())
    faces = [face for name, face in validation_faces(folder, size, None) if name in wanted]
    if len(faces) != len(wanted):
        raise ValueError(
            f"{len(wanted) - len(faces)} of the photos of {names} are not among those of {folder}"
        )
    return faces


def people(
    folder: Path, size: int, split: str = "test"
) -> tuple[list[Face], np.ndarray, np.ndarray]:
    """The crops of a split's people, their ethnicities `[n]` and points placed by hand `[n 11 2]`,
    in pixels of the crop. People who are not found are named on standard error."""
    ethnicity = {line["face_id"]: line["face_eth"] for line in _lines(folder / "london_info.csv")}
    source, faces, groups, placed = landmark_source(DEFAULT), [], [], []
    for line in _lines(folder / "split.csv"):
        if line["split"] != split:
            continue
        london = line["set"] == "london"
        name = (
            f"neutral_front/{line['person']}_03.jpg" if london else f"canada/{line['person']}.jpg"
        )
        found = read_faces(Photo(folder / name, name), source, size)[1]
        if not found:
            print(f"skipped {name} (no face found)", file=sys.stderr)
            continue
        points = np.loadtxt((folder / name).with_suffix(".csv"), delimiter=",")[PLACED]
        faces.append(found[0])
        groups.append(ethnicity[line["person"]] if london else "white")
        placed.append(np.c_[points, np.ones(len(points))] @ found[0].transform.T)
    return faces, np.array(groups), np.array(placed)


def _lines(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def fit(
    faces: list[Face], judge: Model, face_model: FaceModel, first: int, steps: int, prior: float
) -> Fitted:
    """Descend on every face, under the mask of `judge`."""
    frozen = judge.recognizer
    face_model = jax.tree.map(jnp.asarray, face_model)
    parts = []
    for begin in tqdm(range(0, len(faces), BATCH), desc=f"{steps} steps", unit="batch"):
        chosen = faces[begin : begin + BATCH]
        full = chosen + [chosen[-1]] * (BATCH - len(chosen))
        batch = make_batch(
            judge, *(np.stack([getattr(f, k) for f in full]) for k in ("crop", "landmarks"))
        )
        mask = forward.predict(
            judge.variables, batch, judge.face_model, networks=judge.networks
        ).mask
        image, points = jnp.asarray(batch.image), jnp.asarray(batch.landmarks)
        raw = start(image, points, face_model, first, decoding=UNTRAINED)
        code = forward.decode(raw, forward.widths(face_model), UNTRAINED)
        decoding = freed(UNTRAINED)
        raw, _, _ = refine(
            write_freed(code, decoding=decoding),
            image,
            points,
            mask.round(),
            face_model,
            frozen,
            steps,
            decoding=decoding,
            prior=prior,
        )
        seen = _see(raw, image, points, mask.round(), face_model, frozen, decoding=decoding)
        parts.append([np.asarray(array)[: len(chosen)] for array in seen])
    return Fitted(*(np.concatenate(arrays) for arrays in zip(*parts, strict=True)))


@functools.partial(jax.jit, static_argnames="decoding")
def _see(raw, image, points, mask, face_model, frozen, *, decoding) -> Fitted:
    code = forward.decode(raw, forward.widths(face_model), decoding)
    face = forward.reconstruct(code, face_model, *image.shape[1:3])
    drawn, coverage = face.rendering.image, face.rendering.coverage

    # Both without surroundings, hair and ears, which would tell people apart by themselves.
    def embed(picture):
        return recognizer.embedding(frozen, picture * coverage, points, kind="dlib")

    return Fitted(
        image,
        drawn,
        rmse(image, drawn, mask * coverage),
        rmse(image, drawn, coverage),
        face.landmarks,
        points,
        embed(image),
        embed(jnp.clip(drawn, 0, 1)),
    )


def row(name: str, fitted: Fitted, chosen: np.ndarray, placed: np.ndarray | None) -> list:
    """A line of the table. Whether a photo is the nearest is asked among all photos."""
    if placed is None:
        error = np.asarray(landmark_error(fitted.found, fitted.landmarks))
    else:
        eyes = np.linalg.norm(placed[:, 0] - placed[:, 3], axis=-1)
        error = 100 * np.linalg.norm(fitted.found[:, IBUG] - placed, axis=-1).mean(1) / eyes
    similar = fitted.own @ fitted.drawn.T  # photos x renderings
    nearest = similar.argmax(0) == np.arange(len(similar))
    others = (similar.sum(0) - similar.diagonal()) / max(len(similar) - 1, 1)
    numbers = (fitted.inside, fitted.everywhere, error, 100.0 * nearest, similar.diagonal(), others)
    return [name, int(chosen.sum()), *(float(np.asarray(x)[chosen].mean()) for x in numbers)]


def sheet(fitted: Fitted, count: int = 36) -> np.ndarray:
    """Photos beside their renderings."""
    chosen = np.linspace(0, len(fitted.inside) - 1, min(count, len(fitted.inside))).astype(int)
    parts = [
        pictures.grid([fitted.image[part], fitted.rendering[part]], side=160)
        for part in np.array_split(chosen, min(6, len(chosen)))
    ]
    tallest = max(len(part) for part in parts)
    return np.concatenate([np.pad(p, ((0, tallest - len(p)), (0, 0), (0, 0))) for p in parts], 1)


if __name__ == "__main__":
    sys.exit(main())
