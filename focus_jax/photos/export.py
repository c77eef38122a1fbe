"""Meshes as files: OBJ with a material and a texture, PLY with vertex colours, GLB; with normals.

OBJ and PLY keep the face model's units (millimetres); GLB is in metres, as glTF says. y is up and
the face looks along +z.
"""

import functools
import importlib.util
import io
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import trimesh
from jaxtyping import Float, Int
from PIL import Image
from trimesh.exchange.gltf import export_glb
from trimesh.exchange.ply import export_ply
from trimesh.visual import TextureVisuals
from trimesh.visual.material import PBRMaterial

from focus_jax.face_models import BUILTIN
from focus_jax.types import FaceModel
from focus_jax.weights.run import SHIPPED

BUILTIN_ATLAS = BUILTIN.with_name("builtin_atlas.npz")
SHIPPED_ATLAS = SHIPPED / "atlas.npz"  # of `SHIPPED / "face_model.npz"`
METRES = {"mm": 1e-3, "cm": 1e-2, "m": 1.0}


class Atlas(NamedTuple):
    """A mesh cut open and laid flat: vertices on cuts occur more than once."""

    vertex: Int[np.ndarray, "n"]  # the face model's vertex that each one is
    triangles: Int[np.ndarray, "t 3"]  # in the order of the face model's
    uv: Float[np.ndarray, "n 2"]  # in [0, 1], v upwards


def make_atlas(face_model: FaceModel) -> Atlas:
    """The face model's surface laid flat, without overlaps.

    The model's own texture coordinates are one a vertex, so that triangles across their cuts are
    smeared over the whole texture; here such vertices are doubled. The built-in model and the one
    of the shipped weights bring their atlas along (`third_party/build_builtin_atlas.py`); others
    are laid flat by xatlas. ValueError where that is not installed.
    """
    for path in (BUILTIN_ATLAS, SHIPPED_ATLAS):
        atlas = _stored_atlas(path)
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


def write_meshes(
    folder: Path,
    shapes: dict[str, Float[np.ndarray, "v 3"]],
    atlas: Atlas,
    texture: np.ndarray,
    colours: Float[np.ndarray, "v 3"],
    triangles: Int[np.ndarray, "t 3"],
    *,
    units: str = "mm",
) -> None:
    """Each of `shapes`, NAME to vertices, as NAME.obj, NAME.ply and NAME.glb in `folder`.

    The OBJs share texture.png and material.mtl. `texture` is uint8 `[s s 3]` over `atlas`,
    `colours` are those of the vertices in [0, 1]. The PLY has the face model's vertices and
    triangles in their order, the others the atlas's. OSError where a file cannot be written.
    """
    (folder / "texture.png").write_bytes(encode_png(texture))
    (folder / "material.mtl").write_text(MATERIAL)
    for name, vertices in shapes.items():
        (folder / f"{name}.obj").write_text(_obj(vertices, atlas))
        content = glb(vertices, atlas, texture, units=units, name=name)
        (folder / f"{name}.glb").write_bytes(content)
        (folder / f"{name}.ply").write_bytes(ply(vertices, triangles, colours))


def ply(
    vertices: Float[np.ndarray, "v 3"],
    triangles: Int[np.ndarray, "t 3"],
    colours: Float[np.ndarray, "v 3"],
) -> bytes:
    """A mesh whose vertices have colours, in [0, 1], and smooth normals, as binary PLY."""
    rgb = np.rint(np.clip(colours, 0, 1) * 255).astype(np.uint8)
    return export_ply(_mesh(vertices, triangles, vertex_colors=rgb), vertex_normal=True)


MATERIAL = """newmtl face
Ka 1 1 1
Kd 1 1 1
Ks 0 0 0
illum 1
map_Kd texture.png
"""


def _obj(vertices: np.ndarray, atlas: Atlas) -> str:
    """The face model's own vertices; only texture coordinates occur twice on the cuts."""
    place = "\n".join(f"v {x:.5f} {y:.5f} {z:.5f}" for x, y, z in vertices.tolist())
    uv = "\n".join(f"vt {u:.6f} {v:.6f}" for u, v in atlas.uv.tolist())
    whole = atlas.vertex[atlas.triangles]
    normals = _mesh(vertices, whole).vertex_normals
    normal = "\n".join(f"vn {x:.4f} {y:.4f} {z:.4f}" for x, y, z in normals.tolist())
    corners = np.stack([whole, atlas.triangles, whole], -1) + 1
    faces = "\n".join(
        "f {}/{}/{} {}/{}/{} {}/{}/{}".format(*n) for n in corners.reshape(-1, 9).tolist()
    )
    return f"mtllib material.mtl\nusemtl face\n{place}\n{uv}\n{normal}\n{faces}\n"


def glb(
    vertices: Float[np.ndarray, "v 3"],
    atlas: Atlas,
    texture: np.ndarray,
    *,
    units: str = "mm",
    name: str = "face",
) -> bytes:
    """A textured mesh as glTF binary, with smooth normals, in metres; `name` is its node's."""
    # Without light: the photo's is in the texture. A rough white surface looks right everywhere.
    material = PBRMaterial(
        baseColorTexture=_jpeg(texture),
        metallicFactor=0.0,
        roughnessFactor=1.0,
        doubleSided=True,
    )
    scale = METRES.get(units, 1.0)
    # Normals of the uncut mesh: on the cuts, those of the pieces would show as lines.
    whole = _mesh(vertices, atlas.vertex[atlas.triangles])
    mesh = _mesh(
        vertices[atlas.vertex] * scale,
        atlas.triangles,
        vertex_normals=whole.vertex_normals[atlas.vertex],
        visual=TextureVisuals(uv=atlas.uv, material=material),
    )
    scene = trimesh.Scene()
    scene.add_geometry(mesh, node_name=name, geom_name=name)
    return export_glb(scene, include_normals=True, tree_postprocessor=_say_what_buffers_hold)


def _say_what_buffers_hold(tree: dict[str, Any]) -> None:
    """The `target` of each buffer view (vertices, indices), which viewers upload it by."""
    for primitive in (p for mesh in tree["meshes"] for p in mesh["primitives"]):
        places = {
            primitive["indices"]: 34963,
            **dict.fromkeys(primitive["attributes"].values(), 34962),
        }
        for accessor, target in places.items():
            tree["bufferViews"][tree["accessors"][accessor]["bufferView"]]["target"] = target
    for node in tree["nodes"]:
        node.setdefault("name", "world")


def _mesh(vertices, triangles, **options) -> trimesh.Trimesh:
    return trimesh.Trimesh(vertices, triangles, process=False, validate=False, **options)


def _jpeg(texture: np.ndarray) -> Image.Image:
    """The texture as a JPEG inside: a tenth of the size, which a page with many faces needs."""
    file = io.BytesIO()
    Image.fromarray(texture).save(file, "JPEG", quality=90)
    return Image.open(file)


def encode_png(picture: np.ndarray) -> bytes:
    """An RGB or grey uint8 picture as PNG."""
    file = io.BytesIO()
    Image.fromarray(picture).save(file, "PNG", compress_level=3)
    return file.getvalue()
