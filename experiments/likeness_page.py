"""Photos beside what a model makes of them without refinement: would anybody match the two?

    python -m experiments.likeness_page MODEL PORTRAITS docs/likeness.jpg

Of PORTRAITS, generated and CC0, those whose number ends in 9, which no training sees, and as many
synthetic people as make 48 pairs: photo, and the rendering laid over it.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np

from focus_jax.data.detect import DEFAULT, landmark_source
from focus_jax.data.faces import Photo, read_faces
from focus_jax.data.synthetic import synthesize
from focus_jax.face_models import load_face_model
from focus_jax.photos import inference
from focus_jax.photos.trained import Model, load_model, make_batch
from focus_jax.rendering import pictures

PAIRS, COLUMNS, SIDE, SEED = 48, 6, 112, 9


def main(argv: Sequence[str] | None = None) -> int:
    """The command; returns its exit status."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("model", metavar="MODEL")
    parser.add_argument("portraits", metavar="PORTRAITS", type=Path)
    parser.add_argument("out", metavar="JPG", type=Path)
    parser.add_argument("--refine", type=int, default=0, metavar="STEPS")
    arguments = parser.parse_args(argv)
    try:
        model = load_model(arguments.model)
        crops, landmarks = faces(arguments.portraits, model)
    except (OSError, ValueError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    batch = make_batch(model, crops, landmarks)
    found = inference.show(model, batch, inference.find_codes(model, batch, arguments.refine).code)
    photos = crops.astype(np.float32) / 255
    drawn = pictures.overlay(0.9 * np.ones_like(found.image), found.image, found.coverage)
    rows = [
        pictures.grid([photos[part], drawn[part]], side=SIDE)
        for part in np.array_split(np.arange(len(photos)), COLUMNS)
    ]
    sheet = np.concatenate(rows, axis=1)
    done, encoded = cv2.imencode(".jpg", sheet[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, 88])
    assert done
    arguments.out.write_bytes(encoded.tobytes())
    return 0


def faces(portraits: Path, model: Model) -> tuple[np.ndarray, np.ndarray]:
    """Crops `[48 r r 3]` and landmarks `[48 68 2]`. ValueError for a folder without portraits."""
    source, size, found = landmark_source(DEFAULT), model.record_size, []
    for path in sorted(portraits.glob("*9.jpg")):
        found += [
            (f.crop, f.landmarks) for f in read_faces(Photo(path, path.name), source, size)[1]
        ][:1]
    if not found:
        raise ValueError(f"{portraits} holds no portraits whose number ends in 9")
    face_model = load_face_model("builtin")
    people = synthesize(
        face_model, PAIRS - len(found), size=size, seed=SEED, split="likeness", occluded=0
    )
    found += [(person["image"], person["landmarks"]) for person in people]
    crops, landmarks = zip(*found, strict=True)
    return np.stack(crops), np.stack(landmarks)


if __name__ == "__main__":
    sys.exit(main())
