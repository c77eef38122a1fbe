"""How far a detector's landmarks are believed when a face is fitted to them: 68, and dense ones."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from focus_jax.data.mesh_landmarks import MIRROR
from focus_jax.rendering import fragments, morphable, rasterize
from focus_jax.types import FaceModel

# Of MediaPipe's points, those that a detector sees. The others it places by its idea of a head:
# the rim slides over a head that turns, cheeks and forehead have nothing to be found by.
_RIGHT = (
    *(33, 246, 161, 160, 159, 158, 157, 173, 133, 7, 163, 144, 145, 153, 154, 155),  # lids
    *(61, 185, 40, 39, 37, 0, 146, 91, 181, 84, 17),  # lips, outside
    *(78, 191, 80, 81, 82, 13, 95, 88, 178, 87, 14),  # and inside
    *range(468, 473),  # iris
    *(70, 63, 105, 66, 107, 46, 53, 52, 65, 55),  # brow
    *(168, 6, 197, 195, 5, 4, 1, 94, 2, 98, 97, 64, 115, 129),  # nose
)
SEEN = np.zeros(478, bool)
SEEN[list(_RIGHT)] = SEEN[MIRROR[list(_RIGHT)]] = True
DENSE = 0.25  # of one of the 68: there are three times as many, and their errors go together
# Of what a hidden landmark counts, squared, the part that refinement leaves out; of 0, 0.5, 0.85
# and 1 the best for points placed by hand, of training people (`experiments.hidden_points`).
DOUBT = 1.0

JAW = 17  # of the 68, the first


class Points(NamedTuple):
    """What a detector found on each photo, and its weights for `losses.landmark`."""

    found: Float[Array, "b n 2"]  # 68, then 478 where they are used; pixels
    weights: Float[Array, "b n"]


def believed(
    face_model: FaceModel,
    screen_vertices: Float[Array, "b v 3"],
    rotation: Float[Array, "b 3 3"],
    landmarks: Float[Array, "b 68 2"],
    dense: Float[Array, "b 478 2"] | None,
    hidden: Float[Array, "b h w 1"],
    weights: Float[Array, "68"],
    *,
    doubt: float = 0.0,
    backend: str | None = None,
) -> Points:
    """The landmarks of photos, with dense ones where there are any and the face model has places.

    The 68 are believed by `weights`, whose squares lose the part `doubt` where `hidden`, 1 where
    something lies before the face, says so: what a detector says of those is a guess.

    A dense one is not believed where it is not known (nan), has no place on the face model, is
    none of SEEN, or lies on a part that the face, as fitted now, hides itself; and as little as its
    pixel is of the face by `hidden`. With dense ones the jaw is of a rim that slides over a head
    that turns, at its far side: what the face hides of it counts by the squared cosine of the angle
    to the camera, which `rotation` tells (`camera.extrinsics`). The mean squared weight stays that
    of `weights`, which are those of the 68. None has a gradient.
    """
    height, width = hidden.shape[1:3]

    def covered(points: Float[Array, "b n 2"]) -> Float[Array, "b n"]:
        column, row = (
            jnp.clip(jnp.round(points[..., k]).astype(jnp.int32), 0, size - 1)
            for k, size in enumerate((width, height))
        )
        return jax.vmap(lambda picture, y, x: picture[y, x, 0])(hidden, row, column)

    own = jnp.broadcast_to(weights, landmarks.shape[:2])
    if doubt:
        # Of a face that is hidden whole, all are believed alike.
        kept = jnp.maximum(1.0 - doubt * jax.lax.stop_gradient(covered(landmarks)), 1e-3)
        less = own**2 * kept
        own = jnp.sqrt(less * jnp.mean(own**2, 1, keepdims=True) / less.mean(1, keepdims=True))
    places = face_model.dense_landmark_vertices, face_model.dense_landmark_weights
    if dense is None or places[0] is None or places[1] is None:
        return Points(landmarks, own)
    triangles, screen = face_model.triangles, jax.lax.stop_gradient(screen_vertices)
    seen = rasterize.rasterize(screen, triangles, height, width, backend)
    corners = jnp.concatenate([jnp.asarray(face_model.landmark_vertices), places[0]])
    shares = jnp.concatenate([jnp.asarray(face_model.landmark_weights), places[1]])
    visible = fragments.visible_points(seen, screen, triangles, corners, shares)
    known = jnp.isfinite(dense).all(-1)
    found = jnp.where(known[..., None], dense, 0.0)  # nan would spoil gradients, weighed or not
    count = landmarks.shape[1]
    share = jnp.asarray(SEEN) * visible[:, count:] * known * (1.0 - covered(found))
    towards = jax.lax.stop_gradient(jnp.clip(-rotation[:, 2, 2], 0.0, 1.0))
    slides = known.any(-1)[:, None] & (jnp.arange(count) < JAW) & ~visible[:, :count]
    turned = jnp.where(slides, own * towards[:, None] ** 2, own)
    squared = jnp.concatenate([turned**2, DENSE * jax.lax.stop_gradient(share)], axis=1)
    squared *= jnp.mean(own**2, axis=1, keepdims=True) / jnp.mean(squared, axis=1, keepdims=True)
    return Points(jnp.concatenate([landmarks, found], axis=1), jnp.sqrt(squared))


def fitted(
    face_model: FaceModel, screen_vertices: Float[Array, "b v 3"], points: Points
) -> Float[Array, "b n 2"]:
    """The same points of a fitted face."""
    parts = [morphable.landmarks(face_model, screen_vertices)[..., :2]]
    if points.found.shape[1] > parts[0].shape[1]:
        parts.append(morphable.dense_landmarks(face_model, screen_vertices)[..., :2])
    return jnp.concatenate(parts, axis=1)
