"""Tables of predictions whose errors are known; no networks but the detector's."""

from pathlib import Path

import numpy as np
import pytest
import skimage.data

from focus_jax.data.detect import landmark_source
from focus_jax.evaluation import scans
from focus_jax.face_models import load_face_model
from focus_jax.photos import measure_scans
from focus_jax.photos.first_faces import Seen
from focus_jax.photos.measure_scans import Mesh, Target
from focus_jax.rendering import morphable


@pytest.fixture(scope="module")
def model():
    return load_face_model("builtin")


@pytest.fixture(scope="module")
def targets(model):
    codes = np.random.default_rng(0).standard_normal((3, 80)).astype(np.float32)
    shapes = np.asarray(morphable.vertices(model, codes, codes[:, :0]), np.float64)
    meshes = [measure_scans.mesh_of(shape, model) for shape in shapes]
    return [Target(str(n), str(n), m.vertices, m.landmarks, None) for n, m in enumerate(meshes)]


def smaller(targets, model, factor=1.1):
    return {
        t.name: Mesh(t.points / factor, np.asarray(model.triangles), t.landmarks / factor)
        for t in targets
    }


def cells(text, label):
    (row,) = (line for line in text.splitlines() if line.startswith(f"| {label} |"))
    return [cell.strip() for cell in row.strip("|").split("|")][1:]


def test_true_shapes_score_zero_and_their_scale_is_found(targets, model):
    predictions = measure_scans._unseeing(targets, None) | {"true": smaller(targets, model)}
    table, signed = measure_scans.tables("three", targets, predictions, own=True)
    assert cells(table, "true") == [
        *("3", "0.000", "0.000", "0.000", "1.100", "± 0.000", "1.000", "1.000"),
    ]
    mean = cells(table, "built-in mean face")
    assert float(mean[2]) > 0.5 and mean[-2:] == ["-", "-"]
    assert {abs(float(c)) for c in cells(signed, "true")} == {0.0}


def test_what_was_predicted_of_few_is_left_out(targets, model):
    few = {"0": smaller(targets, model)["0"]}
    predictions = measure_scans._unseeing(targets, None) | {"few": few}
    table, _ = measure_scans.tables("three", targets, predictions, own=False)
    assert "few" not in table and "built-in mean face" in table


def test_the_constant_face_has_seen_everybody_else(targets, model):
    fitted = smaller(targets, model, 1.0)
    constant = measure_scans._constant(fitted, targets, model)
    np.testing.assert_allclose(constant["0"].vertices, (targets[1].points + targets[2].points) / 2)
    assert measure_scans._constant({"0": fitted["0"]}, targets[:1], model) == {}


def test_the_detectors_mesh_is_a_face_seen_from_outside(model):
    """Not mirrored, not inside out, and within some millimetres of a face."""
    (face,) = landmark_source("mediapipe")(skimage.data.astronaut(), Path("astronaut"))
    seen = Seen(face.landmarks, face.mesh, face.landmarks, np.zeros(3), np.zeros((5, 3)), 1.0)
    mesh = measure_scans._detected({"one": seen})["one"]
    mean = measure_scans.mesh_of(np.asarray(model.shape_mean, np.float64), model)
    found = scans.compare(mean.vertices, mean.landmarks, *mesh)
    assert np.median(found.distance) < 5  # he smiles
    surface = scans.Surface(*mesh[:2])
    outwards = surface.normals(np.arange(len(surface.triangles)))[:, 2]
    assert (outwards > 0).mean() > 0.9
