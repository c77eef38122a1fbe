import flax
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from focus_jax.networks import convolution, layers


def test_average_pool():
    x = jax.random.normal(jax.random.key(0), (2, 8, 8, 3))
    np.testing.assert_allclose(
        layers.average_pool(x, 4), x.reshape(2, 4, 2, 4, 2, 3).mean((2, 4)), atol=1e-6
    )
    np.testing.assert_allclose(layers.average_pool(x, 8), x, atol=1e-6)
    # Sizes that do not divide: windows overlap, and a constant stays one.
    for size in (1, 3, 5, 17):
        ones = jnp.ones((1, size, 7, 2))
        np.testing.assert_allclose(layers.average_pool(ones, 4), jnp.ones((1, 4, 4, 2)), atol=1e-6)


def test_parameters_of_another_shape_are_refused_by_name():
    conv = layers.Conv(4)
    pictures = [jnp.zeros((1, 5, 5, channels)) for channels in (2, 3)]
    variables = conv.init(jax.random.key(0), pictures[0])
    assert conv.apply(variables, pictures[0]).shape == (1, 5, 5, 4)
    with pytest.raises(flax.errors.ScopeParamShapeError, match='"kernel"'):
        conv.apply(variables, pictures[1])


def test_max_pool_ignores_its_border():
    x = -jnp.ones((1, 4, 4, 1))
    assert layers.max_pool(x, 3, stride=2, padding=1).tolist() == (-jnp.ones((1, 2, 2, 1))).tolist()


# Sizes that the windows cover and do not cover; values with ties, of which the first counts.
@pytest.mark.parametrize(
    ("size", "stride", "padding"), [(2, 2, 0), (3, 2, 0), (3, 2, 1), (2, 3, 0)]
)
@pytest.mark.parametrize("on_cpu", [True, False])
def test_max_pool_is_xlas(size, stride, padding, on_cpu, monkeypatch):
    monkeypatch.setattr(convolution, "on_cpu", lambda: on_cpu)
    x = jnp.round(jax.random.normal(jax.random.key(0), (2, 9, 12, 3)) * 2)
    pads = ((0, 0), (padding, padding), (padding, padding), (0, 0))

    def xla(x):
        window, strides = (1, size, size, 1), (1, stride, stride, 1)
        return jax.lax.reduce_window(x, -jnp.inf, jax.lax.max, window, strides, pads)

    def ours(x):
        return layers.max_pool(x, size, stride=stride, padding=padding)

    cotangent = jax.random.normal(jax.random.key(1), xla(x).shape)
    (y, pull), (expected, pull_xla) = (jax.vjp(f, x) for f in (ours, xla))
    np.testing.assert_array_equal(y, expected)
    np.testing.assert_allclose(pull(cotangent)[0], pull_xla(cotangent)[0], atol=1e-6)
