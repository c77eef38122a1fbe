"""Casts of the astronaut's crop: the correction, and that the networks no longer hide her face."""

import json
from pathlib import Path

import numpy as np
import pytest
import skimage.data

from focus_jax.data.align import align_face
from focus_jax.photos import inference, white_balance
from focus_jax.photos.trained import load_model, make_batch

LANDMARKS = Path(__file__).parents[1] / "astronaut_landmarks.json"
# Factors of red, green, blue; None is a photo without colours.
CASTS = {
    "plain": (1.0, 1.0, 1.0),
    "cold": (0.8, 1.0, 1.2),
    "cool": (0.85, 1.0, 1.15),
    "warm": (1.2, 1.0, 0.8),
    "green": (0.9, 1.1, 0.9),
    "grey": None,
}


def cast(image, factors):
    if factors is None:
        return np.repeat(np.rint(image @ white_balance.LUMINANCE)[..., None], 3, -1).astype("uint8")
    return np.rint(image * np.array(factors)).clip(0, 255).astype(np.uint8)


def aligned(size):
    points = np.array(json.loads(LANDMARKS.read_text()))
    return align_face(skimage.data.astronaut(), points, size)


@pytest.fixture(scope="module")
def model():
    return load_model("shipped")


@pytest.fixture(scope="module")
def crops(model):
    face = aligned(model.record_size)
    images = np.stack([cast(face.image, factors) for factors in CASTS.values()])
    return images, np.stack([face.landmarks] * len(CASTS))


@pytest.fixture(scope="module")
def found(model, crops):
    return inference.infer(model, make_batch(model, *crops))


def test_a_plain_photo_is_left_as_it_is(crops):
    factors = white_balance.gains(*crops)
    assert (factors[[0, 3]] == 1).all()
    np.testing.assert_array_equal(
        white_balance.apply(*(x[:1] for x in (crops[0], factors)))[0], crops[0][0]
    )


def test_skin_gets_the_chromaticity_of_skin_and_keeps_its_luminance(crops):
    factors = white_balance.gains(*crops)
    for number in (1, 5):  # cold, grey
        image, points = crops[0][number], crops[1][number]
        cheek = np.rint(points[[2, 31]].mean(0)).astype(int)
        before = image[cheek[1] - 3 : cheek[1] + 4, cheek[0] - 3 : cheek[0] + 4].mean((0, 1))
        after = before * factors[number]
        assert after[0] > 1.15 * after[1] > 1.15 * after[2]
        assert abs(white_balance.LUMINANCE @ (after - before)) < 0.1 * before.mean()


def test_a_white_mask_below_a_pale_face_is_no_cast(crops):
    """Neutral whites say that the light is neutral, whatever the skin."""
    image, points = crops[0][:1].copy(), crops[1][:1]
    pale = np.rint(0.4 * image + 0.6 * np.array([200, 186, 168])).astype(np.uint8)
    low = int(points[0, 33, 1])
    pale[:, low:] = 235
    assert (white_balance.gains(pale, points) == 1).all()


def test_a_crop_without_face_pixels_stays(crops):
    black = np.zeros_like(crops[0][:1])
    assert (white_balance.gains(black, crops[1][:1] + 1e4) == 1).all()


def test_what_is_hidden_does_not_depend_on_the_cast(found):
    shares = {}
    for number, name in enumerate(CASTS):
        covered = np.asarray(found.coverage)[number, ..., 0] > 0
        shares[name] = (covered & (np.asarray(found.mask)[number, ..., 0] < 0.5)).sum()
        shares[name] /= covered.sum()
    assert max(abs(share - shares["plain"]) for share in shares.values()) < 0.05, shares


def test_the_rendering_has_the_colours_of_the_photo(crops, found):
    """The cast is the light's: albedo stays skin, and the rendering is as blue as the photo."""
    inside = np.asarray(found.mask)[..., 0].min(0) > 0.5
    mean = [np.asarray(image)[inside].mean(0) for image in found.image]
    ratio = mean[1] / mean[0]
    np.testing.assert_allclose(ratio / ratio[1], np.array(CASTS["cold"]), atol=0.12)
    np.testing.assert_allclose(mean[5] / mean[5].mean(), 1, atol=0.12)
    albedo = np.asarray(found.albedo).mean(1)
    assert (albedo[:, 0] > 1.1 * albedo[:, 2]).all()


def test_a_batch_shown_again_is_the_same(model, crops, found):
    """Codes in the photos' colours are what `show` takes, as videos do."""
    batch = make_batch(model, *crops)
    again = inference.show(model, batch, found.code)
    np.testing.assert_allclose(again.mask, found.mask, atol=1e-4)
    np.testing.assert_allclose(again.image, found.image, atol=1e-4)
