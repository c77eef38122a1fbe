"""Tools to paint with: layers, noise, cloth, rounded bodies, strands. OpenCV on float32 pictures.

Pictures are float32 `[n n 3]` in [0, 1], RGB; points are `[k 2]` (x, y) with pixel centres at
integers. Everything is painted on a canvas some times larger than the picture it is for, and then
averaged down, so that edges are smooth.

Planes `[n n]` and colours `[3]` become pictures (`rgb`, `flat`, `tinted`) before they meet one:
NumPy takes several times as long when it must repeat numbers along an innermost axis of three.
"""

from typing import NamedTuple

import cv2
import numpy as np

_SHIFT = 4  # fractional bits of OpenCV's drawing coordinates


class Layer(NamedTuple):
    """Something painted: what it shows, how much it hides, and how much it darkens beneath it."""

    colour: np.ndarray  # [n n 3] float32 in [0, 1]
    alpha: np.ndarray  # [n n] float32: 1 hides what is below
    shadow: np.ndarray  # [n n] float32: 1 - shadow multiplies what is below


def rgb(plane: np.ndarray) -> np.ndarray:
    """The plane `[n n]` in each of three channels, `[n n 3]`."""
    return cv2.merge((plane, plane, plane))


def flat(size: int, colour: np.ndarray) -> np.ndarray:
    """A picture `[n n 3]` of one colour `[3]`."""
    row = np.tile(colour, size)
    return np.broadcast_to(row, (size, len(row))).reshape(size, size, 3)


def tinted(plane: np.ndarray, colour: np.ndarray) -> np.ndarray:
    """The product `[n n 3]` of a plane `[n n]` and a colour `[3]`."""
    return cv2.merge([plane * channel for channel in colour])


def over(picture: np.ndarray, alpha: np.ndarray, colour: np.ndarray) -> np.ndarray:
    """A colour (`[3]` or `[n n 3]`) laid over a picture, which `alpha [n n]` of 1 hides."""
    place = extent(alpha)
    mixed = picture.astype(np.result_type(picture, alpha, colour))  # a copy
    inside = mixed[place]
    inside += rgb(alpha[place]) * (_within(place, colour) - inside)
    return mixed


def extent(alpha: np.ndarray) -> tuple[slice, slice]:
    """Rows and columns of a rectangle, not empty, around all that is not zero."""
    marked = [np.flatnonzero(alpha.any(axis)) for axis in (1, 0)]
    rows, columns = (slice(m[0], m[-1] + 1) if len(m) else slice(0, 1) for m in marked)
    return rows, columns


def _within(place: tuple[slice, slice], colour: np.ndarray) -> np.ndarray:
    """What of a colour (`[3]` or `[n n 3]`) lies in a rectangle, to be broadcast over its rows."""
    if colour.ndim == 3:
        return colour[place]
    return np.tile(colour, place[1].stop - place[1].start).reshape(1, -1, 3)


def blank(size: int) -> Layer:
    """A layer that shows nothing."""
    plane = np.zeros((size, size), np.float32)
    return Layer(np.zeros((size, size, 3), np.float32), plane, plane)


def lay(layer: Layer, alpha: np.ndarray, colour: np.ndarray) -> Layer:
    """The layer with another colour (`[3]` or `[n n 3]`) laid over it; its shadow is kept."""
    total = alpha + layer.alpha * (1 - alpha)
    # Colours are not premultiplied; an untouched pixel takes the new colour, which nobody sees.
    share = alpha / np.maximum(total, 1e-4)
    mixed = over(layer.colour, share, np.asarray(colour, np.float32))
    return Layer(mixed.astype(np.float32, copy=False), total, layer.shadow)


def cast_shadow(layer: Layer, offset: np.ndarray, blur: float, strength: float) -> Layer:
    """The layer with the shadow of its own outline, moved by `offset` and softened, in pixels."""
    moved = cv2.warpAffine(
        layer.alpha, np.array([[1, 0, offset[0]], [0, 1, offset[1]]], np.float32), layer.alpha.shape
    )
    shadow = strength * soften(moved, blur)
    return layer._replace(shadow=np.maximum(layer.shadow, shadow))


def composite(image: np.ndarray, layer: Layer) -> np.ndarray:
    """The layer over a picture `[n n 3]`."""
    place = extent(np.maximum(layer.alpha, layer.shadow))
    alpha, shadow = layer.alpha[place], layer.shadow[place]
    mixed = image.astype(np.result_type(image, layer.colour))  # a copy
    mixed[place] *= rgb(1 - shadow)
    mixed[place] *= rgb(1 - alpha)
    mixed[place] += layer.colour[place] * rgb(alpha)
    return mixed


