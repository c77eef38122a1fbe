"""Face chips: upright crops by landmarks, as the recognition networks were trained on.

The crop is a similarity transform that takes landmarks nearest to fixed places. In two dimensions
its least squares have a closed form, that of a linear regression of complex numbers.
"""

import math

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from focus_jax.types import AnyArray

# Pixels of the chips that each recognizer was trained on.
SIZES = {"dlib": 150, "arcface_r50": 112, "arcface_r100": 112}
KINDS = tuple(SIZES)


def check_kind(kind: str) -> None:
    """Raises ValueError unless `kind` names a recognizer."""
    if kind not in KINDS:
        raise ValueError(f"the recognizer is one of {', '.join(KINDS)}, not {kind!r}")


# Where insightface puts the eyes, the tip of the nose and the corners of the mouth, of 112 pixels.
ARCFACE_POINTS = np.array(
    [
        [38.2946, 51.6963],
        [73.5318, 51.5014],
        [56.0252, 71.7366],
        [41.5493, 92.3655],
        [70.7299, 92.2041],
    ]
)

# dlib's mean face at landmarks 27-54 and 60-64 (nose, eyes, upper lip), of a box of side 1.
DLIB_LANDMARKS = np.array([*range(27, 55), *range(60, 65)])
DLIB_POINTS = np.array(
    [
        *[[0.490127, y] for y in (0.203352, 0.307009, 0.409805, 0.515625)],
        [0.36688, 0.587326],
        [0.426036, 0.609345],
        [0.490127, 0.628106],
        [0.554217, 0.609345],
        [0.613373, 0.587326],
        [0.121737, 0.216423],
        [0.187122, 0.178758],
        [0.265825, 0.179852],
        [0.334606, 0.231733],
        [0.260918, 0.245099],
        [0.182743, 0.244077],
        [0.645647, 0.231733],
        [0.714428, 0.179852],
        [0.793132, 0.178758],
        [0.858516, 0.216423],
        [0.79751, 0.244077],
        [0.719335, 0.245099],
        [0.254149, 0.780233],
        [0.340985, 0.745405],
        [0.428858, 0.727388],
        [0.490127, 0.742578],
        [0.551395, 0.727388],
        [0.639268, 0.745405],
        [0.726104, 0.780233],
        [0.290379, 0.784792],
        [0.428096, 0.778746],
        [0.490127, 0.785343],
        [0.552157, 0.778746],
        [0.689874, 0.784792],
    ]
)
DLIB_PADDING = 0.25  # of the mean face's box, on each side


def warp_face(
    image: Float[AnyArray, "b h w 3"],
    landmarks: Float[AnyArray, "b 68 2"],
    *,
    kind: str,
    size: int | None = None,
    align_corners: bool = True,
) -> Float[Array, "b size size 3"]:
    """Upright chips of faces, as the recognizer was trained on; black outside the photo.

    `landmarks` are x, y in pixels of `image`. `size` is 150 for dlib and 112 for ArcFace unless
    told. Differentiable in the image alone. `align_corners=False` samples as old versions of
    kornia did under the authors' code, up to half a pixel off (ArcFace only).
    """
    check_kind(kind)
    size = size or SIZES[kind]
    landmarks = jax.lax.stop_gradient(landmarks)
    pixels = jnp.arange(size, dtype=image.dtype)
    grid = jnp.stack(jnp.meshgrid(pixels, pixels), axis=-1)
    if kind == "dlib":
        points = _transform(dlib_matrix(landmarks, size), grid)
    elif align_corners:
        points = _transform(_invert(arcface_matrix(landmarks, size)), grid)
    else:
        grid = (grid + 0.5) * ((size - 1) / size)
        extent = jnp.array([image.shape[2], image.shape[1]], image.dtype)
        points = _transform(_invert(arcface_matrix(landmarks, size)), grid)
        points = points * (extent / (extent - 1)) - 0.5
    return bilinear(image, points)


def arcface_matrix(landmarks: Float[AnyArray, "b 68 2"], size: int = 112) -> Float[Array, "b 2 3"]:
    """Photo to chip, by five points: eyes, tip of the nose, corners of the mouth.

    An eye is the middle between two of its landmarks (37 and 40, 43 and 46, counted from 1), as in
    Deep3DFaceRecon and the authors' code.
    """
    eyes = [(landmarks[:, i] + landmarks[:, j]) / 2 for i, j in ((36, 39), (42, 45))]
    five = jnp.stack([*eyes, landmarks[:, 30], landmarks[:, 48], landmarks[:, 54]], axis=1)
    places = jnp.asarray(ARCFACE_POINTS * (size / 112), five.dtype)
    return similarity(five, jnp.broadcast_to(places, five.shape))


