"""Confidence sees nothing that refinement improves."""

import inspect

import numpy as np
import pytest

from focus_jax.face_models import load_face_model
from focus_jax.face_models.fitting import landmark_points
from focus_jax.photos.confidence import confidence, landmark_error, turn
from focus_jax.rendering import camera

SURE = {"visible": 1.0, "agreement": 0.0, "score": 1.0, "turned": 0.0}


def test_a_face_in_full_view_is_sure():
    assert confidence(**SURE) == 1.0


@pytest.mark.parametrize(
    "worse",
    [{"visible": 0.25}, {"agreement": 0.1}, {"score": 0.5}, {"turned": 67.5}],
)
def test_each_thing_halves_it(worse):
    assert confidence(**SURE | worse) == pytest.approx(0.5)


def test_a_right_fit_behind_a_mask_is_surer_than_a_wrong_one_in_view():
    masked = SURE | {"visible": 0.55, "agreement": 0.04, "score": 0.9}
    assert confidence(**masked) > confidence(**SURE | {"agreement": 0.09, "score": 0.9})


def test_a_profile_is_not_believed():
    assert confidence(**SURE | {"turned": 90.0}) == 0.0


def test_it_is_told_nothing_of_the_refined_fit():
    assert set(inspect.signature(confidence).parameters) == set(SURE)


@pytest.mark.parametrize("yaw", [-60.0, -20.0, 0.0, 45.0, 80.0])
def test_the_turn_is_read_off_the_landmarks_also_where_the_fit_is_frontal(yaw):
    points = landmark_points(load_face_model("builtin"))
    angles = np.array([0.0, np.deg2rad(yaw), 0.0], np.float32)
    seen = np.asarray(points @ np.asarray(camera.rotation_matrix(angles)).T)[:, :2] * [1, -1]
    frontal = np.asarray(camera.extrinsics(np.zeros(6, np.float32))[0])
    assert turn(frontal, points, seen) == pytest.approx(abs(yaw), abs=1.0)


def test_the_landmark_error_is_in_eye_distances():
    points = np.random.default_rng(0).normal(size=(68, 2)) * 50
    eyes = np.linalg.norm(points[36] - points[45])
    moved = points + np.array([0.1 * eyes, 0])
    assert landmark_error(moved, points) == pytest.approx(0.1)
