"""Faces that are wrong of everybody alike, brought to their scans."""

import numpy as np
import pytest

from experiments import level_scans
from focus_jax.evaluation import scans
from focus_jax.face_models import load_face_model
from focus_jax.photos import measure_scans
from focus_jax.photos.measure_scans import Target


@pytest.fixture(scope="module")
def model():
    return load_face_model("builtin", identity=20, expression=1, albedo=1)


def test_what_is_wrong_of_all_is_found_and_no_more(model):
    basis, rng = np.asarray(model.identity_basis, np.float64), np.random.default_rng(0)
    mean = np.asarray(model.shape_mean, np.float64)
    codes, wrong = rng.standard_normal((4, 20)), 0.8 * rng.standard_normal(20)
    true = [measure_scans.mesh_of(mean + basis @ code, model) for code in codes]
    targets = [
        Target(str(n), str(n), m.vertices[::3], m.landmarks, None) for n, m in enumerate(true)
    ]
    shapes = {str(n): mean + basis @ (code + wrong) for n, code in enumerate(codes)}

    def off(change):
        meshes = [measure_scans.mesh_of(s + basis @ change, model) for s in shapes.values()]
        pairs = zip(targets, meshes, strict=True)
        found = [scans.scan_errors(t.points, t.landmarks, *mesh) for t, mesh in pairs]
        return np.median(np.concatenate(found))

    change = level_scans.towards_scans(targets, shapes, model)
    assert off(change) < 0.6 * off(0 * change)
    moved = np.abs(basis @ change).mean(0)
    assert moved[2] > 1.5 * moved[:2].max()  # along the line of sight


def test_wrong_input_is_a_sentence(tmp_path, capsys):
    given = ["none", str(tmp_path / "ict.npz"), str(tmp_path), str(tmp_path / "out")]
    for model, why in (("none", "has no encoder"), ("shipped", "skins")):
        assert level_scans.main([model, *given[1:]]) == 2
        assert why in capsys.readouterr().err
