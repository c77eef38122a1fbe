"""What a model makes of the first face of each photo, without the pictures: for measurements."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from focus_jax.data.align import invert_transform, transform_points
from focus_jax.data.detect import Source
from focus_jax.data.faces import Face, Photo
from focus_jax.photos import masks, process, results
from focus_jax.photos.inference import Inference
from focus_jax.photos.trained import Model


class Seen(NamedTuple):
    """A face; points in pixels of the photo, shapes in the face model's units."""

    detected: Float[np.ndarray, "68 2"]
    mesh: Float[np.ndarray, "478 3"] | None  # of MediaPipe's networks
    fitted: Float[np.ndarray, "68 2"]  # of the face that was fitted
    identity: Float[np.ndarray, "i"]
    neutral: Float[np.ndarray, "v 3"]  # without expression and pose
    distance: float  # of the camera


def first_faces(
    photos: Sequence[Photo], model: Model, source: Source, *, steps: int = 0, batch_size: int = 8
) -> tuple[dict[str, Seen], list[str]]:
    """The first, largest face of each photo by its name, and which photos gave none, and why."""
    found: dict[str, Seen] = {}

    def take(photo: Photo, image: np.ndarray, faces: list[tuple[Face, Inference]]) -> None:
        found[photo.name] = _seen(*faces[0], model)

    def largest(image: np.ndarray, path) -> list:
        return source(image, path)[:1]

    summary = process.process(photos, model, largest, take, steps=steps, batch_size=batch_size)
    return found, summary.skipped


def _seen(face: Face, inference: Inference, model: Model) -> Seen:
    back = invert_transform(masks.fine_transform(face))
    return Seen(
        face.detection.landmarks,
        face.detection.mesh,
        transform_points(back, inference.landmarks),
        np.asarray(inference.code.identity),
        results.shapes(inference, model)[1],
        float(inference.translation[2]),
    )
