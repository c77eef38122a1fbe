"""Each form of the convolution against Flax's, with its gradients."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from focus_jax import convolution, layers


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
        (20, 64, 64, 3, 1),  # Winograd's, all of it
        (19, 6, 64, 3, 1),  # of the kernel's gradient only
    ],
)
def test_conv_is_flax_conv(size, channels, features, kernel, stride, monkeypatch):
    monkeypatch.setattr(convolution, "MANY_OPERATIONS", 5e7)
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
