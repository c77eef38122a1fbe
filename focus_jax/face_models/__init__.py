"""Face models: the built-in one, and those that people bring."""

import dataclasses
from pathlib import Path

from focus_jax.face_models import bfm, ict, npz
from focus_jax.types import FaceModel

BUILTIN = Path(__file__).parent / "builtin.npz"


def load_face_model(
    name_or_path: str | Path, *, identity: int = 80, expression: int = 64, albedo: int = 80
) -> FaceModel:
    """Face model with NumPy arrays: 'builtin', or a file whose format its content tells.

    Formats: this project's npz, the HDF5 of Basel Face Model 2017 and 2019, ICT-FaceKit as npz
    (`ict`). Keeps at most the given numbers of modes, those of the largest variance. Raises
    ValueError, in one sentence, for anything that is not a face model.
    """
    path = BUILTIN if name_or_path == "builtin" else Path(name_or_path).expanduser()
    if path.is_file() and bfm.is_hdf5(path):
        return bfm.read(path, _builtin(), modes=(identity, expression, albedo))
    arrays = npz.read_arrays(path)
    if ict.is_ict(arrays):
        model = ict.from_arrays(arrays, path, _builtin())
    else:
        model = npz.from_arrays(arrays, path)
    return dataclasses.replace(
        model,
        identity_basis=model.identity_basis[..., :identity],
        expression_basis=model.expression_basis[..., :expression],
        albedo_basis=model.albedo_basis[..., :albedo],
    )


def _builtin() -> FaceModel:
    return npz.from_arrays(npz.read_arrays(BUILTIN), BUILTIN)
