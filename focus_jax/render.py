"""A shaded face as pixels: camera, shading and rasterizer in one function."""

from jaxtyping import Array, Float, Int

from focus_jax import camera, geometry, rasterize, shading
from focus_jax.types import Rendering


def render_mesh(
    vertices: Float[Array, "b v 3"],
    albedo: Float[Array, "b v 3"],
    triangles: Int[Array, "t 3"],
    pose: Float[Array, "b 6"],
    light: Float[Array, "b 27"],
    height: int,
    width: int,
    backend: str | None = None,
    *,
    renormalize_normals: bool = False,
) -> Rendering:
    """Picture of a posed and lit mesh on black, its coverage, and where its vertices fall.

    `pose` is as in `camera.extrinsics`, `light` as in `shading.shade`, `backend` and the gradient
    as in `rasterize`; coverage has no gradient. `renormalize_normals` is of `vertex_normals`.
    """
    rotation, translation = camera.extrinsics(pose)
    screen = camera.project(vertices, rotation, translation, camera.intrinsics(height, width))
    normals = geometry.vertex_normals(vertices, triangles, renormalize_normals)
    normals = camera.rotate(rotation, normals)
    colours = shading.shade(albedo, normals, light)
    image, triangle_id = rasterize.render(screen, triangles, colours, height, width, backend)
    coverage = (triangle_id >= 0).astype(image.dtype)[..., None]
    return Rendering(image, coverage, screen)
