"""The rasterizer's kernels in NVIDIA Warp: CPU and CUDA from one source, no compiler needed.

On CUDA a thread takes one triangle, pixel or vertex. On CPU, where Warp runs threads one after the
other, it takes a run of them, and from triangles to values a whole image. See `rasterize` for the
rules, and `rasterize_jnp`, whose deciding operations are repeated here in the same order. All are
in one file because a Warp module of its own costs each user another second of compilation, once.

Shapes, with a leading axis of images: screen positions [v] of vec3, attributes [v c], triangle
indices [h w], values and cotangents [h w c]. Triangles are [t] of vec3i.
"""

# pyright: reportArgumentType=false, reportIndexIssue=false, reportCallIssue=false
# pyright: reportInvalidTypeForm=false, reportAttributeAccessIssue=false, reportOperatorIssue=false
# pyright: reportAssignmentType=false, reportGeneralTypeIssues=false, reportReturnType=false
# pyright: reportUnknownParameterType=false, reportUntypedFunctionDecorator=false
# (Warp's kernel language looks like Python but has types of its own.)

import warp as wp

from focus_jax.rendering.rasterize_jnp import (
    LEAST_INVERSE,
    MAX_COORDINATE,
    MAX_DEPTH,
    MIN_AREA,
    MIN_DEPTH,
    TINY_OFFSET,
)
from focus_jax.system.caches import warp_folder

if wp.config.kernel_cache_dir is None:
    wp.config.kernel_cache_dir = warp_folder()
if wp.config.log_level == wp.LOG_INFO:  # its default; no banner, no line for each loaded kernel
    wp.config.log_level = wp.LOG_WARNING
# Fused multiply-adds would break the agreement of neighbours about their common edge.
wp.set_module_options({"enable_backward": False, "fuse_fp": False})

_TINY = wp.constant(wp.float32(TINY_OFFSET))
_FAR = wp.constant(wp.float32(MAX_COORDINATE))
_MIN_DEPTH = wp.constant(wp.float32(MIN_DEPTH))
_MAX_DEPTH = wp.constant(wp.float32(MAX_DEPTH))
_LEAST_INVERSE = wp.constant(wp.float32(LEAST_INVERSE))
_MIN_AREA = wp.constant(wp.float32(MIN_AREA))
_EMPTY = wp.constant(wp.int64(0x7F800000FFFFFFFF))  # infinitely far, index -1


@wp.func
def _snap(x: wp.float32) -> wp.float32:
    return wp.where(wp.abs(x) < _TINY, wp.float32(0.0), x)


@wp.func
def is_usable(p: wp.mat33) -> wp.bool:
    """Whether the corners have a place on the screen, in front of the camera. NaN has not."""
    usable = bool(True)  # noqa: UP018 (a literal would be a constant to Warp)
    for j in range(3):
        near = wp.abs(p[j, 0]) < _FAR and wp.abs(p[j, 1]) < _FAR
        usable = usable and near and p[j, 2] > _MIN_DEPTH and p[j, 2] < _MAX_DEPTH
    return usable


@wp.func
def _valid(corners: wp.vec3i, count: wp.int32) -> wp.bool:
    known = corners[0] >= 0 and corners[1] >= 0 and corners[2] >= 0
    return known and corners[0] < count and corners[1] < count and corners[2] < count


@wp.func
def edge_areas(p: wp.mat33, px: wp.float32, py: wp.float32) -> wp.vec3:
    """Twice the areas of the three triangles that a pixel forms with the sides."""
    ax = p[0, 0] - px
    bx = p[1, 0] - px
    cx = p[2, 0] - px
    ay = p[0, 1] - py
    by = p[1, 1] - py
    cy = p[2, 1] - py
    return wp.vec3(cx * by - bx * cy, ax * cy - cx * ay, bx * ay - ax * by)


@wp.func
def _weights(p: wp.mat33, x: wp.int32, y: wp.int32) -> wp.vec3:
    """Barycentric weights of a pixel in its triangle; zero in one without area."""
    w = edge_areas(p, wp.float32(x), wp.float32(y))
    total = (w[0] + w[1]) + w[2]
    return wp.where(wp.abs(total) > _MIN_AREA, w / total, wp.vec3(0.0, 0.0, 0.0))


@wp.func
def corner_points(screen: wp.array(dtype=wp.vec3), corners: wp.vec3i) -> wp.mat33:
    """Positions of the corners as rows; coordinates next to zero are zero."""
    a = screen[corners[0]]
    b = screen[corners[1]]
    c = screen[corners[2]]
    return wp.mat33(
        _snap(a[0]), _snap(a[1]), a[2],
        _snap(b[0]), _snap(b[1]), b[2],
        _snap(c[0]), _snap(c[1]), c[2],
    )  # fmt: skip


