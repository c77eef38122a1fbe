"""Coefficients of photos, found by whoever fitted them before: what an encoder can learn from."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float

from focus_jax.face_models.mirror import mirror_matrix
from focus_jax.system.damage import DAMAGED
from focus_jax.types import FaceModel

Record = dict[str, Any]


def read_codes(path: Path, face_model: FaceModel) -> dict[str, Float[np.ndarray, "k"]]:
    """Identity, expression and albedo of photos, one after the other, by the photos' names.

    The file is an npz of `filename [n]` and `coefficients [n k]`. ValueError for another file, and
    for coefficients that are not of the face model's modes.
    """
    try:
        # Opened here, since NumPy leaves a damaged archive open.
        with path.open("rb") as raw, np.load(raw, allow_pickle=False) as file:
            names, values = file["filename"], file["coefficients"].astype(np.float32)
    except DAMAGED as error:
        raise ValueError(
            f"config.data.codes={str(path)!r} is not an npz of filename and coefficients ({error})"
        ) from None
    bases = face_model.identity_basis, face_model.expression_basis, face_model.albedo_basis
    count = sum(basis.shape[-1] for basis in bases)
    if names.ndim != 1 or values.shape != (len(names), count):
        raise ValueError(
            f"{path}: coefficients {list(values.shape)} are not those of {names.size} photos and "
            f"of the {count} modes of config.face_model.modes"
        )
    return dict(zip(names.tolist(), values, strict=True))


class Coded(Sequence):
    """Records with `coefficients`, those of the mirrored face where the record is `mirrored`.

    nan where they are not known.
    """

    def __init__(
        self,
        records: Sequence[Record],
        codes: Mapping[str, Float[np.ndarray, "k"]],
        face_model: FaceModel,
    ) -> None:
        """`codes` by the records' `filename`."""
        self._records, self._codes = records, codes
        self._mirror = mirror_matrix(face_model)
        self._unknown = np.full(len(self._mirror), np.nan, np.float32)

    def __len__(self) -> int:
        return len(self._records)

    def __getitem__(self, key: Any) -> Any:
        if isinstance(key, slice):
            return [self._with_code(record) for record in self._records[key]]
        return self._with_code(self._records[key])

    def __iter__(self) -> Iterator[Record]:
        return map(self._with_code, self._records)

    def _with_code(self, record: Record) -> Record:
        code = self._codes.get(record["filename"], self._unknown)
        return {
            **record,
            "coefficients": self._mirror @ code if record.get("mirrored") else code,
        }
