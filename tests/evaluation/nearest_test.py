import numpy as np
import pytest

from focus_jax.evaluation import nearest
from focus_jax.evaluation.scans import SEVEN
from focus_jax.face_models import load_face_model
from focus_jax.rendering import morphable


@pytest.fixture(scope="module")
def faces():
    """Four people of the built-in model, as meshes."""
    model = load_face_model("builtin")
    codes = np.random.default_rng(0).standard_normal((4, 80)).astype(np.float32)
    shapes = np.asarray(morphable.vertices(model, codes, codes[:, :0]), np.float64)
    points = np.asarray(morphable.landmarks(model, shapes))[:, list(SEVEN)]
    return [(v, np.asarray(model.triangles), p) for v, p in zip(shapes, points, strict=True)]


def test_true_meshes_are_nearest_to_their_own_scans(faces):
    scans = [(vertices, points) for vertices, _, points in faces]
    # Their size is free.
    smaller = [(v / 10, t, p / 10) for v, t, p in faces]
    assert nearest.own_nearest(scans, smaller) == (1.0, 1.0)
    assert nearest.distances(scans, faces).diagonal().max() < 1e-3
    assert nearest.own_nearest(scans, faces[1:] + faces[:1])[0] == 0


def test_a_face_that_is_the_same_for_everyone_has_the_rank_of_chance(faces):
    scans = [(vertices, points) for vertices, _, points in faces]
    assert nearest.own_nearest(scans, [faces[0]] * 4) == (0.25, 2.5)


def test_small_heads_are_not_near_to_everything(faces):
    """A distance is in the mesh's unit, so that shrinking a scan changes nothing."""
    scans = [(vertices, points) for vertices, _, points in faces]
    shrunk = [(vertices / 2, points / 2) for vertices, points in scans]
    np.testing.assert_allclose(
        nearest.distances(shrunk, faces[:2]), nearest.distances(scans, faces[:2]), atol=1e-3
    )
