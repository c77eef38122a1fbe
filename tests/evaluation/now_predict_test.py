"""Prediction folders, from photos whose shapes are given instead of predicted."""

import csv
import dataclasses

import cv2
import numpy as np
import pytest
import skimage.data
from jax import numpy as jnp
from ml_collections import ConfigDict

from focus_jax.evaluation import now, now_predict
from focus_jax.evaluation.scans import check_landmarks
from focus_jax.face_models import load_face_model
from focus_jax.forward import Reconstruction
from focus_jax.training.updates import Constants, Prediction
from focus_jax.types import FaceCode
from focus_jax.weights.run import Trained

# Read off the picture by eye: enough for a crop.
EYES, MOUTH = ((203, 101), (247, 102)), ((206, 141), (243, 141))


@pytest.fixture
def trained(monkeypatch):
    """A model that predicts the mean face, wider photo by photo, at a yaw of 20 degrees."""
    model = load_face_model("builtin", identity=2, expression=2, albedo=2)
    config = ConfigDict({"data": {"size": 32, "batch_size": 2}, "encoder": {"kind": "small"}})

    def predict(state, batch, constants, *, method):
        del state, constants, method
        factors = 1 + 0.1 * np.asarray(batch.index)[:, None, None] * np.array([1, 0, 0])
        pose = np.zeros((len(batch.index), 6), np.float32)
        pose[:, 1] = np.deg2rad(20)
        code = FaceCode(*[jnp.zeros((len(pose), 2))] * 3, pose, jnp.zeros((len(pose), 27)))
        neutral = np.asarray(model.shape_mean * factors, np.float32)
        return Prediction(Reconstruction(code, None, None, neutral), None, None)

    monkeypatch.setattr(now_predict.updates, "predict", predict)
    return Trained(config, None, Constants(model, {}, None), None)


@pytest.fixture
def photos(tmp_path):
    """Three photos of the astronaut and a broken one, with a csv of landmarks for two."""
    rows = []
    landmarks = np.tile([223.0, 124.0], (68, 1))  # the nose
    landmarks[36:42], landmarks[42:48] = EYES
    landmarks[48], landmarks[54] = MOUTH
    for name in ("A/selfie/1.jpg", "A/selfie/2.jpg", "B/selfie/1.jpg"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(tmp_path / name), skimage.data.astronaut()[..., ::-1])
        rows.append([name, *landmarks.reshape(-1)])
    (tmp_path / "B/selfie/2.jpg").write_text("no photo")
    with (tmp_path / "landmarks.csv").open("w") as file:
        csv.writer(file).writerows([*rows[:2], ["B/selfie/2.jpg", *landmarks.reshape(-1)]])
    return tmp_path


def test_what_is_written_is_what_the_benchmark_reads(trained, photos, tmp_path):
    images = ["A/selfie/1.jpg", "A/selfie/2.jpg", "B/selfie/1.jpg", "B/selfie/2.jpg"]
    find = now_predict.from_csv(photos / "landmarks.csv")
    out = tmp_path / "out"
    skipped = now_predict.predict(trained, images, photos, out, find=find)
    assert len(skipped) == 2
    assert "B/selfie/1.jpg: no landmarks" in skipped and "2.jpg" in skipped[1]
    model = trained.constants.face_model
    for name, factor in (("A/selfie/1", 1.0), ("A/selfie/2", 1.1)):
        vertices, triangles = now.read_mesh(out / f"{name}.obj")
        expected = np.asarray(model.shape_mean) * [factor, 1, 1]
        np.testing.assert_allclose(vertices, expected, atol=1e-4)
        np.testing.assert_array_equal(triangles, model.triangles)
        points = now.read_landmarks(out / f"{name}.npy")
        check_landmarks(points, now_predict.seven_landmarks(model, expected), name)
        # The order: right is the subject's, at negative x; eyes above the nose above the mouth.
        assert points[0, 0] < points[1, 0] < 0 < points[2, 0] < points[3, 0]
        assert points[:4, 1].min() > points[4, 1] > points[5:, 1].max()
    yaws = now.read_yaws(out / "poses.csv")
    assert yaws == {"A/selfie/1.jpg": 20.0, "A/selfie/2.jpg": 20.0}


def test_a_misfit_prior_is_subtracted(trained, photos, tmp_path):
    find = now_predict.from_csv(photos / "landmarks.csv")
    prior = np.full_like(trained.constants.face_model.shape_mean, 2.0)
    now_predict.predict(
        trained, ["A/selfie/1.jpg"], photos, tmp_path / "out", find=find, prior=prior
    )
    vertices, _ = now.read_mesh(tmp_path / "out/A/selfie/1.obj")
    np.testing.assert_allclose(vertices, trained.constants.face_model.shape_mean - 2.0, atol=1e-4)


@pytest.mark.parametrize("kept", [False, True])
def test_neutral_is_without_the_mean_expression_unless_told(trained, photos, tmp_path, kept):
    """As in the authors' release, for face models that have one."""
    model = trained.constants.face_model
    smile = np.sin(np.asarray(model.shape_mean))
    model = dataclasses.replace(model, expression_mean=smile)
    trained = trained._replace(constants=trained.constants._replace(face_model=model))
    find, out = now_predict.from_csv(photos / "landmarks.csv"), tmp_path / "out"
    now_predict.predict(trained, ["A/selfie/1.jpg"], photos, out, find=find, mean_expression=kept)
    vertices, _ = now.read_mesh(out / "A/selfie/1.obj")
    expected = model.shape_mean if kept else model.shape_mean - smile
    np.testing.assert_allclose(vertices, expected, atol=1e-4)


def test_the_whole_mesh_is_written_with_the_same_coefficients(trained, photos, tmp_path):
    model = trained.constants.face_model
    extra = np.float32(50) + 9 * np.eye(3, dtype=np.float32)
    neck = np.arange(3)[None] + len(model.shape_mean)
    whole = dataclasses.replace(
        model,
        shape_mean=np.concatenate([model.shape_mean, extra]),
        triangles=np.concatenate([model.triangles, neck]).astype(np.int32),
        identity_basis=np.pad(model.identity_basis, ((0, 3), (0, 0), (0, 0))),
        expression_basis=np.pad(model.expression_basis, ((0, 3), (0, 0), (0, 0))),
    )
    find, out = now_predict.from_csv(photos / "landmarks.csv"), tmp_path / "out"
    now_predict.predict(trained, ["A/selfie/1.jpg"], photos, out, find=find, whole=whole)
    vertices, triangles = now.read_mesh(out / "A/selfie/1.obj")
    np.testing.assert_allclose(vertices, whole.shape_mean, atol=1e-4)  # its code is zero
    assert len(triangles) == len(whole.triangles)
    with pytest.raises(ValueError, match="leave the whole one out"):
        now_predict.predict(trained, [], photos, out, find=find, prior=extra, whole=whole)


def test_dlib_finds_the_astronaut():
    pytest.importorskip("dlib")
    photo = skimage.data.astronaut()
    find = now_predict.from_dlib()
    landmarks = find("astronaut", photo)
    assert np.abs(landmarks[36:48].mean(0) - np.mean(EYES, axis=0)).max() < 4
    assert find("nobody", np.zeros_like(photo)) is None
