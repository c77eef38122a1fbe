"""Coefficients of photos from a file."""

import numpy as np
import pytest

from focus_jax.data.codes import Coded, read_codes
from focus_jax.face_models import load_face_model
from focus_jax.face_models.mirror import mirror_matrix

CODE = np.arange(6, dtype=np.float32)
NPY = (
    b"\x93NUMPY\1\0v\0"
    + b"{'descr': '<f4', 'fortran_order': False, 'shape': (1,)}".ljust(118)
    + bytes(4)
)


@pytest.fixture(scope="module")
def face_model():
    return load_face_model("builtin", identity=3, expression=2, albedo=1)


@pytest.fixture
def codes(tmp_path):
    path = tmp_path / "codes.npz"
    np.savez(path, filename=["a.jpg"], coefficients=CODE[None])
    return path


def test_records_get_their_photos_codes_mirrored_where_they_are(codes, face_model):
    records = [
        {"filename": "a.jpg", "mirrored": np.uint8(0)},
        {"filename": "a.jpg", "mirrored": np.uint8(1)},
        {"filename": "b.jpg", "mirrored": np.uint8(0)},
    ]
    coded = Coded(records, read_codes(codes, face_model), face_model)
    assert len(coded) == 3 and len(coded[:2]) == 2
    plain, mirrored, unknown = (record["coefficients"] for record in coded)
    np.testing.assert_array_equal(plain, CODE)
    np.testing.assert_allclose(mirrored, mirror_matrix(face_model) @ CODE)
    assert np.isnan(unknown).all() and unknown.shape == CODE.shape


def test_codes_of_other_modes_are_refused(codes):
    fewer = load_face_model("builtin", identity=2, expression=2, albedo=1)
    with pytest.raises(
        ValueError, match=r"coefficients \[1, 6\] are not those of 1 photos .* 5 modes"
    ):
        read_codes(codes, fewer)


@pytest.mark.parametrize("content", [None, b"no npz", b"PK\3\4 cut off", NPY, {"names": ["a.jpg"]}])
def test_another_file_is_refused(tmp_path, face_model, content):
    path = tmp_path / "codes.npz"
    if isinstance(content, bytes):
        path.write_bytes(content)
    elif content:
        np.savez(path, **content)
    with pytest.raises(ValueError, match=r"codes.npz. is not an npz of filename and coefficients"):
        read_codes(path, face_model)
