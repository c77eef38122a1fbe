"""Lambertian shading by spherical harmonics up to order 2 (Ramamoorthi and Hanrahan 2001)."""

import functools

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from focus_jax.rendering.geometry import check_ends, rows_of
from focus_jax.types import AnyArray

# Normalisation of the real harmonics: sqrt of 1/4pi, 3/4pi, 15/4pi, 5/16pi, 15/16pi.
_K = (0.28209479177, 0.48860251190, 1.09254843059, 0.31539156525, 0.54627421529)


def sh_basis(normals: Float[AnyArray, "*n 3"]) -> Float[Array, "*n 9"]:
    """Nine real harmonics, order l = 0..2 and m = -l..l, Condon-Shortley sign, as polynomials.

    Normals shorter than 1 are read as the release's angles read them, theta = acos(z) and
    phi = atan2(y, x): z is kept, and (x, y) is stretched to the length that is missing. For unit
    normals that is the identity. There are no angles here, and the poles have finite gradients.
    """
    check_ends(normals=(normals, (3,)))
    return jnp.stack(_harmonics(*_components(normals)), -1)


def _components(normals: AnyArray) -> tuple[AnyArray, ...]:
    return normals[..., 0], normals[..., 1], normals[..., 2]


def _harmonics(x: AnyArray, y: AnyArray, z: AnyArray) -> list[AnyArray]:
    # The small number makes the stretch 1 at the poles of unit normals, where it is 0 / 0. A
    # shorter normal along the axis has no direction to be stretched in; its x and y stay 0.
    stretch = jnp.sqrt((jnp.maximum((1.0 - z) * (1.0 + z), 0.0) + 1e-6) / (x * x + y * y + 1e-6))
    x, y = x * stretch, y * stretch
    return [
        jnp.full_like(z, _K[0]),
        -_K[1] * y,
        _K[1] * z,
        -_K[1] * x,
        _K[2] * x * y,
        -_K[2] * y * z,
        _K[3] * (3.0 * z * z - 1.0),
        -_K[2] * x * z,
        _K[4] * (x * x - y * y),
    ]


def shade(
    albedo: Float[AnyArray, "*n v 3"],
    normals: Float[AnyArray, "*n v 3"],
    light: Float[AnyArray, "*n 27"],
) -> Float[Array, "*n v 3"]:
    """Albedo times irradiance; not clamped.

    `light` is nine coefficients for red, then green, then blue, used as they are: whoever decodes
    them adds the ambient offset to each channel's first. Normals are in camera space. ValueError
    for arrays of other lengths, other vertices or another batch.
    """
    rows = rows_of(normals)
    check_ends(normals=(normals, rows), albedo=(albedo, rows), light=(light, (27,)))
    # One type for both: the gradient is written out, and JAX wants it to be of theirs.
    dtype = jnp.result_type(normals, light)
    normals, light = jnp.asarray(normals, dtype), jnp.asarray(light, dtype)
    return albedo * _irradiance(normals, light.reshape(*light.shape[:-1], 1, 3, 9))


# The gradient is written out: the derived one sums over the vertices once for each harmonic, which
# on CPU takes far longer than the shading itself.


@jax.custom_vjp
def _irradiance(normals: AnyArray, channels: AnyArray) -> jax.Array:
    # Written out, the nine products join the polynomials in one loop over the vertices.
    products = (
        h[..., None] * channels[..., k] for k, h in enumerate(_harmonics(*_components(normals)))
    )
    return functools.reduce(jnp.add, products)


def _irradiance_forward(
    normals: AnyArray, channels: AnyArray
) -> tuple[AnyArray, tuple[AnyArray, AnyArray]]:
    return _irradiance(normals, channels), (normals, channels)


def _irradiance_backward(
    residuals: tuple[AnyArray, AnyArray], cotangent: AnyArray
) -> tuple[AnyArray, AnyArray]:
    normals, channels = residuals
    harmonics, pull = jax.vjp(_harmonics, *_components(normals))
    weights = [
        functools.reduce(
            jnp.add, (cotangent[..., c] * channels[..., c, k] for c in range(channels.shape[-2]))
        )
        for k in range(len(harmonics))
    ]
    to_normals = jnp.stack(pull(weights), -1)
    # In this order: the other one takes more than twice as long on CPU. The barrier keeps it.
    to_channels = jnp.matmul(jnp.stack(harmonics, -2), cotangent, precision="highest")
    to_channels = jax.lax.optimization_barrier(to_channels)
    return to_normals, jnp.swapaxes(to_channels, -1, -2)[..., None, :, :]


_irradiance.defvjp(_irradiance_forward, _irradiance_backward)
