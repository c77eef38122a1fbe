import numpy as np
import pytest
import scipy.io
import scipy.sparse
from face_model_files import (
    MODES,
    basis,
    chosen,
    close,
    face,
    head,
    write_merged_2009,
    write_original_2009,
)

from focus_jax.face_models import crop, fitting, load_face_model


def around(points):
    return points - points.mean(axis=0)


@pytest.fixture(scope="module")
def merged(tmp_path_factory):
    path = tmp_path_factory.mktemp("front") / "BFM_model_front.mat"
    write_merged_2009(path)
    return path


@pytest.fixture(scope="module")
def original(tmp_path_factory):
    path = tmp_path_factory.mktemp("original") / "01_MorphableModel.mat"
    write_original_2009(path)
    return path


def test_the_merged_file_is_read_in_millimetres_and_colours(merged):
    model, mesh = load_face_model(merged), face()
    np.testing.assert_allclose(around(model.shape_mean), around(mesh.vertices), atol=1e-3)
    np.testing.assert_array_equal(model.triangles, mesh.triangles)
    np.testing.assert_array_equal(model.landmark_vertices[:, 0], mesh.landmarks)
    np.testing.assert_allclose(model.albedo_mean, mesh.colours, atol=1e-5)
    for field, seed, scale in (
        ("identity_basis", 0, 1.0),  # decimetres / 100
        ("expression_basis", 1, 1.0),
        ("albedo_basis", 2, 5.0 / 255),
    ):
        wanted = scale * basis(len(mesh.vertices), MODES[seed], seed)
        np.testing.assert_allclose(getattr(model, field), wanted, atol=1e-4)
    assert load_face_model(merged, expression=2).expression_basis.shape[-1] == 2


def test_the_original_is_joined_with_the_expressions(original):
    model, mesh = load_face_model(original, mesh="full"), head()
    np.testing.assert_allclose(around(model.shape_mean), around(mesh.vertices), atol=1e-2)
    # MATLAB's triangles look inwards; they come out turned round.
    np.testing.assert_array_equal(model.triangles, mesh.triangles)
    deviations = np.linspace(1e5, 5e4, MODES[0]) * 0.01 / 1000
    wanted = basis(len(mesh.vertices) + 10, MODES[0], 0)[:-10] * deviations
    np.testing.assert_allclose(model.identity_basis, wanted, atol=1e-4)
    wanted = basis(len(mesh.vertices), MODES[1], 1) * np.linspace(1000, 500, MODES[1]) / 1000
    np.testing.assert_allclose(model.expression_basis, wanted, atol=1e-4)
    found, wanted = fitting.landmark_points(model), model.shape_mean[mesh.landmarks]
    close(found - wanted)


def test_its_crop_is_ours_or_the_front_where_that_is_known(original, tmp_path):
    assert len(load_face_model(original).shape_mean) < len(head().vertices)
    path = tmp_path / "01_MorphableModel.mat"
    write_original_2009(path, front=True)
    model = load_face_model(path)
    np.testing.assert_array_equal(model.triangles, face().triangles)
    np.testing.assert_array_equal(model.landmark_vertices[:, 0], face().landmarks)
    full = load_face_model(path, mesh="full")
    for field in ("shape_mean", "identity_basis"):  # in the same place, too
        np.testing.assert_array_equal(getattr(model, field), getattr(full, field)[chosen()[0]])
    assert crop.connected(model.triangles) == crop.connected(face().triangles)


