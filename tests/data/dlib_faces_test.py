from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import cv2
import numpy as np
import pytest
import skimage.data

from focus_jax.data import dlib_faces
from focus_jax.data.detect import landmark_source

NOWHERE = Path("photo.jpg")


@pytest.fixture(scope="module")
def dlib_source():
    pytest.importorskip("dlib")
    return landmark_source("dlib")


@pytest.fixture(scope="module")
def astronaut():
    return skimage.data.astronaut()


@pytest.fixture(scope="module")
def face(dlib_source, astronaut):
    return dlib_source(astronaut, NOWHERE)[0]


def eyes(landmarks):
    return np.linalg.norm(landmarks[36] - landmarks[45])


def test_the_face_of_a_photo_is_found_once(dlib_source, astronaut, face):
    assert len(dlib_source(astronaut, NOWHERE)) == 1
    assert face.landmarks.shape == (68, 2) and face.source == "dlib" and face.score > 1
    # Her pupils and the tip of her chin, read off the picture.
    np.testing.assert_allclose(face.landmarks[36:42].mean(0), (203, 101), atol=4)
    np.testing.assert_allclose(face.landmarks[42:48].mean(0), (247, 104), atol=4)
    np.testing.assert_allclose(face.landmarks[8], (222, 177), atol=5)


def test_several_faces_come_largest_first(dlib_source, astronaut):
    small = cv2.resize(astronaut[:300, 100:400], (200, 200))
    canvas = np.zeros((300, 520, 3), np.uint8)
    canvas[:200, :200], canvas[:, 220:] = small, astronaut[:300, 100:400]
    found = dlib_source(canvas, NOWHERE)
    assert len(found) == 2
    assert found[0].landmarks[30, 0] > 220 > found[1].landmarks[30, 0]


def test_small_faces_of_a_group_are_found(dlib_source, astronaut):
    """Half as large as the fast detector sees at first; nobody in this photo is near."""
    small = cv2.resize(astronaut[:300, 100:400], None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA)
    canvas = np.full((400, 1200, 3), 90, np.uint8)
    canvas[20:170, 40:190] = canvas[220:370, 900:1050] = small
    found = dlib_source(canvas, NOWHERE)
    assert sorted(int(f.landmarks[30, 0]) // 300 for f in found) == [0, 3]


def test_a_huge_photo_gives_the_same_landmarks(dlib_source, astronaut, face):
    huge = cv2.resize(astronaut, None, fx=6, fy=6, interpolation=cv2.INTER_CUBIC)
    found = dlib_source(huge, NOWHERE)
    assert len(found) == 1
    error = np.linalg.norm((found[0].landmarks + 0.5) / 6 - 0.5 - face.landmarks, axis=1)
    assert error.mean() < 0.06 * eyes(face.landmarks)


def test_the_slow_detector_helps_where_the_fast_one_finds_nothing(
    dlib_source, astronaut, monkeypatch
):
    monkeypatch.setattr(dlib_faces, "LEAST_SCORE", 100.0)  # the fast one is never sure enough
    found = dlib_source(astronaut, NOWHERE)
    assert [f.source for f in found] == ["dlib-cnn"]


def test_threads_find_what_one_finds(dlib_source, astronaut):
    views = [np.ascontiguousarray(astronaut[:n, :n]) for n in range(240, 480, 24)]
    alone = [dlib_source(view, NOWHERE) for view in views]
    with ThreadPoolExecutor(4) as pool:
        together = list(pool.map(lambda view: dlib_source(view, NOWHERE), 3 * views))
    for one, other in zip(3 * alone, together, strict=True):
        assert len(one) == len(other) > 0
        np.testing.assert_array_equal(one[0].landmarks, other[0].landmarks)


@pytest.mark.parametrize("shape", [(1, 1), (1, 200), (40, 40), (300, 300)])
def test_there_is_no_face_in_the_dark(dlib_source, shape):
    assert dlib_source(np.zeros((*shape, 3), np.uint8), NOWHERE) == []
