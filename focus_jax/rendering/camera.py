"""The pinhole camera of the authors: x right, y down, depth away from the camera.

World and camera share one unit of length, that of the face model. Pixel centres lie at integers.
"""

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from focus_jax.rendering.geometry import as_points, check_ends, known_triangles, rows_of
from focus_jax.types import AnyArray, check_arrays

FOCAL = 9.06  # focal length in half image widths, the release's 1014.72 px at 224
DISTANCE = 1000.0  # from the camera to the origin of a face whose pose is zero

# Products of a few numbers gain nothing from reduced precision, and screen positions lose by it.
_EXACT = jax.lax.Precision.HIGHEST


def rotation_matrix(angles: Float[AnyArray, "*n 3"]) -> Float[Array, "*n 3 3"]:
    """Rx Ry Rz of three Euler angles in radians: pitch (about x), yaw (y), roll (z)."""
    check_ends(angles=(angles, (3,)))
    (cx, cy, cz), (sx, sy, sz) = (
        jnp.moveaxis(jnp.cos(angles), -1, 0),
        jnp.moveaxis(jnp.sin(angles), -1, 0),
    )
    rows = (
        (cy * cz, -cy * sz, sy),
        (cx * sz + sx * sy * cz, cx * cz - sx * sy * sz, -sx * cy),
        (sx * sz - cx * sy * cz, sx * cz + cx * sy * sz, cx * cy),
    )
    return jnp.stack([jnp.stack(row, -1) for row in rows], -2)


def extrinsics(
    pose: Float[AnyArray, "*n 6"],
) -> tuple[Float[Array, "*n 3 3"], Float[Array, "*n 3"]]:
    """World to camera, `x_camera = rotation @ x_world + translation`, from a pose.

    The pose is three Euler angles (radians) and three translations. The face looks along +z with y
    up; diag(1, -1, -1) turns it towards the camera, whose y points down.
    """
    check_ends(pose=(pose, (6,)))
    pose = jnp.asarray(pose, jnp.result_type(pose, 0.0))
    flip = jnp.array([1.0, -1.0, -1.0], pose.dtype)
    offset = jnp.array([0.0, 0.0, DISTANCE], pose.dtype)
    return flip[:, None] * rotation_matrix(pose[..., :3]), pose[..., 3:] + offset


def inverse(
    rotation: Float[AnyArray, "*n 3 3"], translation: Float[AnyArray, "*n 3"]
) -> tuple[Float[Array, "*n 3 3"], Float[Array, "*n 3"]]:
    """The rigid motion backwards: camera to world from world to camera, and the reverse."""
    check_ends(rotation=(rotation, (3, 3)), translation=(translation, (3,)))
    back = jnp.swapaxes(rotation, -1, -2)
    return back, -jnp.einsum("...ij,...j->...i", back, translation, precision=_EXACT)


# Products of so few numbers are faster on CPU as one loop over the points than as many small matrix
# products; only the sum over the points is a matrix product.


def rotate(
    rotation: Float[AnyArray, "*#n 3 3"], points: Float[AnyArray, "*#n v 3"]
) -> Float[Array, "*_ v 3"]:
    """Points or directions turned, `rotation @ point` each. Only reverse-mode first derivatives."""
    points = as_points("points", points)
    check_ends(rotation=(rotation, (3, 3)))
    leading = jnp.broadcast_shapes(rotation.shape[:-2], points.shape[:-2])
    return _rotate(
        jnp.broadcast_to(rotation, (*leading, 3, 3)),
        jnp.broadcast_to(points, (*leading, *points.shape[-2:])),
    )


@jax.custom_vjp
def _rotate(rotation: AnyArray, points: AnyArray) -> AnyArray:
    rows = jnp.swapaxes(rotation, -1, -2)[..., None, :, :]  # [..., 1, j, i]
    return (
        points[..., 0:1] * rows[..., 0, :]
        + points[..., 1:2] * rows[..., 1, :]
        + points[..., 2:3] * rows[..., 2, :]
    )


def _rotate_forward(
    rotation: AnyArray, points: AnyArray
) -> tuple[AnyArray, tuple[AnyArray, AnyArray]]:
    return _rotate(rotation, points), (rotation, points)


def _rotate_backward(
    residuals: tuple[AnyArray, AnyArray], cotangent: AnyArray
) -> tuple[AnyArray, AnyArray]:
    rotation, points = residuals
    cotangent = jax.lax.optimization_barrier(cotangent)  # or it is computed anew for each entry
    # As a sum: XLA's product of so few rows and columns is slow on CPU.
    to_rotation = jnp.sum(cotangent[..., :, None] * points[..., None, :], axis=-3)
    return to_rotation, _rotate(jnp.swapaxes(rotation, -1, -2), cotangent)


_rotate.defvjp(_rotate_forward, _rotate_backward)


def intrinsics(height: int, width: int) -> Float[Array, "3 3"]:
    """Camera matrix: focal length 9.06 * width / 2, centre ((width, height) - 1) / 2, in pixels."""
    focal = FOCAL * width / 2
    return jnp.array(
        [[focal, 0.0, (width - 1) / 2], [0.0, focal, (height - 1) / 2], [0.0, 0.0, 1.0]]
    )