@pytest.mark.parametrize("name", ["Exp_Pca.bin", "std_exp.txt", "BFM_exp_idx.mat"])
def test_without_expressions_it_says_what_is_missing(name, tmp_path):
    path = tmp_path / "01_MorphableModel.mat"
    write_original_2009(path)
    (tmp_path / name).unlink()
    with pytest.raises(ValueError, match=rf"01_MorphableModel\.mat has no expressions, and {name}"):
        load_face_model(path)


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("idBase", None, "lacks the key 'idBase'"),
        ("meanshape", np.zeros((1, 7)), r"'meanshape' has the shape \(1, 7\), not three numbers"),
        ("meantex", np.zeros((1, 9)), r"'meantex' has the shape \(1, 9\) instead of \(9478, 3\)"),
        (
            "exBase",
            np.zeros((9, 2)),
            r"'exBase' has the shape \(9, 2\) instead of \(28434, 'any'\)",
        ),
        ("tri", np.zeros((5, 3)), "'tri' has an index outside"),
        ("tri", np.full((5, 3), 1.5), "'tri' holds float64 instead of integers"),
        ("tri", np.full((5, 3), np.nan), "'tri' holds float64 instead of integers"),
        ("tri", scipy.sparse.eye(5, 3), "'tri' is csc_.*, not a plain array"),
        ("tri", np.ones((5, 4)), r"'tri' has the shape \(5, 4\), not t x 3"),
        ("keypoints", np.ones((1, 5)), r"'keypoints' has the shape \(1, 5\), not 68"),
        ("texBase", np.full((28434, 2), np.nan), "'texBase' holds values that are not finite"),
    ],
)
def test_what_is_wrong_with_the_merged_file_is_named(merged, tmp_path, key, value, message):
    content = scipy.io.loadmat(merged) | {key: value}
    path = tmp_path / "BFM_model_front.mat"
    scipy.io.savemat(path, {k: v for k, v in content.items() if v is not None and k[0] != "_"})
    with pytest.raises(ValueError, match=message) as error:
        load_face_model(path)
    assert path.name in str(error.value)


def shorten_deviations(folder):
    path = folder / "01_MorphableModel.mat"
    content = {k: v for k, v in scipy.io.loadmat(path).items() if k[0] != "_"}
    scipy.io.savemat(path, content | {"texEV": np.ones(2)})


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            lambda folder: cut(folder / "Exp_Pca.bin"),
            r"Exp_Pca\.bin has \d+ bytes; 5 modes of 10180",
        ),
        (lambda folder: (folder / "Exp_Pca.bin").write_bytes(b""), r"Exp_Pca\.bin has 0 bytes"),
        (lambda folder: (folder / "std_exp.txt").write_text("1 2"), "has 2 deviations for 5 modes"),
        (lambda folder: (folder / "std_exp.txt").write_text("x"), "something else than numbers"),
        (lambda folder: cut(folder / "01_MorphableModel.mat"), "cannot be read as a MATLAB file"),
        (shorten_deviations, r"'texEV' has the shape \(1, 2\), too short for 'texPC' of shape"),
        (lambda folder: cut(folder / "BFM_exp_idx.mat"), r"idx\.mat cannot be read as a MATLAB"),
    ],
)
def test_damaged_parts_of_the_original_are_named(change, message, tmp_path):
    path = tmp_path / "01_MorphableModel.mat"
    write_original_2009(path)
    change(tmp_path)
    with pytest.raises(ValueError, match=message):
        load_face_model(path)


def cut(path):
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def test_another_matlab_file_is_no_face_model(tmp_path):
    scipy.io.savemat(tmp_path / "other.mat", {"x": 1})
    with pytest.raises(ValueError, match=r"other\.mat is not Basel Face Model 2009"):
        load_face_model(tmp_path / "other.mat")


@pytest.mark.slow
def test_the_merged_file_at_full_size(tmp_path):
    """35,709 vertices, 80, 64 and 80 modes: the face's mesh, drawn back and out."""
    mesh = head(187, 1.0)
    count = 35709 - len(mesh.vertices)
    assert 0 <= count < 300
    vertices = np.concatenate([mesh.vertices, np.tile(mesh.vertices[-1], (count, 1))])
    rng = np.random.default_rng(0)
    content = {
        key: rng.normal(size=(3 * 35709, number)).astype(np.float32) * 0.01
        for key, number in (("idBase", 80), ("exBase", 64), ("texBase", 80))
    }
    content |= {
        "meanshape": vertices.reshape(1, -1) / 100,
        "meantex": np.full((1, 3 * 35709), 128.0),
        "tri": mesh.triangles + 1.0,
        "keypoints": mesh.landmarks[None] + 1.0,
    }
    scipy.io.savemat(tmp_path / "BFM_model_front.mat", content)
    model = load_face_model(tmp_path / "BFM_model_front.mat")
    assert model.identity_basis.shape == (35709, 3, 80)
    assert model.expression_basis.shape == (35709, 3, 64)
