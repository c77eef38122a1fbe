"""Mirrored faces in coefficients."""

import numpy as np
import pytest

from focus_jax.face_models import load_face_model
from focus_jax.face_models.mirror import mirror_matrix


@pytest.fixture(scope="module")
def face_model():
    return load_face_model("builtin", identity=20, expression=10, albedo=10)


def test_mirrored_landmarks_are_those_of_the_mirrored_face(face_model):
    rng = np.random.default_rng(0)
    code = rng.normal(size=40).astype(np.float32)
    mirrored = mirror_matrix(face_model) @ code
    corners, weights = face_model.landmark_vertices, face_model.landmark_weights

    def eyes_and_mouth(of):
        shape = np.asarray(face_model.shape_mean) + np.asarray(face_model.identity_basis) @ of[:20]
        shape = shape + np.asarray(face_model.expression_basis) @ of[20:30]
        return np.einsum("lkc,lk->lc", shape[np.asarray(corners)], np.asarray(weights))[36:60]

    # Corners of eyes and mouth, from 36 on, and those of the other side.
    here, there = [0, 3, 6, 9, 12, 18], [9, 6, 3, 0, 18, 12]
    expected = eyes_and_mouth(code)[here] * [-1, 1, 1]
    apart = np.linalg.norm(eyes_and_mouth(mirrored)[there] - expected, axis=1)
    unmirrored = np.linalg.norm(eyes_and_mouth(code)[there] - expected, axis=1)
    assert apart.max() < 1.0, apart  # mm
    assert apart.mean() < 0.5 * unmirrored.mean()


def test_twice_is_not_at_all(face_model):
    matrix = mirror_matrix(face_model)
    # Nearly: the mesh is not quite the same on both sides.
    np.testing.assert_allclose(matrix @ matrix, np.eye(40), atol=0.06)
    assert np.abs(matrix - np.eye(40)).max() > 0.5


def test_kinds_without_modes_have_no_rows():
    face_model = load_face_model("builtin", identity=4, expression=0, albedo=0)
    only = load_face_model("builtin", identity=4, expression=3, albedo=2)
    np.testing.assert_array_equal(mirror_matrix(face_model), mirror_matrix(only)[:4, :4])
