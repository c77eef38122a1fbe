import dataclasses

import numpy as np
import pytest

from focus_jax.face_models import BUILTIN, lender, load_face_model, npz

COUNT = len(npz.read_array(BUILTIN, "region"))


@pytest.fixture(scope="module")
def model():
    return load_face_model("builtin")


@pytest.fixture(scope="module")
def arrays():
    return npz.read_arrays(BUILTIN)


def test_the_builtin_model_has_its_sizes(model):
    vertices = len(model.shape_mean)
    assert 10_000 <= vertices <= 14_000
    assert model.identity_basis.shape == (vertices, 3, 80)
    assert 40 <= model.expression_basis.shape[-1] <= 64
    assert model.albedo_basis.shape[-1] == 80
    assert BUILTIN.stat().st_size < 12e6


def test_triangles_face_outwards(model):
    a, b, c = (model.shape_mean[model.triangles[:, k]] for k in range(3))
    normals = np.cross(b - a, c - a)
    assert (np.linalg.norm(normals, axis=1) > 0).all()
    skin = lender()
    a, b, c = (skin.shape_mean[skin.triangles[:, k]] for k in range(3))
    normals = np.cross(b - a, c - a)
    # A face is seen from the front: by far most of its surface turns to +z.
    assert normals[:, 2].sum() > 0.4 * np.linalg.norm(normals, axis=1).sum()


def test_it_is_a_face_in_millimetres(model):
    points = model.shape_mean[model.landmark_vertices[:, 0]]
    assert 80 < np.linalg.norm(points[45] - points[36]) < 95
    assert points[8, 1] < points[:, 1].min() + 1.0  # the chin is lowest
    assert points[30, 2] == points[:, 2].max()  # the tip of the nose in front
    assert points[36, 0] < points[39, 0] < points[42, 0] < points[45, 0]  # right eye, left eye
    assert (points[37:39, 1] > points[40:42, 1]).all()  # upper over lower lid
    assert points[51, 1] > points[62, 1] > points[66, 1] > points[57, 1]  # lips
    assert (np.diff(points[:17, 0]) > 0).all()  # the jaw, from right to left


def test_left_and_right_mirror_each_other(model):
    from focus_jax.data.augment import MIRROR

    points = model.shape_mean[model.landmark_vertices[:, 0]]
    assert np.abs(points[MIRROR] * [-1, 1, 1] - points).max() < 4.0


def test_modes_are_sorted_and_of_people_s_size(model):
    deviations = np.sqrt((model.identity_basis**2).sum((0, 1)) / len(model.shape_mean))
    # Sorted with the inside of the mouth, which weighs more than its few vertices left.
    assert (np.diff(deviations) <= 0.2).all() and deviations[-1] > 0
    spread = np.sqrt((deviations**2).sum())
    assert 2.0 < spread < 6.0  # millimetres between people


def test_skin_reaches_from_very_light_to_very_dark(model):
    coefficients = np.random.default_rng(0).normal(size=(500, model.albedo_basis.shape[-1]))
    skin = model.region == 0
    mean = model.albedo_mean[skin].mean(0)
    tones = mean + coefficients @ model.albedo_basis[skin].mean(0).T
    brightness = np.sort(tones.mean(-1))
    assert brightness[10] < 0.3 and brightness[-10] > 0.6
    assert (tones[:, 0] > tones[:, 2]).mean() > 0.95  # skin is redder than blue


def test_fewer_modes_are_the_first_ones(model):
    few = load_face_model("builtin", identity=5, expression=4, albedo=3)
    np.testing.assert_array_equal(few.identity_basis, model.identity_basis[..., :5])
    assert few.expression_basis.shape[-1] == 4 and few.albedo_basis.shape[-1] == 3


def test_a_written_model_comes_back(model, tmp_path):
    npz.write(tmp_path / "copy", model)  # there, not at copy.npz
    copy = load_face_model(tmp_path / "copy")
    for key in npz.SHAPES:
        np.testing.assert_array_equal(getattr(copy, key), getattr(model, key))
    assert (copy.name, copy.units, copy.licence) == (model.name, model.units, model.licence)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"format": None}, "'format' is not"),
        ({"albedo_mean": None}, "lacks the key 'albedo_mean'"),
        ({"albedo_mean": np.zeros((7, 3))}, r"'albedo_mean' has the shape \(7, 3\)"),
        ({"uv": np.full((COUNT, 2), np.nan)}, "'uv' holds values that are not finite"),
        ({"triangles": np.full((4, 3), 99999)}, "'triangles' has an index outside"),
        ({"landmark_vertices": np.full((68, 3), -1)}, "'landmark_vertices' has an index"),
        # As int32 these would be the valid index 0.
        ({"triangles": np.full((4, 3), 2**33)}, "'triangles' has an index outside"),
        ({"triangles": np.zeros((4, 3))}, "'triangles' holds float64 instead of integers"),
        ({"triangles": np.zeros((0, 3), int)}, "'triangles' is empty"),
        ({"uv": np.full((COUNT, 2), "0")}, "'uv' holds <U1 instead of numbers"),
        ({"uv": np.full((COUNT, 2), 1e300)}, "'uv' holds values that are not finite"),
        ({"landmark_weights": np.zeros((68, 3))}, "'landmark_weights' has rows that do not sum"),
    ],
)
def test_what_is_wrong_with_a_file_is_said(change, message, arrays, tmp_path):
    wrong = {k: v for k, v in (arrays | change).items() if v is not None}
    np.savez(tmp_path / "wrong.npz", **wrong)
    with pytest.raises(ValueError, match=message) as error:
        load_face_model(tmp_path / "wrong.npz")
    assert "wrong.npz" in str(error.value)


