import h5py
import numpy as np
import pytest
from bfm_files import write_bfm

from focus_jax.face_models import load_face_model


@pytest.fixture
def path(tmp_path):
    write_bfm(tmp_path / "model2017-1_bfm_nomouth.h5")
    return tmp_path / "model2017-1_bfm_nomouth.h5"


def test_it_is_read_as_it_is_downloaded(path):
    model, builtin = load_face_model(path), load_face_model("builtin")
    np.testing.assert_allclose(model.shape_mean, builtin.shape_mean, atol=1e-3)
    np.testing.assert_array_equal(model.triangles, builtin.triangles)
    # One unit of a coefficient is one standard deviation.
    np.testing.assert_allclose(
        np.linalg.norm(model.identity_basis.reshape(-1, 6), axis=0),
        np.sqrt(np.linspace(4, 1, 6)),
        rtol=1e-4,
    )
    assert load_face_model(path, identity=2).identity_basis.shape[-1] == 2


def test_landmarks_are_found_on_the_geometry(path):
    model, builtin = load_face_model(path), load_face_model("builtin")
    found = model.shape_mean[model.landmark_vertices[:, 0]]
    wanted = builtin.shape_mean[builtin.landmark_vertices[:, 0]]
    assert np.linalg.norm(found - wanted, axis=-1).max() < 2.0


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("color/model/pcaBasis", None, "it has no 'color/model/pcaBasis'"),
        ("expression/model/mean", np.zeros(9), "'expression' has a mean of"),
        ("shape/representer/cells", np.full((3, 5), 10**6), "outside the mesh"),
        ("shape/model/pcaVariance", np.full(6, np.nan), "'shape' holds values that are not finite"),
    ],
)
def test_what_is_wrong_is_named(path, key, value, message):
    with h5py.File(path, "a") as file:
        del file[key]
        if value is not None:
            file[key] = value
    with pytest.raises(ValueError, match=message):
        load_face_model(path)


def test_a_truncated_file_is_named(path):
    path.write_bytes(path.read_bytes()[:20000])
    with pytest.raises(ValueError, match=r"nomouth\.h5 cannot be read as HDF5"):
        load_face_model(path)
