import csv
from pathlib import Path

import cv2
import numpy as np
import pytest
import skimage.data

from focus_jax.data import augment
from focus_jax.data.detect import landmark_source
from focus_jax.data.mesh_landmarks import IBUG, MIRROR, ibug_landmarks

PEOPLE = Path(__file__).parents[3] / "shared" / "frl"
# iBUG points that a hand places without doubt, and the number of the hand's.
BY_HAND = {36: 18, 39: 22, 42: 23, 45: 27, 48: 87, 54: 93, 51: 90, 57: 106, 62: 96, 66: 101}


def golden_mesh():
    with np.load(Path(__file__).with_name("face_landmarker_golden.npz")) as arrays:
        return arrays["astronaut_points"]


def test_points_lie_between_two_vertices():
    points = golden_mesh()
    found = ibug_landmarks(points)
    assert found.shape == (68, 2) and found.dtype == np.float32
    for landmark, (first, second, share) in zip(found, IBUG, strict=True):
        expected = (1 - share) * points[first, :2] + share * points[second, :2]
        np.testing.assert_allclose(landmark, expected, rtol=1e-5)
        assert 0 <= share < 1


def test_no_point_twice():
    assert len(set(IBUG)) == 68


def test_both_sides_are_alike():
    """The mirror image of a face that is its own mirror image has the points' mirror image."""
    shares = np.array([share for _, _, share in IBUG])
    np.testing.assert_array_equal(shares, shares[augment.MIRROR])


def test_a_mirror_s_mirror_image_is_the_face_itself():
    np.testing.assert_array_equal(MIRROR[MIRROR], np.arange(478))
    ends = np.array(IBUG)[:, :2].astype(int)
    np.testing.assert_array_equal(np.sort(MIRROR[ends]), np.sort(ends[augment.MIRROR]))


def test_mirrored_photos_have_mirrored_points():
    photo, points = skimage.data.astronaut(), golden_mesh()
    (face,) = landmark_source("mediapipe")(np.ascontiguousarray(photo[:, ::-1]), Path("mirrored"))
    mirrored = face.mesh[MIRROR, :2] * [-1, 1] + [photo.shape[1] - 1, 0]
    away = np.linalg.norm(mirrored - points[:, :2], axis=1)
    away /= np.linalg.norm(points[33, :2] - points[263, :2])
    assert np.median(away) < 0.02 and away.max() < 0.06


def test_points_lie_in_order():
    """From ear to ear along the jaw; each row from left to right; lips inside lips."""
    found = ibug_landmarks(golden_mesh())
    for row in (range(1, 16), range(17, 27), range(31, 36), range(48, 55), range(60, 65)):
        assert (np.diff(found[row, 0]) > 0).all(), row
    assert (np.diff(found[27:31, 1]) > 0).all()
    for upper, lower in ((37, 41), (38, 40), (43, 47), (44, 46), (51, 62), (62, 66), (66, 57)):
        assert found[upper, 1] <= found[lower, 1] + 1, (upper, lower)


def test_they_lie_where_people_place_them():
    """On people who are not the test, whose points the table was chosen by."""
    if not PEOPLE.is_dir():
        pytest.skip("../shared/frl is not here")
    with (PEOPLE / "split.csv").open() as file:
        names = [r["person"] for r in csv.DictReader(file) if (r["set"], r["split"]) == LONDON]
    find, errors = landmark_source("mediapipe"), []
    for name in names[:12]:
        path = PEOPLE / "neutral_front" / f"{name}_03.jpg"
        (face,) = find(cv2.cvtColor(cv2.imread(str(path)), cv2.COLOR_BGR2RGB), path)
        hand = np.loadtxt(path.with_suffix(".csv"), delimiter=",")
        eyes = np.linalg.norm(hand[18] - hand[27])
        errors.append((face.landmarks[list(BY_HAND)] - hand[list(BY_HAND.values())]) / eyes)
    errors = np.array(errors)
    assert np.sqrt((errors**2).sum(-1).mean(0)).max() < 0.03  # each of them
    assert np.linalg.norm(errors, axis=-1).mean() < 0.015


LONDON = ("london", "train")
