"""Face models: the built-in one, and those that people bring."""

import dataclasses
from pathlib import Path

from focus_jax.face_models import bfm, npz
from focus_jax.types import FaceModel

BUILTIN = Path(__file__).parent / "builtin.npz"


def load_face_model(
    name_or_path: str | Path, *, identity: int = 80, expression: int = 64, albedo: int = 80
) -> FaceModel:
    """Face model with NumPy arrays: 'builtin', or a file whose format its content tells.

    Formats: this project's npz, and the HDF5 of Basel Face Model 2017 and 2019. Keeps at most the
    given numbers of modes, those of the largest variance. Raises ValueError, in one sentence, for
    anything that is not a face model.
    """
    path = BUILTIN if name_or_path == "builtin" else Path(name_or_path).expanduser()
    if path.is_file() and bfm.is_hdf5(path):
        guide = npz.from_arrays(npz.read_arrays(BUILTIN), BUILTIN)
        return bfm.read(path, guide, modes=(identity, expression, albedo))
    model = npz.from_arrays(npz.read_arrays(path), path)
    return dataclasses.replace(
        model,
        identity_basis=model.identity_basis[..., :identity],
        expression_basis=model.expression_basis[..., :expression],
        albedo_basis=model.albedo_basis[..., :albedo],
    )