# One instruction each, which `wp.min` and `wp.max` are not: they give the number where one is NaN.
@wp.func
def _min(a: wp.float32, b: wp.float32) -> wp.float32:
    return wp.where(a < b, a, b)


@wp.func
def _max(a: wp.float32, b: wp.float32) -> wp.float32:
    return wp.where(a > b, a, b)


@wp.func
def pixel_box(p: wp.mat33, width: wp.int32, height: wp.int32) -> wp.vec4:
    """Left, right, top and bottom pixel that a triangle may cover, as floats: they may be huge."""
    return wp.vec4(
        _max(wp.ceil(_min(_min(p[0, 0], p[1, 0]), p[2, 0])), 0.0),
        _min(wp.floor(_max(_max(p[0, 0], p[1, 0]), p[2, 0])), wp.float32(width - 1)),
        _max(wp.ceil(_min(_min(p[0, 1], p[1, 1]), p[2, 1])), 0.0),
        _min(wp.floor(_max(_max(p[0, 1], p[1, 1]), p[2, 1])), wp.float32(height - 1)),
    )


# --- Which triangle a pixel sees -----------------------------------------------------------------


@wp.func
def _draw(
    screen: wp.array(dtype=wp.vec3),
    triangles: wp.array(dtype=wp.vec3i),
    perspective: wp.int32,
    start: wp.int32,
    stop: wp.int32,
    nearest: wp.array2d(dtype=wp.int64),
):
    """Lower the pixels of triangles to their (depth, index) as one integer, where that is less.

    Positive floats order like their bits. The minimum is the same whatever the order of threads.
    """
    i = start
    while i < stop:
        corners = triangles[i]
        if _valid(corners, screen.shape[0]):
            p = corner_points(screen, corners)
            box = pixel_box(p, nearest.shape[1], nearest.shape[0])
            # Most triangles of a face look away or fall between the pixel centres. The bits are
            # joined without branches, which would be mispredicted; so is the loop over the box.
            # NaN and infinity may pass or not: if they do, they end in the next line.
            ccw = (p[1, 1] - p[0, 1]) * (p[2, 0] - p[0, 0])
            ccw -= (p[1, 0] - p[0, 0]) * (p[2, 1] - p[0, 1])
            filled = wp.int32(box[0] <= box[1]) & wp.int32(box[2] <= box[3])
            if filled & wp.int32(ccw > 0.0) != 0 and is_usable(p):
                # With perspective the inverse depth is affine on the screen.
                z = wp.vec3(p[0, 2], p[1, 2], p[2, 2])
                if perspective != 0:
                    z = wp.vec3(1.0 / z[0], 1.0 / z[1], 1.0 / z[2])
                left = wp.int32(box[0])
                right = wp.int32(box[1])
                x = left
                y = wp.int32(box[2])
                ahead = (right - left + 1) * (wp.int32(box[3]) - y + 1)
                while ahead > 0:
                    w = edge_areas(p, wp.float32(x), wp.float32(y))
                    total = (w[0] + w[1]) + w[2]
                    inside = wp.int32(w[0] >= 0.0) & wp.int32(w[1] >= 0.0) & wp.int32(w[2] >= 0.0)
                    inside = inside & wp.int32(total > _MIN_AREA)
                    # From differences: exact where the triangle is flat, or the pixel on a corner.
                    tilt = w[1] / total * (z[1] - z[0])
                    tilt += w[2] / total * (z[2] - z[0])
                    depth = _max(z[0] + tilt, 0.0)
                    if perspective != 0:
                        depth = 1.0 / _max(depth, _LEAST_INVERSE)
                    key = wp.int64(wp.cast(depth, wp.int32)) << wp.int64(32) | wp.int64(i)
                    key = wp.where(inside != 0, key, _EMPTY)
                    # On CUDA (one by one) looking first saves atomics; on CPU it costs a branch.
                    if stop - start > 1:  # noqa: SIM114 (Warp's `or` is slower here by a third)
                        wp.atomic_min(nearest, y, x, key)
                    elif key < nearest[y, x]:
                        wp.atomic_min(nearest, y, x, key)
                    y += wp.int32(x == right)
                    x = wp.where(x == right, left, x + 1)
                    ahead -= 1
        i += 1


