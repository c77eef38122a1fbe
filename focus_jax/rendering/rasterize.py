"""Triangles to pixels: which triangle each pixel sees, and values interpolated there.

The rules, the same on every backend:

- Screen positions are (x, y, depth), x right and y down in pixels whose centres lie at integers.
- A pixel belongs to a triangle when its centre lies inside or on an edge. Neighbours agree about
  their common edge, so a closed surface has no pinholes.
- The nearest triangle wins, by depth interpolated at the pixel; of equally near ones the lowest
  index. Two depths that should be equal are so in floating point where the triangles are flat or
  the pixel lies on a common corner. On a common edge of tilted triangles rounding decides; the
  picture is the same.
- Triangles that run counter-clockwise as seen on screen (a `FaceModel` seen from outside) are kept,
  others are back faces and culled.
- A triangle with a vertex that is NaN, infinite, beyond 1e15 pixels, or not in front of the camera
  (depth outside 1e-20..1e20) covers nothing; nor does one of less than 1e-30 square pixels.
  Those that reach behind the camera are to be cut before (`camera.clip_near`): a warning counts
  those that are left out for it, where the positions are known, which inside jit they are not.
- Interpolation is affine in screen space, as the authors', or perspective-correct on request; so is
  the depth that decides who is nearest.
- The gradient is that of the interpolation inside the triangle that won. Silhouettes and depth
  order have none, as in the authors' release. Only reverse-mode first derivatives exist.
"""

import functools
import importlib
import warnings
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer
from jaxtyping import Array, Float, Int

from focus_jax.rendering import batching, rasterize_jnp
from focus_jax.rendering.geometry import check_triangles
from focus_jax.types import AnyArray, Fragments, check_arrays


class Options(NamedTuple):
    """What a compiled call depends on besides shapes."""

    height: int
    width: int
    backend: str
    perspective: bool = False
    deterministic: bool = False


def rasterize(
    screen_vertices: Float[AnyArray, "b v 3"],
    triangles: Int[AnyArray, "t 3"],
    height: int,
    width: int,
    backend: str | None = None,
    *,
    perspective: bool = False,
) -> Fragments:
    """The triangle that each pixel sees and the pixel's barycentric weights in it.

    `backend` is 'warp', 'jnp', or None: Warp on CPU and CUDA, jnp elsewhere and for float64. Under
    `jax.set_mesh` with a 'data' axis each device rasterizes its own part of the batch.
    Fragments have no gradient; `interpolate` and `render` have.
    Raises ValueError for wrong shapes or dtypes and for triangles that name no vertex. Inside jit
    the triangles' values are unknown; there, a triangle that names no vertex covers nothing.
    """
    screen, triangles = _checked(screen_vertices, triangles)
    _tell_of_cut(screen, triangles)
    options = _options(height, width, backend, screen, 0, perspective)
    screen = jax.lax.stop_gradient(screen)
    (triangle_id,) = batching.run(_index_map, options, triangles, screen)
    (weights,) = batching.run(_barycentric, options, triangles, screen, triangle_id)
    return Fragments(triangle_id, weights)


def interpolate(
    fragments: Fragments,
    screen_vertices: Float[AnyArray, "b v 3"],
    triangles: Int[AnyArray, "t 3"],
    attributes: Float[AnyArray, "b v c"],
    *,
    backend: str | None = None,
    perspective: bool = False,
    deterministic: bool = False,
) -> Float[Array, "b h w c"]:
    """Vertex attributes at each pixel, zero outside. Differentiable in positions and attributes.

    The weights are computed anew from `fragments.triangle_id` and the positions, so that their
    gradient is known. Positions may have moved since: a pixel that its triangle has left takes the
    values of the triangle's plane there, and 0 where the corners fall together. `deterministic` is
    explained in `render`.
    """
    screen, triangles = _checked(screen_vertices, triangles)
    triangle_id = fragments.triangle_id
    screen, attributes = _checked_attributes(screen, attributes)
    if triangle_id.ndim != 3 or triangle_id.shape[0] != screen.shape[0]:
        raise ValueError(f"triangle_id {triangle_id.shape} is not [b h w] of {screen.shape}")
    if not jnp.issubdtype(triangle_id.dtype, jnp.integer):
        raise ValueError(f"triangle_id must be integers, not {triangle_id.dtype}")
    height, width = triangle_id.shape[1:]
    options = _options(
        height, width, backend, screen, attributes.shape[2], perspective, deterministic
    )
    return _interpolate(options, triangles, triangle_id.astype(jnp.int32), screen, attributes)


