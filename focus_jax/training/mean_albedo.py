"""The face model's mean albedo, corrected by the photos themselves.

A model's mean brows, eyes or lips differ a little from those of photographed people, always in the
same way. A segmentation network learns such differences as readily as glasses; they are taken out
before it begins, as the median over many photos of what rendering and photo disagree in.
"""

import functools
from collections.abc import Iterable

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float

from focus_jax.rendering import geometry
from focus_jax.rendering.camera import extrinsics
from focus_jax.rendering.morphable import vertices
from focus_jax.system.sharding import gather
from focus_jax.training.updates import Constants, Method, predict
from focus_jax.types import Batch, TrainState

FACING = 0.35  # cosine of the steepest angle at which a vertex's colour is believed
OUTLIER = 0.5  # colour distance beyond which a pixel shows something else
FEWEST = 30  # photos that must show a vertex before it is corrected


def correct_mean_albedo(
    state: TrainState, batches: Iterable[tuple[Batch, int]], constants: Constants, method: Method
) -> Float[np.ndarray, "v 3"]:
    """The state's mean albedo times the median ratio of photo to rendering, vertex by vertex.

    Medians, because occluders are a minority at every vertex. A vertex that fewer than `FEWEST`
    photos show keeps its colour.
    """
    ratios = []
    for batch, count in batches:
        ratio, believed = gather(_ratios(state, batch, constants, method=method))
        ratios.append(np.where(believed[..., None], ratio, np.nan)[:count])
    every = np.concatenate(ratios)
    enough = np.sum(~np.isnan(every[..., 0]), axis=0) >= FEWEST
    median = np.ones(every.shape[1:], np.float32)
    median[enough] = np.nanmedian(every[:, enough], axis=0)
    return np.clip(np.asarray(state.albedo_mean) * median, 0.01, 1.0)


@functools.partial(jax.jit, static_argnames="method")
def _ratios(
    state: TrainState, batch: Batch, constants: Constants, *, method: Method
) -> tuple[Float[Array, "b v 3"], Bool[Array, "b v"]]:
    """Colour of photo over rendering where each vertex falls, and which of them count."""
    face = predict(state, batch, constants, method=method).face
    rendering, code = face.rendering, face.code
    shape = vertices(constants.face_model, code.identity, code.expression)
    rotation, _ = extrinsics(code.pose)
    normals = geometry.vertex_normals(shape, constants.face_model.triangles, renormalize=True)
    towards = -jnp.einsum("bj,bvj->bv", rotation[:, 2], normals)  # z points away from the camera

    everything = jnp.concatenate([batch.image, rendering.image, rendering.coverage], axis=-1)
    seen = jax.vmap(_sample)(everything, rendering.screen_vertices[..., :2])
    photo, rendered, coverage = jnp.split(seen, (3, 6), axis=-1)
    distance = jnp.linalg.norm(photo - rendered, axis=-1)
    believed = (towards > FACING) & (coverage[..., 0] > 0.99) & (distance < OUTLIER)
    return jnp.maximum(photo, 0.02) / jnp.maximum(rendered, 0.02), believed


def _sample(image: Float[Array, "h w c"], points: Float[Array, "v 2"]) -> Float[Array, "v c"]:
    """Bilinear values at points (x, y) in pixels; 0 outside."""
    rows_columns = [points[:, 1], points[:, 0]]
    channels = jnp.moveaxis(image, -1, 0)
    sample = functools.partial(jax.scipy.ndimage.map_coordinates, order=1, mode="constant")
    return jax.vmap(lambda channel: sample(channel, rows_columns), out_axes=-1)(channels)
