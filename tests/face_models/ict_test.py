"""ICT-FaceKit, whose geometry is read and whose colours are the built-in model's."""

from pathlib import Path

import numpy as np
import pytest
from face_model_files import MODES, basis, head, ict_order, write_ict

from focus_jax.face_models import crop, fitting, ict, load_face_model
from focus_jax.types import REGIONS

ICT = Path(__file__).parents[3] / "shared" / "face_models" / "ict_facekit_light_face_head_eyes.npz"


@pytest.fixture(scope="module")
def builtin():
    return load_face_model("builtin")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("ICT-FaceKit")
    write_ict(folder / "FaceXModel")
    return folder


@pytest.fixture(scope="module")
def ict_arrays():
    if not ICT.is_file():
        pytest.skip("the ICT-FaceKit npz is not at ../shared/face_models")
    with np.load(ICT, allow_pickle=False) as file:
        return dict(file)


@pytest.mark.parametrize("inside", ["", "FaceXModel"])
def test_the_folder_is_read_in_millimetres(folder, inside):
    model, mesh = load_face_model(folder / inside, mesh="full"), head()
    order = ict_order()
    moved = model.shape_mean - mesh.vertices[order]
    np.testing.assert_allclose(moved, np.tile(moved[:1], (len(moved), 1)), atol=1e-3)
    np.testing.assert_allclose(
        model.identity_basis, basis(len(order), MODES[0], 0)[order], atol=1e-3
    )
    assert model.expression_basis.shape == (len(order), 3, MODES[1])
    landmarks = fitting.landmark_points(model) - mesh.vertices[mesh.landmarks]
    np.testing.assert_allclose(landmarks, np.tile(moved[:1], (68, 1)), atol=1e-3)
    # The quad is two triangles.
    assert len(model.triangles) == len(mesh.triangles)
    assert load_face_model(folder, identity=2, mesh="full").identity_basis.shape[-1] == 2


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            lambda f: cut(f / "identity001.obj"),
            r"identity001\.obj is damaged: it should begin with",
        ),
        (lambda f: cut(f / f"{ict.NEUTRAL}.obj"), r"mesh\.obj has \d+ vertices, too few|no faces"),
        (lambda f: [p.unlink() for p in f.glob("mouth*")], "has no expression shapes"),
        (lambda f: [p.unlink() for p in f.glob("identity*")], "has no identity shapes"),
        (lambda f: replace(f / "mouth1.obj", "v 0", "v nan "), r"mouth1\.obj is damaged"),
        (
            lambda f: replace(f / f"{ict.NEUTRAL}.obj", "f ", "f 99999/1 "),
            "its faces or texture coordinates do not fit",
        ),
    ],
)
def test_damaged_folders_are_named(tmp_path, change, message):
    write_ict(tmp_path)
    change(tmp_path)
    with pytest.raises(ValueError, match=message):
        load_face_model(tmp_path)


def cut(path):
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 4])


def replace(path, old, new):
    path.write_text(path.read_text().replace(old, new))


def test_another_folder_is_no_face_model(tmp_path):
    with pytest.raises(ValueError, match="is a folder, but not ICT-FaceKit's"):
        load_face_model(tmp_path)


def test_the_npz_is_a_face_with_eyes_and_colours(builtin, ict_arrays):
    model = load_face_model(ICT)
    assert 6000 < len(model.shape_mean) < 9409 and model.expression_basis.shape[-1] == 57
    points, wanted = fitting.landmark_points(model), fitting.landmark_points(builtin)
    # Millimetres: another mean face. Its jaw line lies elsewhere.
    assert np.linalg.norm(points - wanted, axis=1)[17:].mean() < 8.0
    sizes = (model.expression_basis**2).sum((0, 1))
    assert sizes[0] == sizes.max() and sizes[:10].min() > sizes[-10:].max()
    # The face is one patch, and each eyeball another; ears and neck are left out.
    assert crop.connected(model.triangles) == 3
    np.testing.assert_allclose(
        np.ptp(model.shape_mean, axis=0)[:2], np.ptp(builtin.shape_mean, axis=0)[:2], atol=25
    )
    names = [REGIONS.index(name) for name in ("lips", "skin", "eyes")]
    lips, skin, eyes = (model.albedo_mean[model.region == number].mean(0) for number in names)
    assert lips[0] / lips[1] > skin[0] / skin[1]  # lips are redder
    assert eyes[2] / eyes[0] > skin[2] / skin[0]  # the white of the eye is less red
    assert model.uv.min() >= 0 and model.uv.max() <= 1


def test_the_whole_mesh_has_the_same_modes(ict_arrays):
    model, full = load_face_model(ICT, identity=3), load_face_model(ICT, identity=3, mesh="full")
    assert len(full.shape_mean) == 14388
    place = {tuple(row): number for number, row in enumerate(full.shape_mean.tolist())}
    rows = [place[tuple(row)] for row in model.shape_mean.tolist()]
    np.testing.assert_array_equal(full.identity_basis[rows], model.identity_basis)
    np.testing.assert_array_equal(full.expression_basis[rows], model.expression_basis)


def test_the_table_of_landmarks_is_that_of_the_npz(ict_arrays):
    np.testing.assert_array_equal(ict_arrays["orig_index"][ict_arrays["lm68"]], ict.LANDMARKS)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"uv": None}, "lacks the key 'uv'"),
        ({"id_basis": None}, "lacks the key 'id_basis' of an ICT-FaceKit npz"),
        ({"uv": np.zeros((5, 2))}, r"'uv' has the shape \(5, 2\)"),
        ({"triangles": np.full((3, 3), 10**6)}, "'triangles' has an index outside"),
        ({"lm68": np.full(68, 10000)}, "not on the face"),
        ({"lm68": np.zeros(68)}, "'lm68' holds float64 instead of integers"),
        ({"mean": np.array(1.0)}, r"'mean' has the shape \(\); it must have 2 axes, the last of"),
        ({"triangles": np.zeros((0, 3), int)}, "'triangles' is empty"),
    ],
)
def test_what_is_wrong_with_an_ict_file_is_said(ict_arrays, tmp_path, change, message):
    few = {"id_basis": ict_arrays["id_basis"][:2], "exp_basis": ict_arrays["exp_basis"][:2]}
    wrong = {k: v for k, v in (ict_arrays | few | change).items() if v is not None}
    np.savez(tmp_path / "wrong.npz", **wrong)
    with pytest.raises(ValueError, match=message):
        load_face_model(tmp_path / "wrong.npz")
