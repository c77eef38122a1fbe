"""The morphable model: shape and albedo as a mean plus weighted modes (Blanz and Vetter 1999)."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from focus_jax.types import FaceModel


def _offsets(basis: jax.Array, coefficients: jax.Array, kind: str) -> jax.Array:
    """Coefficients times as many modes: one matrix product, for all vertices and leading axes."""
    count, available = coefficients.shape[-1], basis.shape[-1]
    if count > available:
        raise ValueError(f"{count} {kind} coefficients, but the face model has {available} modes")
    # Zero coefficients are the mean; -1 cannot stand for the rows of an empty matrix.
    modes = basis[..., :count].reshape(basis.shape[0] * basis.shape[1], count)
    offsets = jnp.einsum("...n,mn->...m", coefficients, modes, precision=jax.lax.Precision.HIGHEST)
    return offsets.reshape(*offsets.shape[:-1], *basis.shape[:-1])


def vertices(
    face_model: FaceModel, identity: Float[Array, "*n i"], expression: Float[Array, "*n e"]
) -> Float[Array, "*n v 3"]:
    """Shape of the face, in the face model's units and coordinates.

    Fewer coefficients than modes weigh the first modes; more are a ValueError.
    """
    return (
        face_model.shape_mean
        + _offsets(face_model.identity_basis, identity, "identity")
        + _offsets(face_model.expression_basis, expression, "expression")
    )


def albedo(face_model: FaceModel, coefficients: Float[Array, "*n a"]) -> Float[Array, "*n v 3"]:
    """Diffuse colour per vertex, not clamped. Coefficients as in `vertices`."""
    return face_model.albedo_mean + _offsets(face_model.albedo_basis, coefficients, "albedo")


def landmarks(face_model: FaceModel, vertices: Float[Array, "*n v c"]) -> Float[Array, "*n 68 c"]:
    """The 68 landmarks of anything given per vertex: positions in space or on screen."""
    corners = jnp.take(vertices, face_model.landmark_vertices, axis=-2)  # [..., 68, 3, c]
    return jnp.einsum(
        "lk,...lkc->...lc",
        face_model.landmark_weights,
        corners,
        precision=jax.lax.Precision.HIGHEST,
    )
