import jax
import jax.numpy as jnp
import numpy as np
import pytest

from focus_jax import forward
from focus_jax.forward import Decoding, Widths, decode
from focus_jax.networks.segmenter import Segmenter
from focus_jax.types import Rendering

SIZES = Widths(4, 3, 2)


def raw(seed=0):
    return jnp.array(np.random.default_rng(seed).normal(size=(2, SIZES.outputs)), jnp.float32)


def test_the_code_is_split_in_its_order_and_scaled_as_in_the_release():
    numbers = raw()
    code = decode(numbers, SIZES, Decoding())
    np.testing.assert_array_equal(code.identity, numbers[:, :4])
    np.testing.assert_array_equal(code.expression, numbers[:, 4:7])
    np.testing.assert_array_equal(code.albedo, 3 * numbers[:, 7:9])
    scales = np.array([0.3, 0.3, 0.3, 1, 1, 0.005], np.float32)
    np.testing.assert_allclose(code.pose, numbers[:, 9:15] * scales, rtol=1e-6)
    light = np.array(numbers[:, 15:])
    light[:, [0, 9, 18]] += 0.7 * 2 * np.pi
    np.testing.assert_allclose(code.light, light, rtol=1e-5, atol=1e-5)


def test_grey_light_has_equal_channels_and_keeps_their_mean():
    free, grey = decode(raw(), SIZES, Decoding()), decode(raw(), SIZES, Decoding(light_colour=0.0))
    channels = np.array(grey.light).reshape(2, 3, 9)
    np.testing.assert_allclose(channels[:, 0], channels[:, 2], rtol=1e-5, atol=1e-6)
    mean = np.array(free.light).reshape(2, 3, 9).mean(1)
    np.testing.assert_allclose(channels[:, 1], mean, rtol=1e-4, atol=1e-5)


def test_colour_of_light_is_bounded_and_free_when_small():
    limited = decode(100 * raw(), SIZES, Decoding(light_colour_limit=0.35)).light
    channels = np.array(limited).reshape(2, 3, 9)
    free = np.array(decode(100 * raw(), SIZES, Decoding()).light).reshape(2, 3, 9)
    grey = free.mean(1, keepdims=True)
    assert np.abs(free - grey).max() > 1
    assert np.abs(channels - grey).max() <= 0.3501
    small = decode(1e-3 * raw(), SIZES, Decoding(light_colour_limit=0.35)).light
    np.testing.assert_allclose(small, decode(1e-3 * raw(), SIZES, Decoding()).light, atol=1e-5)


def test_light_bands_leave_what_they_weigh_one():
    code = decode(raw(), SIZES, Decoding(light_bands=(1.0, 0.0, 0.0)))
    channels = np.array(code.light).reshape(2, 3, 9)
    assert (channels[..., 1:] == 0).all() and (channels[..., 0] != 0).all()


def test_albedo_limit_bounds_and_is_the_identity_near_zero():
    code = decode(100 * raw(), SIZES, Decoding(albedo_limit=2.0))
    assert jnp.abs(code.albedo).max() <= 2.0
    small = decode(1e-3 * raw(), SIZES, Decoding(albedo_limit=2.0))
    np.testing.assert_allclose(small.albedo, 3e-3 * raw()[:, 7:9], rtol=1e-4)


def test_a_code_of_the_wrong_length_is_refused():
    with pytest.raises(ValueError, match="41 numbers"):
        forward.decode(jnp.zeros((1, 41)), SIZES, Decoding())


def test_three_ways_are_the_mean_of_three_looks():
    rng = np.random.default_rng(2)
    drawn, photo = (jnp.asarray(rng.random((2, 28, 42, 3), np.float32)) for _ in range(2))
    coverage = jnp.asarray(rng.integers(0, 2, (2, 28, 42, 1)), jnp.float32)
    segmenter = Segmenter(width=2, stem="space_to_depth")
    variables = segmenter.init(jax.random.key(0), drawn, photo)

    def logits(*pictures):
        everywhere = jnp.ones_like(pictures[0][..., :1])
        drawn = Rendering(pictures[0], everywhere, jnp.zeros((2, 0, 3)))
        return forward.segment(segmenter, variables, drawn, pictures[1], train=False)[1]

    mirrored = [x[:, :, ::-1] for x in (drawn, photo)]
    larger = [jax.image.resize(x, (2, 40, 60, 3), "linear") for x in mirrored]
    third = jax.image.resize(logits(*larger), (2, 28, 42, 1), "linear", antialias=False)
    looks = [logits(drawn, photo), logits(*mirrored)[:, :, ::-1], third[:, :, ::-1]]
    assert np.abs(looks[0] - looks[1]).max() > 1e-4 < np.abs(looks[1] - looks[2]).max()
    mask = forward.segment_three_ways(
        segmenter, variables, Rendering(drawn, coverage, jnp.zeros((2, 0, 3))), photo
    )
    np.testing.assert_allclose(mask, jax.nn.sigmoid(sum(looks) / 3) * coverage, atol=1e-6)
