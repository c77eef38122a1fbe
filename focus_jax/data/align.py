"""Cut the face out of a photo: size and place given by five points.

The alignment of Deep3DFaceReconstruction, which the authors use: a scaled orthographic camera is
fitted to five points of a standard face, and the crop has that face at a fixed size. Theirs never
rotates; the encoder finds the roll. A face that is rolled further than encoders are trained on is
turned upright first.
"""

from typing import Any, NamedTuple

import cv2
import numpy as np

# Eye centres (of the subject's right, left), nose tip, mouth corners, from the 68 points of the
# standard face that Deep3DFaceReconstruction ships (similarity_Lm3D_all.mat).
STANDARD = np.array(
    [
        (-0.31148657, 0.29036078, 0.13377953),
        (0.30979887, 0.28972036, 0.13179526),
        (0.00325350, -0.04617932, 0.55244243),
        (-0.25216928, -0.38133916, 0.22405732),
        (0.24846619, -0.38128236, 0.22235769),
    ],
    np.float64,
)
RESCALE = 102.0  # scale of the standard face in a 224-pixel crop
REFERENCE_SIZE = 224
REACH = 2  # of the cubic kernel, in pixels of the smaller picture
TURNED = np.radians(15.0)  # roll from which a face is turned upright; augmentation rolls by 10


class Aligned(NamedTuple):
    image: np.ndarray  # [size size 3], dtype of the photo; black outside the photo
    landmarks: np.ndarray  # [68 2] float32, pixels of the crop
    transform: np.ndarray  # [2 3], a similarity: crop pixel = transform @ (photo x, photo y, 1)


def five_points(landmarks: np.ndarray) -> np.ndarray:
    """Eye centres, nose tip and mouth corners `[5 n]` of 68 points `[68 n]`.

    An eye's centre is the mean of its two corners, as in the release.
    """
    eyes = [landmarks[[36, 39]].mean(0), landmarks[[42, 45]].mean(0)]
    return np.stack([*eyes, landmarks[30], landmarks[48], landmarks[54]])


def fit_camera(points: np.ndarray) -> tuple[float, np.ndarray]:
    """Scale and translation of the scaled orthographic camera that sees STANDARD at `points`.

    `points` are `[5 2]` in pixels, y downwards; so is the translation. (POS of Deep3D.)
    """
    count = len(points)
    system = np.zeros((2 * count, 8))
    system[0::2, 0:3], system[0::2, 3] = STANDARD, 1
    system[1::2, 4:7], system[1::2, 7] = STANDARD, 1
    upwards = points * np.array([1.0, -1.0])
    solution = np.linalg.lstsq(system, upwards.reshape(-1), rcond=None)[0]
    scale = (np.linalg.norm(solution[0:3]) + np.linalg.norm(solution[4:7])) / 2
    return float(scale), np.array([solution[3], -solution[7]])


def roll(landmarks: np.ndarray) -> float:
    """Radians by which the line from the right eye to the left is turned, clockwise as one sees."""
    right, left, *_ = five_points(np.asarray(landmarks, np.float64))
    return float(np.arctan2(left[1] - right[1], left[0] - right[0]))


def turn_needed(landmarks: np.ndarray) -> float:
    """The roll of faces that are turned upright before they are cropped, 0 for others; radians."""
    angle = roll(landmarks)
    return angle if abs(angle) >= TURNED else 0.0


def crop_transform(
    landmarks: np.ndarray, size: int = REFERENCE_SIZE, *, turn: float = 0.0
) -> np.ndarray:
    """Similarity `[2 3]` from photo pixels to crop pixels; pixel centres are integers in both.

    `turn` radians of roll are taken off the face. ValueError when the five points have no extent.
    """
    cos, sin = np.cos(turn), np.sin(turn)
    upright = np.array([[cos, sin, 0], [-sin, cos, 0]])  # about the photo's corner
    turned = np.asarray(landmarks, np.float64) @ upright[:, :2].T
    scale, centre = fit_camera(five_points(turned))
    if not np.isfinite(scale) or scale < 1e-3:
        raise ValueError("the landmarks of eyes, nose and mouth coincide; they cannot be aligned")
    factor = RESCALE / scale * size / REFERENCE_SIZE
    # The camera's principal point is the middle of the crop, (size - 1) / 2.
    offset = (size - 1) / 2 - factor * centre
    return compose(np.array([[factor, 0, offset[0]], [0, factor, offset[1]]]), upright)


