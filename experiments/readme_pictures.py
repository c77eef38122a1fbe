"""The pictures of the README, from finished runs: `python -m experiments.readme_pictures`.

Reads the shipped model, writes `docs/`. The one photo shown is scikit-image's astronaut (NASA,
public domain), whose landmarks dlib finds.
"""

from pathlib import Path

import jax
import jax.numpy as jnp
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
from focus_jax.rendering import morphable, pictures
from focus_jax.rendering.render import render_mesh

_PHOTOS = flags.DEFINE_string("photos", "shipped", "Folder of a model of photos.")
_OUT = flags.DEFINE_string("out", "docs", "Folder of the pictures.")
OCCLUDERS = ("none", "mask", "sunglasses", "scarf", "hand", "hat")


def random_people(count: int = 20, side: int = 192) -> np.ndarray:
    """A picture of random faces of the built-in model, five in a row."""
    model = load_face_model("builtin")
    rng = np.random.default_rng(11)

    def draw(basis: np.ndarray, scale: float) -> jax.Array:
        return jnp.asarray(scale * rng.normal(size=(count, basis.shape[-1])), jnp.float32)

    vertices = morphable.vertices(
        model, draw(model.identity_basis, 1.0), draw(model.expression_basis, 0.5)
    )
    albedo = morphable.albedo(model, draw(model.albedo_basis, 1.0))
    pose = np.zeros((count, 6), np.float32)
    pose[:, 1] = rng.normal(0, 0.25, count)
    light = np.zeros((count, 3, 9), np.float32)
    light[:, :, :4] = [3.6, -0.3, -0.7, 0.0]
    light[:, :, 3] = rng.normal(0, 0.3, (count, 1))
    found = render_mesh(
        vertices,
        albedo,
        jnp.asarray(model.triangles),
        jnp.asarray(pose),
        jnp.asarray(light.reshape(count, 27)),
        2 * side,
        2 * side,
    )
    image = np.asarray(found.image + 0.9 * (1 - found.coverage))
    cells = [
        pictures.grid([image[i : i + 5][j : j + 1] for j in range(5)], side=side, gap=1)
        for i in range(0, count, 5)
    ]
    return np.concatenate(cells)


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
    pictures.write_png(out / "face_model.png", random_people())
    pictures.write_png(out / "synthetic.png", synthetic_photos())
    pictures.write_png(out / "astronaut.png", astronaut(Path(_PHOTOS.value)))


if __name__ == "__main__":
    app.run(main)
