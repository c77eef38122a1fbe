import numpy as np
import pytest

from focus_jax.data.synthetic import people
from focus_jax.face_models import load_face_model


@pytest.fixture(scope="module")
def face_model():
    return load_face_model("builtin")


@pytest.fixture(scope="module")
def body(face_model):
    return people.around(face_model)


def test_the_body_meets_the_face(face_model, body):
    mean = face_model.shape_mean
    apart = np.linalg.norm(body.vertices[:, None] - mean[body.border], axis=-1).min(axis=0)
    assert np.median(apart) < 6  # mm
    assert body.vertices[:, 1].min() < mean[:, 1].min() - 100  # shoulders
    assert body.vertices[:, 2].min() < mean[:, 2].min() - 60  # back of the head


def test_the_body_follows_the_face_and_the_shoulders_their_turn(face_model, body):
    mean = face_model.shape_mean
    still = people.placed(body, mean, mean, np.eye(3))
    np.testing.assert_allclose(still, body.vertices, atol=1e-3)
    wider = people.placed(body, mean, mean * [1.1, 1, 1], np.eye(3))
    ears = np.abs(body.vertices[:, 0]) > 65
    ears &= body.vertices[:, 1] > -20
    assert (np.abs(wider[ears, 0]) > np.abs(still[ears, 0])).mean() > 0.95
    back = np.diag([-1.0, 1, -1])
    turned = people.placed(body, mean, mean, back)
    low, head = body.vertices[:, 1] < -160, body.vertices[:, 1] > -50
    np.testing.assert_allclose(turned[low, 0], -still[low, 0], atol=1e-3)
    np.testing.assert_allclose(turned[head], still[head], atol=1e-3)


def test_a_whole_head_has_no_other(face_model):
    deep = face_model.replace(shape_mean=face_model.shape_mean * np.float32([1, 1, 3]))
    assert people.around(deep) is None


def test_clipping_keeps_what_lies_below():
    points = np.array([(0.0, 0), (1, 0), (0, 1), (1, 1)])
    triangles = np.array([(0, 1, 2), (1, 3, 2)])

    def area(columns, triangles):
        a, b, c = (columns[triangles[:, k]] for k in range(3))
        u, v = b - a, c - a
        return (u[:, 0] * v[:, 1] - u[:, 1] * v[:, 0]) / 2

    for height, expected in (
        (points[:, 1] - 0.3, 0.3),
        (0.3 - points[:, 1], 0.7),
        (points[:, 0] - 2, 1),
    ):
        found = area(*people.clipped(points, triangles, height))
        np.testing.assert_allclose(found.sum(), expected)
        assert (found > 0).all()