@wp.func
def _find(
    screen: wp.array(dtype=wp.vec3),
    triangles: wp.array(dtype=wp.vec3i),
    perspective: wp.int32,
    nearest: wp.array2d(dtype=wp.int64),
    triangle_id: wp.array2d(dtype=wp.int32),
):
    """A whole image by one thread."""
    for y in range(nearest.shape[0]):
        for x in range(nearest.shape[1]):
            nearest[y, x] = _EMPTY
    _draw(screen, triangles, perspective, 0, triangles.shape[0], nearest)
    for y in range(nearest.shape[0]):
        for x in range(nearest.shape[1]):
            triangle_id[y, x] = wp.int32(nearest[y, x])


@wp.kernel
def clear_nearest(nearest: wp.array3d(dtype=wp.int64)):
    image, y, x = wp.tid()
    nearest[image, y, x] = _EMPTY


@wp.kernel
def draw_triangles(
    screen: wp.array2d(dtype=wp.vec3),
    triangles: wp.array(dtype=wp.vec3i),
    perspective: wp.int32,
    nearest: wp.array3d(dtype=wp.int64),
):
    image, i = wp.tid()
    _draw(screen[image], triangles, perspective, i, i + 1, nearest[image])


@wp.kernel
def index_pixels(nearest: wp.array3d(dtype=wp.int64), triangle_id: wp.array3d(dtype=wp.int32)):
    image, y, x = wp.tid()
    triangle_id[image, y, x] = wp.int32(nearest[image, y, x])


@wp.kernel
def index_images(
    screen: wp.array2d(dtype=wp.vec3),
    triangles: wp.array(dtype=wp.vec3i),
    perspective: wp.int32,
    nearest: wp.array3d(dtype=wp.int64),
    triangle_id: wp.array3d(dtype=wp.int32),
):
    """On CPU: the three kernels above. All images use the keys of the first, which stay cached."""
    image = wp.tid()
    _find(screen[image], triangles, perspective, nearest[0], triangle_id[image])


# --- What is there -------------------------------------------------------------------------------


@wp.func
def corrected(w: wp.vec3, p: wp.mat33, perspective: wp.int32) -> wp.vec3:
    """The weights, made perspective-correct if asked."""
    s = w
    if perspective != 0:
        u = wp.vec3(w[0] / p[0, 2], w[1] / p[1, 2], w[2] / p[2, 2])
        total = (u[0] + u[1]) + u[2]
        s = u / wp.where(total != 0.0, total, wp.float32(1.0))
    return s


@wp.func
def _seen(
    screen: wp.array(dtype=wp.vec3),
    triangles: wp.array(dtype=wp.vec3i),
    i: wp.int32,
    x: wp.int32,
    y: wp.int32,
):
    """Vertices of the triangle that a pixel sees, -1 where there is none; positions; weights."""
    corners = wp.vec3i(-1, -1, -1)
    p = wp.mat33()
    w = wp.vec3()
    if i >= 0 and i < triangles.shape[0] and _valid(triangles[i], screen.shape[0]):
        corners = triangles[i]
        p = corner_points(screen, corners)
        w = _weights(p, x, y)
    return corners, p, w


@wp.kernel
def weigh_pixels(
    screen: wp.array2d(dtype=wp.vec3),
    triangles: wp.array(dtype=wp.vec3i),
    triangle_id: wp.array3d(dtype=wp.int32),
    perspective: wp.int32,
    run: wp.int32,
    weights: wp.array3d(dtype=wp.vec3),
):
    image, y, start = wp.tid()
    for x in range(start * run, (start + 1) * run):
        corners, p, w = _seen(screen[image], triangles, triangle_id[image, y, x], x, y)
        if corners[0] >= 0:
            w = corrected(w, p, perspective)
        weights[image, y, x] = w


@wp.func
def _shade(
    screen: wp.array(dtype=wp.vec3),
    triangles: wp.array(dtype=wp.vec3i),
    attributes: wp.array2d(dtype=wp.float32),
    triangle_id: wp.array(dtype=wp.int32),
    perspective: wp.int32,
    y: wp.int32,
    start: wp.int32,
    stop: wp.int32,
    values: wp.array2d(dtype=wp.float32),
):
    """Interpolate the attributes at some pixels of a row."""
    x = start
    while x < stop:
        corners, p, w = _seen(screen, triangles, triangle_id[x], x, y)
        k = wp.int32(0)
        if corners[0] >= 0:
            w = corrected(w, p, perspective)
            while k < values.shape[1]:
                values[x, k] = (
                    w[0] * attributes[corners[0], k]
                    + w[1] * attributes[corners[1], k]
                    + w[2] * attributes[corners[2], k]
                )
                k += 1
        while k < values.shape[1]:
            values[x, k] = 0.0
            k += 1
        x += 1


