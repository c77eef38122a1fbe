"""Laying the built-in face over another, and cropping a head by it."""

from pathlib import Path

import numpy as np
import pytest
from face_model_files import chosen, head
from scipy.spatial import KDTree

from focus_jax.face_models import crop, fitting, lender
from focus_jax.types import REGIONS

ICT = Path(__file__).parents[3] / "shared" / "face_models" / "ict_facekit_light_face_head_eyes.npz"


@pytest.fixture(scope="module")
def builtin():
    return lender()


@pytest.fixture(scope="module")
def other(builtin):
    """Another person of the built-in model, larger and turned a little, as a mean face."""
    code = np.random.default_rng(5).normal(size=40) * 0.8
    vertices = builtin.shape_mean + builtin.identity_basis[..., :40] @ code
    angle = 0.08
    turn = np.array(
        [[np.cos(angle), 0, -np.sin(angle)], [0, 1, 0], [np.sin(angle), 0, np.cos(angle)]]
    )
    return 1.1 * (vertices @ turn) + [10, -20, 60]


def test_a_similarity_is_found_back():
    points = np.random.default_rng(0).normal(size=(9, 3))
    turn = np.linalg.qr(np.random.default_rng(1).normal(size=(3, 3)))[0]
    turn *= np.sign(np.linalg.det(turn))
    fit = fitting.similarity(points, 2.5 * points @ turn + [1, 2, 3])
    np.testing.assert_allclose(fit.scale, 2.5)
    np.testing.assert_allclose(fit.rotation, turn, atol=1e-9)
    np.testing.assert_allclose(fit(points), 2.5 * points @ turn + [1, 2, 3], atol=1e-9)
    np.testing.assert_allclose(fit.back(fit(points)), points, atol=1e-9)
    mirrored = fitting.similarity(points, points * [-1, 1, 1])
    assert np.linalg.det(mirrored.rotation) == pytest.approx(1)


def test_another_person_is_met(other, builtin):
    placed = fitting.lay_over(other, builtin.triangles, builtin)
    error = np.linalg.norm(placed - other, axis=1)
    assert np.median(error) < 3.0  # millimetres; skin may slide on skin
    index = fitting.nearest_landmarks(other, placed, builtin)
    wanted = other[builtin.landmark_vertices[:, 0]]
    assert np.linalg.norm(other[index] - wanted, axis=1)[17:].mean() < 3.0


def test_landmarks_that_are_known_are_held(other, builtin):
    known = other[builtin.landmark_vertices[:, 0]]
    free = fitting.lay_over(other, builtin.triangles, builtin)
    held = fitting.lay_over(other, builtin.triangles, builtin, known)

    def gap(placed):
        found = placed[builtin.landmark_vertices[:, 0]]
        return np.linalg.norm(found - known, axis=1)[17:].mean()

    assert gap(held) < gap(free) and gap(held) < 1.5


def test_on_itself_everything_is_borrowed_as_it_is(builtin):
    found = fitting.borrowed(builtin.shape_mean, builtin.shape_mean, builtin, albedo=5)
    np.testing.assert_array_equal(found.region, builtin.region)
    np.testing.assert_allclose(found.albedo, builtin.albedo_mean, atol=0.02)
    np.testing.assert_allclose(found.uv, builtin.uv, atol=0.02)
    assert found.basis.shape[-1] == 5


def test_eyeballs_are_coloured_by_eyeballs_alone(builtin):
    balls = crop.eyeballs(builtin.triangles, builtin.region)
    sides = [builtin.shape_mean[balls & (builtin.shape_mean[:, 0] * s > 0)] for s in (-1, 1)]
    assert len(sides[0]) == len(sides[1]) > 100
    # Two eyeballs that stick out further than the lids, over a face without any.
    moved = builtin.shape_mean + 4.0 * balls[:, None] * [0, 0, 1]
    found = fitting.borrowed(moved, builtin.shape_mean, builtin, apart=(balls, balls))
    assert (found.region[balls] == REGIONS.index("eyes")).all()
    low, high = (getattr(builtin.albedo_mean[balls], f)(axis=0) for f in ("min", "max"))
    assert ((low - 1e-5 <= found.albedo[balls]) & (found.albedo[balls] <= high + 1e-5)).all()
    # Where the other mesh has none of its own, one surface takes from everything.
    none = np.zeros_like(balls)
    one, other = (
        fitting.borrowed(moved, builtin.shape_mean, builtin, apart=apart)
        for apart in (None, (none, balls))
    )
    np.testing.assert_array_equal(one.albedo, other.albedo)


