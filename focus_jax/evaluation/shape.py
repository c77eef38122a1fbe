"""Distance between two shapes of one topology, after the better one is moved onto the other."""

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from focus_jax.types import AnyArray


def align(
    source: Float[AnyArray, "v 3"], target: Float[AnyArray, "v 3"], *, scale: bool
) -> Float[AnyArray, "v 3"]:
    """Least-squares rigid motion of `source` onto `target`, scaled if asked (Umeyama 1991)."""
    source_mean, target_mean = jnp.mean(source, axis=0), jnp.mean(target, axis=0)
    centred, wanted = source - source_mean, target - target_mean
    u, s, vt = jnp.linalg.svd(wanted.T @ centred)
    # A reflection is no motion: flip the least important direction back.
    sign = jnp.array([1.0, 1.0, 1.0]).at[2].set(jnp.sign(jnp.linalg.det(u) * jnp.linalg.det(vt)))
    rotation = (u * sign) @ vt
    factor = jnp.sum(s * sign) / jnp.sum(centred**2) if scale else 1.0
    return factor * centred @ rotation.T + target_mean


def vertex_errors(
    predicted: Float[AnyArray, "b v 3"], true: Float[AnyArray, "b v 3"], *, scale: bool = False
) -> Float[Array, "b v"]:
    """Distance of each vertex to its true place after alignment, in the model's units."""
    if predicted.shape != true.shape:
        raise ValueError(f"shapes must have one topology: {predicted.shape} and {true.shape}")

    def one(p: AnyArray, t: AnyArray) -> jax.Array:
        return jnp.linalg.norm(align(p, t, scale=scale) - t, axis=-1)

    return jax.vmap(one)(predicted, true)


def shape_error(
    predicted: Float[AnyArray, "b v 3"], true: Float[AnyArray, "b v 3"], *, scale: bool = False
) -> Float[Array, "b"]:
    """Mean distance of corresponding vertices after alignment, in the model's units, per face."""
    return jnp.mean(vertex_errors(predicted, true, scale=scale), axis=-1)


def by_region(
    errors: Float[AnyArray, "b v"], region: Int[AnyArray, "v"], count: int
) -> Float[AnyArray, "b r"]:
    """Mean error over the vertices of each of `count` regions; NaN for one without vertices."""
    member = (region[:, None] == jnp.arange(count)).astype(errors.dtype)  # [v, r]
    return errors @ member / jnp.sum(member, axis=0)


def coefficients_of(
    shapes: Float[AnyArray, "b v 3"], mean: Float[AnyArray, "v 3"], basis: Float[AnyArray, "v 3 i"]
) -> Float[Array, "b i"]:
    """The coefficients that come closest to shapes in the face model's own coordinates."""
    modes = basis.reshape(-1, basis.shape[-1])
    offsets = (shapes - mean).reshape(shapes.shape[0], -1)
    # The modes of a face model are few and far from parallel: normal equations are exact enough.
    return jnp.linalg.solve(modes.T @ modes, modes.T @ offsets.T).T


def rank_correlation(predicted: np.ndarray, true: np.ndarray) -> np.ndarray:
    """Spearman's correlation of each coefficient `[n i]` over faces; NaN where one is constant.

    It asks whether people are told apart, which a small error near the mean face does not.
    """
    if predicted.shape != true.shape or len(true) < 3:
        raise ValueError(
            "rank correlation needs three faces and as many coefficients of each: "
            f"{predicted.shape} and {true.shape}"
        )
    from scipy.stats import rankdata  # here: slow to import, and `misfit` does without

    a, b = (rankdata(x, axis=0) for x in (predicted, true))
    a, b = a - a.mean(axis=0), b - b.mean(axis=0)
    spread = np.sqrt((a**2).sum(axis=0) * (b**2).sum(axis=0))
    return np.divide((a * b).sum(axis=0), spread, out=np.full(a.shape[1], np.nan), where=spread > 0)
