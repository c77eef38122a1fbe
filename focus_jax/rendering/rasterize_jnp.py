"""The rasterizer in plain jax.numpy: the TPU path, the float64 path, and the oracle of the kernels.

Every float32 operation that decides which triangle a pixel sees is the same, in the same order, as
in `rasterize_warp`, so that both see the same triangle. See `rasterize` for the rules.
"""

import functools

import jax
import jax.numpy as jnp

from focus_jax.types import AnyArray

# Limits within which no product below overflows or is subnormal, whatever the compiler flushes.
TINY_OFFSET = 1e-15  # pixels; a coordinate closer to zero is zero
MAX_COORDINATE = 1e15  # pixels; a vertex further out has no place on the screen, like infinity
MIN_DEPTH, MAX_DEPTH = 1e-20, 1e20  # a vertex outside is not in front of the camera
LEAST_INVERSE = 1e-21  # of a depth; a smaller one could only come from rounding
MIN_AREA = 1e-30  # square pixels, doubled; a smaller triangle covers nothing

_FINITE = 3e38


def _rounded(product: AnyArray) -> jax.Array:
    """The product, out of reach of a fused multiply-add, which compilers form on their own.

    A sum with an unrounded product depends on the order of a triangle's vertices: neighbours would
    disagree about their common edge. The clamp does nothing else; products stay below 1e31.
    """
    return jnp.clip(product, -_FINITE, _FINITE)


def _corners(screen: AnyArray, triangles: AnyArray) -> tuple[jax.Array, ...]:
    """x, y, depth, each [3, t], and whether the triangle can be seen at all, [t]."""
    inside = jnp.all((triangles >= 0) & (triangles < screen.shape[0]), -1)
    points = jnp.take(screen, triangles.T, axis=0, mode="clip")
    x, y, z = points[..., 0], points[..., 1], points[..., 2]
    # Comparisons with NaN are false, so that it fails here.
    usable = (jnp.abs(x) < MAX_COORDINATE) & (jnp.abs(y) < MAX_COORDINATE)
    usable &= (z > MIN_DEPTH) & (z < MAX_DEPTH)
    x = jnp.where(jnp.abs(x) < TINY_OFFSET, 0.0, x)
    y = jnp.where(jnp.abs(y) < TINY_OFFSET, 0.0, y)
    area_ccw = _rounded((y[1] - y[0]) * (x[2] - x[0]))
    area_cw = _rounded((x[1] - x[0]) * (y[2] - y[0]))
    return x, y, z, inside & jnp.all(usable, 0) & (area_ccw > area_cw)


def _boxes(
    x: AnyArray, y: AnyArray, seen: AnyArray, height: int, width: int
) -> tuple[jax.Array, ...]:
    """First pixel, box width, and number of pixels (0 if not seen) of each triangle, [t]."""

    def span(values: AnyArray, size: int) -> tuple[jax.Array, jax.Array]:
        # Clipped as floats: coordinates may exceed what an int32 holds.
        low = jnp.clip(jnp.ceil(jnp.min(values, 0)), 0, size).astype(jnp.int32)
        high = jnp.clip(jnp.floor(jnp.max(values, 0)), -1, size - 1).astype(jnp.int32)
        return low, jnp.where(seen, jnp.maximum(high - low + 1, 0), 0)

    # NaN becomes an integer of the platform's choice, so it must not get there.
    x, y = jnp.where(seen, x, 0.0), jnp.where(seen, y, 0.0)
    (left, columns), (top, rows) = span(x, width), span(y, height)
    return left, top, columns, columns * rows


def _weights(x: AnyArray, y: AnyArray, px: AnyArray, py: AnyArray) -> tuple[jax.Array, jax.Array]:
    """Barycentric weights [3, n] of pixels in triangles, and whether they are inside, [n]."""
    dx, dy = x - px, y - py
    products = []
    for j, k in ((1, 2), (2, 0), (0, 1)):
        products.append((_rounded(dx[k] * dy[j]), _rounded(dx[j] * dy[k])))
    w = [plus - minus for plus, minus in products]
    total = (w[0] + w[1]) + w[2]
    covered = (w[0] >= 0) & (w[1] >= 0) & (w[2] >= 0) & (total > MIN_AREA)
    # A triangle that turned away since its pixels were found still has a plane.
    solid = jnp.abs(total) > MIN_AREA
    total = jnp.where(solid, total, 1.0)
    # One by one: XLA divides three by one as products with an inverse, whose last bit differs.
    return jnp.stack([jnp.where(solid, each / total, 0.0) for each in w]), covered


def _depth(weights: AnyArray, z: AnyArray, perspective: bool) -> jax.Array:
    """Depth at each pixel. From differences: exact where all corners, or the pixel's, have it.

    With `perspective`, in which the inverse depth of a flat triangle is affine on the screen, `z`
    holds the inverses.
    """
    tilt = _rounded(weights[1] * (z[1] - z[0])) + _rounded(weights[2] * (z[2] - z[0]))
    near = jnp.maximum(z[0] + tilt, 0.0)
    return 1.0 / jnp.maximum(near, LEAST_INVERSE) if perspective else near


