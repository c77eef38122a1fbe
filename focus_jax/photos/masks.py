"""Masks of faces at the photo's size, and where the fine crop lies in the photo."""

import cv2
import numpy as np

from focus_jax.data.align import compose, invert_transform, transform_points
from focus_jax.data.faces import Face
from focus_jax.photos.inference import FINE, Inference, Masks


def fine_transform(face: Face) -> np.ndarray:
    """Photo pixels to pixels of the fine crop, `[2 3]`. Both crops show the same."""
    factor = FINE / len(face.crop)
    shift = (factor - 1) / 2  # pixel centres are integers
    return compose(np.array([[factor, 0, shift], [0, factor, shift]]), face.transform)


def paste(picture: np.ndarray, to_photo: np.ndarray, height: int, width: int) -> np.ndarray:
    """A picture of the fine crop, uint8 `[f f ...]`, in a photo of that size; 0 around it."""
    canvas = np.zeros((height, width, *picture.shape[2:]), np.uint8)
    low, high = window(to_photo, height, width)
    if (high <= low).any():
        return canvas
    moved = np.array(to_photo)
    moved[:, 2] -= low
    size = (int(high[0] - low[0]), int(high[1] - low[1]))
    piece = cv2.warpAffine(picture, moved, size, flags=cv2.INTER_LINEAR)
    canvas[low[1] : high[1], low[0] : high[0]] = piece
    return canvas


def window(to_photo: np.ndarray, height: int, width: int) -> tuple[np.ndarray, np.ndarray]:
    """The part of a photo (x, y; from, to) that the fine crop shows."""
    corners = transform_points(
        to_photo, np.array([[-1.0, -1], [FINE, FINE], [-1, FINE], [FINE, -1]])
    )
    size = np.array([width, height])
    low, high = np.floor(corners.min(0)).astype(int), np.ceil(corners.max(0)).astype(int) + 1
    return np.clip(low, 0, size), np.clip(high, 0, size)


def photo_masks(
    face: Face, found: Inference | Masks, shape: tuple[int, ...]
) -> tuple[np.ndarray, ...]:
    """Face and occlusion at the photo's size: uint8 `[h w]`, 255 where the face is seen, or hidden.

    `found` is one face's. Both are parts of the rendered face.
    """
    to_photo = invert_transform(fine_transform(face))
    covered, seen = (
        paste(np.rint(x[..., 0] * 255).astype(np.uint8), to_photo, *shape[:2]) >= 128
        for x in (found.coverage, found.mask)
    )
    seen &= covered
    return tuple(m.view(np.uint8) * np.uint8(255) for m in (seen, covered & ~seen))


def joined_masks(
    image: np.ndarray, faces: list[tuple[Face, Inference | Masks]]
) -> tuple[np.ndarray, np.ndarray]:
    """Where any face of a photo is seen, and where one is hidden: uint8 `[h w]`, 0 or 255."""
    seen, hidden = (np.zeros(image.shape[:2], np.uint8) for _ in range(2))
    for face, inference in faces:
        # A running maximum: of many faces in a large photo only these masks are held.
        for total, mask in zip(
            (seen, hidden), photo_masks(face, inference, image.shape), strict=True
        ):
            np.maximum(total, mask, out=total)
    # Seen by one face is seen, though another's outline may cover the same place.
    hidden[seen > 0] = 0
    return seen, hidden