@pytest.mark.parametrize("content", [b"", b"not a model", BUILTIN.read_bytes()[:5000]])
def test_files_that_are_no_model_are_named(content, tmp_path):
    path = tmp_path / "other.npz"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=r"other\.npz is not a face model"):
        load_face_model(path)


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_rows_of_a_large_array_are_read_alone(save, tmp_path):
    array = np.random.default_rng(0).normal(size=(50, 3, 8))
    flat, fortran = array.reshape(150, 8), np.asfortranarray(array)
    save(tmp_path / "arrays.npz", array=array, flat=flat, fortran=fortran)
    wanted = np.array([7, 0, 49, 7, 20])
    for key in ("array", "flat", "fortran"):
        rows = npz.read_rows(tmp_path / "arrays.npz", key, wanted, rows=50, width=3, count=5)
        np.testing.assert_array_equal(rows, array[wanted, :, :5])
    with pytest.raises(ValueError, match=r"'flat' has the shape \(150, 8\) for 50 x 4 values"):
        npz.read_rows(tmp_path / "arrays.npz", "flat", wanted, rows=50, width=4, count=5)


@pytest.mark.usefixtures("unchecked")
def test_a_wrong_mesh_is_said():
    with pytest.raises(ValueError, match="mesh must be 'cropped' or 'full', not 'half'"):
        load_face_model("builtin", mesh="half")


def test_a_lone_array_is_no_model(tmp_path):
    np.save(tmp_path / "mean.npy", np.zeros(3))
    with pytest.raises(ValueError, match=r"mean\.npy is not a face model"):
        load_face_model(tmp_path / "mean.npy")


def test_numbers_of_modes_are_not_negative():
    with pytest.raises(ValueError, match="0 or more, not -3"):
        load_face_model("builtin", identity=-3)


def test_an_empty_name_is_said():
    with pytest.raises(ValueError, match="no face model is named"):
        load_face_model("")


def test_a_missing_file_is_named():
    with pytest.raises(ValueError, match=r"nowhere\.npz does not exist"):
        load_face_model("nowhere.npz")


def test_the_mean_face_is_symmetric(model):
    distance = np.linalg.norm(
        (model.shape_mean * [-1, 1, 1] - [0.08, 0, 0])[::5, None] - model.shape_mean, axis=-1
    )
    assert distance.min(axis=1).max() < 0.05  # the middle lies at x = -0.04


@pytest.mark.parametrize("name", ["model.pkl", "model2017-1_bfm_nomouth.h5", "model.npz"])
@pytest.mark.parametrize(
    ("content", "what"),
    [
        (b"", "an empty file"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n", "a pointer of git-LFS"),
        (b"<!DOCTYPE html><html>Sign in</html>", "a web page"),
        (b"\x1f\x8b\x08rest", "packed with gzip"),
        (b"\xff\xd8\xff\xe0rest", "JPEG"),
    ],
)
def test_a_download_that_went_wrong_is_called_what_it_is(tmp_path, name, content, what):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(ValueError, match=rf"{name} is not a face model: it is {what}"):
        load_face_model(tmp_path / name)


@pytest.mark.parametrize("change", ["metres", "clockwise"])
def test_a_face_that_no_camera_would_see_is_refused(tmp_path, change):
    model = load_face_model("builtin", identity=1, expression=1, albedo=1)
    changed = {
        "metres": {"shape_mean": np.asarray(model.shape_mean) / 1000},
        "clockwise": {"triangles": np.asarray(model.triangles)[:, ::-1]},
    }[change]
    npz.write(tmp_path / "own.npz", dataclasses.replace(model, **changed))
    with pytest.raises(ValueError, match=r"own\.npz: .*(no face|clockwise)"):
        load_face_model(tmp_path / "own.npz")
