"""What a fitted face is at every pixel of its photo, as 16-bit PNG of the photo's size.

- `depth.png`: millimetres from the camera's plane, times 10; 0 where there is no face.
- `normals.png`: (x, y, z) of the surface, to the right, up and towards the camera, each from -1 to
  1 as 0 to 65535; 0 in all three where there is no face.
- `albedo.png`: colour without light, 0 to 1 as 0 to 65535.
- `shading.png`: light without colour, of which 1 is 16384; albedo times shading is the rendering.
- `uv.png`: the face model's own texture coordinates, u in red and v, upwards, in green, 0 to 1 as 0
  to 65535; blue is 65535 on the face.
- `visibility.png`: probability that the photo shows the face there, 0 to 1 as 0 to 65535.

The face is rasterized at the photo's own pixels, so that edges are sharp.
"""

from pathlib import Path
from typing import Any

import cv2
import numpy as np
import scipy.sparse as sp
from jaxtyping import Float, UInt16

from focus_jax.photos import masks, mesh_files
from focus_jax.photos.inference import Inference
from focus_jax.photos.programs import program
from focus_jax.rendering import rasterize
from focus_jax.types import FaceModel

FULL = 65535
SCALES = {"depth": 10.0, "albedo": FULL, "shading": 16384.0, "uv": FULL, "visibility": FULL}
STEP = 256  # pixels by which the sizes of what is rasterized differ: one program serves many photos
UNITS = {"mm": 1.0, "cm": 10.0, "m": 1000.0}  # millimetres

_rasterize = program(rasterize.rasterize, static=("height", "width", "perspective"))


def write(
    folder: Path,
    shape: tuple[int, ...],
    numbers: dict[str, Any],
    found: Inference,
    face_model: FaceModel,
) -> None:
    """The maps of one face of a photo of that shape; `numbers` are those of face.json.

    OSError where that fails.
    """
    height, width = shape[:2]
    to_photo = np.array(numbers["crop"]["inverse"])
    low, high = masks.window(to_photo, height, width)
    parts: dict[str, np.ndarray] = {}
    if (high > low).all():
        parts = pieces(low, high, to_photo, numbers, found, face_model)
    for name in (*SCALES, "normals"):
        channels = () if name in ("depth", "visibility") else (3,)
        whole = np.zeros((height, width, *channels), np.uint16)
        if name in parts:
            whole[low[1] : high[1], low[0] : high[0]] = parts[name]
        (folder / f"{name}.png").write_bytes(_encoded(whole))


def pieces(
    low: np.ndarray,
    high: np.ndarray,
    to_photo: Float[np.ndarray, "2 3"],
    numbers: dict[str, Any],
    found: Inference,
    face_model: FaceModel,
) -> dict[str, UInt16[np.ndarray, "y x ..."]]:
    """The maps of the photo's pixels (x, y) from `low` to before `high`."""
    width, height = (int(n) for n in high - low)
    moved = np.array(to_photo)
    moved[:, 2] -= low
    triangles = np.asarray(face_model.triangles)
    screen = np.array(found.screen, np.float32)
    screen[:, :2] = screen[:, :2] @ moved[:, :2].T + moved[:, 2]
    side = -(-max(height, width) // STEP) * STEP
    seen = _rasterize(screen[None], triangles, height=side, width=side, perspective=True)
    triangle = np.asarray(seen.triangle_id)[0, :height, :width]
    covered = triangle >= 0
    shares = np.asarray(seen.barycentric)[0, :height, :width][covered]
    # A row for a pixel: to gather its corners first takes half as much again of time and memory.
    ends = 3 * np.arange(len(shares) + 1)
    corners = triangles[triangle[covered]].ravel()
    at = sp.csr_matrix((shares.ravel(), corners, ends), (len(shares), len(screen)))
    rotation = np.array(numbers["camera"]["R"]) * [[1.0], [-1.0], [-1.0]]
    normals = at @ (mesh_files.vertex_normals(found.vertices, triangles) @ rotation.T)
    normals /= np.maximum(np.linalg.norm(normals, axis=-1, keepdims=True), 1e-12)
    shading = found.colours / np.maximum(found.albedo, 1e-3)
    flat = np.asarray(face_model.uv)
    depth = screen[:, 2:] * UNITS.get(numbers["camera"]["units"], 1.0)
    values = {
        "depth": at @ depth,
        "albedo": at @ found.albedo,
        "shading": at @ shading,
        "uv": np.concatenate([at @ flat, np.ones((len(shares), 1))], -1),
    }
    maps = {}
    for name in (*values, "normals"):
        value = values[name] * SCALES[name] if name in values else (normals + 1) / 2 * FULL
        maps[name] = np.zeros((height, width, value.shape[-1]), np.uint16)
        maps[name][covered] = np.rint(np.clip(value, 0, FULL))
    maps["depth"] = maps["depth"][..., 0]
    fine = np.asarray(found.mask)[..., 0]
    mask = cv2.warpAffine(fine, moved, (width, height), flags=cv2.INTER_LINEAR)
    seen_there = np.where(covered, np.clip(mask, 0, 1), 0)
    maps["visibility"] = np.rint(seen_there * FULL).astype(np.uint16)
    return maps


def _encoded(picture: UInt16[np.ndarray, "h w ..."]) -> bytes:
    """As 16-bit PNG; colours are red, green, blue."""
    turned = cv2.cvtColor(picture, cv2.COLOR_RGB2BGR) if picture.ndim == 3 else picture
    done, encoded = cv2.imencode(".png", turned, [cv2.IMWRITE_PNG_COMPRESSION, 1])
    if not done:
        raise ValueError(f"no PNG can be of {picture.shape[1]} x {picture.shape[0]} pixels")
    return encoded.tobytes()
