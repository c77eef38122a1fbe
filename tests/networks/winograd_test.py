"""Winograd's form against XLA's own convolution and its derivative."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from focus_jax.networks import winograd


def direct(x, kernel):
    return jax.lax.conv_general_dilated(
        x, kernel, (1, 1), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC")
    )


@pytest.fixture(params=[(8, 12), (7, 9), (2, 1)])  # tiles fit, do not fit, and are not filled
def example(request):
    rng = np.random.default_rng(0)
    shapes = ((2, *request.param, 5), (3, 3, 5, 4), (2, *request.param, 4))
    return tuple(jnp.asarray(rng.standard_normal(s, np.float32)) for s in shapes)


def test_it_is_a_convolution(example):
    x, kernel, _ = example
    np.testing.assert_allclose(
        jax.jit(winograd.convolve)(x, kernel), direct(x, kernel), rtol=1e-4, atol=1e-4
    )


def test_its_gradients(example):
    x, kernel, cotangent = example
    expected = jax.vjp(direct, x, kernel)[1](cotangent)
    found = jax.jit(winograd.gradients)(x, kernel, cotangent)
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-4), found, expected
    )
