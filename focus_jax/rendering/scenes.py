"""Pictures of scenes: several meshes under lamps with shadows, partly seen through. For data.

Everything is NumPy, one picture at a time, on one core: what is drawn changes with each picture,
and would be compiled anew each time by JAX. Directions and places are in camera space (x right,
y down, z away from the camera), colours linear light.
"""

import functools
from typing import Any, NamedTuple

import cv2
import numpy as np
import warp as wp

from focus_jax.rendering import rasterize_kernels, scene_kernels

LABELS = 4  # background, face, hair, occluder
MAP = 256  # texels a side of a shadow map
REACH = 170.0  # half the side of a shadow map, in the units of the scene
NOTHING = np.float32(1e9)  # the depth where nothing is
GAMMA = 2.2


class Mesh(NamedTuple):
    """A surface in camera space."""

    places: np.ndarray  # [v 3] float32
    triangles: np.ndarray  # [t 3] int32, counter-clockwise from outside
    colours: np.ndarray  # [v 4] float32: linear, and opacity
    label: int  # what its pixels are, below LABELS; negative: of that kind, looking as the backdrop
    shine: np.ndarray  # [2] or [v 2] float32: strength and exponent of its highlights
    two_sided: bool = False
    uv: np.ndarray | None = None  # [v 2], (0, 0) the texture's upper left corner
    texture: np.ndarray | None = None  # [h w 4] uint8 sRGB and opacity, times `colours`
    normals: np.ndarray | None = None  # [v 3], if they are known


class Light(NamedTuple):
    """Irradiance of a white wall is `ambient[0] + normal @ ambient[1:]`, and the lamps' share."""

    ambient: np.ndarray  # [4 3]
    towards: np.ndarray  # [l 3] unit vectors to the lamps
    colours: np.ndarray  # [l 3]
    softness: np.ndarray  # [l] half the width of a shadow's edge, in the units of the scene


class Drawn(NamedTuple):
    """A picture `[h w ...]` of a scene."""

    picture: np.ndarray  # [h w 3] linear light
    shares: np.ndarray  # [h w 4]: the part of each pixel's light that comes from each label
    depth: np.ndarray  # [h w] along the camera's axis, of what is not seen through; NOTHING outside
    triangle_id: np.ndarray  # [h w], numbered through all meshes that are not seen through
    normals: np.ndarray  # [h w 3] of what is not seen through; 0 outside


@functools.cache
def linear_table() -> np.ndarray:
    """Linear light `[256]` of each value of a picture."""
    return ((np.arange(256) / 255) ** GAMMA).astype(np.float32)


def linear(colour: np.ndarray) -> np.ndarray:
    """Linear light of values in [0, 1]."""
    return np.maximum(colour, 0, dtype=np.float32) ** np.float32(GAMMA)


def normals(places: np.ndarray, triangles: np.ndarray) -> np.ndarray:
    """Unit normals `[v 3]` of vertices, the means around each."""
    out = np.zeros_like(places)
    arrays = [_vectors(places), _vectors(triangles, wp.vec3i), _vectors(out)]
    _launch(scene_kernels.add_normals, *arrays)
    return out


def nearest(
    screen: np.ndarray, triangles: np.ndarray, height: int, width: int
) -> tuple[np.ndarray, np.ndarray]:
    """The nearest triangle of each pixel `[h w]` int32, -1 outside, and its depth.

    The rules are those of `rasterize` with perspective; `screen` is `[v 3]` (x, y, depth).
    """
    keys = np.empty((1, height, width), np.int64)
    found = np.empty((1, height, width), np.int32)
    if len(triangles):
        _launch(
            rasterize_kernels.index_images,
            wp.array(screen[None], dtype=wp.vec3, device="cpu", copy=False),
            _vectors(triangles, wp.vec3i),
            1,
            wp.array(keys, device="cpu", copy=False),
            wp.array(found, device="cpu", copy=False),
        )
    else:
        found.fill(-1)
    depth = (keys[0] >> 32).astype(np.int32).view(np.float32)
    return found[0], np.where(found[0] >= 0, depth, NOTHING)


def project(places: np.ndarray, focal: float, height: int, width: int) -> np.ndarray:
    """Screen positions `[v 3]` of places; `focal` in pixels, the axis through the middle."""
    depth = places[:, 2]
    scale = focal / np.where(depth > 0, depth, 1)
    middle = (width - 1) / 2, (height - 1) / 2
    columns = places[:, 0] * scale + middle[0], places[:, 1] * scale + middle[1], depth
    return np.stack(columns, axis=1).astype(np.float32)


