import numpy as np
import pytest

from focus_jax.data.synthetic.camera import Camera, random_camera, take

PLAIN = Camera(np.ones(3, np.float32), 1.0, 1.0, 1.0, 0.3, (0.0, 0.0), 0.0, 0)
GREY = np.full((48, 48, 3), 0.2, np.float32)


def photo(camera=PLAIN, picture=GREY):
    return take(picture, camera, np.random.default_rng(0))


def test_a_plain_camera_keeps_middle_tones():
    taken = photo()
    assert taken.dtype == np.uint8 and taken.shape == GREY.shape
    np.testing.assert_allclose(taken, 255 * 0.2 ** (1 / 2.2), atol=1)


def test_gains_and_saturation_colour_the_photo():
    warm = photo(PLAIN._replace(gains=np.float32([1.5, 1, 0.6]))).mean((0, 1))
    assert warm[0] > warm[1] > warm[2]
    grey = photo(PLAIN._replace(gains=np.float32([1.5, 1, 0.6]), saturation=0.0))
    assert np.ptp(grey, axis=-1).max() <= 1


@pytest.mark.parametrize("change", [{"blur": 3.0}, {"coarse": 4.0}, {"smear": (6.0, 0.3)}])
def test_details_are_lost(change):
    picture = np.tile(np.where(np.arange(48) % 4 < 2, 0.05, 0.6), (48, 1))
    picture = np.repeat((picture * picture.T)[..., None], 3, axis=-1).astype(np.float32)
    assert photo(PLAIN._replace(**change), picture).std() < 0.8 * photo(PLAIN, picture).std()


def test_noise_grows_with_its_setting():
    assert photo(PLAIN._replace(noise=0.05)).std() > 2 * photo(PLAIN._replace(noise=0.01)).std() > 0


def test_dim_scenes_are_exposed_longer_but_not_wholly():
    rng = np.random.default_rng(0)
    bright, dim = (
        np.median([random_camera(rng, "room", light, np.ones(3)).gains.mean() for _ in range(200)])
        for light in (0.4, 0.04)
    )
    assert 3 < dim / bright < 10
