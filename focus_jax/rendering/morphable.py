"""The morphable model: shape and albedo as a mean plus weighted modes (Blanz and Vetter 1999)."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from focus_jax.types import AnyArray, FaceModel, check_arrays


def _offsets(basis: AnyArray, coefficients: AnyArray, kind: str) -> jax.Array:
    """Coefficients times as many modes: one matrix product, for all vertices and leading axes."""
    check_arrays(**{f"{kind} coefficients": coefficients})
    count, available = coefficients.shape[-1], basis.shape[-1]
    if count > available:
        raise ValueError(f"{count} {kind} coefficients, but the face model has {available} modes")
    # Zero coefficients are the mean; -1 cannot stand for the rows of an empty matrix.
    modes = basis[..., :count].reshape(basis.shape[0] * basis.shape[1], count)
    offsets = jnp.einsum("...n,mn->...m", coefficients, modes, precision=jax.lax.Precision.HIGHEST)
    return offsets.reshape(*offsets.shape[:-1], *basis.shape[:-1])


def vertices(
    face_model: FaceModel, identity: Float[AnyArray, "*n i"], expression: Float[AnyArray, "*n e"]
) -> Float[Array, "*n v 3"]:
    """Shape of the face, in the face model's units and coordinates.

    Fewer coefficients than modes weigh the first modes; more are a ValueError.
    """
    return (
        face_model.shape_mean
        + _offsets(face_model.identity_basis, identity, "identity")
        + _offsets(face_model.expression_basis, expression, "expression")
    )


def albedo(face_model: FaceModel, coefficients: Float[AnyArray, "*n a"]) -> Float[Array, "*n v 3"]:
    """Diffuse colour per vertex, not clamped. Coefficients as in `vertices`."""
    return face_model.albedo_mean + _offsets(face_model.albedo_basis, coefficients, "albedo")


def landmarks(
    face_model: FaceModel, vertices: Float[AnyArray, "*n v c"]
) -> Float[Array, "*n 68 c"]:
    """The 68 landmarks of anything given per vertex: positions in space or on screen.

    ValueError for another number of vertices than the face model's.
    """
    return _at(face_model, vertices, face_model.landmark_vertices, face_model.landmark_weights)


def dense_landmarks(
    face_model: FaceModel, vertices: Float[AnyArray, "*n v c"]
) -> Float[Array, "*n 478 c"]:
    """As `landmarks`, MediaPipe's points; 0 where the model has no place for one.

    ValueError for a face model without any, and for another number of vertices than its own.
    """
    corners, weights = face_model.dense_landmark_vertices, face_model.dense_landmark_weights
    if corners is None or weights is None:
        raise ValueError(
            f"the face model {face_model.name!r} has no places of dense landmarks; "
            "third_party/derive_mesh_places.py finds them"
        )
    return _at(face_model, vertices, corners, weights)


def _at(
    face_model: FaceModel, vertices: AnyArray, corners: AnyArray, weights: AnyArray
) -> jax.Array:
    check_arrays(vertices=vertices)
    count, own = vertices.shape[-2], face_model.shape_mean.shape[-2]
    if count != own:  # the whole head's and the cropped face's are both at hand
        raise ValueError(f"{count} vertices are not those of the face model, which has {own}")
    taken = jnp.take(vertices, corners, axis=-2)  # [..., l, 3, c]
    return jnp.einsum("lk,...lkc->...lc", weights, taken, precision=jax.lax.Precision.HIGHEST)