def invert_transform(transform: np.ndarray) -> np.ndarray:
    """The affine map `[2 3]` back: from crop pixels to photo pixels."""
    inverse = np.linalg.inv(transform[:, :2])
    return np.concatenate([inverse, -inverse @ transform[:, 2:]], axis=1)


def transform_points(transform: np.ndarray, points: np.ndarray) -> np.ndarray:
    """Points `[n 2]` moved by an affine map `[2 3]`."""
    return (points @ transform[:, :2].T + transform[:, 2]).astype(np.float32)


def compose(outer: np.ndarray, inner: np.ndarray) -> np.ndarray:
    """The affine map `[2 3]` that applies `inner` first, then `outer`."""
    linear = outer[:, :2]
    return np.concatenate([linear @ inner[:, :2], linear @ inner[:, 2:] + outer[:, 2:]], axis=1)


def align_face(
    photo: np.ndarray,
    landmarks: np.ndarray,
    size: int = REFERENCE_SIZE,
    *,
    margin: int = 0,
    fix_y_offset: bool = True,
    turn: float | None = None,
) -> Aligned:
    """Crop of a photo `[h w 3]`, uint8 or float in [0, 1], by its 68 landmarks in photo pixels.

    `margin` adds that many pixels on every side, for augmentation to move into; the crop is then
    `size + 2 * margin` wide. Without `fix_y_offset` the crop is the release's: its window starts at
    a whole pixel, and its landmarks, which count y from `h` instead of `h - 1`, are up to a pixel
    off the picture and off `transform`. `turn` radians of roll are taken off; unless given, those
    of `turn_needed`, and none without `fix_y_offset`. Raises ValueError for landmarks that cannot
    be aligned.
    """
    landmarks = np.asarray(landmarks, np.float64)
    if photo.ndim != 3 or photo.shape[2] != 3 or photo.size == 0:
        raise ValueError(f"the photo must be [h w 3], not an array of {photo.shape}")
    if photo.dtype != np.uint8 and photo.dtype.kind != "f":  # it would be cut off at 1
        raise ValueError(f"the photo must be uint8 or float in [0, 1], not {photo.dtype}")
    if landmarks.shape != (68, 2) or not np.isfinite(landmarks).all():
        raise ValueError(
            f"68 finite landmarks (x, y) are needed, not an array of {landmarks.shape}"
        )
    if fix_y_offset:
        turn = turn_needed(landmarks) if turn is None else turn
        transform = crop_transform(landmarks, size, turn=turn)
        moved = transform_points(transform, landmarks)
    else:
        transform, moved = _release_crop(landmarks, photo.shape[0], photo.shape[1], size)
    transform[:, 2] += margin
    resample = _resample_turned if transform[0, 1] or transform[1, 0] else _resample
    image = resample(photo, transform, size + 2 * margin)
    image = np.rint(image).clip(0, 255) if photo.dtype == np.uint8 else image.clip(0, 1)
    return Aligned(np.ascontiguousarray(image, photo.dtype), moved + np.float32(margin), transform)


def _release_crop(
    landmarks: np.ndarray, height: int, width: int, size: int
) -> tuple[np.ndarray, np.ndarray]:
    """Transform and landmarks of the release (its util/preprocess.py and load_dataset.py).

    The photo is resized to whole pixels, then cut at whole pixels; the landmarks know of neither.
    """
    scale, centre = fit_camera(five_points(landmarks))
    factor = RESCALE / scale * size / REFERENCE_SIZE
    shape = np.array([width, height])
    resized = (shape * factor).astype(int)
    start = ((resized - size) / 2 + (centre - shape / 2) * factor).astype(int)
    linear = resized / shape
    offset = linear / 2 - 0.5 - start  # pixel centres are integers: edges lie half a pixel outside
    rounding = (shape * factor - resized) / 2 * np.array([1, -1])
    moved = (landmarks - centre) * factor + size / 2 + rounding
    return np.concatenate([np.diag(linear), offset[:, None]], axis=1), moved.astype(np.float32)


def _resample(photo: np.ndarray, transform: np.ndarray, size: int) -> np.ndarray:
    """A crop `[size size 3]` float32 of a photo, by a map that scales and shifts."""
    across = transform[0, 0], transform[0, 2], size
    # Of a large photo few columns are looked at.
    width, reach = photo.shape[1], REACH / min(transform[0, 0], 1.0) + 1
    low, high = (np.array([0, size - 1]) - transform[0, 2]) / transform[0, 0] + [-reach, reach]
    start, stop = (int(np.clip(x, 0, width)) for x in (np.floor(low), np.ceil(high) + 1))
    image = _resample_rows(photo[:, start:stop], transform[1, 1], transform[1, 2], size)
    image = _resample_rows(image.swapaxes(0, 1), *across, start=start, length=width)
    return image.swapaxes(0, 1)


