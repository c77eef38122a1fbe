"""What else an index map tells: depth, normals, which vertices are visible, smooth coverage."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from focus_jax.rendering import rasterize
from focus_jax.rendering.geometry import check_ends, check_triangles, known_triangles
from focus_jax.types import AnyArray, Fragments


def depth_map(
    fragments: Fragments,
    screen_vertices: Float[AnyArray, "b v 3"],
    triangles: Int[AnyArray, "t 3"],
    *,
    backend: str | None = None,
    perspective: bool = False,
) -> Float[Array, "b h w"]:
    """Depth of the surface that each pixel sees, in the units of the vertices; 0 outside.

    Affine in screen space, as the depth test; with `perspective` that of the flat triangle.
    """
    depths = screen_vertices[..., 2:]
    image = rasterize.interpolate(
        fragments, screen_vertices, triangles, depths, backend=backend, perspective=perspective
    )
    return image[..., 0]


def normal_map(
    fragments: Fragments,
    screen_vertices: Float[AnyArray, "b v 3"],
    triangles: Int[AnyArray, "t 3"],
    normals: Float[AnyArray, "b v 3"],
    *,
    backend: str | None = None,
) -> Float[Array, "b h w 3"]:
    """Unit normals, interpolated from those of the vertices; (0, 0, 0) outside."""
    check_ends(normals=(normals, (3,)))
    image = rasterize.interpolate(fragments, screen_vertices, triangles, normals, backend=backend)
    squared = jnp.sum(image * image, -1, keepdims=True)
    # 1e-20: opposite normals may cancel; such a pixel has no normal, and a finite gradient.
    return image * jax.lax.rsqrt(jnp.maximum(squared, 1e-20))


def visible_vertices(
    fragments: Fragments,
    screen_vertices: Float[AnyArray, "b v 3"],
    triangles: Int[AnyArray, "t 3"],
    *,
    tolerance: float = 2e-3,
) -> Bool[Array, "b v"]:
    """Which vertices the camera sees: inside the image, on a front face, nothing in front.

    A vertex is not hidden when it lies at most `tolerance` times its depth (2 mm at 1 m) behind the
    plane of the triangle that the nearest pixel sees, so that meshes may be finer than pixels.
    No gradient. ValueError for triangles that name no vertex.
    """
    check_ends(screen_vertices=(screen_vertices, (3,)))
    triangles = jnp.asarray(known_triangles(triangles, screen_vertices.shape[1]))
    if 0 in (*fragments.triangle_id.shape, *triangles.shape):
        return jnp.zeros(screen_vertices.shape[:2], bool)
    return jax.vmap(_visible, (0, 0, None, None))(
        fragments.triangle_id, screen_vertices, triangles, tolerance
    )


def _visible(
    triangle_id: AnyArray, screen: AnyArray, triangles: AnyArray, tolerance: float
) -> AnyArray:
    height, width = triangle_id.shape
    count = screen.shape[0]
    a, b, c = (screen[triangles[:, k]] for k in range(3))
    area = (b[:, 0] - a[:, 0]) * (c[:, 1] - a[:, 1]) - (c[:, 0] - a[:, 0]) * (b[:, 1] - a[:, 1])
    front = jnp.zeros(count, bool).at[triangles].max((area < 0)[:, None])
    x, y, depth = screen[:, 0], screen[:, 1], screen[:, 2]
    inside = (x >= -0.5) & (x <= width - 0.5) & (y >= -0.5) & (y <= height - 0.5) & (depth > 0)
    column = jnp.clip(jnp.where(inside, jnp.round(x), 0), 0, width - 1).astype(jnp.int32)
    row = jnp.clip(jnp.where(inside, jnp.round(y), 0), 0, height - 1).astype(jnp.int32)
    occluder = triangle_id[row, column]
    p, q, r = (screen[triangles[jnp.maximum(occluder, 0), k]] for k in range(3))
    u, v, w = q - p, r - p, screen - p
    area = u[:, 0] * v[:, 1] - v[:, 0] * u[:, 1]
    area = jnp.where(area == 0, 1.0, area)
    s = (w[:, 0] * v[:, 1] - v[:, 0] * w[:, 1]) / area
    t = (u[:, 0] * w[:, 1] - w[:, 0] * u[:, 1]) / area
    surface = p[:, 2] + s * u[:, 2] + t * v[:, 2]
    clear = (occluder < 0) | (depth <= surface + tolerance * depth)
    return inside & front & clear


def visible_points(
    fragments: Fragments,
    screen_vertices: Float[AnyArray, "b v 3"],
    triangles: Int[AnyArray, "t 3"],
    corners: Int[AnyArray, "n 3"],
    weights: Float[AnyArray, "n 3"],
) -> Bool[Array, "b n"]:
    """Which weighted sums of three vertices each are seen: most of whose weight is on vertices that
    are, as in `visible_vertices`. ValueError for corners that are no vertices, too.
    """
    seen = visible_vertices(fragments, screen_vertices, triangles)
    check_triangles(corners, seen.shape[1], "corners")
    return jnp.sum(weights * seen[:, corners], axis=-1) > 0.5


def smooth_coverage(
    screen_vertices: Float[AnyArray, "b v 3"],
    triangles: Int[AnyArray, "t 3"],
    height: int,
    width: int,
    backend: str | None = None,
    *,
    samples: int = 4,
) -> Float[Array, "b h w 1"]:
    """Share of each pixel that the mesh covers, from samples x samples points in it; for pictures.

    Like the coverage of `render_mesh` it has no gradient.
    """
    if samples < 1:
        raise ValueError(f"samples must be at least 1, not {samples}")
    check_ends(screen_vertices=(screen_vertices, (3,)))
    # In half precision a finer image's pixels have no middles.
    screen_vertices = jnp.asarray(screen_vertices, jnp.result_type(screen_vertices, jnp.float32))
    fine = finer(screen_vertices, samples)
    fragments = rasterize.rasterize(fine, triangles, height * samples, width * samples, backend)
    covered = (fragments.triangle_id >= 0).astype(screen_vertices.dtype)[..., None]
    return mean_of_blocks(covered, samples)


def finer(screen_vertices: Float[AnyArray, "b v 3"], samples: int) -> Float[Array, "b v 3"]:
    """Screen positions in an image of `samples` times as many pixels a side."""
    check_ends(screen_vertices=(screen_vertices, (3,)))
    xy = (screen_vertices[..., :2] + 0.5) * samples - 0.5  # pixel centres are integers in both
    return jnp.concatenate([xy, screen_vertices[..., 2:]], axis=-1)


def mean_of_blocks(image: Float[AnyArray, "b y x c"], side: int) -> Float[Array, "b h w c"]:
    """Each block of side x side pixels as one, its mean."""
    b, height, width, channels = image.shape
    if height % side or width % side:
        raise ValueError(f"{height} x {width} pixels are no blocks of {side} x {side}")
    blocks = image.reshape(b, height // side, side, width // side, side, channels)
    return jnp.mean(blocks, (2, 4))
