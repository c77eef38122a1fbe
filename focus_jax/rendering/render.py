"""A shaded face as pixels: camera, shading and rasterizer in one function."""

from typing import NamedTuple

import jax.numpy as jnp
from jaxtyping import Float, Int

from focus_jax.rendering import camera, fragments, geometry, rasterize, shading
from focus_jax.types import AnyArray, Rendering, check_arrays


class Drawing(NamedTuple):
    """How `render_mesh` draws, as one hashable setting (`config.rasterizer`); the release's way."""

    renormalize_normals: bool = False
    perspective: bool = False
    samples: int = 1


PLAIN = Drawing()


def render_mesh(
    vertices: Float[AnyArray, "b v 3"],
    albedo: Float[AnyArray, "b v 3"],
    triangles: Int[AnyArray, "t 3"],
    pose: Float[AnyArray, "b 6"],
    light: Float[AnyArray, "b 27"],
    height: int,
    width: int,
    backend: str | None = None,
    *,
    renormalize_normals: bool = False,
    perspective: bool = False,
    samples: int = 1,
) -> Rendering:
    """Picture of a posed and lit mesh on black, its coverage, and where its vertices fall.

    `pose` is as in `camera.extrinsics`, `light` as in `shading.shade`, `backend` and the gradient
    as in `rasterize`; coverage has no gradient. `renormalize_normals` is of `vertex_normals`,
    `perspective` of `rasterize`. With more than one of `samples` a side edges are soft: each pixel
    is samples x samples points, coverage the share of them inside, and colour the mean of those.
    """
    if samples < 1:
        raise ValueError(f"samples must be at least 1, not {samples}")
    check_arrays(vertices=vertices, albedo=albedo, pose=pose, light=light)
    # In half precision a face has two dozen depths.
    vertices, albedo, pose, light = (
        jnp.asarray(x, jnp.promote_types(jnp.result_type(x), jnp.float32))
        for x in (vertices, albedo, pose, light)
    )
    rotation, translation = camera.extrinsics(pose)
    screen = camera.project(vertices, rotation, translation, camera.intrinsics(height, width))
    normals = geometry.vertex_normals(vertices, triangles, renormalize_normals)
    normals = camera.rotate(rotation, normals)
    colours = shading.shade(albedo, normals, light)
    image, triangle_id = rasterize.render(
        fragments.finer(screen, samples) if samples > 1 else screen,
        triangles,
        colours,
        height * samples,
        width * samples,
        backend,
        perspective=perspective,
    )
    coverage = (triangle_id >= 0).astype(image.dtype)[..., None]
    if samples > 1:
        image, coverage = (fragments.mean_of_blocks(x, samples) for x in (image, coverage))
        # Black around the face does not count; a pixel without any point of it stays black.
        image = image / jnp.maximum(coverage, samples**-2)
    return Rendering(image, coverage, screen)