@wp.kernel
def shade_nearest(
    screen: wp.array2d(dtype=wp.vec3),
    triangles: wp.array(dtype=wp.vec3i),
    attributes: wp.array3d(dtype=wp.float32),
    perspective: wp.int32,
    nearest: wp.array3d(dtype=wp.int64),
    triangle_id: wp.array3d(dtype=wp.int32),
    values: wp.array4d(dtype=wp.float32),
):
    image, y, x = wp.tid()
    triangle_id[image, y, x] = wp.int32(nearest[image, y, x])
    _shade(
        screen[image], triangles, attributes[image], triangle_id[image, y],
        perspective, y, x, x + 1, values[image, y],
    )  # fmt: skip


@wp.kernel
def shade_pixels(
    screen: wp.array2d(dtype=wp.vec3),
    triangles: wp.array(dtype=wp.vec3i),
    attributes: wp.array3d(dtype=wp.float32),
    triangle_id: wp.array3d(dtype=wp.int32),
    perspective: wp.int32,
    run: wp.int32,
    values: wp.array4d(dtype=wp.float32),
):
    image, y, start = wp.tid()
    _shade(
        screen[image], triangles, attributes[image], triangle_id[image, y],
        perspective, y, start * run, (start + 1) * run, values[image, y],
    )  # fmt: skip


@wp.kernel
def render_images(
    screen: wp.array2d(dtype=wp.vec3),
    triangles: wp.array(dtype=wp.vec3i),
    attributes: wp.array3d(dtype=wp.float32),
    perspective: wp.int32,
    nearest: wp.array3d(dtype=wp.int64),
    triangle_id: wp.array3d(dtype=wp.int32),
    values: wp.array4d(dtype=wp.float32),
):
    """On CPU: one image after the other, from triangles to values, while it is in the cache."""
    image = wp.tid()
    _find(screen[image], triangles, perspective, nearest[0], triangle_id[image])
    for y in range(values.shape[1]):
        _shade(
            screen[image], triangles, attributes[image], triangle_id[image, y],
            perspective, y, 0, values.shape[2], values[image, y],
        )  # fmt: skip


# --- Gradients -----------------------------------------------------------------------------------


@wp.func
def _pull(
    p: wp.mat33, w: wp.vec3, step_b: wp.float32, step_c: wp.float32, perspective: wp.int32
) -> wp.mat33:
    """Gradients of the three corners (rows), given those of the weights of b and c minus a's.

    A corner's weight times the colour's screen gradient, negated, is the derivative with respect to
    its position: moving a corner drags the colours along.
    """
    depths = wp.vec3(0.0, 0.0, 0.0)
    if perspective != 0:
        u = wp.vec3(w[0] / p[0, 2], w[1] / p[1, 2], w[2] / p[2, 2])
        total = (u[0] + u[1]) + u[2]
        total = wp.where(total != 0.0, total, wp.float32(1.0))
        mean = (u[1] * step_b + u[2] * step_c) / total
        slope_a = (-mean / total) / p[0, 2]
        slope_b = ((step_b - mean) / total) / p[1, 2]
        slope_c = ((step_c - mean) / total) / p[2, 2]
        depths = wp.vec3(
            -slope_a * w[0] / p[0, 2], -slope_b * w[1] / p[1, 2], -slope_c * w[2] / p[2, 2]
        )
        step_b = slope_b - slope_a
        step_c = slope_c - slope_a
    x1 = p[1, 0] - p[0, 0]
    y1 = p[1, 1] - p[0, 1]
    x2 = p[2, 0] - p[0, 0]
    y2 = p[2, 1] - p[0, 1]
    area = x1 * y2 - x2 * y1
    scale = 1.0 / wp.where(wp.abs(area) > _MIN_AREA, area, wp.float32(-1.0))
    gx = (step_b * y2 - step_c * y1) * scale
    gy = (step_c * x1 - step_b * x2) * scale
    return wp.mat33(
        -w[0] * gx, -w[0] * gy, depths[0],
        -w[1] * gx, -w[1] * gy, depths[1],
        -w[2] * gx, -w[2] * gy, depths[2],
    )  # fmt: skip


