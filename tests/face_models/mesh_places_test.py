"""third_party/derive_mesh_places.py, on a few faces of the built-in model."""

import dataclasses
import importlib.util
import shutil
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from focus_jax.data.belief import SEEN
from focus_jax.data.face_landmarker import face_landmarker
from focus_jax.data.mesh_landmarks import MIRROR, ibug_landmarks
from focus_jax.face_models import BUILTIN, load_face_model
from focus_jax.rendering import morphable

SCRIPT = Path(__file__).resolve().parents[2] / "third_party" / "derive_mesh_places.py"
RIM = np.array([93, 132, 58, 172, 397, 288, 361, 323])
# iBUG points whose place on the mesh leaves no doubt, and MediaPipe's points.
SAME = {36: 33, 39: 133, 42: 362, 45: 263, 48: 61, 54: 291, 51: 0, 62: 13, 66: 14}


@pytest.fixture(scope="module")
def script():
    spec = importlib.util.spec_from_file_location("derive_mesh_places", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    module.FACES = 4
    return module


@pytest.fixture(scope="module")
def model():
    return jax.tree.map(jnp.asarray, load_face_model("builtin"))


@pytest.fixture(scope="module")
def places(script, model):
    return script.derive(model, face_landmarker())


def test_places_lie_in_triangles_of_the_model(places, model):
    vertices, weights, _, seen, _ = places
    triangles = {tuple(triangle) for triangle in np.asarray(model.triangles).tolist()}
    assert vertices.shape == weights.shape == (478, 3)
    assert all(tuple(corners) in triangles for corners in vertices.tolist())
    np.testing.assert_allclose(weights.sum(1), 1, atol=1e-4)
    assert weights.min() > -1e-4
    assert np.median(seen) > 0.7


def test_places_of_features_are_known_and_those_of_the_rim_guessed(places, model):
    vertices, weights, known, _, _ = places
    assert known[SEEN].mean() > 0.9
    assert known[RIM].mean() < 0.5
    at = (weights[..., None] * np.asarray(model.shape_mean)[vertices]).sum(1)
    assert np.abs(at[RIM, 0]).min() > np.abs(at[33, 0])  # further out than the eyes


def test_the_built_in_model_has_all_of_them_on_both_sides_alike(model):
    shares = np.asarray(model.dense_landmark_weights)
    np.testing.assert_allclose(shares.sum(1), 1, atol=1e-4)
    at = np.asarray(morphable.dense_landmarks(model, model.shape_mean))
    apart = np.linalg.norm(at * [-1, 1, 1] - at[MIRROR], axis=1)
    assert np.median(apart) < 1.0 and apart.max() < 3.0  # millimetres


def test_brows_nose_and_lips_of_the_built_in_model_lie_where_the_detector_has_them(script, model):
    places = model.dense_landmark_vertices, model.dense_landmark_weights
    corners, weights = script.moved(model, *map(np.asarray, places))
    at = (weights[..., None] * np.asarray(model.shape_mean)[corners]).sum(1)
    own = np.asarray(morphable.landmarks(model, model.shape_mean))
    np.testing.assert_allclose(own, at, atol=1e-3)
    dense = np.asarray(morphable.dense_landmarks(model, model.shape_mean))
    apart = np.linalg.norm(ibug_landmarks(dense)[script.MOVED] - own[script.MOVED, :2], axis=1)
    assert apart.max() < 1.0  # millimetres, as far as the surface


def test_corners_of_eyes_and_mouth_are_where_the_model_has_them(places, model):
    mean = np.asarray(model.shape_mean)
    own = np.asarray(morphable.landmarks(model, mean))[list(SAME)]
    points = (places[1][..., None] * mean[places[0]]).sum(1)
    distances = np.linalg.norm(points[list(SAME.values())] - own, axis=1)
    assert distances.max() < 8 and np.median(distances) < 4  # millimetres


def test_a_model_that_shows_no_face_is_refused(script, model):
    with pytest.raises(ValueError, match="found in 0 of 4 renderings"):
        script.derive(model, lambda picture: [])


def test_the_model_s_file_gets_them_and_keeps_the_rest(script, places, tmp_path, monkeypatch):
    path = tmp_path / "model.npz"
    shutil.copy(BUILTIN, path)
    monkeypatch.setattr(script, "derive", lambda model, find: places)
    monkeypatch.setattr(sys, "argv", ["derive_mesh_places.py", str(path)])
    script.main()
    with np.load(path) as new, np.load(BUILTIN) as old:
        for key in old.files:
            if "landmark" not in key:
                np.testing.assert_array_equal(new[key], old[key], err_msg=key)
        stay = np.delete(np.arange(68), script.MOVED)
        corners = (file["landmark_vertices"][stay] for file in (new, old))
        np.testing.assert_array_equal(*corners)
    model = load_face_model(path)
    np.testing.assert_array_equal(model.dense_landmark_vertices, places[0])
    found = morphable.dense_landmarks(model, jnp.asarray(model.shape_mean))
    assert found.any(axis=1).all()


def test_places_are_checked_when_a_model_is_read(places, tmp_path):
    def read(**changes):
        with np.load(BUILTIN) as file:
            arrays = {key: file[key] for key in file.files if not key.startswith("dense")}
        arrays |= {"dense_landmark_vertices": places[0], **changes}
        np.savez(tmp_path / "model.npz", **arrays)
        return load_face_model(tmp_path / "model.npz")

    with pytest.raises(ValueError, match="alone"):
        read()
    with pytest.raises(ValueError, match="neither 1 nor 0"):
        read(dense_landmark_weights=0.7 * places[1])
    with pytest.raises(ValueError, match="index outside"):
        wrong = {"dense_landmark_vertices": places[0] + 10**6}
        read(**wrong, dense_landmark_weights=places[1])


def test_models_without_places_say_so(model):
    bare = dataclasses.replace(model, dense_landmark_vertices=None, dense_landmark_weights=None)
    with pytest.raises(ValueError, match="no places of dense landmarks"):
        morphable.dense_landmarks(bare, model.shape_mean)
