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
from focus_jax.types import FaceCode, FaceModel

DEVIATION = 0.02  # of a landmark that is told of nothing else, crop widths; prior modes have 1
DENSE, RIM = 0.25, 0.1  # weights of a dense landmark, and of one of the jaw, which slides
POSES, STEPS = 6, 8  # steps of the pose alone, then of all
DAMPING = 1e-2  # of what is not known by a prior: pose
# Of several photos' fit, deviations of shape from where it begins. Pose, in these units, is free.
STRAYING, POSE_UNITS = 1 / 3, (0.3, 0.3, 0.3, 10.0, 10.0, 30.0)


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
    small, found, weights = _looked_for(landmarks, dense, face_model)
    shaped = widths.identity + widths.expression

    def residuals(z, found, weights):
        raw = jnp.concatenate([z[:shaped], jnp.zeros(widths.albedo), z[shaped:], jnp.zeros(27)])
        code = forward.decode(raw[None], widths, decoding)
        shape = code.identity[0], code.expression[0]
        apart = _apart(small, *shape, code.pose[0], found, weights, size)
        damped = jnp.full(6, math.sqrt(DAMPING)) * z[shaped:]
        return jnp.concatenate([apart, z[:shaped], damped])

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


@functools.partial(program, static=("size",))
def fit_together(
    code: FaceCode,
    landmarks: Float[Array, "n 68 2"],
    dense: Float[Array, "n 478 2"] | None,
    face_model: FaceModel,
    *,
    size: int,
) -> FaceCode:
    """Codes of one person's photos, of one identity, brought to the landmarks of all of them.

    What a single view leaves open, depth most of all, other views show. `code` is where it begins
    and what it stays near to, with one identity in all; landmarks are as in `fit_landmarks`.
    Albedo and light stay as they are.
    """
    small, found, weights = _looked_for(landmarks, dense, face_model)
    count, units = code.identity.shape[1], jnp.asarray(POSE_UNITS)
    own = jnp.concatenate([code.expression, code.pose / units], axis=1)
    near = jnp.concatenate([jnp.full(code.expression.shape[1], 1 / STRAYING), jnp.full(6, 0.1)])

    def residuals(identity, now, begun, found, weights):
        pose = now[-6:] * units
        apart = _apart(small, identity, now[:-6], pose, found, weights, size)
        return jnp.concatenate([apart, near * (now - begun)])

    def cost(identity, own_now):
        rest = jax.vmap(residuals, (None, 0, 0, 0, 0))(identity, own_now, own, found, weights)
        return jnp.sum(rest**2) + jnp.sum(((identity - code.identity[0]) / STRAYING) ** 2)

    def slopes(identity, now, *rest):
        both = jnp.concatenate([identity, now])
        split = lambda z: residuals(z[:count], z[count:], *rest)  # noqa: E731
        slope, off = jax.jacfwd(split)(both), split(both)
        return slope.T @ slope, slope.T @ off

    def improve(_, state):
        identity, now = state
        # Identity is all photos', the rest each one's own, which is eliminated (Schur).
        square, right = jax.vmap(slopes, (None, 0, 0, 0, 0))(identity, now, own, found, weights)
        crossed, alone = square[:, :count, count:], square[:, count:, count:]
        alone += 1e-6 * jnp.eye(alone.shape[-1])
        solved = jnp.linalg.solve(alone, jnp.swapaxes(crossed, 1, 2))
        shared = jnp.sum(square[:, :count, :count] - crossed @ solved, axis=0)
        shared += jnp.eye(count) / STRAYING**2
        alone_right = jnp.linalg.solve(alone, right[:, count:, None])
        wanted = jnp.sum(right[:, :count] - (crossed @ alone_right)[..., 0], axis=0)
        wanted += (identity - code.identity[0]) / STRAYING**2
        change = jnp.linalg.solve(shared, wanted)
        better = identity - change, now - (alone_right[..., 0] - solved @ change)
        kept = cost(*better) <= cost(identity, now)  # not so of landmarks of no face
        return jax.tree.map(lambda new, old: jnp.where(kept, new, old), better, state)

    identity, own_now = jax.lax.fori_loop(0, STEPS, improve, (code.identity[0], own))
    return dataclasses.replace(
        code,
        identity=jnp.broadcast_to(identity, code.identity.shape),
        expression=own_now[:, :-6],
        pose=own_now[:, -6:] * units,
    )


def _looked_for(
    landmarks: Float[Array, "b 68 2"], dense: Float[Array, "b 478 2"] | None, face_model: FaceModel
) -> tuple[FaceModel, Float[Array, "b l 2"], Float[Array, "b l"]]:
    """The face model at its landmarks, where these were found, and how much each counts."""
    found, weights = landmarks, jnp.where(jnp.arange(68) < JAW, RIM, 1.0)
    weights = jnp.broadcast_to(weights, landmarks.shape[:2])
    corners, shares = face_model.landmark_vertices, face_model.landmark_weights
    if dense is not None and face_model.dense_landmark_vertices is not None:
        places, more = face_model.dense_landmark_vertices, face_model.dense_landmark_weights
        known = jnp.isfinite(dense).all(-1) & jnp.asarray(SEEN) & (jnp.abs(more).sum(-1) > 0)
        found = jnp.concatenate([found, jnp.where(known[..., None], dense, 0.0)], axis=1)
        weights = jnp.concatenate([weights, DENSE * known], axis=1)
        corners, shares = jnp.concatenate([corners, places]), jnp.concatenate([shares, more])
    return _only(face_model, corners, shares), found, weights


def _apart(
    small: FaceModel,
    identity: Float[Array, "i"],
    expression: Float[Array, "e"],
    pose: Float[Array, "6"],
    found: Float[Array, "l 2"],
    weights: Float[Array, "l"],
    size: int,
) -> Float[Array, "r"]:
    """Deviations by which each landmark is missed, times the root of its weight."""
    points = morphable.vertices(small, identity, expression)
    # Not `camera.project`, whose derivative is written for the other direction.
    rotation, translation = camera.extrinsics(pose)
    places = points @ rotation.T + translation
    matrix = camera.intrinsics(size, size)
    screen = places[:, :2] / places[:, 2:] @ matrix[:2, :2].T + matrix[:2, 2]
    return ((screen - found) / (size * DEVIATION) * jnp.sqrt(weights)[:, None]).ravel()


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
