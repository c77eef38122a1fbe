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
        ("shape/representer/cells", np.full((3, 5), 10**6), "'shape/representer/cells' has an ind"),
        ("shape/representer/cells", np.zeros((3, 0), int), "'shape/representer/cells' is empty"),
        ("shape/representer/cells", np.zeros((5, 3), int), r"the shape \(5, 3\), not 3 x t"),
        ("shape/model/pcaVariance", np.full(6, np.nan), "pcaVariance' holds values that are not f"),
        ("shape/model/pcaVariance", np.full(6, -1.0), "pcaVariance' holds negative variances"),
        ("color/model/pcaVariance", np.ones(3), r"the shape \(3,\), which does not fit"),
        ("shape/model/mean", np.zeros(10326), "no face in millimetres"),
    ],
)
def test_what_is_wrong_is_named(path, key, value, message):
    with h5py.File(path, "a") as file:
        del file[key]
        if value is not None:
            file[key] = value
    with pytest.raises(ValueError, match=message):
        load_face_model(path)


def test_a_group_is_no_array(path):
    with h5py.File(path, "a") as file:
        del file["color/model/mean"]
        file.create_group("color/model/mean")
    with pytest.raises(ValueError, match="it has no 'color/model/mean'"):
        load_face_model(path)


def test_regions_are_those_of_the_builtin_face(path):
    assert (load_face_model(path).region == load_face_model("builtin").region).mean() > 0.97


def test_one_damaged_vertex_is_noticed(path):
    # HDF5 keeps no checksum: a flipped bit is a number like any other.
    with h5py.File(path, "a") as file:
        file["shape/model/mean"][30 * 3 + 2] = 700.0
    with pytest.raises(ValueError, match=r"nomouth\.h5: the mesh in 'shape' does not look"):
        load_face_model(path)


def test_a_truncated_file_is_named(path):
    path.write_bytes(path.read_bytes()[:20000])
    with pytest.raises(ValueError, match=r"nomouth\.h5 cannot be read as HDF5"):
        load_face_model(path)