def dlib_matrix(landmarks: Float[AnyArray, "b 68 2"], size: int = 150) -> Float[Array, "b 2 3"]:
    """Chip to photo, as dlib's `get_face_chip(photo, shape, size, 0.25)`, for 68 landmarks.

    dlib enlarges about the middle: it takes the side for `size` when it fits the points, and for
    `size - 1` steps between pixels when it samples.
    """
    places = (DLIB_PADDING + DLIB_POINTS) / (2 * DLIB_PADDING + 1) * size
    target = landmarks[:, DLIB_LANDMARKS]
    fitted = similarity(jnp.broadcast_to(jnp.asarray(places, target.dtype), target.shape), target)
    turn, shift = fitted[..., :2], fitted[..., 2]
    middle = jnp.sum(turn, axis=-1) * (size / 2) + shift
    # Landmarks that all coincide have scale 0; the chip is then one pixel, and finite.
    scale = jnp.maximum(jnp.hypot(turn[:, 0, 0], turn[:, 1, 0]), 1e-6)[:, None, None]
    turn = turn * ((size - 1 / scale) / (size - 1))
    shift = middle - jnp.sum(turn, axis=-1) * ((size - 1) / 2)
    return jnp.concatenate([turn, shift[..., None]], axis=-1)


def similarity(
    source: Float[AnyArray, "*b n 2"], target: Float[AnyArray, "*b n 2"]
) -> Float[Array, "*b 2 3"]:
    """Rotation, scale and translation that take `source` nearest to `target` (least squares)."""
    source_mean, target_mean = (jnp.mean(p, axis=-2, keepdims=True) for p in (source, target))
    s, t = source - source_mean, target - target_mean
    # Points that all coincide have no scale; this keeps the numbers finite.
    spread = jnp.maximum(jnp.sum(s**2, axis=(-2, -1)), 1e-12)
    a = jnp.sum(s * t, axis=(-2, -1)) / spread
    b = jnp.sum(s[..., 0] * t[..., 1] - s[..., 1] * t[..., 0], axis=-1) / spread
    turn = jnp.stack([jnp.stack([a, -b], -1), jnp.stack([b, a], -1)], -2)
    shift = jnp.swapaxes(target_mean, -1, -2) - turn @ jnp.swapaxes(source_mean, -1, -2)
    return jnp.concatenate([turn, shift], axis=-1)


def _invert(matrix: AnyArray) -> jax.Array:
    """The inverse of a similarity transform."""
    a, b = matrix[..., 0, 0], matrix[..., 1, 0]
    square = jnp.maximum(a**2 + b**2, 1e-12)
    a, b = a / square, b / square
    turn = jnp.stack([jnp.stack([a, b], -1), jnp.stack([-b, a], -1)], -2)
    return jnp.concatenate([turn, -turn @ matrix[..., 2:]], axis=-1)


def _transform(matrix: AnyArray, points: AnyArray) -> jax.Array:
    turned = jnp.einsum("bij,yxj->byxi", matrix[..., :2], points)
    return turned + matrix[:, None, None, :, 2]


def bilinear(
    image: Float[AnyArray, "b h w c"], points: Float[AnyArray, "b y x 2"]
) -> Float[Array, "b y x c"]:
    """Values of `image` between pixel centres, at `points` (x, y); zero outside."""
    b, height, width, channels = image.shape
    # With a border of zeros, clamped points read zeros and every index is valid.
    padded = jnp.pad(image, ((0, 0), (1, 1), (1, 1), (0, 0)))
    padded = padded.reshape(b, (height + 2) * (width + 2), channels)
    limit = jnp.array([width, height], points.dtype)
    points = jnp.clip(points, -1, limit) + 1
    corner = jnp.minimum(jnp.floor(points), limit)
    fraction = points - corner
    # As integers: of pixels beyond the 16 millionth float32 holds every other one.
    column, row = (corner[..., k].astype(jnp.int32) for k in (0, 1))
    index = row * (width + 2) + column
    value = jnp.zeros((), image.dtype)
    for dy in (0, 1):
        for dx in (0, 1):
            wx, wy = (
                jnp.where(d, f, 1 - f) for d, f in ((dx, fraction[..., 0]), (dy, fraction[..., 1]))
            )
            here = (index + (dy * (width + 2) + dx)).reshape(b, math.prod(index.shape[1:]), 1)
            pixels = jnp.take_along_axis(padded, here, axis=1, mode="clip")
            value = value + (wx * wy)[..., None] * pixels.reshape(*points.shape[:-1], channels)
    return value
