"""How good a model is on photos that it was not trained on: tables, and a page of pictures.

    python -m experiments.shipped_report MODEL PHOTOS --clean experiments/clean_validation.txt \\
        --out DIR

MODEL is the folder of a training run or of an exported model; PHOTOS a data set in the layout of
the README, whose val_landmarks.csv is read; `--clean` lists the photos with nothing before the
face, one file name a line. Masks are scored where the truth is known: on the clean photos with an
occluder pasted on each. DIR gets report.md and pictures; those show photos and stay out of any
repository unless the photos may be shown.
"""

import argparse
import functools
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import cv2
import jax
import jax.numpy as jnp
import numpy as np
from tqdm import tqdm

from experiments.refinement import validation_faces
from focus_jax import forward
from focus_jax.data.faces import Face
from focus_jax.data.occluders import OCCLUDERS
from focus_jax.data.source import pasted
from focus_jax.evaluation.masks import boundary_iou, calibration_error, mask_scores
from focus_jax.evaluation.photometric import landmark_error, rmse
from focus_jax.evaluation.report import table
from focus_jax.networks import recognizer
from focus_jax.photos.inference import find_codes, relit
from focus_jax.photos.trained import Model, load_model, make_batch
from focus_jax.rendering import pictures

BATCH = 16
SHOWN = 48  # photos in the picture, every n-th of all


class Seen(NamedTuple):
    """A set of photos as a model sees them, at the size of its networks. Arrays `[n ...]`."""

    image: np.ndarray
    landmarks: np.ndarray  # of the photo
    rendering: np.ndarray
    coverage: np.ndarray
    mask: np.ndarray
    found: np.ndarray  # landmarks of the fitted face
    own: np.ndarray  # the recognizer's embedding of the photo's face
    drawn: np.ndarray  # and of the rendering


def main(argv: Sequence[str] | None = None) -> int:
    """The command; returns its exit status."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("model", metavar="MODEL")
    parser.add_argument("photos", metavar="PHOTOS", type=Path)
    parser.add_argument("--clean", type=Path, required=True, help="names of unoccluded photos")
    parser.add_argument("--out", type=Path, required=True, metavar="DIR")
    parser.add_argument("--refine", type=int, default=60, help="steps, for the columns with it")
    parser.add_argument("--seed", type=int, default=0, help="of the pasted occluders")
    arguments = parser.parse_args(argv)
    try:
        model = load_model(arguments.model)
        named = validation_faces(arguments.photos, model.record_size, None)
        names = set(arguments.clean.read_text().split())
    except (OSError, ValueError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    clean = np.array([name in names for name, _ in named])
    if clean.sum() < len(names) or not names:
        missing = len(names) - clean.sum()
        print(
            f"error: {missing} of the {len(names)} photos of {arguments.clean} are not among those "
            f"of {arguments.photos}/val_landmarks.csv",
            file=sys.stderr,
        )
        return 1
    faces = [face for _, face in named]
    text = report(model, faces, clean, arguments.refine, arguments.seed, arguments.out)
    (arguments.out / "report.md").write_text(text)
    print(text)
    return 0


def report(
    model: Model, faces: list[Face], clean: np.ndarray, steps: int, seed: int, out: Path
) -> str:
    """The tables as markdown; pictures go to `out`. `clean` `[n]` tells the unoccluded photos."""
    covered, truth, kinds = paste_on([f for f, c in zip(faces, clean, strict=True) if c], seed)
    rows, masks = [], []
    for count in dict.fromkeys((0, steps)):
        plain, occluded = look(model, faces, count), look(model, covered, count)
        rows += face_rows(plain, occluded, clean, truth, count)
        if count == 0:
            _write_pictures(plain, occluded, out)
        kept, inside = (
            kept_of(plain.mask[clean], plain.coverage[clean] * region)
            for region in (1.0, between(plain.landmarks[clean], plain.mask.shape[1]))
        )
        masks += [
            f"Masks after {count} steps, found with the rendering as it is then. Of the rendered "
            f"face of clean photos {100 * kept:.2f} % are kept; between landmarks, where hair is "
            f"seldom, {100 * inside:.2f} %.",
            table(
                [
                    "pasted",
                    "photos",
                    "F1",
                    "everything F1",
                    "IoU",
                    "everything IoU",
                    "occluder IoU",
                    "boundary IoU",
                    "ECE",
                ],
                mask_rows(occluded, truth, kinds),
            ),
        ]
    parts = [
        f"{len(faces)} photos, {clean.sum()} of them clean; occluders pasted with seed {seed}.",
        table(
            [
                *("steps", "NME % all", "NME % clean", "RMSE clean", "RMSE pasted"),
                *("own photo nearest", "similarity own", "similarity others"),
            ],
            rows,
        ),
        *masks,
    ]
    return "\n\n".join(parts) + "\n"


def paste_on(faces: list[Face], seed: int) -> tuple[list[Face], np.ndarray, np.ndarray]:
    """The faces with an occluder on each, their masks `[n r r]`, and the occluders' kinds."""
    records = [{"image": f.crop, "landmarks": f.landmarks} for f in faces]
    made = list(pasted(records, seed=seed))
    covered = [f._replace(crop=r["image"]) for f, r in zip(faces, made, strict=True)]
    masks = np.stack([r["mask"] for r in made])
    return covered, masks, np.array([int(r["occluder"]) for r in made])


