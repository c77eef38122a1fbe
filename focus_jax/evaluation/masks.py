"""How well a mask separates face from occluder.

Masks are numbers from 0 to 1 or truth values; ValueError for others, and for shapes that differ.
"""

import math

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from focus_jax.losses import same_masks
from focus_jax.types import AnyArray


def mask_scores(
    true: Float[AnyArray, "b h w 1"],
    predicted: Float[AnyArray, "b h w 1"],
    region: Float[AnyArray, "b h w 1"],
) -> dict[str, Float[Array, "b"]]:
    """Accuracy, precision, recall, F1 and IoU of the face class inside `region`, for each image.

    Masks may be soft: areas are then sums of products, as the authors' release scores them; round
    the prediction first for the paper's binary scores. Areas in denominators count as at least one
    pixel (release: evaluation.py), so that an empty face scores zero instead of NaN.
    """
    true, predicted, region = same_masks(true=true, predicted=predicted, region=region)

    def total(x: AnyArray) -> jax.Array:
        return jnp.sum(x * region, axis=(-3, -2, -1))

    hit, false_alarm = total(true * predicted), total((1 - true) * predicted)
    miss, rejected = total(true * (1 - predicted)), total((1 - true) * (1 - predicted))
    precision = hit / jnp.maximum(hit + false_alarm, 1.0)
    recall = hit / jnp.maximum(hit + miss, 1.0)
    return {
        "accuracy": (hit + rejected) / jnp.maximum(total(jnp.ones_like(true)), 1.0),
        "precision": precision,
        "recall": recall,
        # 1e-6 where neither precision nor recall is positive: F1 is zero there.
        "f1": 2 * precision * recall / jnp.maximum(precision + recall, 1e-6),
        "iou": hit / jnp.maximum(hit + false_alarm + miss, 1.0),
    }


def image_iou(
    true: Float[AnyArray, "b h w 1"], predicted: Float[AnyArray, "b h w 1"]
) -> dict[str, Float[Array, "b"]]:
    """IoU of the face, of the rest, and their mean (mIoU), over each whole image.

    What the literature on occlusion segmentation reports (Voo et al. 2022). Face that the rendering
    does not reach, such as ears and forehead, counts as missed.
    """
    true, predicted = same_masks(true=true, predicted=predicted)

    def iou(a: AnyArray, b: AnyArray) -> jax.Array:
        hit, both = jnp.sum(a * b, axis=(-3, -2, -1)), jnp.sum(a + b, axis=(-3, -2, -1))
        return hit / jnp.maximum(both - hit, 1.0)

    face, rest = iou(true, predicted), iou(1 - true, 1 - predicted)
    return {"image_iou": face, "image_rest_iou": rest, "image_miou": (face + rest) / 2}


def boundary_iou(
    true: Float[AnyArray, "b h w 1"],
    predicted: Float[AnyArray, "b h w 1"],
    region: Float[AnyArray, "b h w 1"],
    ratio: float = 0.02,
) -> Float[Array, "b"]:
    """Boundary IoU (Cheng et al. 2021) of the face class inside `region`, for each image.

    The IoU of the two bands of face that lie within a distance of what is not face: `ratio` of the
    image's diagonal, rounded, at least one pixel, measured as the larger of its two coordinates (a
    square to erode with, as in the authors' code). Neither the border of `region` nor that of the
    image is a boundary, so that only the places where face meets occluder count. One where neither
    mask has a boundary. Masks and region are binary; round a soft mask first.
    """
    true, predicted, region = same_masks(true=true, predicted=predicted, region=region)
    reach = max(1, round(ratio * math.hypot(*true.shape[-3:-1])))

    def band(face: AnyArray) -> jax.Array:
        rest = (1 - face) * region
        window = (1, 2 * reach + 1, 2 * reach + 1, 1)
        near = jax.lax.reduce_window(rest, -jnp.inf, jax.lax.max, window, (1, 1, 1, 1), "SAME")
        return face * near * region

    a, b = band(true), band(predicted)
    both, either = (jnp.sum(x, axis=(-3, -2, -1)) for x in (a * b, jnp.maximum(a, b)))
    return jnp.where(either > 0, both / jnp.maximum(either, 1.0), 1.0)


def calibration_error(
    true: Float[AnyArray, "b h w 1"],
    predicted: Float[AnyArray, "b h w 1"],
    region: Float[AnyArray, "b h w 1"],
    bins: int = 15,
) -> Float[Array, "b"]:
    """Expected calibration error of a soft mask inside `region`, for each image.

    Pixels are sorted into `bins` equal bins of their predicted probability of being face; the error
    is the mean over pixels of how far their bin's mean prediction is from the part of it that is
    face (Guo et al. 2017, Eq. 3, for the probability of one class). Zero for an empty region.
    """
    true, predicted, region = same_masks(true=true, predicted=predicted, region=region)
    bin_of = jnp.clip(jnp.floor(predicted * bins), 0, bins - 1)
    gap = (predicted - true) * region

    def total(x: AnyArray) -> jax.Array:
        return jnp.sum(x, axis=(-3, -2, -1))

    gaps = jnp.stack([jnp.abs(total(gap * (bin_of == i))) for i in range(bins)])
    return jnp.sum(gaps, axis=0) / jnp.maximum(total(region), 1.0)