@pytest.mark.parametrize("kind", ["a ball", "a point"])
def test_what_is_no_face_is_refused(kind, builtin):
    ball = np.random.default_rng(0).normal(size=builtin.shape_mean.shape)
    ball *= 20 / np.linalg.norm(ball, axis=1, keepdims=True)
    vertices = ball if kind == "a ball" else 0 * ball
    with pytest.raises(ValueError, match="does not look like a face that looks along"):
        fitting.lay_over(vertices, builtin.triangles, builtin)


def test_the_crop_of_the_builtin_face_is_all_of_it(builtin):
    kept, triangles = crop.face_patch(
        builtin.shape_mean, builtin.triangles, builtin.shape_mean, builtin
    )
    assert len(kept) > 0.99 * len(builtin.shape_mean)
    assert len(triangles) > 0.99 * len(builtin.triangles)


def test_the_crop_of_a_head_leaves_skull_and_neck(builtin):
    kept, triangles = chosen()
    skull = head().vertices[:, 2] < builtin.shape_mean[:, 2].min() - 10
    assert skull.any() and not skull[kept].any()
    assert np.isin(head().landmarks[17:], kept).all()
    np.testing.assert_array_equal(np.unique(triangles), np.arange(len(kept)))
    # The face hangs together; the eyeballs are parts of their own.
    nearest = np.asarray(KDTree(builtin.shape_mean).query(head().vertices[kept])[1])
    region = builtin.region[nearest[triangles[:, 0]]]
    label = crop._components(triangles)
    face = label == np.bincount(label).argmax()
    assert (region[~face] == REGIONS.index("eyes")).all()


def test_connected_counts_patches_that_share_edges():
    strip = np.array([[0, 1, 2], [2, 1, 3]])
    assert crop.connected(strip) == 1
    assert crop.connected(np.array([[0, 1, 2], [2, 3, 4]])) == 2  # one corner is no edge
    assert crop.connected(np.concatenate([strip, strip + 4])) == 2


def test_nothing_in_place_is_an_error(builtin):
    with pytest.raises(ValueError, match="no part of the mesh lies where the face should be"):
        crop.face_patch(builtin.shape_mean + 500.0, builtin.triangles, builtin.shape_mean, builtin)


def test_on_a_head_of_scans_landmarks_and_the_crop_are_right(builtin):
    """ICT-FaceKit has landmarks of its own, which are not used here."""
    if not ICT.is_file():
        pytest.skip("the ICT-FaceKit npz is not at ../shared/face_models")
    with np.load(ICT, allow_pickle=False) as file:
        mean, triangles, part = 10 * file["mean"].astype(float), file["triangles"], file["part"]
        wanted = mean[file["lm68"]]
    triangles = triangles[(part < 2)[triangles].all(axis=1)]  # without eyeballs
    placed = fitting.lay_over(mean, triangles, builtin)
    found = mean[fitting.nearest_landmarks(mean, placed, builtin)]
    error = np.linalg.norm(found - wanted, axis=1)[17:]
    assert error.mean() < 3.5 and error.max() < 10.0  # millimetres
    kept, patch = crop.face_patch(mean, triangles, placed, builtin)
    assert crop.connected(patch) == 1
    # No ears, no neck: about as wide and as high as the built-in face.
    extent, reference = np.ptp(mean[kept], axis=0), np.ptp(placed, axis=0)
    np.testing.assert_allclose(extent[:2], reference[:2], atol=12)