def _resample_turned(photo: np.ndarray, transform: np.ndarray, size: int) -> np.ndarray:
    """A crop `[size size 3]` float32 by a similarity: first as above at twice its size, and turned.

    The larger picture holds the crop's corners however it is turned.
    """
    large = 2 * int(np.ceil(1.5 * size))
    scale = np.hypot(*transform[:, 0])
    linear = transform[:, :2] / scale
    middle = invert_transform(transform) @ np.array([(size - 1) / 2, (size - 1) / 2, 1])
    offset = (large - 1) / 2 - 2 * scale * middle
    whole = _resample(
        photo, np.array([[2 * scale, 0, offset[0]], [0, 2 * scale, offset[1]]]), large
    )
    shift = (size - 1) / 2 - linear @ np.full(2, (large - 1) / 4)
    turn = np.concatenate([linear / 2, shift[:, None]], axis=1)
    return cv2.warpAffine(whole, turn, (size, size), flags=cv2.INTER_LINEAR)


def _resample_rows(
    image: np.ndarray,
    factor: float,
    offset: float,
    size: int,
    *,
    start: int = 0,
    length: int | None = None,
) -> np.ndarray:
    """Rows `[size ...]` float32 at `factor * row + offset` of an image `[h ...]`; 0 outside it.

    Of an image of `length` rows those from `start` on may be given, as far as they are needed.

    Bicubic (a = -1/2), with the kernel widened by the shrinkage so that nothing aliases, and
    renormalised where it leaves the image: PIL's `resize(..., BICUBIC)`, which the release uses.
    """
    sharpness = min(factor, 1.0)
    reach = REACH / sharpness
    length = len(image) if length is None else length
    centres = (np.arange(size) - offset) / factor
    first = np.maximum(0, np.ceil(centres - reach).astype(int))
    last = np.minimum(length, np.floor(centres + reach).astype(int) + 1)
    rows = np.flatnonzero((centres >= -0.5) & (centres < length - 0.5))
    out = np.zeros((size, *image.shape[1:]), np.float32)
    if not len(rows):
        return out
    # All weights at once, and what is looked at as float32 once: row by row that is most of it.
    counts = last - first
    places = first[:, None] + np.arange(counts[rows].max())
    weights = _cubic((places - centres[:, None]) * sharpness).astype(np.float32)
    for count in np.unique(counts[rows]):
        same = rows[counts[rows] == count]
        weights[same, :count] /= weights[same, :count].sum(-1, keepdims=True)
    low, high = first[rows[0]], last[rows[-1]]
    taps = np.ascontiguousarray(image[low - start : high - start], np.float32)
    taps, flat = taps.reshape(len(taps), -1), out.reshape(size, -1)
    for row in rows:
        seen = taps[first[row] - low : last[row] - low]
        np.dot(weights[row, : len(seen)], seen, out=flat[row])
    return out


def _cubic(x: np.ndarray) -> np.ndarray:
    """Keys' cubic convolution kernel with a = -1/2."""
    x = np.abs(x)
    near = (1.5 * x - 2.5) * x * x + 1
    far = ((-0.5 * x + 2.5) * x - 4) * x + 2
    return np.where(x < 1, near, np.where(x < 2, far, 0.0))


def shrink(record: dict[str, Any], size: int) -> dict[str, Any]:
    """The record with its pictures at `size` pixels, landmarks with them."""
    before = record["image"].shape[0]
    if before == size:
        return record

    def resize(picture: np.ndarray) -> np.ndarray:
        return cv2.resize(picture, (size, size), interpolation=cv2.INTER_AREA)

    # Pixel centres are integers, so the image's edge lies half a pixel outside the first centre.
    small = {**record, "image": resize(record["image"])}
    for name in ("landmarks", "dense_landmarks"):
        if record.get(name) is not None:
            small[name] = ((record[name] + 0.5) * (size / before) - 0.5).astype(np.float32)
    for name in ("clean", "mask", "pasted"):
        if record.get(name) is not None:
            small[name] = resize(record[name])
    return small
