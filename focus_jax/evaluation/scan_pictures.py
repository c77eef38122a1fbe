"""Coloured scans of heads, and pictures of them under known cameras and light.

A scan may come from a file (`read_scan`) or from a statistical model (`pseudo_scans`). The camera
is the project's own, `camera.extrinsics`, far enough off that the whole head is seen.
"""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np
import trimesh
from jaxtyping import Float, Int, UInt8
from scipy.ndimage import map_coordinates
from scipy.spatial import KDTree

from focus_jax.evaluation.scans import SEVEN
from focus_jax.rendering import camera, rasterize
from focus_jax.rendering.render import render_mesh

SIDE = 640  # pixels of a picture
FURTHER = 600.0  # mm beyond the camera's usual metre: a picture then shows 35 cm
BACKGROUND = 0.55  # grey
OUTER_EYES = 90.0  # mm between the outer corners of the eyes, of a scan without a unit
# Yaw and pitch in degrees from which scans are pictured.
VIEWS = ((0, 0), (20, 0), (-20, 0), (40, 0), (-40, 0), (0, 15), (0, -15))
FACING, ABOVE = 0.25, 0.10  # what the light adds to a surface that faces the camera, or the sky

# From a picture to its 68 landmarks [68 2], or None where it shows no face.
FindLandmarks = Callable[[UInt8[np.ndarray, "h w 3"]], Float[np.ndarray, "68 2"] | None]


class Scan(NamedTuple):
    """The outer surface of a head in mm, y up, looking along +z; the face is near the origin."""

    name: str
    vertices: Float[np.ndarray, "n 3"]
    triangles: Int[np.ndarray, "t 3"]
    colours: Float[np.ndarray, "n 3"]  # in [0, 1]
    landmarks: Float[np.ndarray, "7 3"]  # the NoW benchmark's


def pose_of(yaw: float, pitch: float, roll: float = 0.0) -> Float[np.ndarray, "6"]:
    """A pose, as `camera.extrinsics` takes it, of degrees."""
    return np.array([*np.radians([pitch, yaw, roll]), 0.0, 0.0, FURTHER], np.float32)


def light_of(*, side: float = 0.0, above: float = ABOVE, facing: float = FACING) -> np.ndarray:
    """White light `[27]`: 1 where all of it meets, less where a surface turns away from it."""
    harmonics = np.zeros(9, np.float32)
    harmonics[0] = (1 - facing - above - abs(side)) / 0.28209479177
    # The camera's y points down and its z away from it.
    harmonics[[1, 2, 3]] = np.array([above, -facing, -side]) / 0.48860251190
    return np.tile(harmonics, 3)


def picture(
    scan: Scan, pose: Float[np.ndarray, "6"], light: Float[np.ndarray, "27"], side: int = SIDE
) -> UInt8[np.ndarray, "s s 3"]:
    """The scan before a grey wall."""
    # Twice as fine, and then the mean of four: edges of real photos are not stepped.
    drawn = render_mesh(
        jnp.asarray(scan.vertices, jnp.float32)[None],
        jnp.asarray(scan.colours, jnp.float32)[None],
        jnp.asarray(scan.triangles, jnp.int32),
        jnp.asarray(pose)[None],
        jnp.asarray(light, jnp.float32)[None],
        side,
        side,
        renormalize_normals=True,
        samples=2,
    )
    image = drawn.image[0] * drawn.coverage[0] + BACKGROUND * (1 - drawn.coverage[0])
    return np.rint(np.clip(np.asarray(image), 0, 1) * 255).astype(np.uint8)


def seen_from(
    scan: Scan, poses: Sequence[np.ndarray], side: int = 2 * SIDE
) -> tuple[Int[np.ndarray, "k side side"], Float[np.ndarray, "k side side 3"]]:
    """Which triangle each pixel sees from each pose (-1: none), and where on the scan, in mm."""
    vertices = jnp.asarray(scan.vertices, jnp.float32)[None]
    triangles = jnp.asarray(scan.triangles, jnp.int32)
    found = []
    for pose in poses:
        rotation, translation = camera.extrinsics(jnp.asarray(pose)[None])
        screen = camera.project(vertices, rotation, translation, camera.intrinsics(side, side))
        fragments = rasterize.rasterize(screen, triangles, side, side)
        places = rasterize.interpolate(fragments, screen, triangles, vertices)
        found.append((np.asarray(fragments.triangle_id[0]), np.asarray(places[0])))
    numbers, points = zip(*found, strict=True)
    return np.stack(numbers), np.stack(points)


def outer_vertices(scan: Scan) -> np.ndarray:
    """The vertices `[m 3]` that a scanner sees: no inside of the mouth, no backs of eyeballs."""
    numbers, _ = seen_from(scan, [pose_of(yaw, 0) for yaw in (0, 35, -35, 70, -70)])
    return scan.vertices[np.unique(scan.triangles[np.unique(numbers[numbers >= 0])])]


