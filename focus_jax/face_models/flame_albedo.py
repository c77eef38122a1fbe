"""FLAME's albedo: textures beside the model, as colours of its vertices. See `flame`."""

from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from focus_jax.face_models import npz
from focus_jax.face_models.companions import first_of

ALBEDO_2020 = "albedoModel2020_FLAME_albedoPart.npz"
TEXTURES = {  # files, and their keys of the mean and the modes
    "FLAME_albedo_from_BFM.npz": ("MU", "PC"),
    ALBEDO_2020: ("MU", "PC"),
    "FLAME_texture.npz": ("mean", "tex_dir"),
}
COORDINATES = ("FLAME_texture.npz", ALBEDO_2020, "FLAME_albedo_from_BFM.npz", "head_template.obj")


class Texture(NamedTuple):
    path: Path
    mean: str
    basis: str


def albedo_file(folder: Path) -> Texture | None:
    for name in first_of(folder, "", tuple(TEXTURES), "").read:
        return Texture(folder / name, *TEXTURES[name])
    return None


def albedo_licence(file: Texture | None) -> str:
    if file is None:
        return "; albedo CC0"
    if file.path.name == ALBEDO_2020:
        return "; albedo University of York (Smith et al. 2020); for research"
    return ""


def coordinate_file(folder: Path) -> Path | None:
    """The first file that has texture coordinates: of the npz, not all have."""
    for path in (folder / name for name in COORDINATES):
        if path.is_file() and (path.suffix == ".obj" or {"vt", "ft"} <= set(npz.names(path))):
            return path
    return None


def coordinates(folder: Path, triangles: np.ndarray) -> Float[np.ndarray, "v 2"] | None:
    """Texture coordinates of each vertex, those of one of its corners, from a companion file."""
    path = coordinate_file(folder)
    if path is None:
        return None
    if path.suffix == ".npz":
        points, corners = npz.read_array(path, "vt"), npz.read_array(path, "ft")
    else:
        lines = [line.split() for line in path.read_text().splitlines()]
        try:
            points = np.array([w[1:3] for w in lines if w[:1] == ["vt"]], np.float64)
            corners = np.array(
                [[int(c.split("/")[1]) - 1 for c in w[1:4]] for w in lines if w[:1] == ["f"]]
            )
        except (ValueError, IndexError):
            raise ValueError(f"{path} is damaged: its texture coordinates do not fit") from None
    if corners.shape != triangles.shape or points.ndim != 2 or points.shape[1] != 2:
        raise ValueError(
            f"{path} does not fit the model: its texture has faces of shape {corners.shape} and "
            f"points of shape {points.shape} for {triangles.shape} triangles"
        )
    points = npz.as_floats(points, "vt", path)
    corners = npz.as_indices(corners, len(points), "ft", path)
    found = np.zeros((int(triangles.max()) + 1, 2), np.float32)
    found[triangles] = points[corners]
    return found


def albedo(
    file: Texture, uv: Float[np.ndarray, "v 2"], count: int, elsewhere: Float[np.ndarray, "v 3"]
) -> tuple[Float[np.ndarray, "v 3"], Float[np.ndarray, "v 3 a"]]:
    """Colours of the texture at the vertices, RGB in [0, 1], and `count` modes.

    `elsewhere` is for vertices where the texture is empty.
    """
    path, mean_key, basis_key = file
    mean = npz.read_array(path, mean_key)
    side = round((mean.size / 3) ** 0.5)
    if mean.size != 3 * side * side or side == 0:
        raise ValueError(f"{path}: {mean_key!r} has the shape {mean.shape}, no square texture")
    mean = npz.as_floats(mean, mean_key, path)
    column = np.clip((uv[:, 0] * side).astype(int), 0, side - 1)
    row = np.clip(((1 - uv[:, 1]) * side).astype(int), 0, side - 1)
    texel = row * side + column
    colour = mean.reshape(-1, 3)[texel]
    basis = npz.read_rows(path, basis_key, texel, rows=side * side, width=3, count=count)
    basis = npz.as_floats(basis, basis_key, path)
    scale = 255.0 if colour.max() > 2 else 1.0
    empty = colour.max(axis=1) <= 0
    # Textures are in the order of OpenCV, blue first; skin is redder than blue in any order.
    if colour[~empty, 2].sum() > colour[~empty, 0].sum():
        colour, basis = colour[:, ::-1], basis[:, ::-1]
    colour, basis = colour / scale, basis / scale
    if "specMU" in npz.names(path):
        colour, basis = as_photos_have_it(colour, basis)
    colour[empty], basis[empty] = elsewhere[empty], 0
    return np.ascontiguousarray(colour), np.ascontiguousarray(basis)


def as_photos_have_it(
    colour: Float[np.ndarray, "v 3"], basis: Float[np.ndarray, "v 3 a"]
) -> tuple[Float[np.ndarray, "v 3"], Float[np.ndarray, "v 3 a"]]:
    """A mean and its modes of linear light in sRGB, as photos are (IEC 61966-2-1).

    The modes to first order around the mean.
    """
    linear = np.clip(colour, 0, 1)
    dark = linear <= 0.0031308
    bright = np.where(dark, 1.0, linear)
    encoded = np.where(dark, 12.92 * linear, 1.055 * bright ** (1 / 2.4) - 0.055)
    slope = np.where(dark, 12.92, 1.055 / 2.4 * bright ** (1 / 2.4 - 1))
    return encoded.astype(np.float32), (basis * slope[..., None]).astype(np.float32)
