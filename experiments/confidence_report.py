"""Whether a face's confidence tells wrong fits from right ones: area under the curve of the sieve.

    python -m experiments.confidence_report MODEL PHOTOS --clean experiments/clean_validation.txt \\
        [--refine 0 60] [--landmarks mediapipe] [--seed 0]

The validation photos with nothing before the face (`--clean` lists them, as for
`experiments.shipped_report`), as they are and with an occluder pasted on each, go through the
product as a user's photos do. Their landmarks in PHOTOS/val_landmarks.csv, found where nothing hid
them, are the truth. A fit is wrong where its landmarks are off by more than one of WRONG, in
distances between the outer corners of the eyes, on average. The area is the share of pairs, one
wrong and one right fit, of which the wrong one has the lower confidence: 0.5 by chance (Hanley and
McNeil 1982). Beside it, that of each thing known of a fit.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from scipy.stats import rankdata

from experiments.refinement import validation_faces
from experiments.shipped_report import paste_on
from focus_jax.data.align import invert_transform, transform_points
from focus_jax.data.detect import Source, landmark_source
from focus_jax.data.faces import Face, Photo
from focus_jax.evaluation.report import table
from focus_jax.photos import confidence, masks, process, results
from focus_jax.photos.inference import Inference
from focus_jax.photos.trained import Model, load_model

SIZE = 320  # pixels of the photos
WRONG = (0.06, 0.08, 0.1)
PARTS = ("confidence", "visible", "encoder", "score", "turned", "landmark_error")


class Fit(NamedTuple):
    """What is known of a fit: how far it is off, and what might tell."""

    off: float  # mean distance from the truth, in distances between the outer corners of the eyes
    confidence: float
    visible: float  # share of the face
    encoder: float  # agreement of the encoder with the detector, negative error
    score: float  # of the detector
    turned: float  # from the camera, negative degrees
    landmark_error: float  # agreement of the fit with the detector, negative error


def fits(
    model: Model, source: Source, photos: Sequence[Photo], truth: np.ndarray, steps: int
) -> list[Fit]:
    """The fit of each photo in which a face is found; landmarks `[n 68 2]` of all."""
    true = dict(zip((photo.name for photo in photos), truth, strict=True))
    found: list[Fit] = []

    def take(photo: Photo, image: np.ndarray, faces: list[tuple[Face, Inference]]) -> None:
        face, inference = faces[0]
        numbers = results.describe(photo.name, face, inference, model, image.shape)
        back = invert_transform(masks.fine_transform(face))
        fitted = transform_points(back, inference.landmarks)
        found.append(
            Fit(
                confidence.landmark_error(fitted, true[photo.name]),
                numbers["confidence"],
                1 - numbers["occlusion"]["total"],
                -(numbers["encoder_landmark_error"] or 0.0),
                numbers["detection"]["score"],
                -numbers["turned"],
                -numbers["landmark_error"],
            )
        )

    process.process(photos, model, lambda *seen: source(*seen)[:1], take, steps=steps)
    return found


def area(values: np.ndarray, wrong: np.ndarray) -> float:
    """Share of the pairs of a wrong and a right one, `[n]`, of which the wrong one has the less."""
    ranks, count = rankdata(values), int(wrong.sum())
    below = ranks[~wrong].sum() - (~wrong).sum() * ((~wrong).sum() + 1) / 2
    return float(below / max(count * (len(wrong) - count), 1))


def main(argv: Sequence[str] | None = None) -> int:
    """The command; returns its exit status."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("model", metavar="MODEL")
    parser.add_argument("photos", metavar="PHOTOS", type=Path)
    parser.add_argument("--clean", type=Path, required=True, help="names of unoccluded photos")
    parser.add_argument("--refine", type=int, nargs="+", default=[0, 60], help="steps")
    parser.add_argument("--landmarks", default="mediapipe")
    parser.add_argument("--seed", type=int, default=0, help="of the pasted occluders")
    options = parser.parse_args(argv)
    try:
        model, source = load_model(options.model), landmark_source(options.landmarks)
        names = set(options.clean.read_text().split())
        faces = [f for name, f in validation_faces(options.photos, SIZE, None) if name in names]
    except (OSError, ValueError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    covered, _, _ = paste_on(faces, options.seed)
    every = [*faces, *covered]
    photos = [Photo(Path(f"{n}"), f"{n}", face.crop) for n, face in enumerate(every)]
    truth = np.stack([face.landmarks for face in every])
    rows = []
    for steps in options.refine:
        found = fits(model, source, photos, truth, steps)
        columns = {name: np.array([getattr(fit, name) for fit in found]) for name in Fit._fields}
        for least in WRONG:
            wrong = columns["off"] > least
            areas = [area(columns[name], wrong) for name in PARTS]
            rows.append([steps, len(found), columns["off"].mean(), least, wrong.sum(), *areas])
    heads = ["steps", "fits", "off by", "wrong above", "wrong"]
    print(f"{len(photos)} photos; areas under the curve:\n")
    print(table([*heads, *PARTS], rows))
    return 0


if __name__ == "__main__":
    sys.exit(main())
