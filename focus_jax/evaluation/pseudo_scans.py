"""People drawn from ICT-FaceKit, whose statistics are of scans, coloured by MakeHuman's skins.

Their shapes are of no model that is measured here, unless it is ICT-FaceKit; their pictures come
from no camera. Truth in three dimensions, as true as these statistics are.
"""

import dataclasses
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from focus_jax.data.decode import read_photo
from focus_jax.evaluation.scan_pictures import ABOVE, FACING, Scan, light_of, pose_of, sample
from focus_jax.evaluation.scans import SEVEN
from focus_jax.face_models import ict, lender, npz
from focus_jax.rendering import morphable
from focus_jax.types import REGIONS, FaceModel

MODES = 100  # of identity, all that the file has
YAW, PITCH, ROLL = 25.0, 10.0, 4.0  # degrees at most from the front
DARKEST = 0.35  # of the skin's colour, what a brow leaves at least


class Drawn(NamedTuple):
    """A person, and from where and in which light the one picture of them is taken."""

    scan: Scan
    pose: Float[np.ndarray, "6"]
    light: Float[np.ndarray, "27"]


def draw_people(model: Path, skins: Path, count: int, *, seed: int = 0) -> list[Drawn]:
    """`count` people with neutral faces, each in a skin, a pose and a light of their own.

    `model` is ICT-FaceKit as npz or as its folder, `skins` the folder of the pictures
    (`*_diffuse*.png`). All 100 modes of identity are normal, skins take turns. ValueError for
    files that are not there.
    """
    heads = coloured_heads(model, skins)
    rng = np.random.default_rng(seed)
    return [_draw(heads, number, rng) for number in range(count)]


def coloured_heads(model: Path, skins: Path) -> FaceModel:
    """ICT-FaceKit's whole head, whose albedo modes are the colours of the skins, mean 0.

    Skins lie on the built-in face without any registration; the head takes them over from its
    nearest points, as it does the built-in albedo (`face_models.fitting.borrowed`).
    """
    paths = sorted(skins.glob("*_diffuse*.png"))
    if not paths:
        raise ValueError(f"{skins} holds no skins (*_diffuse*.png)")
    builtin = lender()
    builtin = dataclasses.replace(
        builtin,
        albedo_mean=np.zeros_like(builtin.albedo_mean),
        albedo_basis=np.stack([skin_colours(path, builtin) for path in paths], -1),
    )
    options = {"modes": (MODES, 0, len(paths)), "mesh": "full"}
    if folder := ict.folder_of(model):
        return ict.from_folder(folder, builtin, **options)
    if not model.is_file():
        raise ValueError(f"{model} does not exist; give ICT-FaceKit, its npz or its folder")
    arrays = npz.read_arrays(model)
    if not ict.is_ict(arrays):
        raise ValueError(f"{model} is not ICT-FaceKit; people are drawn from its statistics")
    return ict.from_arrays(arrays, model, builtin, **options)


def skin_colours(path: Path, builtin: FaceModel) -> Float[np.ndarray, "v 3"]:
    """The colours of a skin at the built-in face's vertices, which has MakeHuman's coordinates.

    The skins have neither eyes nor brows: eyes are the built-in face's own, brows darken the skin
    as the built-in face's do.
    """
    found = sample(read_photo(path), np.asarray(builtin.uv)).astype(np.float32)
    own, region = np.asarray(builtin.albedo_mean), np.asarray(builtin.region)
    eyes, brows = (region == REGIONS.index(name) for name in ("eyes", "brows"))
    skin = np.median(own[region == REGIONS.index("forehead")], axis=0)
    found[brows] *= np.clip((own[brows] / skin) ** 2, DARKEST, 1)
    found[eyes] = own[eyes]
    return found


def _draw(heads: FaceModel, number: int, rng: np.random.Generator) -> Drawn:
    skins = heads.albedo_basis.shape[-1]
    code = rng.standard_normal(heads.identity_basis.shape[-1]).astype(np.float32)
    vertices = np.asarray(morphable.vertices(heads, code, np.zeros(0, np.float32)), np.float64)
    colours = np.asarray(heads.albedo_basis)[..., number % skins]
    landmarks = np.asarray(morphable.landmarks(heads, vertices))
    middle = landmarks[[36, 45, 48, 54]].mean(axis=0)
    scan = Scan(
        f"{number:03d}",
        vertices - middle,
        np.asarray(heads.triangles),
        colours,
        landmarks[list(SEVEN)] - middle,
    )
    yaw, pitch, roll = rng.uniform(-1, 1, 3) * [YAW, PITCH, ROLL]
    side, above, facing = rng.uniform([-0.2, 0, 0.1], [0.2, 2 * ABOVE, 0.1 + FACING])
    return Drawn(scan, pose_of(yaw, pitch, roll), light_of(side=side, above=above, facing=facing))
