import pickle

import jax.numpy as jnp
import numpy as np
import pytest
import scipy.sparse
from face_model_files import (
    MODES,
    basis,
    close,
    flame_arrays,
    flame_embedding,
    head,
    write_flame,
    write_flame_albedo,
)

from focus_jax.face_models import (
    describe_companions,
    fitting,
    flame,
    load_face_model,
    skinning,
)


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    path = tmp_path_factory.mktemp("flame") / "generic_model.pkl"
    write_flame(path)
    return path


@pytest.fixture(scope="module")
def model(path):
    """The whole mesh, alone: landmarks and albedo are the built-in model's."""
    return load_face_model(path, mesh="full")


@pytest.fixture(scope="module")
def complete(tmp_path_factory):
    """With landmarks and albedo beside it, and the uv of its vertices."""
    folder = tmp_path_factory.mktemp("complete")
    write_flame(folder / "flame2023.npz")
    uv = write_flame_albedo(folder)
    embedding = pickle.dumps(flame_embedding(), protocol=2)
    (folder / "flame_static_embedding_68.pkl").write_bytes(embedding)
    return load_face_model(folder / "flame2023.npz", mesh="full"), uv


def test_it_is_read_in_millimetres(model):
    mesh = head()
    moved = model.shape_mean - mesh.vertices
    np.testing.assert_allclose(moved, np.tile(moved[:1], (len(moved), 1)), atol=1e-3)
    np.testing.assert_array_equal(model.triangles, mesh.triangles)
    wanted = basis(len(mesh.vertices), 6, 0)
    np.testing.assert_allclose(model.identity_basis[..., :6], wanted, atol=1e-4)
    wanted = basis(len(mesh.vertices), 5, 1)
    np.testing.assert_allclose(model.expression_basis[..., 1:6], wanted, atol=1e-4)
    assert model.identity_basis.shape[-1] == 80 and model.expression_basis.shape[-1] == 64


def test_the_first_expression_opens_the_jaw(model, path):
    jaw = model.expression_basis[..., 0]
    mesh = head()
    chin, brow = mesh.landmarks[8], mesh.landmarks[19]
    assert jaw[chin, 1] < -3 and np.abs(jaw[brow]).max() < 0.1
    # To first order it is the joint's turn.
    pose = jnp.zeros((5, 3)).at[flame.JAW, 0].set(0.1 * flame.JAW_SPREAD)
    whole = flame.read_head(path)
    turned = skinning.posed(whole, jnp.zeros(0), jnp.zeros(0), pose) - whole.template
    np.testing.assert_allclose(turned, 0.1 * jaw, atol=0.03)


def test_an_npz_is_the_same_model(path, tmp_path):
    write_flame(tmp_path / "flame2023.npz")
    one, other = flame.read_head(path), flame.read_head(tmp_path / "flame2023.npz")
    for field in ("template", "identity_basis", "skin_weights", "triangles"):
        np.testing.assert_array_equal(getattr(one, field), getattr(other, field))
    np.testing.assert_allclose(one.joints, other.joints, atol=1e-4)
    assert one.parents == other.parents == (-1, 0, 1, 1, 1)


