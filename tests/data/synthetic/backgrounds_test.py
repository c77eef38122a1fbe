import numpy as np

from focus_jax.data.synthetic import backgrounds


def test_backgrounds_and_garments_are_pictures_that_differ():
    rng = np.random.default_rng(0)
    seen = [backgrounds.background(rng, 48) for _ in range(8)]
    for picture in seen:
        assert picture.shape == (48, 48, 3) and np.isfinite(picture).all() and picture.min() >= 0
    assert np.std([p.mean() for p in seen]) > 0.02
    cloth = backgrounds.garment(rng)
    assert cloth.dtype == np.uint8 and cloth.shape[2] == 4 and (cloth[..., 3] == 255).all()
