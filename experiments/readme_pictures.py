"""The pictures of the README, from finished runs: `python -m experiments.readme_pictures`.

Reads `runs/em` (configs/em.py) and `runs/em-photos` (configs/em.py:photos), writes `docs/`. The one
photo shown is scikit-image's astronaut (NASA, public domain), whose landmarks dlib finds.
"""

import json
from pathlib import Path

import cv2
import dlib
import face_recognition_models
import jax
import jax.numpy as jnp
import numpy as np
import skimage.data
from absl import app, flags
from ml_collections import ConfigDict

from focus_jax import checkpoint, morphable, pictures, train, updates
from focus_jax.data.align import align_face
from focus_jax.data.features import recognized
from focus_jax.data.occluders import paste_occluder
from focus_jax.data.pipeline import evaluation_batches
from focus_jax.face_models import load_face_model
from focus_jax.recognizer import load_recognizer
from focus_jax.render import render_mesh

_SYNTHETIC = flags.DEFINE_string("synthetic", "runs/em", "Workdir of configs/em.py.")
_PHOTOS = flags.DEFINE_string("photos", "runs/em-photos", "Workdir of configs/em.py:photos.")
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


def find_landmarks(photo: np.ndarray) -> np.ndarray:
    """dlib's 68 landmarks `[68 2]` of the largest face in a photo."""
    folder = Path(face_recognition_models.__file__).parent / "models"
    predictor = dlib.shape_predictor(str(folder / "shape_predictor_68_face_landmarks.dat"))
    boxes = dlib.get_frontal_face_detector()(photo, 1)
    box = max(boxes, key=lambda b: b.area())
    return np.array([(p.x, p.y) for p in predictor(photo, box).parts()], np.float32)


def astronaut(workdir: Path) -> np.ndarray:
    """The photo, plain and with occluders pasted on, as a trained model sees it."""
    config = ConfigDict(json.loads((workdir / "config.json").read_text()))
    photo = skimage.data.astronaut()
    aligned = align_face(photo, find_landmarks(photo), config.data.record_size)
    records = []
    for number, kind in enumerate(OCCLUDERS):
        rng = np.random.default_rng(number)
        image = paste_occluder(aligned.image, aligned.landmarks, rng, kind).image
        records.append({"image": image, "landmarks": aligned.landmarks})
    model = load_face_model(config.face_model.name, **config.face_model.modes)
    recognizer = load_recognizer(config.recognizer.kind)
    records = list(
        recognized(
            records,
            recognizer,
            kind=config.recognizer.kind,
            record_size=config.data.record_size,
            size=config.data.size,
            versions=0,
            paste=0.0,
            seed=0,
        )
    )
    batch, _ = next(evaluation_batches(records, batch_size=len(records), size=config.data.size))
    method = train.make_method(config, model)
    constants = updates.Constants(jax.tree.map(jnp.asarray, model), recognizer, jax.random.key(0))
    manager = checkpoint.open_checkpoints(workdir)
    restored = checkpoint.restore(manager, train.initial_state(method, model, batch, 0))
    if restored is None:
        raise FileNotFoundError(f"{workdir} holds no checkpoint; run configs/em.py:photos first")
    found = jax.device_get(updates.predict(restored[0], batch, constants, method=method))
    rendering = found.face.rendering
    return pictures.grid(
        [
            batch.image,
            rendering.image,
            pictures.overlay(batch.image, rendering.image, rendering.coverage),
            found.mask,
        ]
    )


def main(argv: list[str]) -> None:
    del argv
    out = Path(_OUT.value)
    pictures.write_png(out / "face_model.png", random_people())
    last = sorted((Path(_SYNTHETIC.value) / "pictures").glob("*.png"))[-1]
    grid = cv2.imread(str(last))[..., ::-1]
    # Sixteen rows as two columns of six: enough to see, and less to scroll.
    rows = grid.shape[0] // 16
    pictures.write_png(
        out / "synthetic.png",
        np.concatenate([grid[: 6 * rows], grid[6 * rows : 12 * rows]], axis=1),
    )
    pictures.write_png(out / "astronaut.png", astronaut(Path(_PHOTOS.value)))


if __name__ == "__main__":
    app.run(main)