def draw(
    meshes: list[Mesh], light: Light, backdrop: np.ndarray, focal: float, *, closeness: float = 6.0
) -> Drawn:
    """The meshes before a backdrop `[h w 3]` of linear light; `focal` in pixels.

    Meshes with an opacity below 1 anywhere are seen through, and come after all others. Ambient
    light reaches less where things are near: `closeness`, in pixels, is how far that reaches.
    """
    height, width = backdrop.shape[:2]
    solid = [m for m in meshes if not _clear(m)]
    clear = [m for m in meshes if _clear(m)]
    surface, arrays = _surface([*solid, *clear], focal, height, width)
    count = sum(len(m.triangles) for m in solid)
    triangles = arrays["triangles"]
    triangle_id, depth = nearest(arrays["screen"], triangles[:count], height, width)
    lights = _lights(light, arrays)
    free = _free(depth, closeness)
    held = arrays["labels"][:count] < 0
    if held.any():  # the backdrop has the shadows that these cast on themselves
        own = triangles[:count][held]
        alone = _free(nearest(arrays["screen"], own, height, width)[1], closeness)
        free = np.where(np.append(held, False)[triangle_id], np.minimum(free / alone, 1), free)
    picture = backdrop.astype(np.float32)  # a copy
    shares = np.empty((height, width, LABELS), np.float32)
    normal = np.zeros_like(picture)
    frame = [_vectors(picture, wp.vec3), wp.array(shares, device="cpu", copy=False)]
    planes = [wp.array(a, device="cpu", copy=False) for a in (triangle_id, free, depth)]
    _launch(scene_kernels.shade, surface, lights, *planes[:2], *frame, _vectors(normal))
    if clear:
        far = arrays["screen"][triangles[count:], 2].mean(axis=1)
        order = (count + np.argsort(-far, kind="stable")).astype(np.int32)
        _launch(
            scene_kernels.blend,
            surface,
            lights,
            wp.array(order, device="cpu", copy=False),
            planes[2],
            planes[1],
            *frame,
        )
    return Drawn(picture, shares, depth, triangle_id, normal)


def coverage(meshes: list[Mesh], focal: float, size: int) -> np.ndarray:
    """The label `[n n]` that is nearest at each pixel, what is mostly transparent left out."""
    plain = [m._replace(normals=m.places) for m in meshes]  # nobody asks for them
    _, arrays = _surface(plain, focal, size, size)
    which = _blocking(arrays)
    found, _ = nearest(arrays["screen"], arrays["triangles"][which], size, size)
    return np.where(found >= 0, np.abs(arrays["labels"][which][found]), 0)


def _clear(mesh: Mesh) -> bool:
    if mesh.texture is not None and mesh.texture[..., 3].min() < 255:
        return True
    return bool(mesh.colours[:, 3].min() < 1)


def _surface(
    meshes: list[Mesh], focal: float, height: int, width: int
) -> tuple[Any, dict[str, np.ndarray]]:
    """All meshes as one, for the kernels, and its arrays."""
    starts = np.cumsum([0, *(len(m.places) for m in meshes)])[:-1]
    places = _joined([m.places for m in meshes], 3)
    arrays: dict[str, np.ndarray] = {"places": places}
    arrays["screen"] = project(places, focal, height, width)
    arrays["normals"] = _joined(
        [normals(m.places, m.triangles) if m.normals is None else m.normals for m in meshes], 3
    )
    arrays["colours"] = _joined([m.colours for m in meshes], 4)
    arrays["shine"] = _joined([np.broadcast_to(m.shine, (len(m.places), 2)) for m in meshes], 2)
    arrays["uv"] = _joined(
        [np.zeros((len(m.places), 2)) if m.uv is None else m.uv for m in meshes], 2
    )
    triangles = [s + m.triangles for s, m in zip(starts, meshes, strict=True)]
    sizes = [len(m.triangles) for m in meshes]
    arrays["two_sided"] = np.repeat([m.two_sided for m in meshes], sizes)
    arrays["labels"] = np.repeat([m.label for m in meshes], sizes).astype(np.int32)
    arrays["triangles"] = _facing(
        arrays["screen"], _joined(triangles, 3, np.int32), arrays["two_sided"]
    )
    sheets, texels, numbers, first = [], [], [], 0
    for mesh in meshes:
        numbers.append(len(sheets) if mesh.texture is not None else -1)
        if mesh.texture is not None:
            sheets.append((first, *mesh.texture.shape[:2]))
            texels.append(mesh.texture.reshape(-1, 4))
            first += len(texels[-1])
    arrays["textures"] = np.repeat(numbers, sizes).astype(np.int32)
    arrays["sheets"] = np.array(sheets or [(0, 1, 1)], np.int32)
    arrays["texels"] = _joined(texels, 4, np.uint8)
    arrays["linear"] = linear_table()
    surface: Any = scene_kernels.Surface()
    types = {"sheets": wp.vec3i, "triangles": wp.vec3i, "texels": wp.vec4ub, "linear": wp.float32}
    for name in surface._cls.vars:
        dtype = types.get(name, {1: wp.int32}.get(arrays[name].ndim))
        setattr(surface, name, _vectors(arrays[name], dtype))
    return surface, arrays


def _facing(screen: np.ndarray, triangles: np.ndarray, two_sided: np.ndarray) -> np.ndarray:
    """The triangles, those with two sides turned so that they face the camera."""
    both = np.flatnonzero(two_sided)
    a, b, c = (screen[triangles[both, k], :2] for k in range(3))
    u, v = b - a, c - a
    away = both[u[:, 1] * v[:, 0] - v[:, 1] * u[:, 0] < 0]
    out = triangles.copy()
    out[away] = triangles[away][:, [0, 2, 1]]
    return out


