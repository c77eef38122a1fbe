"""Photos of a face whose colours the model has wrong put them right, whatever hides some of it."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from focus_jax import forward
from focus_jax.face_models import load_face_model
from focus_jax.networks.encoder import Encoder
from focus_jax.networks.segmenter import Segmenter
from focus_jax.training import updates
from focus_jax.training.mean_albedo import correct_mean_albedo
from focus_jax.training.optim import make_optimizer
from focus_jax.training.train import initial_state
from focus_jax.types import Batch
from focus_jax.weights import recognizer

SIZE, COUNT = 64, 40


@pytest.fixture(scope="module")
def setting():
    """A model whose forehead is too bright by a quarter, and photos of the true face."""
    true = jax.tree.map(jnp.asarray, load_face_model("builtin", identity=2, expression=2, albedo=2))
    sizes = forward.widths(true)
    method = updates.Method(
        forward.Networks(
            encoder=Encoder(
                sizes.outputs, stage_sizes=(1,), width=4, bottleneck=False, large_stem=False
            ),
            segmenter=Segmenter(width=4, stem="space_to_depth", dropout=0.0),
        ),
        encoder_optimizer=make_optimizer("adam"),
        segmenter_optimizer=make_optimizer("adam"),
    )

    # The encoder begins with zeros: the mean face under the default light.
    @jax.jit
    def mean_face(model):
        code = forward.decode(jnp.zeros((1, sizes.outputs)), sizes, method.networks.decoding)
        return forward.reconstruct(code, model, SIZE, SIZE)

    face = mean_face(true)
    photo = np.asarray(face.rendering.image)[0]
    photos = np.repeat(photo[None], COUNT, axis=0)
    # A bright bar over another part of each face; no vertex is under it in more than a third.
    for number, picture in enumerate(photos):
        top = 8 + 6 * (number % 8)
        picture[top : top + 6] = (0.9, 0.1, 0.9)
    batch = Batch(
        image=photos,
        landmarks=np.repeat(np.asarray(face.landmarks), COUNT, axis=0),
        index=np.arange(COUNT, dtype=np.int32),
    )
    upper = np.asarray(true.shape_mean[:, 1] > np.percentile(true.shape_mean[:, 1], 80))
    wrong = np.where(upper[:, None], np.float32(1.25), 1) * np.asarray(true.albedo_mean)
    constants = updates.Constants(
        dataclasses.replace(true, albedo_mean=wrong),
        recognizer.load_recognizer("dlib"),
        jax.random.key(0),
    )
    state = initial_state(method, constants.face_model, batch, 0)
    return true, method, batch, constants, state, upper


def test_colours_become_those_of_the_photos(setting):
    true, method, batch, constants, state, upper = setting
    corrected = correct_mean_albedo(state, [(batch, COUNT)], constants, method)
    before = np.abs(state.albedo_mean - true.albedo_mean)[upper]
    after = np.abs(corrected - true.albedo_mean)[upper]
    # The face's edge, seen too obliquely by every photo, keeps its colour.
    assert np.median(after) < 0.1 * np.median(before) and after.mean() < 0.3 * before.mean()
    # Elsewhere the model was right; its colours stay, but for the blur of 64 pixels.
    assert np.abs(corrected - true.albedo_mean)[~upper].mean() < 0.02


def test_too_few_photos_change_nothing(setting):
    _, method, batch, constants, state, _ = setting
    corrected = correct_mean_albedo(state, [(batch, 10)], constants, method)
    np.testing.assert_allclose(corrected, np.clip(state.albedo_mean, 0.01, 1.0))