def _image_index(
    screen: AnyArray, triangles: AnyArray, height: int, width: int, perspective: bool
) -> jax.Array:
    """`index_map` of one image: rounds of pairs of a triangle and a pixel of its box."""
    count, pixels = triangles.shape[0], height * width
    x, y, z, seen = _corners(screen, triangles)
    if perspective:
        z = 1.0 / jnp.where(seen, z, 1.0)
    left, top, columns, sizes = _boxes(x, y, seen, height, width)
    sides = jnp.maximum(columns, 1)
    capacity = 2 * pixels + 256  # pairs a round; one round is enough for most scenes

    # Usual scenes: the boxes' pixels one after the other, as one list.
    ends = jnp.cumsum(sizes, dtype=jnp.int32)

    def listed(number: AnyArray) -> tuple[AnyArray, ...]:
        first = number * capacity
        # The triangle of a pair: marks where each triangle's pairs start, then a running count.
        marks = jnp.zeros(capacity, jnp.int32)
        marks = marks.at[ends - first].add((ends > first).astype(jnp.int32), mode="drop")
        skipped = jnp.sum(ends <= first, dtype=jnp.int32)
        triangle = jnp.minimum(skipped + jnp.cumsum(marks, dtype=jnp.int32), count - 1)
        pair = first + jnp.arange(capacity, dtype=jnp.int32)
        return triangle, pair - (ends[triangle] - sizes[triangle]), pair < ends[-1]

    # Scenes whose list an int32 cannot count: the n-th pixel of every box, for all n.
    blocks = -(-count // capacity)

    def in_step(number: AnyArray) -> tuple[AnyArray, ...]:
        triangle = (number % blocks) * capacity + jnp.arange(capacity, dtype=jnp.int32)
        local = jnp.full(capacity, number // blocks)
        inside = triangle < count
        triangle = jnp.minimum(triangle, count - 1)
        return triangle, local, inside & (local < sizes[triangle])

    fits = jnp.sum(sizes.astype(jnp.float32)) < 2**30
    rounds = jnp.where(fits, -(-ends[-1] // capacity), blocks * jnp.max(sizes))

    def draw(number: AnyArray, state: tuple[AnyArray, AnyArray]) -> tuple[AnyArray, AnyArray]:
        depth, index = state
        triangle, local, valid = jax.lax.cond(fits, listed, in_step, number)
        px, py = left[triangle] + local % sides[triangle], top[triangle] + local // sides[triangle]
        points = px.astype(x.dtype), py.astype(y.dtype)
        weights, covered = _weights(x[:, triangle], y[:, triangle], *points)
        covered &= valid
        new = jnp.where(covered, _depth(weights, z[:, triangle], perspective), jnp.inf)
        at = jnp.where(covered, py * width + px, pixels)  # out of range: dropped
        nearest = depth.at[at].min(new, mode="drop")
        index = jnp.where(nearest < depth, count, index)
        wins = new == nearest.at[at].get(mode="fill", fill_value=-jnp.inf)
        return nearest, index.at[jnp.where(wins, at, pixels)].min(triangle, mode="drop")

    empty = jnp.full(pixels, jnp.inf, screen.dtype), jnp.full(pixels, count, jnp.int32)
    _, index = jax.lax.fori_loop(0, rounds, draw, empty)
    return jnp.where(index == count, -1, index).reshape(height, width)


def index_map(
    screen: AnyArray, triangles: AnyArray, height: int, width: int, perspective: bool
) -> jax.Array:
    """Nearest triangle of each pixel, [b h w] int32, -1 outside."""
    # One image after the other: on CPU 3 to 5 times faster than all in one program.
    shared = {"height": height, "width": width, "perspective": perspective}
    return jax.lax.map(functools.partial(_image_index, triangles=triangles, **shared), screen)


def _gather(
    screen: AnyArray, triangles: AnyArray, triangle_id: AnyArray
) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Corner positions of each pixel's triangle, [3, b, h, w, 3], and the corners' indices."""
    corners = jnp.take(triangles, jnp.maximum(triangle_id, 0), axis=0)
    batch = jnp.arange(screen.shape[0])[:, None, None]
    points = jnp.stack([screen.at[batch, corners[..., k]].get(mode="clip") for k in range(3)])
    return points, corners, batch


def _pixel_weights(points: AnyArray, triangle_id: AnyArray) -> jax.Array:
    """Affine weights of each pixel's own triangle, [3, b, h, w]; zero outside."""
    height, width = triangle_id.shape[1:]
    x, y = points[..., 0], points[..., 1]
    x = jnp.where(jnp.abs(x) < TINY_OFFSET, 0.0, x)
    y = jnp.where(jnp.abs(y) < TINY_OFFSET, 0.0, y)
    px = jnp.arange(width, dtype=x.dtype)
    py = jnp.arange(height, dtype=y.dtype)[:, None]
    return jnp.where(triangle_id >= 0, _weights(x, y, px, py)[0], 0.0)


def _correct(weights: AnyArray, depths: AnyArray) -> tuple[AnyArray, AnyArray]:
    """Perspective-correct weights, and the interpolated inverse depth (1 outside)."""
    scaled = weights / depths
    total = jnp.sum(scaled, 0)
    total = jnp.where(total != 0, total, 1.0)
    return scaled / total, total


def barycentric(
    screen: AnyArray, triangles: AnyArray, triangle_id: AnyArray, perspective: bool
) -> jax.Array:
    """Weights of the corners of each pixel's triangle, [b h w 3]; zero outside."""
    points, _, _ = _gather(screen, triangles, triangle_id)
    weights = _pixel_weights(points, triangle_id)
    if perspective:
        depths = jnp.where(triangle_id >= 0, points[..., 2], 1.0)
        weights, _ = _correct(weights, depths)
    return jnp.moveaxis(weights, 0, -1)


def interpolate(
    screen: AnyArray,
    triangles: AnyArray,
    attributes: AnyArray,
    triangle_id: AnyArray,
    perspective: bool,
) -> jax.Array:
    """Attributes [b v c] at each pixel, [b h w c]; zero outside."""
    weights = barycentric(screen, triangles, triangle_id, perspective)
    corners = jnp.take(triangles, jnp.maximum(triangle_id, 0), axis=0)
    batch = jnp.arange(screen.shape[0])[:, None, None]
    image = jnp.zeros((*triangle_id.shape, attributes.shape[-1]), attributes.dtype)
    for k in range(3):
        values = attributes.at[batch, corners[..., k]].get(mode="clip")
        # Selected, not multiplied: NaN of a vertex that nobody sees must not show.
        seen = (triangle_id >= 0)[..., None]
        image = image + jnp.where(seen, weights[..., k, None] * values, 0.0)
    return image


def image(
    screen: AnyArray,
    triangles: AnyArray,
    attributes: AnyArray,
    height: int,
    width: int,
    perspective: bool,
) -> tuple[jax.Array, jax.Array]:
    """Interpolated attributes [b h w c] and the index map [b h w]."""
    triangle_id = index_map(screen, triangles, height, width, perspective)
    return interpolate(screen, triangles, attributes, triangle_id, perspective), triangle_id


def backward(
    screen: AnyArray,
    triangles: AnyArray,
    attributes: AnyArray,
    triangle_id: AnyArray,
    cotangent: AnyArray,
    perspective: bool,
    deterministic: bool,
) -> tuple[jax.Array, jax.Array]:
    """Gradients of `interpolate` for the screen positions [b v 3] and the attributes [b v c].

    A vertex's weight times the colour's screen gradient, negated, is the derivative with respect to
    its position: moving a corner drags the colours along. The order of the sums is XLA's:
    fixed on CPU and TPU, and on CUDA with `XLA_FLAGS=--xla_gpu_deterministic_ops=true`.
    """
    del deterministic
    points, corners, batch = _gather(screen, triangles, triangle_id)
    seen = triangle_id >= 0
    points = jnp.where(seen[..., None], points, jnp.eye(3, dtype=screen.dtype)[:, None, None, None])
    weights = _pixel_weights(points, triangle_id)
    cotangent = jnp.where(seen[..., None], cotangent, 0.0)
    values = jnp.stack([attributes.at[batch, corners[..., k]].get(mode="clip") for k in range(3)])
    values = jnp.where(seen[..., None], values, 0.0)
    x, y, z = points[..., 0], points[..., 1], points[..., 2]

    # Differences of corner values, not the values: a gradient of nearly equal colours stays exact.
    steps = jnp.sum(cotangent * (values[1:] - values[:1]), -1)
    grad_depth = jnp.zeros_like(weights)
    shares = weights
    if perspective:
        depths = jnp.where(seen, z, 1.0)
        shares, total = _correct(weights, depths)
        mean = shares[1] * steps[0] + shares[2] * steps[1]
        slopes = (jnp.stack([-mean, steps[0] - mean, steps[1] - mean]) / total) / depths
        grad_depth = -slopes * weights / depths
        steps = slopes[1:] - slopes[:1]
    x1, y1, x2, y2 = x[1] - x[0], y[1] - y[0], x[2] - x[0], y[2] - y[0]
    area = x1 * y2 - x2 * y1
    scale = 1.0 / jnp.where(jnp.abs(area) > MIN_AREA, area, -1.0)
    slope_x = (steps[0] * y2 - steps[1] * y1) * scale
    slope_y = (steps[1] * x1 - steps[0] * x2) * scale
    grad_points = jnp.stack([-weights * slope_x, -weights * slope_y, grad_depth], -1)
    grad_points = jnp.where(seen[..., None], grad_points, 0.0)

    grad_screen, grad_attributes = jnp.zeros_like(screen), jnp.zeros_like(attributes)
    for k in range(3):
        target = batch, jnp.where(seen, corners[..., k], screen.shape[1])  # out of range: dropped
        grad_screen = grad_screen.at[target].add(grad_points[k], mode="drop")
        share = shares[k][..., None] * cotangent
        grad_attributes = grad_attributes.at[target].add(share, mode="drop")
    return grad_screen, grad_attributes