def test_an_npz_may_hold_pickled_arrays(tmp_path):
    arrays = flame_arrays()
    sparse = np.empty((), object)
    sparse[()] = scipy.sparse.csc_matrix(arrays["J_regressor"])
    np.savez(tmp_path / "flame.npz", **(arrays | {"J_regressor": sparse}))
    found = flame.read_head(tmp_path / "flame.npz").joints
    joints = 1000 * arrays["J_regressor"] @ arrays["v_template"]
    np.testing.assert_allclose(found, joints, rtol=1e-5, atol=1e-3)
    content = (tmp_path / "flame.npz").read_bytes()
    (tmp_path / "flame.npz").write_bytes(content[: len(content) // 2])
    with pytest.raises(ValueError, match=r"flame\.npz"):
        load_face_model(tmp_path / "flame.npz")


def test_an_npz_without_a_key_is_still_flame(tmp_path):
    arrays = flame_arrays()
    np.savez(tmp_path / "flame.npz", **{k: v for k, v in arrays.items() if k != "v_template"})
    with pytest.raises(ValueError, match="is not FLAME: it lacks the key 'v_template'"):
        load_face_model(tmp_path / "flame.npz")


def test_landmarks_lie_inside_triangles(complete):
    model, mesh = complete[0], head()
    wanted = flame_embedding()
    points = mesh.vertices[mesh.triangles[wanted["lmk_face_idx"]]]
    points = np.einsum("lkc,lk->lc", points, wanted["lmk_b_coords"])
    found = fitting.landmark_points(model)
    np.testing.assert_allclose(np.diff(found, axis=0), np.diff(points, axis=0), atol=1e-3)
    assert (model.landmark_weights.max(axis=1) < 0.97).all()


def test_without_the_jaw_line_it_is_found(path, tmp_path):
    (tmp_path / "generic_model.pkl").write_bytes(path.read_bytes())
    embedding = pickle.dumps(flame_embedding(51))
    (tmp_path / "flame_static_embedding.pkl").write_bytes(embedding)
    model = load_face_model(tmp_path / "generic_model.pkl")
    assert (model.landmark_weights[:17, 0] == 1).all()
    assert (model.landmark_weights[17:].max(axis=1) < 0.97).all()
    wanted = head().vertices[head().landmarks]
    gap = fitting.landmark_points(model) - wanted
    close(gap - gap[17:].mean(axis=0))


def test_the_albedo_is_the_texture_at_each_vertex_red_first(complete):
    (model, uv), side = complete, 64
    np.testing.assert_allclose(model.uv, uv, atol=1e-5)
    u, v = uv.T
    # Blue first in the file: 0.2 + 0.1 u, 0.3, 0.6 + 0.2 v.
    wanted = np.stack([0.6 + 0.2 * v, 0.3 + 0 * u, 0.2 + 0.1 * u], axis=1)
    np.testing.assert_allclose(model.albedo_mean, wanted, atol=0.3 / side)
    row, column = ((1 - v) * side).astype(int), (u * side).astype(int)
    modes = 0.01 * np.random.default_rng(0).normal(size=(side * side * 3, MODES[2]))
    modes = modes.reshape(side, side, 3, MODES[2])[row, column][:, ::-1]
    same = np.isclose(model.albedo_basis, modes, atol=1e-5).all(axis=(1, 2))
    assert same.mean() > 0.99  # uv in the file have six digits: some fall into the next texel


def test_an_empty_texture_leaves_the_builtin_colours(path, tmp_path):
    (tmp_path / "generic_model.pkl").write_bytes(path.read_bytes())
    write_flame_albedo(tmp_path)
    file = tmp_path / "FLAME_albedo_from_BFM.npz"
    with np.load(file) as arrays:
        mean, modes = arrays["MU"].reshape(64, 64, 3).copy(), arrays["PC"]
    mean[:40] = 0  # of the upper half
    np.savez(file, MU=mean.ravel(), PC=modes)
    model = load_face_model(tmp_path / "generic_model.pkl")
    upper = model.uv[:, 1] > 0.4
    assert (model.albedo_mean.max(axis=1) > 0.02).all()
    assert (model.albedo_basis[upper] == 0).all() and (model.albedo_basis[~upper] != 0).any()


def test_a_texture_of_255_with_its_own_coordinates(path, tmp_path):
    (tmp_path / "generic_model.pkl").write_bytes(path.read_bytes())
    mesh, side = head(), 16
    uv = np.tile([0.3, 0.7], (len(mesh.vertices), 1))
    texture = np.zeros((side, side, 3))
    texture[int(0.3 * side), int(0.3 * side)] = [60, 90, 200]
    modes = np.random.default_rng(0).normal(size=(side, side, 3, 5))
    np.savez(tmp_path / "FLAME_texture.npz", mean=texture, tex_dir=modes, vt=uv, ft=mesh.triangles)
    model = load_face_model(tmp_path / "generic_model.pkl", albedo=2)
    np.testing.assert_allclose(model.albedo_mean[7], np.array([200, 90, 60]) / 255, rtol=1e-5)
    np.testing.assert_allclose(model.albedo_basis[7], modes[4, 4, ::-1, :2] / 255, rtol=1e-5)


def test_the_albedo_model_of_2020_by_its_published_name(path, tmp_path):
    """It brings its own coordinates, and is of linear light."""
    (tmp_path / "generic_model.pkl").write_bytes(path.read_bytes())
    mesh, side = head(), 16
    uv = np.tile([0.3, 0.7], (len(mesh.vertices), 1))
    texture = np.zeros((side, side, 3))
    texture[4, 4] = [0.6, 0.3, 0.002]
    modes = 1e-4 * np.random.default_rng(0).normal(size=(side, side, 3, 5))
    content = {"MU": texture, "PC": modes, "specMU": texture, "vt": uv, "ft": mesh.triangles}
    np.savez(tmp_path / "albedoModel2020_FLAME_albedoPart.npz", **content)
    model = load_face_model(tmp_path / "generic_model.pkl", albedo=2)

    def encode(linear):
        return np.where(linear < 0.0031308, 12.92 * linear, 1.055 * linear ** (1 / 2.4) - 0.055)

    np.testing.assert_allclose(model.albedo_mean[7], encode(texture[4, 4]), rtol=1e-5)
    moved = encode(texture[4, 4] + modes[4, 4, :, 0])
    wanted = moved - encode(texture[4, 4])
    np.testing.assert_allclose(model.albedo_basis[7, :, 0], wanted, rtol=1e-2, atol=1e-7)
    assert model.licence.endswith("; albedo University of York (Smith et al. 2020); for research")
    said = describe_companions(tmp_path / "generic_model.pkl").splitlines()
    assert said[0] == f"beside it in {tmp_path}:"
    assert said[1].startswith("landmarks: none, they are found on the geometry (looked for flame_")
    assert said[2].startswith("albedo: albedoModel2020_FLAME_albedoPart.npz (looked for FLAME_alb")
    assert said[3].startswith("texture coordinates: albedoModel2020_FLAME_albedoPart.npz (looked")


def test_an_albedo_without_coordinates_is_said_not_to_be_read(path, tmp_path):
    (tmp_path / "generic_model.pkl").write_bytes(path.read_bytes())
    np.savez(tmp_path / "FLAME_albedo_from_BFM.npz", MU=np.zeros(3), PC=np.zeros((3, 1)))
    said = describe_companions(tmp_path / "generic_model.pkl")
    assert "albedo: none, FLAME_albedo_from_BFM.npz has no texture coordinates beside it" in said


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("shapedirs", None, "is not FLAME: it lacks the key 'shapedirs'"),
        ("weights", np.zeros((7, 5)), r"'weights' has the shape \(7, 5\) instead of \(10180, 5\)"),
        ("posedirs", np.zeros((10180, 3, 35)), r"instead of \(10180, 3, 36\)"),
        ("v_template", np.zeros((7, 2)), r"'v_template' has the shape \(7, 2\), not v x 3"),
        ("f", np.full((9, 3), 10**6), "'f' has an index outside"),
        ("shapedirs", np.zeros((10180, 3, 300)), "without expression modes after the 300"),
        ("J_regressor", np.full((5, 10180), np.nan), "'J_regressor' holds values that are not fin"),
        ("kintree_table", np.full((2, 5), 4), "'kintree_table' hangs joint 1 on 4"),
        ("v_template", "text", "'v_template' is str, from which no array can be read"),
        ("J_regressor", np.array(1.0), r"'J_regressor' has the shape \(\) instead of \(5, 10180\)"),
        ("weights", np.ones(5), r"'weights' has the shape \(5,\) instead of \(10180, 5\)"),
    ],
)
def test_what_is_wrong_is_named(tmp_path, key, value, message):
    arrays = flame_arrays() | {"shapedirs": np.zeros((10180, 3, 301), np.float32)} | {key: value}
    content = {k: v for k, v in arrays.items() if v is not None}
    (tmp_path / "flame.pkl").write_bytes(pickle.dumps(content))
    with pytest.raises(ValueError, match=message) as error:
        load_face_model(tmp_path / "flame.pkl")
    assert "flame.pkl" in str(error.value)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("flame_static_embedding_68.pkl", {"x": 1}, "has no landmarks under full_lmk_faces_idx or"),
        ("flame_static_embedding_68.pkl", [1], "has no landmarks"),
        (
            "flame_static_embedding_68.pkl",
            flame_embedding() | {"lmk_face_idx": np.zeros(5, int)},
            r"shapes \(5,\) and \(68, 3\), not 68",
        ),
        (
            "flame_static_embedding_68.pkl",
            flame_embedding() | {"lmk_face_idx": np.full(68, 10**6)},
            "'lmk_face_idx' has an index outside",
        ),
        (
            "flame_static_embedding_68.pkl",
            flame_embedding() | {"lmk_face_idx": np.arange(68)},
            "does not fit generic_model.pkl: its landmarks lie",
        ),
    ],
)
def test_landmarks_that_do_not_fit_are_named(path, tmp_path, name, content, message):
    (tmp_path / "generic_model.pkl").write_bytes(path.read_bytes())
    (tmp_path / name).write_bytes(pickle.dumps(content))
    with pytest.raises(ValueError, match=message):
        load_face_model(tmp_path / "generic_model.pkl")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"MU": np.ones(7)}, r"'MU' has the shape \(7,\), no square texture"),
        ({"MU": np.ones(0)}, r"'MU' has the shape \(0,\), no square texture"),
        ({"MU": np.full(12288, np.nan)}, "'MU' holds values that are not finite"),
        ({"MU": None}, "lacks the key 'MU'"),
        ({"PC": np.ones((5, 2))}, r"'PC' has the shape \(5, 2\) for 4096 x 3 values"),
        ({"PC": np.full((12288, 2), np.nan)}, "'PC' holds values that are not finite"),
    ],
)
def test_textures_that_do_not_fit_are_named(path, tmp_path, change, message):
    (tmp_path / "generic_model.pkl").write_bytes(path.read_bytes())
    write_flame_albedo(tmp_path)
    file = tmp_path / "FLAME_albedo_from_BFM.npz"
    with np.load(file) as arrays:
        content = {k: v for k, v in (dict(arrays) | change).items() if v is not None}
    np.savez(file, **content)
    with pytest.raises(ValueError, match=message) as error:
        load_face_model(tmp_path / "generic_model.pkl")
    assert "FLAME_albedo_from_BFM.npz" in str(error.value)


def test_a_truncated_pickle_is_named(path, tmp_path):
    (tmp_path / "generic_model.pkl").write_bytes(path.read_bytes()[:100000])
    with pytest.raises(ValueError, match=r"generic_model\.pkl cannot be read as a pickle"):
        load_face_model(tmp_path / "generic_model.pkl")
