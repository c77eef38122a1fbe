import dataclasses
import importlib.util
import sys

import numpy as np
import pytest

from focus_jax.face_models import load_face_model
from focus_jax.photos import export


@pytest.fixture(scope="module")
def model():
    return load_face_model("builtin", identity=1, expression=1, albedo=1)


@pytest.fixture(scope="module")
def atlas(model):
    return export.make_atlas(model)


def test_the_atlas_is_the_surface_without_overlaps(model, atlas):
    np.testing.assert_array_equal(atlas.vertex[atlas.triangles], model.triangles)
    assert atlas.uv.min() >= 0 and atlas.uv.max() <= 1
    a, b, c = (atlas.uv[atlas.triangles[:, k]] for k in range(3))
    area = (b - a)[:, 0] * (c - a)[:, 1] - (b - a)[:, 1] * (c - a)[:, 0]
    # Pieces that overlapped would cover more than the whole between them.
    assert 0.5 < np.abs(area).sum() / 2 < 1


def test_only_other_face_models_need_xatlas(model, atlas, monkeypatch):
    find = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda n: None if n == "xatlas" else find(n))
    monkeypatch.setitem(sys.modules, "xatlas", None)  # importing it fails
    again = export.make_atlas(load_face_model("builtin"))
    np.testing.assert_array_equal(again.uv, atlas.uv)
    other = dataclasses.replace(model, triangles=model.triangles[:-1], name="mine")
    with pytest.raises(
        ValueError, match=r"texture of mine needs xatlas: `pip install \"focus_jax\["
    ):
        export.make_atlas(other)


def test_other_face_models_are_laid_flat(model):
    pytest.importorskip("xatlas")
    other = dataclasses.replace(model, triangles=model.triangles[:3000])  # part of it, sooner flat
    atlas = export.make_atlas(other)
    np.testing.assert_array_equal(atlas.vertex[atlas.triangles], other.triangles)


def test_a_posed_face_looks_where_the_photo_shows_it():
    turned = export.posed(np.eye(3, dtype=np.float32), np.diag([1.0, -1.0, -1.0]))
    np.testing.assert_allclose(turned, np.eye(3))  # the camera's own flip is undone
