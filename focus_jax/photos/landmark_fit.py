"""A face fitted to landmarks alone, by Gauss-Newton steps: where a descent on colours begins."""

import dataclasses
import functools
import math

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from focus_jax import forward
from focus_jax.data.belief import JAW, SEEN
from focus_jax.photos.programs import program
from focus_jax.rendering import camera, morphable
from focus_jax.types import FaceModel

DEVIATION = 0.02  # of a landmark that is told of nothing else, crop widths; prior modes have 1
DENSE, RIM = 0.25, 0.1  # weights of a dense landmark, and of one of the jaw, which slides
POSES, STEPS = 6, 8  # steps of the pose alone, then of all
DAMPING = 1e-2  # of what is not known by a prior: pose


@functools.partial(program, static=("size", "decoding"))
def fit_landmarks(
    landmarks: Float[Array, "b 68 2"],
    dense: Float[Array, "b 478 2"] | None,
    face_model: FaceModel,
    *,
    size: int,
    decoding: forward.Decoding,
) -> Float[Array, "b n"]:
    """Codes, as `forward.decode` reads them, of the likeliest faces with these landmarks.

    Landmarks in pixels of crops of `size`; `dense` ones count where they are known and the face
    model has a place for them. Pose, identity and expression; albedo and light are the mean's.
    """
    widths = forward.widths(face_model)
    found, weights = landmarks, jnp.where(jnp.arange(68) < JAW, RIM, 1.0)
    weights = jnp.broadcast_to(weights, landmarks.shape[:2])
    corners, shares = face_model.landmark_vertices, face_model.landmark_weights
    if dense is not None and face_model.dense_landmark_vertices is not None:
        places, more = face_model.dense_landmark_vertices, face_model.dense_landmark_weights
        known = jnp.isfinite(dense).all(-1) & jnp.asarray(SEEN) & (jnp.abs(more).sum(-1) > 0)
        found = jnp.concatenate([found, jnp.where(known[..., None], dense, 0.0)], axis=1)
        weights = jnp.concatenate([weights, DENSE * known], axis=1)
        corners, shares = jnp.concatenate([corners, places]), jnp.concatenate([shares, more])
    small = _only(face_model, corners, shares)
    shaped = widths.identity + widths.expression

    def residuals(z, found, weights):
        raw = jnp.concatenate([z[:shaped], jnp.zeros(widths.albedo), z[shaped:], jnp.zeros(27)])
        code = forward.decode(raw[None], widths, decoding)
        points = morphable.vertices(small, code.identity, code.expression)
        # Not `camera.project`, whose derivative is written for the other direction.
        rotation, translation = camera.extrinsics(code.pose)
        places = points[0] @ rotation[0].T + translation[0]
        matrix = camera.intrinsics(size, size)
        screen = places[:, :2] / places[:, 2:] @ matrix[:2, :2].T + matrix[:2, 2]
        apart = (screen - found) / (size * DEVIATION) * jnp.sqrt(weights)[:, None]
        damped = jnp.full(6, math.sqrt(DAMPING)) * z[shaped:]
        return jnp.concatenate([apart.ravel(), z[:shaped], damped])

    def one(found_at, weights):
        def improve(z, free):
            slope = jax.jacfwd(residuals)(z, found_at, weights) * free
            rest = residuals(z, found_at, weights)
            matrix = slope.T @ slope + 1e-6 * jnp.eye(len(z))
            found = z - free * jnp.linalg.solve(matrix, slope.T @ rest)
            # Landmarks of no face may lead anywhere, behind the camera too: not on, then.
            after = jnp.sum(residuals(found, found_at, weights) ** 2)
            return jnp.where(after <= 1.01 * jnp.sum(rest**2), found, z)

        z = jnp.zeros(shaped + 6)
        pose = (jnp.arange(shaped + 6) >= shaped).astype(z.dtype)
        z = jax.lax.fori_loop(0, POSES, lambda _, z: improve(z, pose), z)
        z = jax.lax.fori_loop(0, STEPS, lambda _, z: improve(z, jnp.ones_like(z)), z)
        return jnp.concatenate([z[:shaped], jnp.zeros(widths.albedo), z[shaped:], jnp.zeros(27)])

    return jax.vmap(one)(found, weights)


def _only(face_model: FaceModel, corners: jax.Array, shares: jax.Array) -> FaceModel:
    """The face model of nothing but those points: mean and modes at `corners [n 3]`."""

    def at(values: jax.Array) -> jax.Array:
        return jnp.einsum("lk,lk...->l...", shares, jnp.asarray(values)[corners])

    return dataclasses.replace(
        face_model,
        shape_mean=at(face_model.shape_mean),
        identity_basis=at(face_model.identity_basis),
        expression_basis=at(face_model.expression_basis),
    )
