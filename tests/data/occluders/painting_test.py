import numpy as np
import pytest

from focus_jax.data.occluders.painting import (
    Layer,
    composite,
    extent,
    flat,
    over,
    rgb,
    soften,
    tinted,
)
from focus_jax.data.occluders.scene import look_at

N = 32


def planes(dtype=np.float32):
    """A picture, a plane that is zero but for a rectangle, another picture, a colour."""
    rng = np.random.default_rng(0)
    alpha = np.zeros((N, N), np.float32)
    alpha[5:20, 9:30] = rng.random((15, 21))
    picture, other = rng.random((2, N, N, 3)).astype(dtype)
    return picture, alpha, other, rng.random(3).astype(dtype)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_pictures_are_what_broadcasting_makes(dtype):
    _, alpha, _, colour = planes(dtype)
    np.testing.assert_array_equal(rgb(alpha), np.broadcast_to(alpha[..., None], (N, N, 3)))
    np.testing.assert_array_equal(flat(N, colour), np.broadcast_to(colour, (N, N, 3)))
    product = tinted(alpha, colour)
    np.testing.assert_array_equal(product, alpha[..., None] * colour)
    assert product.dtype == dtype


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("visible", [True, False])
def test_over_is_its_formula_to_the_bit(dtype, visible):
    picture, alpha, other, colour = planes(dtype)
    alpha = alpha * np.float32(visible)
    before = picture.copy()
    for paint in (other, colour):
        expected = picture + alpha[..., None] * (paint - picture)
        found = over(picture, alpha, paint)
        np.testing.assert_array_equal(found, expected)
        assert found.dtype == dtype
    np.testing.assert_array_equal(picture, before)


def test_composite_is_its_formula_to_the_bit():
    picture, alpha, colour, _ = planes()
    shadow = 0.5 * np.roll(alpha, 6, axis=(0, 1))
    expected = picture * (1 - shadow[..., None]) * (1 - alpha[..., None])
    expected += colour * alpha[..., None]
    before = picture.copy()
    np.testing.assert_array_equal(composite(picture, Layer(colour, alpha, shadow)), expected)
    np.testing.assert_array_equal(picture, before)


def test_the_extent_is_the_smallest_rectangle():
    plane = np.zeros((N, N))
    assert plane[extent(plane)].size  # nothing to find, and still something to compute with
    plane[7, 3] = plane[9, 20] = -1
    assert extent(plane) == (slice(7, 10), slice(3, 21))


@pytest.mark.parametrize("size", [64, 192])
def test_a_scene_sees_the_whole_picture_blurred(size):
    """Though only the surroundings of five points are."""
    rng = np.random.default_rng(0)
    image = rng.random((size, size, 3)).astype(np.float32)
    landmarks = rng.uniform(-0.2 * size, 1.2 * size, (68, 2))
    landmarks[36:48] = landmarks[[0]]
    landmarks[42:48, 0] += 0.4 * size
    scene = look_at(image, landmarks)
    smooth = soften(image, 4 * scene.mm)
    sides = (0.5 * landmarks[[2, 14]] + 0.5 * landmarks[[31, 35]]).round().astype(int)
    top, nose = scene.at(0, -35).round().astype(int), landmarks[29].round().astype(int)
    chin = (0.5 * landmarks[8] + 0.5 * landmarks[57]).astype(int)
    places = np.clip([*sides, top, nose, chin], 0, size - 1)
    expected = np.median([smooth[y, x] for x, y in places], axis=0)
    np.testing.assert_allclose(scene.skin, expected, rtol=1e-5)
