"""Distance between two shapes of one topology, after the better one is moved onto the other."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float


def align(
    source: Float[Array, "v 3"], target: Float[Array, "v 3"], *, scale: bool
) -> Float[Array, "v 3"]:
    """Least-squares rigid motion of `source` onto `target`, scaled if asked (Umeyama 1991)."""
    source_mean, target_mean = jnp.mean(source, axis=0), jnp.mean(target, axis=0)
    centred, wanted = source - source_mean, target - target_mean
    u, s, vt = jnp.linalg.svd(wanted.T @ centred)
    # A reflection is no motion: flip the least important direction back.
    sign = jnp.array([1.0, 1.0, 1.0]).at[2].set(jnp.sign(jnp.linalg.det(u) * jnp.linalg.det(vt)))
    rotation = (u * sign) @ vt
    factor = jnp.sum(s * sign) / jnp.sum(centred**2) if scale else 1.0
    return factor * centred @ rotation.T + target_mean


def shape_error(
    predicted: Float[Array, "b v 3"], true: Float[Array, "b v 3"], *, scale: bool = False
) -> Float[Array, "b"]:
    """Mean distance of corresponding vertices after alignment, in the model's units, per face."""
    if predicted.shape != true.shape:
        raise ValueError(f"shapes must have one topology: {predicted.shape} and {true.shape}")

    def one(p: jax.Array, t: jax.Array) -> jax.Array:
        return jnp.mean(jnp.linalg.norm(align(p, t, scale=scale) - t, axis=-1))

    return jax.vmap(one)(predicted, true)