def render(
    screen_vertices: Float[AnyArray, "b v 3"],
    triangles: Int[AnyArray, "t 3"],
    attributes: Float[AnyArray, "b v c"],
    height: int,
    width: int,
    backend: str | None = None,
    *,
    perspective: bool = False,
    deterministic: bool = False,
) -> tuple[Float[Array, "b h w c"], Int[Array, "b h w"]]:
    """`rasterize` and `interpolate` in one pass: the image, and each pixel's triangle (-1 outside).

    Gradients on CPU are the same in every run. On CUDA vertices collect theirs by atomic additions,
    whose order, and so the last bits, vary; `deterministic` sums them in a fixed order instead, for
    more memory (3 (c + 3) numbers a triangle) and time. Other arguments as in `rasterize`.
    """
    screen, triangles = _checked(screen_vertices, triangles)
    _tell_of_cut(screen, triangles)
    screen, attributes = _checked_attributes(screen, attributes)
    options = _options(
        height, width, backend, screen, attributes.shape[2], perspective, deterministic
    )
    return _render(options, triangles, screen, attributes)


# --- Arguments ---------------------------------------------------------------------------------


def _checked(screen: AnyArray, triangles: AnyArray) -> tuple[AnyArray, AnyArray]:
    check_arrays(screen_vertices=screen)
    if np.ndim(screen) != 3 or np.shape(screen)[-1] != 3:
        raise ValueError(f"screen_vertices must be [b v 3], not {np.shape(screen)}")
    check_triangles(triangles, np.shape(screen)[1])
    screen = jnp.asarray(screen)
    if not jnp.issubdtype(screen.dtype, jnp.floating):
        raise ValueError(f"screen_vertices must be floating point, not {screen.dtype}")
    return screen.astype(jnp.promote_types(screen.dtype, jnp.float32)), triangles.astype(jnp.int32)


def _tell_of_cut(screen: AnyArray, triangles: AnyArray) -> None:
    """Warn of triangles of which the camera would see a part, if they were clipped."""
    if isinstance(screen, Tracer) or isinstance(triangles, Tracer) or not screen.size:
        return
    behind = np.asarray(screen[..., 2] <= 0)  # few bytes, and false for NaN
    if not behind.any():
        return
    corners = behind[:, np.clip(np.asarray(triangles), 0, behind.shape[1] - 1)]
    cut = int((corners.any(-1) & ~corners.all(-1)).sum())
    if cut:
        warnings.warn(
            f"{cut} triangles reach behind the camera and are left out; cut the mesh before with "
            "camera.clip_near, or move it away",
            stacklevel=3,
        )


def _checked_attributes(screen: AnyArray, attributes: AnyArray) -> tuple[AnyArray, AnyArray]:
    check_arrays(attributes=attributes)
    attributes = jnp.asarray(attributes)
    if attributes.ndim != 3 or attributes.shape[:2] != screen.shape[:2]:
        raise ValueError(
            f"attributes {attributes.shape} are not [b v c] of screen_vertices {screen.shape}"
        )
    dtype = jnp.promote_types(screen.dtype, attributes.dtype)
    return screen.astype(dtype), attributes.astype(dtype)


def _options(
    height: int,
    width: int,
    backend: str | None,
    screen: AnyArray,
    channels: int,
    perspective: bool = False,
    deterministic: bool = False,
) -> Options:
    whole = int(height) == height and int(width) == width
    if not whole or height < 0 or width < 0 or height * width >= 2**31:
        raise ValueError(f"the image cannot be {height} x {width} pixels")
    if backend not in (None, "warp", "jnp"):
        raise ValueError(f"backend must be 'warp', 'jnp' or None, not {backend!r}")
    if backend == "warp" and screen.dtype != jnp.float32:
        raise ValueError(f"the warp backend computes in float32, not {screen.dtype}; use 'jnp'")
    if backend == "warp" and not _has_warp():
        raise ValueError("the warp backend needs the package warp-lang (>= 1.19)")
    # Warp's arrays have int32 strides, in bytes.
    largest = max(height * width, screen.shape[1]) * 4 * max(channels, 3)
    if backend == "warp" and largest >= 2**31:
        raise ValueError(f"one image's values must be under 2 GiB with warp, not {largest} bytes")
    if backend is None:
        wanted = screen.dtype == jnp.float32 and largest < 2**31
        wanted = wanted and _platform(screen) in ("cpu", "gpu", "cuda")
        backend = "warp" if wanted and _has_warp() else "jnp"
    return Options(int(height), int(width), backend, bool(perspective), bool(deterministic))


def _platform(x: AnyArray) -> str:
    if not isinstance(x, Tracer):
        return next(iter(x.devices())).platform
    device = getattr(jax.config, "jax_default_device", None)
    return getattr(device, "platform", None) or device or jax.default_backend()


@functools.cache
def _has_warp() -> bool:
    try:
        importlib.import_module("focus_jax.rendering.rasterize_warp")
    except ImportError as error:
        warnings.warn(f"no Warp ({error}): rasterizing in plain JAX, which is slower", stacklevel=2)
        return False
    return True


def expect_programs() -> None:
    """To be called before a program runs that another process compiled."""
    if _has_warp():
        from focus_jax.rendering import rasterize_warp

        rasterize_warp.expect_programs()