def soften(image: np.ndarray, sigma: float) -> np.ndarray:
    """Gaussian blur of `sigma` pixels; nothing below a third of a pixel."""
    image = np.asarray(image, np.float32)
    return image if sigma < 0.3 else cv2.GaussianBlur(image, (0, 0), sigma)


def luminance(image: np.ndarray) -> np.ndarray:
    """Mean of the three channels of `[... 3]`."""
    return image.mean(-1)


# ------------------------------------------------------------------------------------ outlines


def _fixed(points: np.ndarray) -> np.ndarray:
    clipped = np.clip(points, -4000, 4000)  # beyond, OpenCV's fixed point overflows
    return np.round(clipped * (1 << _SHIFT)).astype(np.int32)


def polygon(size: int, *outlines: np.ndarray) -> np.ndarray:
    """Coverage `[n n]` of filled polygons `[k 2]`, with smooth edges."""
    plane = np.zeros((size, size), np.uint8)
    for outline in outlines:
        cv2.fillPoly(plane, [_fixed(outline)], 255, cv2.LINE_AA, _SHIFT)
    return plane.astype(np.float32) / 255


def line(size: int, points: np.ndarray, width: float, closed: bool = False) -> np.ndarray:
    """Coverage `[n n]` of a polyline of a width in pixels; thinner than 1 px it fades."""
    plane = np.zeros((size, size), np.uint8)
    thickness = max(1, round(width))
    cv2.polylines(plane, [_fixed(points)], closed, 255, thickness, cv2.LINE_AA, _SHIFT)
    return plane.astype(np.float32) * (min(1.0, width) / 255)


def tapered(size: int, points: np.ndarray, widths: np.ndarray) -> np.ndarray:
    """Coverage `[n n]` of a limb: discs of the given widths (pixels) strung along a polyline."""
    plane = np.zeros((size, size), np.uint8)
    steps = np.linspace(0, len(points) - 1, 6 * len(points))
    centres = _fixed(interpolate(points, steps))
    radii = np.round(interpolate(np.asarray(widths)[:, None], steps)[:, 0] * (1 << _SHIFT) / 2)
    for centre, radius in zip(centres, radii.astype(int), strict=True):
        place = (int(centre[0]), int(centre[1]))
        cv2.circle(plane, place, int(radius), 255, -1, cv2.LINE_AA, _SHIFT)
    return plane.astype(np.float32) / 255


def interpolate(values: np.ndarray, steps: np.ndarray) -> np.ndarray:
    """Rows of `values [k c]` at fractional row numbers, linearly."""
    low = np.clip(np.floor(steps).astype(int), 0, len(values) - 2)
    share = (steps - low)[:, None]
    return values[low] * (1 - share) + values[low + 1] * share


def spline(points: np.ndarray, closed: bool = False, detail: int = 6) -> np.ndarray:
    """A smooth curve `[m 2]` through points `[k 2]` (Catmull-Rom), `detail` points a piece."""
    points = np.asarray(points, np.float64)
    if closed:
        p = np.concatenate([points[-1:], points, points[:2]])
    else:
        p = np.concatenate([2 * points[:1] - points[1:2], points, 2 * points[-1:] - points[-2:-1]])
    t = np.linspace(0, 1, detail, endpoint=False)[:, None]
    a, b, c, d = p[:-3, None], p[1:-2, None], p[2:-1, None], p[3:, None]
    curve = b + 0.5 * t * (c - a + t * (2 * a - 5 * b + 4 * c - d + t * (3 * (b - c) + d - a)))
    curve = curve.reshape(-1, 2)
    return curve if closed else np.concatenate([curve, points[-1:]])


# ------------------------------------------------------------------------------------ surfaces


def noise(rng: np.random.Generator, size: int, cells: float, octaves: int = 1) -> np.ndarray:
    """Smooth noise `[n n]` of about unit variance with `cells` bumps across; octaves add detail."""

    def bumps(octave: int) -> np.ndarray:
        count = max(2, min(round(cells * 2**octave), size)) + 1
        rough = rng.standard_normal((count, count), np.float32)
        return cv2.resize(rough, (size, size), interpolation=cv2.INTER_CUBIC)

    total = bumps(0)
    for octave in range(1, octaves):
        total += bumps(octave) * 0.5**octave
    return total


def grid(size: int) -> tuple[np.ndarray, np.ndarray]:
    """x and y of every pixel, `[n n]` float32."""
    axis = np.arange(size, dtype=np.float32)
    return np.broadcast_to(axis, (size, size)), np.broadcast_to(axis[:, None], (size, size))


