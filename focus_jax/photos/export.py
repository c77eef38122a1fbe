"""A face model's surface laid flat for textures, and faces turned as their photo shows them."""

import functools
import importlib.util
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int

from focus_jax.face_models import BUILTIN
from focus_jax.types import FaceModel

BUILTIN_ATLAS = BUILTIN.with_name("builtin_atlas.npz")


class Atlas(NamedTuple):
    """A mesh cut open and laid flat: vertices on cuts occur more than once."""

    vertex: Int[np.ndarray, "n"]  # the face model's vertex that each one is
    triangles: Int[np.ndarray, "t 3"]  # in the order of the face model's
    uv: Float[np.ndarray, "n 2"]  # in [0, 1], v upwards


def make_atlas(face_model: FaceModel) -> Atlas:
    """The face model's surface laid flat, without overlaps.

    The model's own texture coordinates are one a vertex, so that triangles across their cuts are
    smeared over the whole texture; here such vertices are doubled. The built-in model brings its
    atlas along (`third_party/build_builtin_atlas.py`); others are laid flat by xatlas.
    ValueError where that is not installed.
    """
    atlas = _stored_atlas(BUILTIN_ATLAS)
    if np.array_equal(atlas.vertex[atlas.triangles], face_model.triangles):
        return atlas
    if importlib.util.find_spec("xatlas") is None:
        raise ValueError(
            f"the texture of {face_model.name or 'this face model'} needs xatlas: "
            '`pip install "focus_jax[textures]"`; that of the built-in face model does not'
        )
    return lay_flat(face_model)


@functools.cache
def _stored_atlas(path: Path) -> Atlas:
    with np.load(path) as stored:
        vertex, triangles = (stored[key].astype(np.int64) for key in ("vertex", "triangles"))
        return Atlas(vertex, triangles, stored["uv"].astype(np.float32))


def lay_flat(face_model: FaceModel) -> Atlas:
    """The atlas that xatlas makes of a face model."""
    vertices = np.ascontiguousarray(face_model.shape_mean, np.float32)
    triangles = np.ascontiguousarray(face_model.triangles, np.uint32)
    return _atlas(vertices.tobytes(), triangles.tobytes())


@functools.lru_cache(maxsize=2)
def _atlas(vertices: bytes, triangles: bytes) -> Atlas:
    import xatlas

    atlas = xatlas.Atlas()
    atlas.add_mesh(
        np.frombuffer(vertices, np.float32).reshape(-1, 3),
        np.frombuffer(triangles, np.uint32).reshape(-1, 3),
    )
    charts, pack = xatlas.ChartOptions(), xatlas.PackOptions()
    charts.max_cost = 8.0  # few, large pieces
    pack.resolution, pack.padding, pack.bilinear = 1024, 4, True
    atlas.generate(charts, pack)
    vertex, index, uv = atlas[0]
    return Atlas(vertex.astype(np.int64), index.astype(np.int64), uv.astype(np.float32))


def posed(
    vertices: Float[np.ndarray, "v 3"], rotation: Float[np.ndarray, "3 3"]
) -> Float[np.ndarray, "v 3"]:
    """Vertices turned as the photo shows them, y up. `rotation` is `camera.extrinsics`'s."""
    flip = np.array([1.0, -1.0, -1.0], np.float32)  # the camera's y points down
    return (vertices @ rotation.T * flip).astype(np.float32)
