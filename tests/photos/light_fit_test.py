"""Light from the pixels of a face."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from focus_jax import forward
from focus_jax.face_models import load_face_model
from focus_jax.photos.light_fit import fit_light
from focus_jax.photos.trained import UNTRAINED

SIZE = 80


@pytest.fixture(scope="module")
def face_model():
    return jax.tree.map(jnp.asarray, load_face_model("builtin", identity=4, expression=2, albedo=3))


@pytest.fixture(scope="module")
def fit(face_model):
    return jax.jit(lambda code, image, mask: fit_light(code, image, mask, face_model))


@pytest.fixture(scope="module")
def seen(face_model):
    """Two faces lit from the sides, and their pictures."""
    widths, rng = forward.widths(face_model), np.random.default_rng(0)
    raw = 0.7 * rng.normal(size=(2, widths.outputs)).astype(np.float32)
    raw[:, -27:] = 0.0
    code = forward.decode(jnp.asarray(raw), widths, UNTRAINED)
    light = np.array(code.light).reshape(2, 3, 9)
    light[0, :, 3], light[1, :, 3] = 0.4, -0.3  # to and fro across the face
    light[1, 0, 0] += 0.3  # a warm one
    code = dataclasses.replace(code, light=jnp.asarray(light.reshape(2, 27)))
    return code, forward.reconstruct(code, face_model, SIZE, SIZE).rendering


def plain(code):
    """The code in light that is the same from everywhere, for which no photo was consulted."""
    light = code.light.reshape(-1, 3, 9).at[..., 1:].set(0.0)
    light = light.at[..., 0].set(code.light[0, 0])  # grey
    return dataclasses.replace(code, light=light.reshape(-1, 27))


def apart(code, seen, face_model):
    drawn = forward.reconstruct(code, face_model, SIZE, SIZE).rendering
    squared = (drawn.image - seen[1].image) ** 2 * seen[1].coverage
    return np.sqrt(np.asarray(squared.sum((1, 2, 3)) / (3 * seen[1].coverage.sum((1, 2, 3)))))


def test_the_light_of_a_picture_is_found(fit, seen, face_model):
    code, rendering = seen
    before, found = plain(code), fit(plain(code), rendering.image, rendering.coverage)
    assert (apart(found, seen, face_model) < 0.2 * apart(before, seen, face_model)).all()
    for name in ("identity", "expression", "albedo", "pose"):
        np.testing.assert_array_equal(getattr(found, name), getattr(before, name))


def test_the_right_light_stays(fit, seen):
    code, rendering = seen
    found = fit(code, rendering.image, rendering.coverage)
    # Normals are interpolated here, colours in the picture.
    np.testing.assert_allclose(found.light, code.light, atol=0.03)


def test_what_the_mask_leaves_out_does_not_count(fit, seen):
    code, rendering = seen
    mask = rendering.coverage.at[:, SIZE // 2 :].set(0.0)
    covered = rendering.image.at[:, SIZE // 2 :].set(jnp.array([0.0, 0.0, 1.0]))
    given, found = (fit(plain(code), image, mask) for image in (rendering.image, covered))
    np.testing.assert_allclose(found.light, given.light, atol=1e-5)


def test_nothing_seen_changes_nothing(fit, seen):
    code, rendering = seen
    found = fit(code, rendering.image, jnp.zeros_like(rendering.coverage))
    np.testing.assert_array_equal(found.light, code.light)


def test_a_missed_occluder_colours_little(fit, seen, face_model):
    code, rendering = seen
    small = rendering.image.at[:, 30:42, 30:42].set(jnp.array([0.0, 0.0, 1.0]))
    found = fit(plain(code), small, rendering.coverage)
    assert (apart(found, seen, face_model) < 0.5 * apart(plain(code), seen, face_model)).all()
