"""How close the rendering's colours come to the photo's, and its landmarks to the true ones."""

import jax.numpy as jnp
from jaxtyping import Array, Float

from focus_jax.types import AnyArray


def rmse(
    target: Float[AnyArray, "b h w 3"],
    rendering: Float[AnyArray, "b h w 3"],
    region: Float[AnyArray, "b h w 1"],
) -> Float[Array, "b"]:
    """Root mean squared colour difference over `region`, in grey levels of 255, for each image."""
    squared = jnp.sum((target - rendering) ** 2 * region, axis=(1, 2, 3))
    values = 3.0 * jnp.maximum(jnp.sum(region, axis=(1, 2, 3)), 1.0)
    return 255.0 * jnp.sqrt(squared / values)


def mae(
    target: Float[AnyArray, "b h w 3"],
    rendering: Float[AnyArray, "b h w 3"],
    region: Float[AnyArray, "b h w 1"],
) -> Float[Array, "b"]:
    """Mean absolute colour difference over `region`, in grey levels of 255, for each image.

    The release computes this for the numbers that the paper's Table 1 calls RMSE.
    """
    total = jnp.sum(jnp.abs(target - rendering) * region, axis=(1, 2, 3))
    return 255.0 * total / (3.0 * jnp.maximum(jnp.sum(region, axis=(1, 2, 3)), 1.0))


def landmark_error(
    predicted: Float[AnyArray, "b 68 2"], true: Float[AnyArray, "b 68 2"]
) -> Float[Array, "b"]:
    """Mean landmark distance in percent of the distance between the outer eye corners (NME)."""
    eyes = jnp.linalg.norm(true[:, 36] - true[:, 45], axis=-1)
    distance = jnp.mean(jnp.linalg.norm(predicted - true, axis=-1), axis=-1)
    return 100.0 * distance / jnp.maximum(eyes, 1e-6)
