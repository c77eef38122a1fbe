"""The light of a face from the pixels that its mask leaves: in closed form, as shading is linear.

An encoder guesses the light. The photo shows it, once it is known what is face: with it renderings
come nearer to photos, and what still differs is more often an occluder.
"""

import dataclasses

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from focus_jax.rendering import camera, geometry, morphable, rasterize, shading
from focus_jax.rendering.render import PLAIN, Drawing
from focus_jax.types import AnyArray, FaceCode, FaceModel

# Mean squared colour error, as a share of the face, that a departure of 1 from the light before
# must save. With a tenth of it light takes the colours of occluders that the mask does not know.
PRIOR = 3e-3
ROBUST = 0.05  # colour distance from which on a pixel counts less: brows, lips, what is missed
ROUNDS = 4  # of weights and light in turn


def fit_light(
    code: FaceCode,
    image: Float[AnyArray, "b h w 3"],
    mask: Float[AnyArray, "b h w 1"],
    face_model: FaceModel,
    *,
    drawing: Drawing = PLAIN,
) -> FaceCode:
    """The code with the light under which its face looks most like the photo inside the mask.

    Shape, pose and albedo stay. `mask` is the probability that a pixel shows the face; the less of
    the face is seen, the nearer light stays to `code.light`. Ridge regression on nine spherical
    harmonics a channel, reweighted for the distance's Huber-like loss.
    """
    height, width = image.shape[1:3]
    rotation, translation = camera.extrinsics(code.pose)
    vertices = morphable.vertices(face_model, code.identity, code.expression)
    albedo = morphable.albedo(face_model, code.albedo)
    triangles = face_model.triangles
    normals = geometry.vertex_normals(vertices, triangles, drawing.renormalize_normals)
    normals = camera.rotate(rotation, normals)
    screen = camera.project(vertices, rotation, translation, camera.intrinsics(height, width))
    surface, triangle_id = rasterize.render(
        screen,
        triangles,
        jnp.concatenate([albedo, normals], axis=-1),
        height,
        width,
        perspective=drawing.perspective,
    )
    covered = (triangle_id >= 0).astype(surface.dtype)
    share = covered * mask[..., 0] / jnp.maximum(covered.sum((1, 2), keepdims=True), 1.0)
    # Channels first: each has its own light, all have the weights of pixels.
    colours = jnp.moveaxis(jnp.asarray(image), -1, 1).reshape(len(image), 3, -1)
    tones = jnp.moveaxis(surface[..., :3], -1, 1).reshape(colours.shape)
    basis = shading.sh_basis(surface[..., 3:]).reshape(len(image), -1, 9)

    def one(
        light: Float[Array, "3 9"],
        colours: Float[Array, "3 p"],
        tones: Float[Array, "3 p"],
        basis: Float[Array, "p 9"],
        share: Float[Array, "p"],
    ) -> Float[Array, "3 9"]:
        before, shaded = light, tones[..., None] * basis
        missing = colours - jnp.einsum("cpk,ck->cp", shaded, before)
        for _ in range(ROUNDS):
            apart = missing - jnp.einsum("cpk,ck->cp", shaded, light - before)
            weights = share / jnp.sqrt(1.0 + jnp.sum(apart**2, axis=0) / ROBUST**2)
            weighed = shaded * weights[:, None]
            matrix = jnp.einsum("cpk,cpl->ckl", weighed, shaded) + PRIOR * jnp.eye(9)
            right = jnp.einsum("cpk,cp->ck", weighed, missing)
            light = before + _solved(matrix, right)
        return light

    given = code.light.reshape(-1, 3, 9), colours, tones, basis, share.reshape(len(image), -1)
    found = jax.vmap(one)(*given)
    return dataclasses.replace(code, light=found.reshape(code.light.shape))


def _solved(matrix: Float[Array, "c n n"], right: Float[Array, "c n"]) -> Float[Array, "c n"]:
    """Solution of positive definite equations, by elimination, which needs no pivots then.

    LAPACK's would be equal; a command would wait for it to be loaded.
    """
    rows = jnp.concatenate([matrix, right[..., None]], axis=-1)
    for k in range(matrix.shape[-1]):
        row = rows[:, k] / rows[:, k, k, None]
        rows = (rows - rows[:, :, k, None] * row[:, None]).at[:, k].set(row)
    return rows[..., -1]
