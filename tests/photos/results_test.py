import json
from types import SimpleNamespace

import numpy as np
import pytest

from focus_jax.data.face_landmarker import BLENDSHAPES
from focus_jax.data.landmarks import Detection
from focus_jax.photos import results
from focus_jax.photos.inference import FINE
from focus_jax.photos.results import photo_camera
from focus_jax.rendering import camera


@pytest.mark.parametrize("degrees", [0, 20, -75, 180])
def test_the_photos_camera_sees_what_the_crops_sees(degrees):
    """Points project to the same pixels of the photo, by the camera of either."""
    angle = np.radians(degrees)
    linear = 1.7 * np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    to_photo = np.concatenate([linear, [[310.0], [95.0]]], axis=1)
    rotation = np.asarray(camera.rotation_matrix(np.array([0.2, -0.4, 0.1])), np.float64)
    translation, points = (
        np.array([3.0, -8.0, 1000.0]),
        np.random.default_rng(0).normal(size=(9, 3)),
    )
    points *= 60
    crop = np.asarray(camera.intrinsics(FINE, FINE), np.float64)
    seen = camera.project(points, rotation, translation, crop)[:, :2] @ linear.T + to_photo[:, 2]
    matrix, turn = photo_camera(to_photo)
    found = camera.project(points, turn @ rotation, turn @ translation, matrix)[:, :2]
    np.testing.assert_allclose(found, seen, atol=0.02)
    assert matrix[0, 1] == matrix[1, 0] == 0 and matrix[0, 0] == pytest.approx(matrix[1, 1])
    np.testing.assert_allclose(turn @ turn.T, np.eye(3), atol=1e-9)


def test_all_that_the_detector_found_is_written():
    rng = np.random.default_rng(0)
    marks = rng.uniform(0, 500, (68, 2)).astype(np.float32)
    mesh = rng.uniform(-50, 500, (478, 3)).astype(np.float32)
    weights = rng.uniform(size=52).astype(np.float32)
    whole = results.detected_numbers(Detection(marks, 0.9, "mediapipe", mesh, weights))
    read = json.loads(json.dumps(whole))
    np.testing.assert_allclose(read["dense_landmarks"], mesh, atol=0.006)
    assert list(read["blendshapes"]) == list(BLENDSHAPES)
    np.testing.assert_allclose(list(read["blendshapes"].values()), weights, atol=1e-4)
    assert len(json.dumps(whole)) < 20_000
    few = results.detected_numbers(Detection(marks, 0.9, "dlib"))
    assert set(few) == {"source", "score", "landmarks"}


def test_exports_are_kinds_and_files_of_heads(tmp_path):
    own = tmp_path / "flame2023.npz"
    own.write_bytes(b"")
    kinds, heads = results.exports(f"arkit,flame={own},maps")
    assert kinds == ["arkit", "maps"] and heads == {"flame": own}
    assert results.exports("") == ([], {})
    wrong = {
        "flame": "needs that head's own file: flame=FILE",
        "flame=nowhere.pkl": r"there is no file nowhere\.pkl for --export flame",
        "obj": "there is no 'obj' to export; there are arkit, maps, flame=FILE, gnm=FILE",
        "arkit=5": "there is no 'arkit=5'",
    }
    for text, message in wrong.items():
        with pytest.raises(ValueError, match=message):
            results.exports(text)


def test_a_page_without_its_viewer_is_refused_before_any_work(monkeypatch):
    def unknown():
        raise ValueError("the viewer of this trimesh is unknown")

    monkeypatch.setattr(results.page, "viewer_library", unknown)
    with pytest.raises(ValueError, match="viewer of this trimesh"):
        results.share(SimpleNamespace(face_model=None), ["page"])