@wp.kernel
def backward_pixels(
    screen: wp.array2d(dtype=wp.vec3),
    triangles: wp.array(dtype=wp.vec3i),
    attributes: wp.array3d(dtype=wp.float32),
    triangle_id: wp.array3d(dtype=wp.int32),
    cotangent: wp.array4d(dtype=wp.float32),
    perspective: wp.int32,
    run: wp.int32,
    grad_screen: wp.array2d(dtype=wp.vec3),
    grad_attributes: wp.array3d(dtype=wp.float32),
):
    """Each pixel adds its gradient to its triangle's corners."""
    image, y, start = wp.tid()
    points = screen[image]
    colours = attributes[image]
    pixels = cotangent[image, y]
    grad_points = grad_screen[image]
    grad_colours = grad_attributes[image]
    channels = cotangent.shape[3]
    for x in range(start * run, (start + 1) * run):
        corners, p, w = _seen(points, triangles, triangle_id[image, y, x], x, y)
        if corners[0] >= 0:
            s = corrected(w, p, perspective)
            step_b = wp.float32(0.0)
            step_c = wp.float32(0.0)
            k = wp.int32(0)
            while k < channels:
                g = pixels[x, k]
                # Differences of colours, not colours: nearly equal ones stay exact.
                first = colours[corners[0], k]
                step_b += g * (colours[corners[1], k] - first)
                step_c += g * (colours[corners[2], k] - first)
                wp.atomic_add(grad_colours, corners[0], k, s[0] * g)
                wp.atomic_add(grad_colours, corners[1], k, s[1] * g)
                wp.atomic_add(grad_colours, corners[2], k, s[2] * g)
                k += 1
            pull = _pull(p, w, step_b, step_c, perspective)
            wp.atomic_add(grad_points, corners[0], pull[0])
            wp.atomic_add(grad_points, corners[1], pull[1])
            wp.atomic_add(grad_points, corners[2], pull[2])


@wp.kernel
def backward_triangles(
    screen: wp.array2d(dtype=wp.vec3),
    triangles: wp.array(dtype=wp.vec3i),
    attributes: wp.array3d(dtype=wp.float32),
    triangle_id: wp.array3d(dtype=wp.int32),
    cotangent: wp.array4d(dtype=wp.float32),
    perspective: wp.int32,
    run: wp.int32,
    grad_corners: wp.array4d(dtype=wp.float32),
):
    """Each triangle sums its pixels: position (3) and attributes (c) of each corner, [t 3 c+3]."""
    image, start = wp.tid()
    for i in range(start * run, (start + 1) * run):
        corners = triangles[i]
        for k in range(grad_corners.shape[3]):
            for j in range(3):
                grad_corners[image, i, j, k] = 0.0
        if _valid(corners, screen.shape[1]):
            p = corner_points(screen[image], corners)
            box = pixel_box(p, triangle_id.shape[2], triangle_id.shape[1])
            # Compared as floats: those of a triangle far outside are no int32.
            if is_usable(p) and box[0] <= box[1] and box[2] <= box[3]:
                for y in range(wp.int32(box[2]), wp.int32(box[3]) + 1):
                    for x in range(wp.int32(box[0]), wp.int32(box[1]) + 1):
                        if triangle_id[image, y, x] == i:
                            w = _weights(p, x, y)
                            s = corrected(w, p, perspective)
                            step_b = wp.float32(0.0)
                            step_c = wp.float32(0.0)
                            for k in range(cotangent.shape[3]):
                                g = cotangent[image, y, x, k]
                                first = attributes[image, corners[0], k]
                                step_b += g * (attributes[image, corners[1], k] - first)
                                step_c += g * (attributes[image, corners[2], k] - first)
                                for j in range(3):
                                    grad_corners[image, i, j, 3 + k] += s[j] * g
                            pull = _pull(p, w, step_b, step_c, perspective)
                            for j in range(3):
                                for k in range(3):
                                    grad_corners[image, i, j, k] += pull[j, k]


@wp.kernel
def gather_corners(
    grad_corners: wp.array3d(dtype=wp.float32),
    order: wp.array(dtype=wp.int32),
    starts: wp.array(dtype=wp.int32),
    run: wp.int32,
    grad_screen: wp.array2d(dtype=wp.vec3),
    grad_attributes: wp.array3d(dtype=wp.float32),
):
    """Each vertex sums its corners in the order of the triangles; `order` lists them by vertex."""
    image, start = wp.tid()
    for v in range(start * run, (start + 1) * run):
        position = wp.vec3(0.0, 0.0, 0.0)
        for k in range(grad_attributes.shape[2]):
            grad_attributes[image, v, k] = 0.0
        for n in range(starts[v], starts[v + 1]):
            sums = grad_corners[image, order[n]]
            position += wp.vec3(sums[0], sums[1], sums[2])
            for k in range(grad_attributes.shape[2]):
                grad_attributes[image, v, k] += sums[3 + k]
        grad_screen[image, v] = position