def _lights(light: Light, arrays: dict[str, np.ndarray]) -> Any:
    """Lamps with the shadow maps of what is mostly opaque."""
    lights: Any = scene_kernels.Lights()
    texel = MAP / (2 * REACH)
    # The middle of what matters: the first triangles, which are the face's.
    first = arrays["triangles"][: max(1, min(1000, len(arrays["triangles"])))]
    centre = arrays["places"][first].mean(axis=(0, 1)) if len(first) else np.zeros(3)
    maps, across = [np.zeros((0, MAP, MAP), np.float32)], []
    which = _blocking(arrays)
    which = which[arrays["labels"][which] >= 0]
    blocking, both = arrays["triangles"][which], arrays["two_sided"][which]
    for towards in light.towards:
        first = np.cross(towards, (0.0, 0.0, 1.0) if abs(towards[2]) < 0.9 else (0.0, 1.0, 0.0))
        first /= np.linalg.norm(first)
        axes = np.stack([first, np.cross(towards, first)])
        across.append(texel * axes)
        p = (arrays["places"] - centre).astype(np.float32)
        flat = p @ (texel * axes.T).astype(np.float32) + np.float32(MAP / 2)
        # The rasterizer wants positive depths; texel centres are at integers there.
        away = 2000 - p @ towards.astype(np.float32)
        screen = np.concatenate([flat - 0.5, away[:, None]], axis=1).astype(np.float32)
        _, depth = nearest(screen, _facing(screen, blocking, both), MAP, MAP)
        maps.append(depth[None] - 2000)
    lights.ambient = _vectors(light.ambient.astype(np.float32), wp.vec3)
    lights.towards = _vectors(light.towards.astype(np.float32).reshape(-1, 3), wp.vec3)
    lights.colours = _vectors(light.colours.astype(np.float32).reshape(-1, 3), wp.vec3)
    lights.across = _vectors(np.reshape(across, (-1, 3)).astype(np.float32), wp.vec3)
    lights.softness = wp.array((light.softness * texel).astype(np.float32), device="cpu")
    lights.maps = wp.array(np.concatenate(maps), device="cpu")
    lights.centre, lights.bias = wp.vec3(*map(float, centre)), 2.0
    return lights


def _blocking(arrays: dict[str, np.ndarray]) -> np.ndarray:
    """The numbers of the triangles that are mostly opaque."""
    triangles, sheet = arrays["triangles"], arrays["textures"]
    opacity = arrays["colours"][:, 3][triangles].mean(axis=1)
    seen = np.flatnonzero(sheet >= 0)
    at = arrays["uv"][triangles[seen]].mean(axis=1)
    start, height, width = arrays["sheets"][sheet[seen]].T
    x, y = (np.clip((at[:, k] * n).astype(int), 0, n - 1) for k, n in ((0, width), (1, height)))
    opacity[seen] *= arrays["texels"][start + y * width + x, 3] / np.float32(255)
    return np.flatnonzero(opacity > 0.5)


def _free(depth: np.ndarray, closeness: float) -> np.ndarray:
    """The part of the ambient light that reaches each pixel, from the depths around it.

    The unsharp mask of the depths (Luft, Colditz, Deussen 2006): what lies behind its surroundings
    is darker. Beyond a few centimetres things no longer darken one another.
    """
    there = depth < NOTHING
    if not there.any():
        return np.ones_like(depth)
    filled = np.where(there, depth, depth[there].max() + 60).astype(np.float32)
    dark = np.zeros_like(filled)
    for sigma, strength in ((closeness, 0.02), (0.35 * closeness, 0.025)):
        small = cv2.resize(filled, None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA)
        small = cv2.GaussianBlur(small, (0, 0), sigma / 2)
        behind = filled - cv2.resize(small, filled.shape[::-1], interpolation=cv2.INTER_LINEAR)
        dark += strength * np.clip(behind, 0, 14)
    return np.clip(1 - dark, 0.25, 1).astype(np.float32)


# --- Warp ----------------------------------------------------------------------------------------

_TYPES = {2: wp.vec2, 3: wp.vec3, 4: wp.vec4}


def _vectors(array: np.ndarray, dtype: Any = None) -> Any:
    """The array for Warp, its last axis a vector, without a copy."""
    dtype = dtype or _TYPES[array.shape[-1]]
    return wp.array(np.ascontiguousarray(array), dtype=dtype, device="cpu", copy=False)


def _joined(arrays: list[np.ndarray], width: int, dtype: Any = np.float32) -> np.ndarray:
    empty = np.zeros((0, width), dtype)
    return np.ascontiguousarray(np.concatenate([empty, *arrays]).astype(dtype, copy=False))


def _launch(kernel: Any, *inputs: Any) -> None:
    wp.launch(kernel, dim=1, inputs=list(inputs), device="cpu")
