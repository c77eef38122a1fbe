"""Coefficients of photos by descent, for an encoder to learn from (`config.data.codes`).

    python -m experiments.refined_codes MODEL DATA CODES.npz

DATA is a data set in the layout of docs/training.md. Each training photo is fitted as `focus-jax
reconstruct --refine STEPS --model MODEL` does it, MODEL being a run, an export, "shipped", or
"none" where there are no networks yet. An encoder that has learnt from such codes begins nearer to
them, so that codes made with it are better again. Left out, and counted, are faces of which less
than --kept of the rendering is seen, or whose landmarks are missed by more than --missed percent of
the outer-eye distance. Batches that are done lie beside CODES.npz, and are not done again.
"""

import argparse
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from focus_jax.data.augment import crop
from focus_jax.data.dense_landmarks import unknown
from focus_jax.data.photos import photo_records
from focus_jax.evaluation.photometric import landmark_error
from focus_jax.photos.inference import FINE, find_codes, show
from focus_jax.photos.trained import Model, load_model, make_batch
from focus_jax.types import Batch

BATCH = 16


def main(argv: Sequence[str] | None = None) -> int:
    """The command; returns its exit status."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("model", metavar="MODEL")
    parser.add_argument("data", metavar="DATA", type=Path)
    parser.add_argument("codes", metavar="CODES.npz", type=Path)
    parser.add_argument("--steps", type=int, default=40)
    parser.add_argument("--kept", type=float, default=0.8)
    parser.add_argument("--missed", type=float, default=5.0)
    arguments = parser.parse_args(argv)
    try:
        if arguments.codes.suffix != ".npz":
            raise ValueError(f"{arguments.codes} must end in .npz; its parts are kept without")
        model = load_model(arguments.model)
        parts = arguments.codes.with_suffix("")
        parts.mkdir(parents=True, exist_ok=True)
        found = list(_fitted(model, arguments.data, parts, arguments.steps))
    except (OSError, ValueError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    names, codes, kept, missed = (np.concatenate(column) for column in zip(*found, strict=True))
    good = (kept >= arguments.kept) & (missed <= arguments.missed)
    np.savez(arguments.codes, filename=names[good], coefficients=codes[good])
    print(f"{good.sum()} of {len(good)} photos have codes ({arguments.codes})")
    return 0


def _fitted(model: Model, data: Path, folder: Path, steps: int) -> Iterator[list[np.ndarray]]:
    """Names, coefficients, seen share of the rendering and landmark error of each batch."""
    for number, chosen in enumerate(_batches(model, data, f"{steps} steps")):
        path = folder / f"{number * BATCH:06d}.npz"
        if not path.is_file():
            names = np.array([r["filename"] for r in chosen])
            numbers = [array[: len(chosen)] for array in _fit(model, chosen, steps)]
            unfinished = path.with_suffix(".tmp.npz")
            np.savez(unfinished, names, *numbers)
            unfinished.rename(path)
        with np.load(path) as file:
            yield [file[name] for name in file.files]


def photo_batches(model: Model, data: Path) -> Iterator[tuple[list[dict[str, Any]], Batch]]:
    """The training photos of a data set, `BATCH` at a time, and what a model sees of them.

    Of the last ones there may be fewer; their batch is filled up with copies.
    """
    for chosen in _batches(model, data, "photos"):
        yield chosen, _seen(model, chosen)


def _batches(model: Model, data: Path, shown: str) -> Iterator[list[dict[str, Any]]]:
    records = list(photo_records(data, "train", model.record_size, fix_y_offset=model.fix_y_offset))
    for begin in tqdm(range(0, len(records), BATCH), desc=shown, unit="batch"):
        yield [crop(r, model.record_size) for r in records[begin : begin + BATCH]]


def _seen(model: Model, chosen: list[dict[str, Any]]) -> Batch:
    records = chosen + [chosen[-1]] * (BATCH - len(chosen))
    dense = np.stack([r.get("dense_landmarks", unknown()) for r in records])
    pictures, landmarks = (np.stack([r[k] for r in records]) for k in ("image", "landmarks"))
    return make_batch(model, pictures, landmarks, dense)


def _fit(model: Model, chosen: list[dict[str, Any]], steps: int) -> list[np.ndarray]:
    batch = _seen(model, chosen)
    code = find_codes(model, batch, steps).code
    shown = show(model, batch, code)
    kept = np.asarray(shown.mask).round().sum((1, 2, 3)) / np.asarray(shown.coverage).sum((1, 2, 3))
    factor = FINE / model.size
    points = np.asarray(batch.landmarks) * factor + (factor - 1) / 2  # pixel centres are integers
    codes = np.concatenate([code.identity, code.expression, code.albedo], axis=-1)
    return [codes, kept, np.asarray(landmark_error(shown.landmarks, points))]


if __name__ == "__main__":
    sys.exit(main())