# --- scans of files ------------------------------------------------------------------------------


def read_scan(
    path: Path,
    find: FindLandmarks,
    *,
    texture: Path | None = None,
    flip: bool = False,
    unit: float | None = None,
) -> Scan:
    """A scan of a glb, obj or ply that looks along +z with y up, coloured by its texture.

    `texture` is its picture where the file holds none, `flip` turns that upside down. `unit` is the
    number of mm in the file's unit; without, the outer corners of the eyes are `OUTER_EYES` apart.
    The landmarks, which only say where to crop and where to begin to align, are found on pictures
    of the scan. ValueError, in one sentence, for what cannot be read or shows no face.
    """
    vertices, triangles, colours = _read(path, texture, flip)
    vertices = vertices - (vertices.max(axis=0) + vertices.min(axis=0)) / 2
    # As large as fits into the picture first, then by what is found.
    scan = Scan(
        path.stem, vertices * (300 / np.ptp(vertices)), triangles, colours, np.zeros((7, 3))
    )
    for _ in range(2):
        points = _landmarks_on(scan, find)
        size = np.linalg.norm(points[36] - points[45])
        scale = (
            OUTER_EYES / size if unit is None else unit * np.ptp(vertices) / np.ptp(scan.vertices)
        )
        middle = points[[36, 45, 48, 54]].mean(axis=0)
        scan = scan._replace(vertices=(scan.vertices - middle) * scale)
    return scan._replace(landmarks=_landmarks_on(scan, find)[list(SEVEN)])


def _read(
    path: Path, texture: Path | None, flip: bool
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    if not path.is_file():
        what = "is a folder" if path.is_dir() else "does not exist"
        raise ValueError(f"{path} {what}; give a scan: a glb, obj or ply")
    try:
        mesh: Any = trimesh.load_mesh(path, process=False)
        vertices, triangles = np.asarray(mesh.vertices, np.float64), np.asarray(mesh.faces)
        visual = mesh.visual
    except Exception as problem:  # whatever a parser makes of a broken file
        raise ValueError(f"{path} is not a mesh that can be read: {problem}") from None
    if not len(triangles) or not np.isfinite(vertices).all():
        raise ValueError(f"{path}: a scan needs triangles and finite vertices")
    uv = getattr(visual, "uv", None)
    if texture is None and visual.kind == "vertex":
        return vertices, triangles, np.asarray(visual.vertex_colors)[:, :3] / 255
    image = _picture_of(visual, texture)
    if uv is None or image is None:
        raise ValueError(f"{path} has no colours: give its texture with --texture")
    # Colours go to vertices: as many as the texture has details.
    attributes: Any = {"uv": np.asarray(uv)}
    while len(vertices) < image.shape[0] * image.shape[1] / 10:
        divided: Any = trimesh.remesh.subdivide(vertices, triangles, vertex_attributes=attributes)
        vertices, triangles, attributes = divided
    return vertices, triangles, sample(image[::-1] if flip else image, attributes["uv"])


def _picture_of(visual: Any, texture: Path | None) -> np.ndarray | None:
    if texture is not None:
        from focus_jax.data.decode import read_photo

        return read_photo(texture)
    material = getattr(visual, "material", None)
    image = getattr(material, "baseColorTexture", None) or getattr(material, "image", None)
    return None if image is None else np.asarray(image.convert("RGB"))


def sample(
    image: UInt8[np.ndarray, "h w 3"], uv: Float[np.ndarray, "n 2"]
) -> Float[np.ndarray, "n 3"]:
    """Colours in [0, 1] of texture coordinates, v upwards, between the four nearest pixels."""
    places = [(1 - uv[:, 1]) * image.shape[0] - 0.5, uv[:, 0] * image.shape[1] - 0.5]
    channels = [
        map_coordinates(image[..., k].astype(np.float32), places, order=1, mode="nearest")
        for k in range(3)
    ]
    return np.stack(channels, axis=-1) / 255


def _landmarks_on(scan: Scan, find: FindLandmarks) -> np.ndarray:
    """The 68 landmarks `[68 3]`, found in a picture from the front, on the surface."""
    side = 2 * SIDE
    found = find(picture(scan, pose_of(0, 0), light_of(), side))
    if found is None:
        raise ValueError(
            f"{scan.name}: no face is found on it from the front; it must look along +z with y up, "
            "and its texture may be upside down (--flip-texture)"
        )
    numbers, places = seen_from(scan, [pose_of(0, 0)], side)
    seen = np.argwhere(numbers[0] >= 0)
    nearest = seen[KDTree(seen[:, ::-1]).query(found)[1]]
    return places[0][nearest[:, 0], nearest[:, 1]]
