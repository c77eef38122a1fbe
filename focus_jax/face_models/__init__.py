"""Face models: the built-in one, and those that people bring.

Imports `types`, `system` and `rendering`. Read this module, `npz` (the project's own format), then
a reader (`bfm`, `bfm2009`, `flame`, `gnm`, `ict`) with what they share: `meshes`, `crop`,
`fitting`, `skinning`, `pickles`, `companions`. `show` describes and draws a model; `misfit` reads
priors to subtract.
"""

import dataclasses
from pathlib import Path
from typing import Literal

import numpy as np
from jaxtyping import Int

from focus_jax.face_models import npz
from focus_jax.system import content
from focus_jax.types import REGIONS, FaceModel

Mesh = Literal["cropped", "full"]
BUILTIN = Path(__file__).parent / "builtin.npz"


def load_face_model(
    name_or_path: str | Path,
    *,
    identity: int = 80,
    expression: int = 64,
    albedo: int = 80,
    mesh: Mesh = "cropped",
) -> FaceModel:
    """Face model with NumPy arrays: 'builtin', or a file or folder as it is downloaded.

    Its content tells the format: this project's npz (`npz`), Basel Face Model 2017 and 2019
    (`bfm`) and 2009 (`bfm2009`), FLAME (`flame`), GNM (`gnm`), ICT-FaceKit (`ict`). Keeps at most
    the given numbers of modes, those of the largest variance. `mesh` is the face alone or, where
    the file has more and for export and scans, the whole head; coefficients mean the same in both.
    Raises ValueError, in one sentence, for anything that is not a face model.
    """
    check_mesh(mesh)
    modes = (identity, expression, albedo)
    if min(modes) < 0:
        raise ValueError(f"numbers of modes are 0 or more, not {min(modes)}")
    if name_or_path == "builtin":
        return _first_modes(_builtin(), modes)
    if not str(name_or_path):
        raise ValueError("no face model is named (config.face_model.name); give builtin or a file")
    path = Path(name_or_path).expanduser()
    if npz.recognizes(path):
        return _first_modes(npz.from_arrays(npz.read_arrays(path), path), modes)
    # Here, since half a second of imports is more than a model of one's own takes to load.
    from focus_jax.face_models import bfm, bfm2009, flame, gnm, ict

    if folder := ict.folder_of(path):
        return ict.from_folder(folder, lender(), modes=modes, mesh=mesh)
    if path.is_dir():
        raise ValueError(f"{path} is a folder, but not ICT-FaceKit's; name the face model's file")
    if not path.is_file():
        raise ValueError(f"the face model {path} does not exist; give 'builtin' or a file's path")
    _check_content(path)
    for reader in (bfm, bfm2009, flame, gnm):
        if reader.recognizes(path):
            return reader.read(path, lender(), modes=modes, mesh=mesh)
    arrays = npz.read_arrays(path)
    if ict.is_ict(arrays):
        return ict.from_arrays(arrays, path, lender(), modes=modes, mesh=mesh)
    return _first_modes(npz.from_arrays(arrays, path), modes)


def describe_companions(name_or_path: str | Path) -> str:
    """Which files beside a face model's own are read, and which were looked for; "" for none."""
    path = Path(name_or_path).expanduser()
    if name_or_path == "builtin" or not path.is_file():
        return ""
    from focus_jax.face_models import bfm, bfm2009, companions, flame

    for reader in (bfm, bfm2009, flame):
        if reader.recognizes(path):
            return companions.describe(reader.companions(path), path.parent)
    return ""


def check_mesh(mesh: str) -> None:
    """ValueError for what is no `Mesh`."""
    if mesh not in ("cropped", "full"):
        raise ValueError(f"mesh must be 'cropped' or 'full', not {mesh!r}")


def _check_content(path: Path) -> None:
    """ValueError for a file that no reader can read, whatever its name."""
    name = content.of_file(path).name
    readable = name in ("HDF5", "a MATLAB file", "a pickle", "a zip archive")
    if not readable and not (path.suffix == ".pkl" and name in ("text", content.UNKNOWN)):
        raise ValueError(f"{path} is not a face model: it is {name}")


def _first_modes(model: FaceModel, modes: tuple[int, int, int]) -> FaceModel:
    identity, expression, albedo = modes
    return dataclasses.replace(
        model,
        identity_basis=model.identity_basis[..., :identity],
        expression_basis=model.expression_basis[..., :expression],
        albedo_basis=model.albedo_basis[..., :albedo],
    )


def _builtin() -> FaceModel:
    return npz.from_arrays(npz.read_arrays(BUILTIN), BUILTIN)


def lender() -> FaceModel:
    """What of the built-in face others borrow from: what is seen of it with the mouth closed."""
    return closed(_builtin())[0]


def closed(model: FaceModel) -> tuple[FaceModel, Int[np.ndarray, "k"]]:
    """A face model without the inside of the mouth, and which of its vertices are left."""
    inside = np.isin(model.region, [REGIONS.index(name) for name in ("teeth", "gums", "mouth")])
    triangles = np.asarray(model.triangles)[~inside[np.asarray(model.triangles)].any(axis=1)]
    corners = np.asarray(model.landmark_vertices)
    kept = np.unique(np.concatenate([triangles.ravel(), corners.ravel()]))
    fields = ("shape_mean", "identity_basis", "expression_basis", "albedo_mean", "albedo_basis")
    outer = dataclasses.replace(
        model,
        **{name: np.asarray(getattr(model, name))[kept] for name in (*fields, "region", "uv")},
        triangles=np.searchsorted(kept, triangles),
        landmark_vertices=np.searchsorted(kept, corners),
    )
    return outer, kept
