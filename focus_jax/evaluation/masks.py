"""How well a mask separates face from occluder."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float


def mask_scores(
    true: Float[Array, "b h w 1"],
    predicted: Float[Array, "b h w 1"],
    region: Float[Array, "b h w 1"],
) -> dict[str, Float[Array, "b"]]:
    """Accuracy, precision, recall, F1 and IoU of the face class inside `region`, for each image.

    Masks may be soft: areas are then sums of products, as the authors' release scores them; round
    the prediction first for the paper's binary scores. Areas in denominators count as at least one
    pixel (release: evaluation.py), so that an empty face scores zero instead of NaN.
    """
    if not true.shape == predicted.shape == region.shape:
        raise ValueError(
            f"masks and region must have one shape: {true.shape}, {predicted.shape}, {region.shape}"
        )

    def total(x: jax.Array) -> jax.Array:
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
    true: Float[Array, "b h w 1"], predicted: Float[Array, "b h w 1"]
) -> dict[str, Float[Array, "b"]]:
    """IoU of the face, of the rest, and their mean (mIoU), over each whole image.

    What the literature on occlusion segmentation reports (Voo et al. 2022). Face that the rendering
    does not reach, such as ears and forehead, counts as missed.
    """
    if true.shape != predicted.shape:
        raise ValueError(f"masks must have one shape: {true.shape} and {predicted.shape}")

    def iou(a: jax.Array, b: jax.Array) -> jax.Array:
        hit, both = jnp.sum(a * b, axis=(-3, -2, -1)), jnp.sum(a + b, axis=(-3, -2, -1))
        return hit / jnp.maximum(both - hit, 1.0)

    face, rest = iou(true, predicted), iou(1 - true, 1 - predicted)
    return {"image_iou": face, "image_rest_iou": rest, "image_miou": (face + rest) / 2}
