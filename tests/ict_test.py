"""ICT-FaceKit, whose geometry is read and whose colours are the built-in model's."""

from pathlib import Path

import numpy as np
import pytest

from focus_jax.face_models import fitting, load_face_model

ICT = Path(__file__).parents[2] / "shared" / "face_models" / "ict_facekit_light_face_head_eyes.npz"


def test_a_similarity_is_found_back():
    points = np.random.default_rng(0).normal(size=(9, 3))
    turn = np.linalg.qr(np.random.default_rng(1).normal(size=(3, 3)))[0]
    turn *= np.sign(np.linalg.det(turn))
    fit = fitting.similarity(points, 2.5 * points @ turn + [1, 2, 3])
    np.testing.assert_allclose(fit.scale, 2.5)
    np.testing.assert_allclose(fit.rotation, turn, atol=1e-9)
    np.testing.assert_allclose(fit(points), 2.5 * points @ turn + [1, 2, 3], atol=1e-9)


@pytest.fixture(scope="module")
def builtin():
    return load_face_model("builtin")


@pytest.fixture(scope="module")
def ict_arrays():
    if not ICT.is_file():
        pytest.skip("the ICT-FaceKit npz is not at ../shared/face_models")
    with np.load(ICT, allow_pickle=False) as file:
        return dict(file)


def test_ict_facekit_loads(builtin, ict_arrays, tmp_path):
    model = load_face_model(ICT)
    assert len(model.shape_mean) == 9409 and model.expression_basis.shape[-1] == 57
    points, wanted = fitting.landmark_points(model), fitting.landmark_points(builtin)
    # Millimetres: another mean face. Its jaw line lies elsewhere.
    assert np.linalg.norm(points - wanted, axis=1)[17:].mean() < 8.0
    assert (np.diff((model.expression_basis**2).sum((0, 1))) <= 1e-3).all()
    lips = model.albedo_mean[model.region == 4].mean(0)
    skin = model.albedo_mean[model.region == 0].mean(0)
    assert lips[0] / lips[1] > skin[0] / skin[1]  # lips are redder


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"uv": None}, "lacks the key 'uv'"),
        ({"uv": np.zeros((5, 2))}, r"'uv' has the shape \(5, 2\)"),
        ({"triangles": np.full((3, 3), 10**6)}, "'triangles' has an index outside"),
        ({"lm68": np.full(68, 14000)}, "not on the face"),
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
