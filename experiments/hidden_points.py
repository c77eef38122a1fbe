"""Points placed by hand, of people with an occluder pasted on: how far hidden ones are missed.

    python -m experiments.hidden_points MODEL FRL [--split test] [--steps 20] [--doubt 0 1]

FRL is the folder of the Face Research Lab London Set and the Young Adult White Faces, with
split.csv. Each person's neutral photo is cropped by a detector, gets one of the occluders, in turn,
and is looked at anew by the detector. Prints how far eleven points (`face_model_fit.PLACED`) lie
from the hand's, in percent of the distance of the outer corners of the eyes: found by the detector,
by the encoder, and by refinement with each `--doubt` of hidden landmarks (`data.belief`).
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np

from experiments.face_model_fit import IBUG, people
from focus_jax.data.belief import DOUBT
from focus_jax.data.detect import DEFAULT, landmark_source
from focus_jax.data.occluders import OCCLUDERS, paste_occluder
from focus_jax.evaluation.report import table
from focus_jax.photos import inference, refine
from focus_jax.photos.trained import Model, load_model, make_batch

BATCH, EYES = 8, [0, 3]  # faces; of the eleven points


class Hidden(NamedTuple):
    """People behind occluders. Arrays `[n ...]`, pixels of the crop."""

    image: np.ndarray  # uint8 [n s s 3]
    landmarks: np.ndarray  # as detected [n 68 2]
    dense: np.ndarray  # [n 478 2]
    placed: np.ndarray  # by hand [n 11 2]
    covered: np.ndarray  # which of these the occluder hides [n 11]


def pasted(folder: Path, split: str, size: int) -> tuple[Hidden, int]:
    """The people of a split, and of how many the detector finds no face any more."""
    faces, _, placed = people(folder, size, split)
    source, found, lost = landmark_source(DEFAULT), [], 0
    for number, (face, hand) in enumerate(zip(faces, placed, strict=True)):
        kind = OCCLUDERS[1 + number % (len(OCCLUDERS) - 1)]
        rng = np.random.default_rng(number)
        image, occluder = paste_occluder(face.crop, face.landmarks, rng, kind)
        frame = size // 4  # detectors want to see a face's surroundings
        wide = cv2.copyMakeBorder(image, frame, frame, frame, frame, cv2.BORDER_REPLICATE)
        detected = source(wide, Path(kind))
        if not detected or detected[0].mesh is None:
            lost += 1
            continue
        column, row = np.clip(hand.round().astype(int), 0, size - 1).T
        points, mesh = detected[0].landmarks - frame, detected[0].mesh[:, :2] - frame
        found.append((image, points, mesh, hand, occluder[row, column] >= 128))
    if not found:
        raise ValueError(f"{folder}: of the {split} people no face is found behind an occluder")
    return Hidden(*(np.stack(arrays) for arrays in zip(*found, strict=True))), lost


def fitted(model: Model, seen: Hidden, steps: int) -> np.ndarray:
    """Landmarks `[n 68 2]` of the fitted faces, pixels of the crop."""
    parts = []
    for begin in range(0, len(seen.image), BATCH):
        numbers = np.arange(begin, begin + BATCH).clip(max=len(seen.image) - 1)
        given = (seen.image[numbers], seen.landmarks[numbers], seen.dense[numbers])
        batch = make_batch(model, *given)
        code = inference.find_codes(model, batch, steps).code
        parts.append(np.asarray(inference.show(model, batch, code).landmarks))
    found = np.concatenate(parts)[: len(seen.image)]
    return (found + 0.5) * seen.image.shape[1] / inference.FINE - 0.5


def row(name: str, found: np.ndarray, seen: Hidden) -> list[str | float]:
    """A line of the table."""
    across = np.subtract(*seen.placed[:, EYES].swapaxes(0, 1))
    eyes = np.linalg.norm(across, axis=-1)[:, None]
    error = 100 * np.linalg.norm(found[:, IBUG] - seen.placed, axis=-1) / eyes
    beside = ~seen.covered & seen.covered.any(axis=1, keepdims=True)
    return [name, *(float(error[chosen].mean()) for chosen in (seen.covered, beside))]


def main(argv: Sequence[str] | None = None) -> int:
    """The command; returns its exit status."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("model", metavar="MODEL", help="shipped, or a folder")
    parser.add_argument("folder", metavar="FRL", type=Path)
    parser.add_argument("--split", choices=["train", "test"], default="test")
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--doubt", type=float, nargs="+", default=[0.0, DOUBT])
    options = parser.parse_args(argv)
    try:
        model = load_model(options.model)
        seen, lost = pasted(options.folder, options.split, model.record_size)
    except (OSError, ValueError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    rows = [row("detector", seen.landmarks, seen), row("encoder", fitted(model, seen, 0), seen)]
    for doubt in options.doubt:
        refine.DOUBT = doubt
        name = f"{options.steps} steps, doubt {doubt:g}"
        rows.append(row(name, fitted(model, seen, options.steps), seen))
    print(
        f"{len(seen.image)} people ({options.split}), {lost} more not found; {seen.covered.sum()} "
        f"points hidden.\n\n" + table(["found by", "hidden, %", "seen beside, %"], rows)
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
