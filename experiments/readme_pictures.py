"""The pictures of the README, from finished runs: `python -m experiments.readme_pictures`.

Reads the shipped model, writes `docs/`. The one photo shown is scikit-image's astronaut (NASA,
public domain), whose landmarks dlib finds.
"""

from pathlib import Path

import numpy as np
import skimage.data
from absl import app, flags

from focus_jax import forward
from focus_jax.data.align import align_face
from focus_jax.data.detect import DEFAULT, landmark_source
from focus_jax.data.occluders import paste_occluder
from focus_jax.data.synthetic import synthesize
from focus_jax.face_models import load_face_model
from focus_jax.photos import inference
from focus_jax.photos.trained import load_model, make_batch
from focus_jax.rendering import pictures

_PHOTOS = flags.DEFINE_string("photos", "shipped", "Folder of a model of photos.")
_OUT = flags.DEFINE_string("out", "docs", "Folder of the pictures.")
OCCLUDERS = ("none", "mask", "sunglasses", "scarf", "hand", "hat")


def synthetic_photos(side: int = 150) -> np.ndarray:
    """Sixteen synthetic photos, and under each what its pixels are: face, hair, occluder."""
    made = list(
        synthesize(load_face_model("builtin"), 16, size=side, seed=1, split="readme", truths=True)
    )
    colours = np.array([(60, 60, 60), (230, 190, 160), (150, 90, 40), (40, 120, 230)], np.uint8)
    rows = [
        np.concatenate(line, axis=1)
        for half in (made[:8], made[8:])
        for line in ([r["image"] for r in half], [colours[r["labels"]] for r in half])
    ]
    return np.concatenate(rows)


def astronaut(workdir: str) -> np.ndarray:
    """The photo, plain and with occluders pasted on, as a trained model sees it."""
    model = load_model(workdir)
    photo = skimage.data.astronaut()
    (face, *_) = landmark_source(DEFAULT)(photo, Path())
    crop = align_face(photo, face.landmarks, model.record_size)
    images = []
    for number, kind in enumerate(OCCLUDERS):
        rng = np.random.default_rng(number)
        images.append(paste_occluder(crop.image, crop.landmarks, rng, kind).image)
    batch = make_batch(model, np.stack(images), np.stack([crop.landmarks] * len(images)))
    code = inference.find_codes(model, batch).code
    face = forward.reconstruct(code, model.face_model, *batch.image.shape[1:3])
    rendering, mask = face.rendering, inference.show(model, batch, code).coarse_mask
    return pictures.grid(
        [
            batch.image,
            rendering.image,
            pictures.overlay(batch.image, rendering.image, rendering.coverage),
            mask,
        ]
    )


def main(argv: list[str]) -> None:
    del argv
    out = Path(_OUT.value)
    pictures.write_png(out / "synthetic.png", synthetic_photos())
    pictures.write_png(out / "astronaut.png", astronaut(Path(_PHOTOS.value)))


if __name__ == "__main__":
    app.run(main)