def coordinate(size: int, origin: np.ndarray, axis: np.ndarray) -> np.ndarray:
    """How far every pixel, `[n n]`, lies from a point `[2]` along a unit vector `[2]`."""
    x, y = grid(size)
    return (x - origin[0]) * axis[0] + (y - origin[1]) * axis[1]


def rounded(
    alpha: np.ndarray, radius: float, light: np.ndarray, ambient: float = 0.5
) -> np.ndarray:
    """Shading `[n n]` of a body bulging within `radius` pixels of its outline, lit from `light`.

    `light` is a unit vector (x right, y down, z towards the viewer).
    """
    depth = cv2.distanceTransform((alpha > 0.5).astype(np.uint8), cv2.DIST_L2, 3)
    inside = 1 - np.minimum(depth / radius, 1)
    height = soften(radius * np.sqrt(1 - inside * inside), 0.08 * radius)
    return lambert(height, light, ambient)


def lambert(height: np.ndarray, light: np.ndarray, ambient: float = 0.5) -> np.ndarray:
    """Shading `[n n]` of a height field (pixels, towards the viewer) under one light."""
    height = np.asarray(height, np.float32)
    x = cv2.Sobel(height, cv2.CV_32F, 1, 0, scale=1 / 8)
    y = cv2.Sobel(height, cv2.CV_32F, 0, 1, scale=1 / 8)
    facing = (light[2] - light[0] * x - light[1] * y) / np.sqrt(1 + x * x + y * y)
    return ambient + (1 - ambient) * np.maximum(facing, 0)


def colourful(rng: np.random.Generator, saturation: float = 0.6) -> np.ndarray:
    """A random colour `[3]`, from pale to dark; saturations up to `saturation`."""
    hue, strength, value = rng.uniform(0, 1), rng.uniform(0, saturation), rng.uniform(0.12, 0.95)
    wheel = np.clip(np.abs((hue * 6 + np.array([0, 4, 2])) % 6 - 3) - 1, 0, 1)
    return (value * (1 - strength + strength * wheel)).astype(np.float32)


def cloth(rng: np.random.Generator, size: int, colour: np.ndarray, scale: float) -> np.ndarray:
    """A fabric `[n n 3]`: plain, striped, checked, dotted or printed. `scale`: pixels a repeat."""
    x, y = grid(size)
    angle = rng.uniform(0, np.pi)
    # Warped a little, as cloth lies on a body.
    bend = noise(rng, size, 3) * 0.25 * scale

    def across() -> np.ndarray:
        return np.sin((x * np.cos(angle) + y * np.sin(angle) + bend) * (2 * np.pi / scale))

    def along() -> np.ndarray:
        return np.sin((y * np.cos(angle) - x * np.sin(angle) + bend) * (2 * np.pi / scale))

    kind = rng.choice(
        ["plain", "stripes", "checks", "dots", "print"], p=[0.45, 0.15, 0.15, 0.1, 0.15]
    )
    if kind == "stripes":
        pattern = across() > rng.uniform(-0.5, 0.5)
    elif kind == "checks":
        pattern = 0.5 * (across() > 0.2) + 0.5 * (along() > 0.2)
    elif kind == "dots":
        pattern = across() * along() > 0.5
    elif kind == "print":
        pattern = noise(rng, size, size / scale) > 0.4
    else:
        pattern = np.zeros((size, size))
    pattern = soften(pattern.astype(np.float32), 0.6)
    weave = 1 + 0.04 * rng.standard_normal((size, size), np.float32)
    return over(flat(size, colour), pattern, colourful(rng)) * rgb(weave)


def strands(
    rng: np.random.Generator,
    picture: np.ndarray,
    paths: np.ndarray,
    contrast: float,
    width: int = 1,
) -> np.ndarray:
    """The picture `[n n 3]` with hairs along `paths [k m 2]`, lighter and darker than beneath."""
    picture = np.ascontiguousarray(picture, np.float32)
    starts = np.clip(paths[:, paths.shape[1] // 2].astype(int), 0, len(picture) - 1)
    fixed = _fixed(paths)
    for path, (x, y), factor in zip(
        fixed, starts, rng.normal(1, contrast, len(paths)), strict=True
    ):
        colour = [float(c) for c in np.clip(picture[y, x] * factor + 0.04 * (factor - 1), 0, 1)]
        # Lines on float pictures have no smooth edges in OpenCV; the canvas is averaged later.
        cv2.polylines(picture, [path], False, colour, width, cv2.LINE_8, _SHIFT)
    return picture