# --- Gradients ---------------------------------------------------------------------------------


@functools.partial(jax.custom_vjp, nondiff_argnums=(0,))
def _render(
    options: Options, triangles: AnyArray, screen: AnyArray, attributes: AnyArray
) -> tuple[AnyArray, ...]:
    return batching.run(_image, options, triangles, screen, attributes)


def _render_forward(
    options: Options, triangles: AnyArray, screen: AnyArray, attributes: AnyArray
) -> tuple[tuple[AnyArray, ...], tuple[AnyArray, ...]]:
    image, triangle_id = batching.run(_image, options, triangles, screen, attributes)
    return (image, triangle_id), (triangles, screen, attributes, triangle_id)


def _render_backward(
    options: Options, residuals: tuple[AnyArray, ...], cotangents: tuple[AnyArray, ...]
) -> tuple[AnyArray | None, ...]:
    triangles, screen, attributes, triangle_id = residuals
    gradients = batching.run(
        _backward, options, triangles, screen, attributes, triangle_id, cotangents[0]
    )
    return None, *gradients


_render.defvjp(_render_forward, _render_backward)


@functools.partial(jax.custom_vjp, nondiff_argnums=(0,))
def _interpolate(
    options: Options,
    triangles: AnyArray,
    triangle_id: AnyArray,
    screen: AnyArray,
    attributes: AnyArray,
) -> AnyArray:
    return batching.run(_values, options, triangles, screen, attributes, triangle_id)[0]


def _interpolate_forward(
    options: Options,
    triangles: AnyArray,
    triangle_id: AnyArray,
    screen: AnyArray,
    attributes: AnyArray,
) -> tuple[AnyArray, tuple[AnyArray, ...]]:
    (image,) = batching.run(_values, options, triangles, screen, attributes, triangle_id)
    return image, (triangles, screen, attributes, triangle_id)


def _interpolate_backward(
    options: Options, residuals: tuple[AnyArray, ...], cotangent: AnyArray
) -> tuple[AnyArray | None, ...]:
    return None, *_render_backward(options, residuals, (cotangent,))


_interpolate.defvjp(_interpolate_forward, _interpolate_backward)


# --- The five operations: (options, triangles, *arrays with a batch axis) -> such arrays ---------


def _backend(options: Options) -> Any:
    if options.backend == "jnp":
        return rasterize_jnp
    from focus_jax.rendering import rasterize_warp

    return rasterize_warp


def _nothing(options: Options, triangles: AnyArray, screen: AnyArray) -> bool:
    """Whether there is no pixel, vertex, triangle or image, which backends need not care about."""
    return 0 in (options.height, options.width, *triangles.shape, *screen.shape)


def _index_map(options: Options, triangles: AnyArray, screen: AnyArray) -> tuple[AnyArray]:
    if _nothing(options, triangles, screen):
        return (jnp.full((screen.shape[0], options.height, options.width), -1, jnp.int32),)
    return (_backend(options).index_map(screen, triangles, *options[:2], options.perspective),)


def _barycentric(
    options: Options, triangles: AnyArray, screen: AnyArray, triangle_id: AnyArray
) -> tuple[AnyArray]:
    if _nothing(options, triangles, screen):
        return (jnp.zeros((*triangle_id.shape, 3), screen.dtype),)
    return (_backend(options).barycentric(screen, triangles, triangle_id, options.perspective),)


def _values(
    options: Options,
    triangles: AnyArray,
    screen: AnyArray,
    attributes: AnyArray,
    triangle_id: AnyArray,
) -> tuple[AnyArray]:
    if _nothing(options, triangles, screen) or not attributes.shape[2]:
        return (jnp.zeros((*triangle_id.shape, attributes.shape[2]), screen.dtype),)
    image = _backend(options).interpolate(
        screen, triangles, attributes, triangle_id, options.perspective
    )
    return (image,)


def _image(
    options: Options, triangles: AnyArray, screen: AnyArray, attributes: AnyArray
) -> tuple[AnyArray, AnyArray]:
    if _nothing(options, triangles, screen) or not attributes.shape[2]:
        triangle_id = _index_map(options, triangles, screen)[0]
        return _values(options, triangles, screen, attributes, triangle_id)[0], triangle_id
    size = options.height, options.width
    return _backend(options).image(screen, triangles, attributes, *size, options.perspective)


def _backward(
    options: Options,
    triangles: AnyArray,
    screen: AnyArray,
    attributes: AnyArray,
    triangle_id: AnyArray,
    cotangent: AnyArray,
) -> tuple[AnyArray, AnyArray]:
    if _nothing(options, triangles, screen) or not attributes.shape[2]:
        return jnp.zeros_like(screen), jnp.zeros_like(attributes)
    arrays = screen, triangles, attributes, triangle_id, cotangent
    return _backend(options).backward(*arrays, options.perspective, options.deterministic)