def _check_view(
    name: str, points: AnyArray, rotation: AnyArray, translation: AnyArray, matrix: AnyArray
) -> None:
    """ValueError unless points [... v 3] and extrinsics are of one batch, intrinsics of one camera.

    One pose for a batch, or the reverse, is repeated by whoever wants it (`jnp.broadcast_to`).
    """
    pose = {"rotation": (rotation, (3, 3)), "translation": (translation, (3,))}
    check_ends(**{name: (points, (3,))})
    check_ends(**{name: (points, rows_of(points))}, **pose)
    check_arrays(intrinsics=matrix)
    if np.shape(matrix) != (3, 3):
        raise ValueError(f"intrinsics must be [3 3], of one camera, not {np.shape(matrix)}")


def project(
    vertices: Float[AnyArray, "*n v 3"],
    rotation: Float[AnyArray, "*n 3 3"],
    translation: Float[AnyArray, "*n 3"],
    intrinsics: Float[AnyArray, "3 3"],
) -> Float[Array, "*n v 3"]:
    """World points to (x, y, depth): pixels, and the distance along the camera's axis.

    A point at or behind the camera has no picture. Its depth is returned as it is, not positive, by
    which `rasterize` rejects it; its x and y are computed as if its depth were 1, so that they and
    their gradients stay finite.
    """
    _check_view("vertices", vertices, rotation, translation, intrinsics)
    camera = rotate(rotation, vertices) + translation[..., None, :]
    depth = camera[..., 2:]
    # Divided before the centre is added: adding it first costs a digit of x and y.
    plane = camera[..., :2] / jnp.where(depth > 0, depth, 1.0)
    pixels = plane[..., :1] * intrinsics[:2, 0] + plane[..., 1:] * intrinsics[:2, 1]
    return jnp.concatenate([pixels + intrinsics[:2, 2], depth], -1)


def unproject(
    screen: Float[AnyArray, "*n v 3"],
    rotation: Float[AnyArray, "*n 3 3"],
    translation: Float[AnyArray, "*n 3"],
    intrinsics: Float[AnyArray, "3 3"],
) -> Float[Array, "*n v 3"]:
    """World points from (x, y, depth), for positive depths: the inverse of `project`."""
    _check_view("screen positions", screen, rotation, translation, intrinsics)
    screen = as_points("screen positions", screen)
    depth = screen[..., 2]
    y = (screen[..., 1] - intrinsics[1, 2]) / intrinsics[1, 1]
    x = (screen[..., 0] - intrinsics[0, 2] - intrinsics[0, 1] * y) / intrinsics[0, 0]
    camera = jnp.stack([x * depth, y * depth, depth], -1) - translation[..., None, :]
    return jnp.einsum("...ji,...vj->...vi", rotation, camera, precision=_EXACT)


def clip_near(
    vertices: Float[AnyArray, "b v 3"],
    triangles: Int[AnyArray, "t 3"],
    attributes: Float[AnyArray, "b v c"],
    rotation: Float[AnyArray, "b 3 3"],
    translation: Float[AnyArray, "b 3"],
    *,
    near: float,
) -> tuple[Float[Array, "b 4*t 3"], Int[Array, "2*t 3"], Float[Array, "b 4*t c"]]:
    """A mesh without what lies nearer to the camera than `near`, in the unit of the vertices.

    `rasterize` leaves out triangles that reach behind the camera; of such scenes give it these.
    Triangle i becomes i and i + t, of four vertices of its own (Sutherland and Hodgman 1974); what
    is left of either may have no area. Neighbours have the same cut. Differentiable in vertices,
    attributes and pose; the attributes in between are the flat triangle's, so interpolate with
    `perspective`. ValueError unless `near` is positive, and for triangles that name no vertex.
    """
    check_arrays(vertices=vertices, attributes=attributes)
    if np.ndim(vertices) != 3:
        raise ValueError(f"vertices must be [b v 3], not {np.shape(vertices)}")
    triangles = known_triangles(triangles, vertices.shape[1])
    if not near > 0:
        raise ValueError(f"near must be positive, not {near}")
    depth = (rotate(rotation, vertices) + translation[..., None, :])[..., 2:]
    corners = jnp.concatenate([vertices, attributes, depth - near], -1)[:, triangles]
    inside = corners[..., -1] >= 0  # [b t 3]
    # Turned so that the odd one of the corners comes first, if one is alone on its side.
    count = jnp.sum(inside, -1)
    alone = jnp.where((count == 1)[..., None], inside, ~inside)
    first = jnp.where((count == 0) | (count == 3), 0, jnp.argmax(alone, -1))
    order = (first[..., None] + jnp.arange(3)) % 3
    a, b, c = jnp.moveaxis(jnp.take_along_axis(corners, order[..., None], 2), 2, 0)
    one, two, none = ((count == n)[..., None] for n in (1, 2, 0))

    def cut(front: AnyArray, behind: AnyArray) -> AnyArray:
        # Always from behind to the front: the same numbers for both triangles at an edge.
        across = front[..., -1:] - behind[..., -1:]
        share = -behind[..., -1:] / jnp.where(across > 0, across, 1.0)
        return behind + share * (front - behind)

    quad = (
        jnp.where(two, cut(b, a), a),
        jnp.where(one, cut(a, b), b),
        jnp.where(one, cut(a, c), c),
        jnp.where(two, cut(c, a), jnp.where(one, cut(a, c), c)),
    )
    # Nothing is left of what lies behind altogether: four times the same point.
    points = jnp.stack([jnp.where(none, a, q) for q in quad], 2)
    points = points.reshape(len(vertices), 4 * len(triangles), points.shape[-1])
    corner = 4 * jnp.arange(len(triangles), dtype=jnp.int32)[:, None]
    halves = corner + jnp.array([0, 1, 2], jnp.int32), corner + jnp.array([0, 2, 3], jnp.int32)
    return points[..., :3], jnp.concatenate(halves), points[..., 3:-1]
