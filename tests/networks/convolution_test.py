"""Each form of the convolution against Flax's, with its gradients."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from focus_jax.networks import convolution, layers


# Size, channels in and out, kernel, stride: at least one for each form, and their borders.
@pytest.mark.parametrize(
    ("size", "channels", "features", "kernel", "stride"),
    [
        (9, 8, 16, 1, 2),  # a product
        (7, 64, 8, 3, 1),  # shifted copies
        (8, 64, 8, 3, 2),
        (1, 64, 8, 3, 1),
        (13, 3, 8, 7, 2),  # blocks
        (16, 3, 8, 3, 2),
        (9, 1, 1, 3, 1),  # a sum over the kernel
        (9, 8, 8, 3, 1),  # XLA's own
        (14, 24, 8, 3, 1),  # two pixels at once, in the map's gradient one
        (15, 8, 24, 3, 1),  # the other way round, with a pixel left over
        (16, 12, 16, 5, 1),
        (20, 64, 64, 3, 1),  # Winograd's
        (19, 6, 64, 3, 1),  # shifted copies in the kernel's gradient
    ],
)
def test_conv_is_flax_conv(size, channels, features, kernel, stride, monkeypatch):
    monkeypatch.setattr(convolution, "MANY_OPERATIONS", 2e6)
    monkeypatch.setattr(convolution, "MANY_PIXELS", 2 * 14 * 14)
    random = np.random.default_rng(0)
    x = random.normal(size=(2, size, size, channels)).astype(np.float32)
    ours = layers.Conv(features, kernel, stride, use_bias=True)
    theirs = nn.Conv(features, (kernel, kernel), stride, padding=kernel // 2)
    shapes = jax.eval_shape(theirs.init, jax.random.key(1), x)
    assert jax.eval_shape(ours.init, jax.random.key(1), x) == shapes
    gain = (kernel * kernel * channels) ** -0.5  # for results near 1, of which errors are parts
    variables = jax.tree.map(
        lambda s: (gain * random.normal(size=s.shape)).astype(np.float32), shapes
    )

    def value_and_gradients(module):
        def loss(v, x):
            y = module.apply(v, x)
            return jnp.mean(jnp.sin(y)), y

        return jax.jit(jax.grad(loss, argnums=(0, 1), has_aux=True))(variables, x)

    found, expected = value_and_gradients(ours), value_and_gradients(theirs)
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-4), found, expected
    )


@pytest.mark.parametrize("shape", [(5, 4), (1, 1)])
def test_enlarging_and_convolving_at_once(shape):
    random = np.random.default_rng(0)
    x = random.normal(size=(2, *shape, 6)).astype(np.float32)
    kernel = random.normal(size=(3, 3, 6, 4)).astype(np.float32)
    cotangent = random.normal(size=(2, 2 * shape[0], 2 * shape[1], 4)).astype(np.float32)

    def in_turn(x, kernel):
        enlarged = jnp.repeat(jnp.repeat(x, 2, axis=1), 2, axis=2)
        return convolution.convolve(enlarged, kernel, padding=1)

    def value_and_gradients(function):
        y, back = jax.vjp(function, x, kernel)
        return y, *back(cotangent)

    found, expected = map(value_and_gradients, (convolution.convolve_enlarged, in_turn))
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-4), found, expected
    )
