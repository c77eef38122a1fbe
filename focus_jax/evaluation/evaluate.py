"""Run a model over a data set and score every photo, beside the baselines that cost nothing."""

from collections.abc import Iterable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from focus_jax.evaluation.masks import boundary_iou, calibration_error, image_iou, mask_scores
from focus_jax.evaluation.photometric import landmark_error, mae, rmse
from focus_jax.evaluation.shape import by_region, coefficients_of, shape_error, vertex_errors
from focus_jax.forward import Networks, Prediction, predict
from focus_jax.rendering import morphable
from focus_jax.system.sharding import gather
from focus_jax.types import REGIONS, AnyArray, Batch, FaceModel

# Rows of a mask table: everything rendered is face, Eq. 10's threshold, the segmentation network.
PREDICTORS = ("everything", "threshold", "segmenter")


@jax.jit
def score(batch: Batch, found: Prediction) -> dict[str, jax.Array]:
    """Scores of each photo of a batch; those without their truth are left out.

    Masks are rounded, as the paper reports them; `soft_` are those of the mask as it is, which the
    release scores; `segmenter_ece` is the calibration error of the latter. `hidden` is the part of
    the rendered face that the true mask calls occluded.
    Photometric errors count the visible part of the rendered face: by the true mask where there is
    one, else by the predicted one.
    """
    rendering = found.face.rendering
    coverage, mask = rendering.coverage, jnp.round(found.mask)
    area = jnp.maximum(jnp.sum(coverage, axis=(1, 2, 3)), 1.0)
    columns = {
        "kept": jnp.sum(mask, axis=(1, 2, 3)) / area,
        "nme": landmark_error(found.face.landmarks, batch.landmarks),
    }
    visible = mask if batch.mask is None else batch.mask * coverage
    columns["rmse"] = rmse(batch.image, rendering.image, visible)
    columns["mae"] = mae(batch.image, rendering.image, visible)
    if batch.mask is not None:
        columns["hidden"] = 1.0 - jnp.sum(visible, axis=(1, 2, 3)) / area
        for name, predicted in zip(PREDICTORS, (coverage, found.robust_mask, mask), strict=True):
            scores = mask_scores(batch.mask, predicted, coverage)
            scores |= image_iou(batch.mask, predicted * coverage)
            scores["boundary_iou"] = boundary_iou(jnp.round(batch.mask), predicted, coverage)
            columns |= {f"{name}_{metric}": value for metric, value in scores.items()}
        soft = mask_scores(batch.mask, found.mask, coverage)
        columns |= {f"soft_{metric}": value for metric, value in soft.items()}
        columns["segmenter_ece"] = calibration_error(batch.mask, found.mask, coverage)
    if batch.neutral is not None:
        columns["shape"] = shape_error(found.face.neutral, batch.neutral)
        columns["shape_scaled"] = shape_error(found.face.neutral, batch.neutral, scale=True)
    return columns


@jax.jit
def region_errors(
    face_model: FaceModel, predicted: AnyArray, true: AnyArray
) -> dict[str, jax.Array]:
    """Shape error of each face by region of the face model, after rigid alignment of the whole."""
    errors = vertex_errors(predicted, true)
    means = by_region(errors, jnp.asarray(face_model.region), len(REGIONS))
    return {f"shape_{name}": means[:, i] for i, name in enumerate(REGIONS)}


def evaluate(
    batches: Iterable[tuple[Batch, int]],
    variables: Mapping[str, Any],
    face_model: FaceModel,
    networks: Networks,
    *,
    prior: np.ndarray | None = None,
) -> dict[str, np.ndarray]:
    """One row per photo of `batches`, pairs of a batch and how many of its photos count.

    `variables` are those of the "encoder" and the "segmenter".

    Columns: those of `score`, `index`, and where the truth is there `occluder`, and of the shape
    the regions, `mean_shape` (the error of the mean face), and `identity` and `true_identity`
    `[n i]`, coefficients for `shape.rank_correlation`. Shapes are those after `prior`, a misfit
    prior, has been subtracted.
    """
    rows: list[dict[str, np.ndarray]] = []
    mean_error, coefficients = jax.jit(_mean_face_error), jax.jit(_identity)
    present = np.bincount(np.asarray(face_model.region), minlength=len(REGIONS)) > 0
    for batch, count in batches:
        found = predict(variables, batch, face_model, networks=networks)
        if prior is not None:
            neutral = found.face.neutral - jnp.asarray(prior)
            found = found._replace(face=found.face._replace(neutral=neutral))
        columns: dict[str, Any] = dict(score(batch, found)) | {"index": batch.index}
        if batch.occluder is not None:
            columns["occluder"] = batch.occluder
        if batch.neutral is not None:
            columns["mean_shape"] = mean_error(face_model, batch.neutral)
            regions = region_errors(face_model, found.face.neutral, batch.neutral)
            columns |= {
                f"shape_{name}": regions[f"shape_{name}"]
                for name, there in zip(REGIONS, present, strict=True)
                if there
            }
            columns["identity"] = found.face.code.identity
            columns["true_identity"] = coefficients(face_model, batch.neutral)
        rows.append({k: v[:count] for k, v in gather(columns).items()})
    if not rows:
        raise ValueError("there are no photos to evaluate")
    return {k: np.concatenate([row[k] for row in rows]) for k in rows[0]}


def _identity(face_model: FaceModel, neutral: AnyArray) -> jax.Array:
    return coefficients_of(neutral, face_model.shape_mean, face_model.identity_basis)


def _mean_face_error(face_model: FaceModel, neutral: AnyArray) -> jax.Array:
    none = jnp.zeros((neutral.shape[0], 0))
    return shape_error(morphable.vertices(face_model, none, none), neutral)
