"""Meshes as files: GLB with a texture, OBJ with material and texture, PLY with vertex colours.

OBJ and PLY keep the face model's units (millimetres); GLB is in metres, as glTF says. y is up and
the face looks along +z. All have smooth normals.
"""

import functools
import io
import json
from typing import Any, NamedTuple

import cv2
import numpy as np
from jaxtyping import Float, Int, UInt8
from PIL import Image

from focus_jax.photos.export import Atlas

METRES = {"mm": 1e-3, "cm": 1e-2, "m": 1.0}
QUALITY = 80  # of textures as JPEG
# Of glTF: kinds of numbers, and of buffers.
FLOAT, UINT16, UINT32, VERTICES, INDICES = 5126, 5123, 5125, 34962, 34963
STILL = 1e-5  # metres by which a morph target moves what it need not name
MATERIAL = """newmtl face
Ka 1 1 1
Kd 1 1 1
Ks 0 0 0
illum 1
map_Kd texture.png
"""


class Rig(NamedTuple):
    """By what a mesh moves: morph targets, of which `weights` are those that it is shown with."""

    names: tuple[str, ...]
    shifts: Float[np.ndarray, "v 3 m"]  # from the mesh's vertices, at full weight, in its units
    weights: Float[np.ndarray, "m"]
    times: Float[np.ndarray, "n"] | None = None  # seconds, of an animation
    moving: Float[np.ndarray, "n m"] | None = None  # its weights


class Surface(NamedTuple):
    """What all meshes of one face model share in their files, made once."""

    atlas: Atlas
    triangles: Int[np.ndarray, "t 3"]  # of the face model
    uv: bytes  # GLB's texture coordinates, v downwards, float32
    indices: bytes  # GLB's, uint16 where that is enough
    obj_uv: str  # lines of OBJ
    obj_triangles: str


def make_surface(atlas: Atlas) -> Surface:
    """The parts of files that depend on the atlas alone."""
    triangles = atlas.vertex[atlas.triangles]
    uv = atlas.uv.astype(np.float32) * [1, -1] + [0, 1]
    kind = np.uint16 if len(atlas.uv) < 2**16 else np.uint32
    corners = np.stack([triangles, atlas.triangles, triangles], -1) + 1
    return Surface(
        atlas,
        triangles,
        uv.astype(np.float32).tobytes(),
        atlas.triangles.astype(kind).tobytes(),
        _lines("vt %.6f %.6f\n", atlas.uv),
        _lines("f %d/%d/%d %d/%d/%d %d/%d/%d\n", corners.reshape(-1, 9)),
    )


def _lines(line: str, numbers: np.ndarray) -> str:
    return line * len(numbers) % tuple(numbers.ravel().tolist())


def vertex_normals(
    vertices: Float[np.ndarray, "v 3"], triangles: Int[np.ndarray, "t 3"]
) -> Float[np.ndarray, "v 3"]:
    """Unit normals: the mean of the triangles' around a vertex, weighted by their angles there.

    (0, 0, 0) for a vertex whose triangles have no area.
    """
    corners = np.asarray(vertices, np.float64)[triangles]
    sides = [_unit(corners[:, (k + 1) % 3] - corners[:, k]) for k in range(3)]
    normals = _unit(np.cross(sides[0], sides[1]))
    cosines = np.stack([-np.sum(sides[k] * sides[k - 1], -1) for k in range(3)], -1)
    weighted = np.arccos(np.clip(cosines, -1, 1))[..., None] * normals[:, None]
    flat, count = triangles.ravel(), len(vertices)
    weighted = weighted.reshape(-1, 3)
    return _unit(np.stack([np.bincount(flat, weighted[:, k], count) for k in range(3)], -1))


def _unit(vectors: np.ndarray) -> np.ndarray:
    lengths = np.sqrt(np.einsum("...c,...c->...", vectors, vectors))[..., None]
    return vectors / np.where(lengths > 1e-12, lengths, np.inf)


