import importlib.util
from pathlib import Path

import numpy as np
import pytest
import skimage.data

from focus_jax.data.detect import first_found, landmark_source
from focus_jax.data.landmarks import Detection

NOWHERE = Path("photo.jpg")


def test_the_default_source_gives_all_points_and_the_68():
    (face,) = landmark_source("mediapipe")(skimage.data.astronaut(), NOWHERE)
    assert face.source == "mediapipe" and 0.8 < face.score <= 1
    assert face.landmarks.shape == (68, 2) and face.landmarks.dtype == np.float32
    assert face.mesh.shape == (478, 3) and face.blendshapes.shape == (52,)
    # Her pupils and the tip of her chin, read off the picture.
    np.testing.assert_allclose(face.landmarks[36:42].mean(0), (203, 101), atol=4)
    np.testing.assert_allclose(face.landmarks[42:48].mean(0), (247, 104), atol=4)
    np.testing.assert_allclose(face.landmarks[8], (222, 177), atol=5)


def test_the_second_source_is_asked_where_the_first_finds_nothing():
    face = Detection(np.zeros((68, 2), np.float32), 1.0, "first")
    asked = []

    def first(photo, path):
        return [face] if photo.any() else []

    def second(photo, path):
        asked.append(path)
        return [face._replace(source="second")]

    find = first_found(first, second)
    assert [f.source for f in find(np.ones((2, 2, 3)), NOWHERE)] == ["first"] and not asked
    assert [f.source for f in find(np.zeros((2, 2, 3)), NOWHERE)] == ["second"]
    assert first_found(first, first)(np.zeros((2, 2, 3)), NOWHERE) == []


@pytest.mark.parametrize("name", ["dlib", "mediapipe+dlib"])
def test_without_dlib_its_extra_is_named(name, monkeypatch):
    found = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda n: None if n == "dlib" else found(n))
    with pytest.raises(ValueError, match=r"pip install \"focus_jax\[dlib\]\""):
        landmark_source(name)


@pytest.mark.parametrize("name", ["retina", "face.task"])
def test_unknown_sources_are_refused(name):
    with pytest.raises(ValueError, match=rf"mediapipe, dlib, .* or a \.csv, not '{name}'"):
        landmark_source(name)
