"""third_party/derive_mesh_places.py, on a few faces of the built-in model."""

import importlib.util
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from focus_jax.data.face_landmarker import face_landmarker
from focus_jax.face_models import load_face_model
from focus_jax.rendering import morphable

SCRIPT = Path(__file__).resolve().parents[2] / "third_party" / "derive_mesh_places.py"
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
    return script.derive(model, face_landmarker())[0]


def test_places_lie_in_triangles_of_the_model(places, model):
    triangles = {tuple(triangle) for triangle in np.asarray(model.triangles).tolist()}
    assert places["vertices"].shape == places["weights"].shape == (478, 3)
    assert all(tuple(corners) in triangles for corners in places["vertices"].tolist())
    np.testing.assert_allclose(places["weights"].sum(1), 1, atol=1e-4)
    assert places["weights"].min() > -1e-4
    assert np.median(places["seen"]) > 0.7


def test_corners_of_eyes_and_mouth_are_where_the_model_has_them(places, model):
    mean = np.asarray(model.shape_mean)
    own = np.asarray(morphable.landmarks(model, mean))[list(SAME)]
    points = (places["weights"][..., None] * mean[places["vertices"]]).sum(1)
    distances = np.linalg.norm(points[list(SAME.values())] - own, axis=1)
    assert distances.max() < 8 and np.median(distances) < 4  # millimetres


def test_a_model_that_shows_no_face_is_refused(script, model):
    with pytest.raises(ValueError, match="found in 0 of 4 renderings"):
        script.derive(model, lambda picture: [])