def glb(
    vertices: Float[np.ndarray, "v 3"],
    normals: Float[np.ndarray, "v 3"],
    surface: Surface,
    jpeg: bytes,
    *,
    units: str = "mm",
    name: str = "face",
    rig: Rig | None = None,
) -> bytes:
    """A textured mesh as glTF binary, in metres; `name` is its node's, `jpeg` its texture."""
    vertex, scale = surface.atlas.vertex, METRES.get(units, 1.0)
    # On the cuts the normals of the uncut mesh: those of the pieces would show as lines.
    places = (vertices[vertex] * scale).astype(np.float32)
    parts: list[tuple[bytes, int | None]] = [
        (places.tobytes(), VERTICES),
        (normals[vertex].astype(np.float32).tobytes(), VERTICES),
        (surface.uv, VERTICES),
        (surface.indices, INDICES),
        (jpeg, None),
    ]
    count, small = len(vertex), len(surface.indices) == 2 * surface.triangles.size
    low, high = places.min(0).tolist(), places.max(0).tolist()
    tree: dict[str, Any] = {
        "asset": {"version": "2.0", "generator": "focus_jax"},
        "scene": 0,
        "scenes": [{"nodes": [0]}],
        "nodes": [{"name": name, "mesh": 0}],
        "meshes": [
            {
                "name": name,
                "primitives": [
                    {
                        "attributes": {"POSITION": 0, "NORMAL": 1, "TEXCOORD_0": 2},
                        "indices": 3,
                        "material": 0,
                    }
                ],
            }
        ],
        "accessors": [
            _accessor(0, FLOAT, count, "VEC3", min=low, max=high),
            _accessor(1, FLOAT, count, "VEC3"),
            _accessor(2, FLOAT, count, "VEC2"),
            _accessor(3, UINT16 if small else UINT32, surface.triangles.size, "SCALAR"),
        ],
        # Without light: the photo's is in the texture. A rough white surface looks right anywhere.
        "materials": [
            {
                "pbrMetallicRoughness": {
                    "baseColorTexture": {"index": 0},
                    "metallicFactor": 0.0,
                    "roughnessFactor": 1.0,
                },
                "doubleSided": True,
            }
        ],
        "textures": [{"source": 0}],
        "images": [{"bufferView": 4, "mimeType": "image/jpeg"}],
    }
    if rig is not None:
        _move(tree, parts, rig._replace(shifts=rig.shifts[vertex] * scale))
    views, pieces, start = [], [], 0
    for content, target in parts:
        view: dict[str, Any] = {"buffer": 0, "byteOffset": start, "byteLength": len(content)}
        views.append(view if target is None else {**view, "target": target})
        pieces += [content, bytes(-len(content) % 4)]
        start += len(content) + len(pieces[-1])
    binary = b"".join(pieces)
    tree |= {"bufferViews": views, "buffers": [{"byteLength": len(binary)}]}
    text = json.dumps(tree, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 4)
    header = b"glTF" + np.array([2, 12 + 8 + len(text) + 8 + len(binary)], "<u4").tobytes()
    chunks = ((len(text), b"JSON", text), (len(binary), b"BIN\0", binary))
    return header + b"".join(np.array(n, "<u4").tobytes() + kind + c for n, kind, c in chunks)


def _accessor(view: int, number: int, size: int, kind: str, **more: Any) -> dict[str, Any]:
    return {"bufferView": view, "componentType": number, "count": size, "type": kind, **more}