def look(model: Model, faces: list[Face], steps: int) -> Seen:
    """Faces, masks and descriptions, after `steps` of refinement."""
    parts = []
    for start in tqdm(range(0, len(faces), BATCH), desc=f"{steps} steps", unit="batch"):
        chosen = faces[start : start + BATCH]
        full = chosen + [chosen[-1]] * (BATCH - len(chosen))
        crops, points = (np.stack([getattr(f, k) for f in full]) for k in ("crop", "landmarks"))
        batch = make_batch(model, crops, points)
        # In the colours that the networks see, as the batch's images are.
        code = relit(find_codes(model, batch, steps).code, batch.gains, 1)
        seen = _see(
            code,
            jnp.asarray(batch.image),
            jnp.asarray(batch.landmarks),
            model.face_model,
            model.variables,
            model.recognizer,
            networks=model.networks,
        )
        parts.append([np.asarray(array)[: len(chosen)] for array in seen])
    return Seen(*(np.concatenate(arrays) for arrays in zip(*parts, strict=True)))


@functools.partial(jax.jit, static_argnames="networks")
def _see(code, image, landmarks, face_model, variables, frozen, *, networks) -> Seen:
    face = forward.reconstruct(code, face_model, *image.shape[1:3])
    rendering = face.rendering
    mask = forward.segment_three_ways(networks.segmenter, variables["segmenter"], rendering, image)

    # Both without surroundings, hair and ears, which would tell people apart by themselves.
    def embed(picture):
        seen = picture * rendering.coverage
        return recognizer.embedding(frozen, seen, landmarks, kind=networks.recognizer)

    return Seen(
        image,
        landmarks,
        rendering.image,
        rendering.coverage,
        mask,
        face.landmarks,
        embed(image),
        embed(jnp.clip(rendering.image, 0, 1)),
    )


def face_rows(
    plain: Seen, occluded: Seen, clean: np.ndarray, truth: np.ndarray, steps: int
) -> list[list]:
    """One row: landmarks, colours on what is seen of the face, and whether likeness is personal."""
    nme = np.asarray(landmark_error(plain.found, plain.landmarks))
    own = plain.own[clean] @ plain.drawn[clean].T  # photos x renderings
    nearest = (own.argmax(0) == np.arange(len(own))).mean()
    others = own[~np.eye(len(own), dtype=bool)].mean()  # a person may be there twice
    visible = _at_size(truth, occluded.mask) * occluded.coverage
    colours = (
        rmse(plain.image[clean], plain.rendering[clean], plain.coverage[clean]),
        rmse(occluded.image, occluded.rendering, visible),
    )
    means = [float(np.mean(np.asarray(c))) for c in colours]
    return [
        [
            steps,
            float(nme.mean()),
            float(nme[clean].mean()),
            *means,
            float(nearest),
            float(own.diagonal().mean()),
            float(others),
        ]
    ]


def between(landmarks: np.ndarray, size: int) -> np.ndarray:
    """The convex hulls of points `[n 68 2]` in pictures of `size` pixels: `[n h w 1]`, 1 or 0."""
    hulls = np.zeros((len(landmarks), size, size), np.float32)
    for hull, points in zip(hulls, np.rint(landmarks).astype(np.int32), strict=True):
        cv2.fillConvexPoly(hull, cv2.convexHull(points), 1.0)
    return hulls[..., None]


def kept_of(mask: np.ndarray, region: np.ndarray) -> float:
    """Mean share of a region `[n h w 1]` that masks say is face."""
    return float(((mask.round() * region).sum((1, 2, 3)) / region.sum((1, 2, 3))).mean())


def mask_rows(seen: Seen, truth: np.ndarray, kinds: np.ndarray) -> list[list]:
    """A row for each kind of occluder and one for all."""
    true, mask = _at_size(truth, seen.mask), seen.mask.round()
    scores = mask_scores(true, mask, seen.coverage)
    everything = mask_scores(true, seen.coverage, seen.coverage)
    occluder = mask_scores(1 - true, 1 - mask, seen.coverage)
    columns = [scores["f1"], everything["f1"], scores["iou"], everything["iou"], occluder["iou"]]
    columns.append(boundary_iou(true, mask, seen.coverage))
    columns.append(calibration_error(true, seen.mask, seen.coverage))
    # Where it does not touch the face, there is no occluder to find.
    touched = ((1 - true) * seen.coverage).sum((1, 2, 3)) > 0
    rows = []
    for name, chosen in [
        *((OCCLUDERS[k], kinds == k) for k in sorted(set(kinds.tolist()))),
        ("all", kinds > 0),
    ]:
        picked = chosen & touched
        rows.append(
            [name, int(picked.sum()), *(float(np.asarray(c)[picked].mean()) for c in columns)]
        )
    return rows


def _at_size(masks: np.ndarray, like: np.ndarray) -> np.ndarray:
    """Masks `[n r r]` of 0 and 255 at the size of `like`, 0 or 1."""
    shape = (len(masks), *like.shape[1:3], 1)
    small = jax.image.resize(masks[..., None].astype(np.float32) / 255, shape, "linear")
    return np.asarray(small).round()


def _write_pictures(plain: Seen, occluded: Seen, out: Path) -> None:
    for name, seen in (("photos", plain), ("pasted", occluded)):
        chosen = np.linspace(0, len(seen.image) - 1, min(SHOWN, len(seen.image))).astype(int)
        columns = [
            seen.image,
            seen.rendering,
            pictures.overlay(seen.image, seen.rendering, seen.coverage),
            seen.mask,
        ]
        halves = np.array_split(chosen, 3)
        sheets = [pictures.grid([c[half] for c in columns], side=112) for half in halves]
        tallest = max(sheet.shape[0] for sheet in sheets)
        sheets = [np.pad(s, ((0, tallest - s.shape[0]), (0, 12), (0, 0))) for s in sheets]
        pictures.write_png(out / f"{name}.png", np.concatenate(sheets, axis=1))


if __name__ == "__main__":
    sys.exit(main())
