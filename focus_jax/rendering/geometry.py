"""Normals of triangle meshes. Triangles run counter-clockwise seen from outside."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer
from jaxtyping import Array, Float, Int

from focus_jax.rendering import batching
from focus_jax.types import AnyArray, check_arrays


def check_ends(**arrays: tuple[AnyArray, tuple[Any, ...]]) -> None:
    """ValueError unless each array ends in the given axes: of others some pass for numbers.

    And unless they agree in the axes before, as one of a batch would go for all of another.
    """
    check_arrays(**{name: array for name, (array, _) in arrays.items()})
    for name, (array, end) in arrays.items():
        if np.shape(array)[-len(end) :] != end:
            wanted = " ".join(map(str, end))
            raise ValueError(f"{name} must be [... {wanted}], not {np.shape(array)}")
    if len({np.shape(array)[: -len(end)] for array, end in arrays.values()}) > 1:
        shapes = ", ".join(f"{name} {np.shape(array)}" for name, (array, _) in arrays.items())
        raise ValueError(f"these must agree in their first axes: {shapes}")


def rows_of(array: AnyArray) -> tuple[Any, ...]:
    """The last two axes of points [... v 3], for `check_ends`."""
    return (*(np.shape(array)[-2:-1] or "v"), 3)


def check_triangles(triangles: Int[AnyArray, "t 3"], count: int, name: str = "triangles") -> None:
    """ValueError unless they are triangles of `count` vertices; `name` is what it calls them.

    Inside jit, where their values are unknown, only their shape and type are looked at.
    """
    check_arrays(**{name: triangles})
    if np.ndim(triangles) != 2 or np.shape(triangles)[-1] != 3:
        raise ValueError(f"{name} must be [t 3], not {np.shape(triangles)}")
    if not jnp.issubdtype(triangles.dtype, jnp.integer):
        raise ValueError(f"{name} must be integers, not {triangles.dtype}")
    if isinstance(triangles, Tracer) or not triangles.size:
        return
    values = np.asarray(triangles)
    low, high = int(values.min()), int(values.max())
    if low < 0 or high >= count:
        raise ValueError(f"{name} name vertices {low}..{high}; there are {count}, from 0")


def known_triangles(triangles: Int[AnyArray, "t 3"], count: int) -> Int[AnyArray, "t 3"]:
    """The triangles, checked as above; inside jit those that name no vertex become such without
    area.
    """
    check_triangles(triangles, count)
    if not isinstance(triangles, Tracer):
        return triangles
    named = jnp.all((triangles >= 0) & (triangles < count), -1, keepdims=True)
    return jnp.where(named, triangles, 0)


def as_points(name: str, array: AnyArray) -> jax.Array:
    """Points or directions [... 3] in their floating point; ValueError for another last axis."""
    check_ends(**{name: (array, (3,))})
    return jnp.asarray(array, jnp.result_type(array, 0.0))


def _single(vertices: AnyArray) -> jax.Array:
    """In float32 at least: squared areas of a face in millimetres exceed what float16 holds."""
    vertices = as_points("vertices", vertices)
    return vertices.astype(jnp.promote_types(vertices.dtype, jnp.float32))


def _safe_length(x: AnyArray) -> jax.Array:
    """Length of the last axis, kept as 1; zero vectors have length 0 and gradient 0, not NaN."""
    squared = jnp.sum(x * x, -1, keepdims=True)
    positive = squared > 0
    return jnp.where(positive, jnp.sqrt(jnp.where(positive, squared, 1.0)), 0.0)


def _or_one(x: AnyArray) -> jax.Array:
    """What may be divided by: 1 instead of 0."""
    return jnp.where(x > 0, x, 1.0)


def _crosses(vertices: AnyArray, triangles: AnyArray) -> jax.Array:
    """Cross product of two sides of each triangle: its normal, twice its area long."""
    a, b, c = (jnp.take(vertices, triangles[:, k], axis=-2) for k in range(3))
    return jnp.cross(b - a, c - a)


def triangle_normals(
    vertices: Float[AnyArray, "*n v 3"], triangles: Int[AnyArray, "t 3"]
) -> tuple[Float[Array, "*n t 3"], Float[Array, "*n t"]]:
    """Unit normals and areas (squared units). The normal of a degenerate triangle is (0, 0, 0).

    So it is, inside jit, of a triangle that names no vertex; elsewhere that is a ValueError.
    """
    vertices = _single(vertices)
    crosses = _crosses(vertices, known_triangles(triangles, vertices.shape[-2]))
    length = _safe_length(crosses)
    return crosses / _or_one(length), length[..., 0] / 2


def vertex_normals(
    vertices: Float[AnyArray, "*n v 3"], triangles: Int[AnyArray, "t 3"], renormalize: bool = False
) -> Float[Array, "*n v 3"]:
    """Mean of the normals of the triangles around each vertex, weighted by their areas.

    Like the authors' they are not unit vectors: the rougher the surface, the shorter. With
    `renormalize` they are. A vertex without triangles has (0, 0, 0). ValueError for triangles that
    name no vertex; inside jit they count for nothing.
    Sums run in the order of the triangles; on CUDA that order needs
    `XLA_FLAGS=--xla_gpu_deterministic_ops=true`. Only reverse-mode first derivatives.
    """
    vertices = _single(vertices)
    triangles = known_triangles(triangles, vertices.shape[-2])
    if not vertices.size:
        return jnp.zeros_like(vertices)
    flat = vertices.reshape(-1, *vertices.shape[-2:])
    normals = jnp.stack(_means_around(triangles, flat), -1).reshape(vertices.shape)
    return normals / _or_one(_safe_length(normals)) if renormalize else normals


# The means have a gradient of their own, because the derived one costs four times as much on CPU,
# where also one mesh after the other is several times faster than all at once. x, y and z are
# arrays of their own: what puts them together is computed by XLA anew for each component.


@jax.custom_vjp
def _means_around(triangles: AnyArray, vertices: AnyArray) -> tuple[jax.Array, ...]:
    """x, y and z [n v] of the sums over the triangles around each vertex by the sums of weights."""
    return _means_around_forward(triangles, vertices)[0]


def _means_around_forward(
    triangles: AnyArray, vertices: AnyArray
) -> tuple[tuple[AnyArray, ...], tuple[AnyArray, ...]]:
    (sums,) = batching.run(_sum_forward, None, triangles, vertices)
    weight = _or_one(sums[..., 3])
    return tuple(sums[..., k] / weight for k in range(3)), (triangles, vertices, sums)


def _means_around_backward(
    residuals: tuple[AnyArray, ...], cotangent: tuple[AnyArray, ...]
) -> tuple[AnyArray | None, ...]:
    triangles, vertices, sums = residuals
    weight = _or_one(sums[..., 3])
    to_sums = [g / weight for g in cotangent]
    along = sum(g * sums[..., k] for k, g in enumerate(to_sums)) / weight
    to_sums.append(jnp.where(sums[..., 3] > 0, -along, 0.0))  # else divided by a constant
    return None, *batching.run(_sum_backward, None, triangles, vertices, *to_sums)


_means_around.defvjp(_means_around_forward, _means_around_backward)


def _sum_forward(_: None, triangles: AnyArray, vertices: AnyArray) -> tuple[AnyArray]:
    """Sums over the triangles around each vertex, of crosses and their lengths, [n v 4]."""

    def one(vertices: AnyArray) -> AnyArray:
        crosses = _crosses(vertices, triangles)
        weighted = jnp.concatenate([crosses, _safe_length(crosses)], -1)
        total = jnp.zeros((vertices.shape[0], 4), vertices.dtype)
        for k in range(3):
            total = total.at[triangles[:, k]].add(weighted, mode="drop")
        return total

    return (jax.lax.map(one, vertices),)


def _sum_backward(
    _: None, triangles: AnyArray, vertices: AnyArray, *cotangent: AnyArray
) -> tuple[AnyArray]:
    def one(arguments: tuple[AnyArray, tuple[AnyArray, ...]]) -> AnyArray:
        vertices, cotangent = arguments
        a, b, c = (vertices.at[triangles[:, k]].get(mode="clip") for k in range(3))
        crosses = jnp.cross(b - a, c - a)
        g = jnp.sum(jnp.stack(cotangent, -1).at[triangles].get(mode="clip"), 1)
        g = g[:, :3] + g[:, 3:] * crosses / _or_one(_safe_length(crosses))
        grad_b, grad_c = jnp.cross(c - a, g), jnp.cross(g, b - a)
        corners = jnp.stack([-grad_b - grad_c, grad_b, grad_c], 1).reshape(-1, 3)
        return jnp.zeros_like(vertices).at[triangles.reshape(-1)].add(corners, mode="drop")

    return (jax.lax.map(one, (vertices, cotangent)),)