def _move(tree: dict[str, Any], parts: list[tuple[bytes, int | None]], rig: Rig) -> None:
    """Add morph targets, and an animation if there is one, to what a file is made of.

    Targets name only the vertices that they move.
    """
    mesh, accessors = tree["meshes"][0], tree["accessors"]
    count = len(rig.shifts)
    kind, number = (np.uint16, UINT16) if count < 2**16 else (np.uint32, UINT32)

    def add(content: np.ndarray) -> int:
        parts.append((content.tobytes(), None))
        return len(parts) - 1

    targets = []
    for shift in np.moveaxis(rig.shifts, -1, 0).astype(np.float32):
        moved = np.flatnonzero(np.linalg.norm(shift, axis=-1) > STILL)
        values = shift[moved]
        ends = np.concatenate([values, np.zeros((int(len(moved) < count), 3), np.float32)])
        about: dict[str, Any] = {"componentType": FLOAT, "count": count, "type": "VEC3"}
        about |= {"min": ends.min(0).tolist(), "max": ends.max(0).tolist()}
        if len(moved):
            indices = {"bufferView": add(moved.astype(kind)), "componentType": number}
            sparse = {"count": len(moved), "indices": indices}
            about["sparse"] = {**sparse, "values": {"bufferView": add(values)}}
        targets.append({"POSITION": len(accessors)})
        accessors.append(about)
    mesh["primitives"][0]["targets"] = targets
    mesh["weights"] = rig.weights.astype(float).tolist()
    mesh["extras"] = {"targetNames": list(rig.names)}  # where Blender and three.js look for them
    if rig.times is None or rig.moving is None:
        return
    times = rig.times.astype(np.float32)
    ends = {"min": [float(times[0])], "max": [float(times[-1])]}
    accessors += [
        _accessor(add(times), FLOAT, len(times), "SCALAR", **ends),
        _accessor(add(rig.moving.astype(np.float32)), FLOAT, rig.moving.size, "SCALAR"),
    ]
    tree["animations"] = [
        {
            "name": "expression",
            "samplers": [{"input": len(accessors) - 2, "output": len(accessors) - 1}],
            "channels": [{"sampler": 0, "target": {"node": 0, "path": "weights"}}],
        }
    ]


def obj(
    vertices: Float[np.ndarray, "v 3"], normals: Float[np.ndarray, "v 3"], surface: Surface
) -> str:
    """The face model's own vertices; only texture coordinates occur twice on the cuts.

    It names `MATERIAL` as material.mtl, which names texture.png.
    """
    places, turns = _lines("v %.5f %.5f %.5f\n", vertices), _lines("vn %.4f %.4f %.4f\n", normals)
    head = "mtllib material.mtl\nusemtl face\n"
    return head + places + surface.obj_uv + turns + surface.obj_triangles


def ply(
    vertices: Float[np.ndarray, "v 3"],
    normals: Float[np.ndarray, "v 3"],
    triangles: Int[np.ndarray, "t 3"],
    colours: Float[np.ndarray, "v 3"],
) -> bytes:
    """A mesh whose vertices have colours, in [0, 1], as binary PLY."""
    points = np.empty(len(vertices), [("place", "<f4", 3), ("normal", "<f4", 3), ("rgb", "u1", 3)])
    points["place"], points["normal"] = vertices, normals
    points["rgb"] = np.rint(np.clip(colours, 0, 1) * 255)
    header = ["ply", "format binary_little_endian 1.0", f"element vertex {len(vertices)}"]
    header += [f"property float {name}" for name in ("x", "y", "z", "nx", "ny", "nz")]
    header += [f"property uchar {name}" for name in ("red", "green", "blue")]
    header += [f"element face {len(triangles)}", "property list uchar int vertex_indices"]
    faces = _ply_faces(np.ascontiguousarray(triangles, "<i4").tobytes())
    return "\n".join([*header, "end_header\n"]).encode() + points.tobytes() + faces


@functools.lru_cache(maxsize=2)
def _ply_faces(triangles: bytes) -> bytes:
    corners = np.frombuffer(triangles, "<i4").reshape(-1, 3)
    faces = np.empty(len(corners), [("count", "u1"), ("corners", "<i4", 3)])
    faces["count"], faces["corners"] = 3, corners
    return faces.tobytes()


def encode_jpeg(picture: UInt8[np.ndarray, "h w 3"]) -> bytes:
    """An RGB picture as JPEG."""
    options = [cv2.IMWRITE_JPEG_QUALITY, QUALITY]
    return cv2.imencode(".jpg", cv2.cvtColor(picture, cv2.COLOR_RGB2BGR), options)[1].tobytes()


def encode_png(picture: np.ndarray) -> bytes:
    """An RGB or grey uint8 picture as PNG."""
    file = io.BytesIO()
    Image.fromarray(picture).save(file, "PNG", compress_level=3)
    return file.getvalue()
