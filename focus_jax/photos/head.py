"""The whole head of a fitted face, of face models whose files have more than the face."""

from pathlib import Path
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np
from jaxtyping import Float, Int

from focus_jax import forward
from focus_jax.face_models import load_face_model
from focus_jax.photos import export, mesh_files, texture
from focus_jax.photos.inference import Inference
from focus_jax.photos.trained import Model
from focus_jax.rendering import camera, geometry, morphable, shading
from focus_jax.types import FaceModel

APART = 1e-2  # millimetres between a vertex of the face and the same one of the head, at most


class Head(NamedTuple):
    """A face model's whole mesh, and which part of it the face is."""

    face_model: FaceModel
    vertex: Int[np.ndarray, "v"]  # the head's vertex that each of the face's is
    renormalize_normals: bool


def whole_head(model: Model) -> Head | None:
    """The head that belongs to a model's face.

    None where the face is all that the file has, and with a misfit prior, which is the face's.
    """
    from scipy.spatial import KDTree  # heavy, and only here

    if model.face_model_file == "builtin" or model.misfit is not None:
        return None
    modes = forward.widths(model.face_model)._asdict()
    whole = load_face_model(model.face_model_file, **modes, mesh="full")
    if len(whole.shape_mean) == len(model.face_model.shape_mean):
        return None
    nearest: Any = KDTree(whole.shape_mean).query(np.asarray(model.face_model.shape_mean))
    if nearest[0].max() > APART:
        raise ValueError(
            f"{model.face_model_file} is not the file that the model was trained with: its whole "
            "mesh does not hold the face"
        )
    renormalize = model.networks is not None and model.networks.drawing.renormalize_normals
    return Head(whole, nearest[1], renormalize)


def paint(
    head: Head, found: Inference, colours: Float[np.ndarray, "v 3"]
) -> Float[np.ndarray, "n 3"]:
    """Colours of the head's vertices in [0, 1], where `colours` are those of the face's.

    Elsewhere the albedo in the light of the photo, shifted by what the two differ in on the face,
    carried on over the surface.
    """
    model = head.face_model
    vertices = morphable.vertices(model, found.code.identity, found.code.expression)
    normals = geometry.vertex_normals(vertices, model.triangles, head.renormalize_normals)
    normals = camera.rotate(jnp.asarray(found.rotation), normals)
    albedo = morphable.albedo(model, found.code.albedo)
    shaded = np.asarray(shading.shade(albedo, normals, jnp.asarray(found.code.light)))
    difference, known = np.zeros_like(shaded), np.zeros(len(shaded), bool)
    difference[head.vertex] = colours - shaded[head.vertex]
    known[head.vertex] = True
    return np.clip(shaded + texture.extend(difference, known, model.triangles), 0, 1)


def write_head(
    folder: Path,
    head: Head,
    found: Inference,
    colours: Float[np.ndarray, "v 3"],
    rotation: Float[np.ndarray, "3 3"],
) -> None:
    """head.ply as the photo shows it and head_neutral.ply without expression and pose, coloured.

    `found` is one face's, `colours` are those of its vertices, `rotation` is to the photo's camera.
    OSError where that fails.
    """
    model, code = head.face_model, found.code
    fitted, neutral = (
        np.asarray(morphable.vertices(model, code.identity, expression))
        for expression in (code.expression, code.expression[..., :0])
    )
    painted = paint(head, found, colours)
    shapes = {"head": export.posed(fitted, rotation), "head_neutral": neutral}
    for name, vertices in shapes.items():
        normals = mesh_files.vertex_normals(vertices, model.triangles)
        content = mesh_files.ply(vertices, normals, model.triangles, painted)
        (folder / f"{name}.ply").write_bytes(content)
