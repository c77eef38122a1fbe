"""Run a model over a data set and score every photo, beside the baselines that cost nothing."""

from collections.abc import Iterable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from focus_jax import morphable
from focus_jax.evaluation.masks import mask_scores
from focus_jax.evaluation.photometric import landmark_error, rmse
from focus_jax.evaluation.shape import shape_error
from focus_jax.types import Batch, TrainState
from focus_jax.updates import Constants, Method, Prediction, predict

# Rows of a mask table: everything rendered is face, Eq. 10's threshold, the segmentation network.
PREDICTORS = ("everything", "threshold", "segmenter")


@jax.jit
def score(batch: Batch, found: Prediction) -> dict[str, jax.Array]:
    """Scores of each photo of a batch; those without their truth are left out.

    Masks are rounded, as the paper reports them. The photometric error counts the visible part of
    the rendered face: by the true mask where there is one, else by the predicted one.
    """
    coverage, mask = found.face.rendering.coverage, jnp.round(found.mask)
    area = jnp.maximum(jnp.sum(coverage, axis=(1, 2, 3)), 1.0)
    columns = {
        "kept": jnp.sum(mask, axis=(1, 2, 3)) / area,
        "nme": landmark_error(found.face.landmarks, batch.landmarks),
    }
    visible = mask if batch.mask is None else batch.mask * coverage
    columns["rmse"] = rmse(batch.image, found.face.rendering.image, visible)
    if batch.mask is not None:
        for name, predicted in zip(PREDICTORS, (coverage, found.robust_mask, mask), strict=True):
            scores = mask_scores(batch.mask, predicted, coverage)
            columns |= {f"{name}_{metric}": value for metric, value in scores.items()}
    if batch.neutral is not None:
        columns["shape"] = shape_error(found.face.neutral, batch.neutral)
    return columns


def evaluate(
    batches: Iterable[tuple[Batch, int]], state: TrainState, constants: Constants, method: Method
) -> dict[str, np.ndarray]:
    """One row per photo of `batches`, pairs of a batch and how many of its photos count.

    Columns: those of `score`, `index`, and where the truth is there `occluder` and `mean_shape`,
    the shape error of the mean face.
    """
    rows: list[dict[str, np.ndarray]] = []
    mean_error = jax.jit(_mean_face_error)
    for batch, count in batches:
        found = predict(state, batch, constants, method=method)
        columns: dict[str, Any] = dict(score(batch, found)) | {"index": batch.index}
        if batch.occluder is not None:
            columns["occluder"] = batch.occluder
        if batch.neutral is not None:
            columns["mean_shape"] = mean_error(constants, batch.neutral)
        rows.append({k: np.asarray(v)[:count] for k, v in columns.items()})
    if not rows:
        raise ValueError("there are no photos to evaluate")
    return {k: np.concatenate([row[k] for row in rows]) for k in rows[0]}


def _mean_face_error(constants: Constants, neutral: jax.Array) -> jax.Array:
    none = jnp.zeros((neutral.shape[0], 0))
    return shape_error(morphable.vertices(constants.face_model, none, none), neutral)
