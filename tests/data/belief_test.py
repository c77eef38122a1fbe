"""Which detected points are believed, on a face whose dense landmarks are some of its vertices."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from focus_jax import losses
from focus_jax.data import belief
from focus_jax.face_models import load_face_model
from focus_jax.rendering import camera

SIZE = 48
NOWHERE, BEHIND = 33, 263  # of the points: one without a place, one on the back of what is seen


@pytest.fixture(scope="module")
def face_model():
    model = load_face_model("builtin", identity=2, expression=2, albedo=2)
    shape = np.asarray(model.shape_mean)
    triangles = np.asarray(model.triangles)
    a, b, c = (shape[triangles[:, k]] for k in range(3))
    normals = np.cross(b - a, c - a)
    facing = normals[:, 2] / np.linalg.norm(normals, axis=1)
    # The foremost triangles, which nothing else of the face hides.
    front = triangles[facing > 0.95]
    front = front[np.argsort(-shape[front].mean(1)[:, 2], kind="stable")][:100]
    vertices, weights = front[np.arange(478) % len(front)], np.full((478, 3), 1 / 3, np.float32)
    vertices[BEHIND] = triangles[facing.argmin()]
    weights[NOWHERE] = 0
    return dataclasses.replace(
        jax.tree.map(jnp.asarray, model),
        dense_landmark_vertices=jnp.asarray(vertices),
        dense_landmark_weights=jnp.asarray(weights),
    )


@pytest.fixture(scope="module")
def screen(face_model):
    turned = camera.extrinsics(jnp.zeros((1, 6)))
    return camera.project(face_model.shape_mean[None], *turned, camera.intrinsics(SIZE, SIZE))


@pytest.fixture(scope="module")
def exact(face_model, screen):
    """What a detector finds that makes no mistakes."""
    points = belief.Points(jnp.zeros((1, 546, 2)), jnp.ones((1, 546)))
    return jnp.split(belief.fitted(face_model, screen, points), [68], axis=1)


@pytest.fixture(scope="module")
def believe(face_model, screen, exact):
    def believe(dense=exact[1], hidden=0.0, weights=None, model=face_model):
        hidden = jnp.broadcast_to(jnp.asarray(hidden), (1, SIZE, SIZE, 1))
        weights = jnp.ones(68) if weights is None else weights
        rotation, _ = camera.extrinsics(jnp.zeros((1, 6)))
        return belief.believed(model, screen, rotation, exact[0], dense, hidden, weights)

    return believe


def test_without_dense_ones_or_places_there_are_68(believe, face_model):
    bare = dataclasses.replace(
        face_model, dense_landmark_vertices=None, dense_landmark_weights=None
    )
    heavy = losses.landmark_weights(3.0)
    for points in (believe(None, weights=heavy), believe(model=bare, weights=heavy)):
        assert points.found.shape == (1, 68, 2)
        np.testing.assert_array_equal(points.weights[0], heavy)


def test_features_that_the_camera_sees_are_believed(believe, exact):
    points = believe()
    np.testing.assert_array_equal(points.found[:, 68:], exact[1])
    expected = belief.SEEN.copy()
    expected[[NOWHERE, BEHIND]] = False
    np.testing.assert_array_equal(points.weights[0, 68:] > 0, expected)


def test_the_mean_squared_weight_stays(believe):
    heavy = losses.landmark_weights(20.0)
    for points in (believe(weights=heavy), believe(hidden=1.0, weights=heavy)):
        np.testing.assert_allclose(jnp.mean(points.weights**2), jnp.mean(heavy**2), rtol=1e-5)
    ratio = believe().weights[0, 68 + 61] / believe().weights[0, 0]
    np.testing.assert_allclose(ratio**2, belief.DENSE, rtol=1e-5)


def test_the_far_side_of_a_turned_jaw_counts_less(face_model, exact):
    rotation, translation = camera.extrinsics(jnp.zeros((1, 6)).at[0, 1].set(np.pi / 4))
    matrix = camera.intrinsics(SIZE, SIZE)
    screen = camera.project(face_model.shape_mean[None], rotation, translation, matrix)
    ones, nothing = jnp.ones(68), jnp.zeros((1, SIZE, SIZE, 1))

    def weights(dense):
        given = face_model, screen, rotation, exact[0], dense, nothing, ones
        return np.asarray(belief.believed(*given).weights[0, :68])

    ratio = weights(exact[1])[:68] / weights(exact[1])[17]
    np.testing.assert_allclose(np.sort(ratio)[[0, -1]], [0.5, 1.0], rtol=1e-4)
    less = np.flatnonzero(ratio < 0.99)
    depth = np.asarray(screen[0, face_model.landmark_vertices[:, 0], 2])
    assert less.max() < 17 and len(less) >= 5 and depth[less].mean() > depth[:17].mean()
    # Other detectors have another jaw.
    unknown = weights(jnp.full_like(exact[1], jnp.nan))
    np.testing.assert_allclose(unknown, unknown[0], rtol=1e-6)


def test_what_is_unknown_or_hidden_is_not_believed(believe, exact):
    known = believe().weights[0, 68:] > 0
    x, y = np.rint(np.asarray(exact[1][0, 61])).astype(int)
    hidden = np.zeros((1, SIZE, SIZE, 1), np.float32)
    hidden[0, y, x] = 1
    there = (np.rint(np.asarray(exact[1][0])) == [x, y]).all(-1)
    np.testing.assert_array_equal(believe(hidden=hidden).weights[0, 68:] > 0, known & ~there)
    points = believe(exact[1].at[0, 61].set(jnp.nan))
    assert points.weights[0, 68 + 61] == 0 and jnp.isfinite(points.found).all()


def test_doubt_takes_weight_from_hidden_landmarks_only(face_model, screen, exact):
    rotation, _ = camera.extrinsics(jnp.zeros((1, 6)))
    hidden = jnp.zeros((1, SIZE, SIZE, 1)).at[:, : SIZE // 2].set(1.0)
    above = np.rint(np.asarray(exact[0][0, :, 1])) < SIZE // 2
    assert 0 < above.sum() < 68
    for dense in (None, exact[1]):

        def weights(doubt, dense=dense):
            given = face_model, screen, rotation, exact[0], dense, hidden, jnp.ones(68)
            points = belief.believed(*given, doubt=doubt)
            np.testing.assert_allclose(jnp.mean(points.weights**2), 1.0, rtol=1e-5)
            return np.asarray(points.weights[0, :68])

        less, plain, none = weights(0.75), weights(0.0), weights(1.0)
        np.testing.assert_allclose(plain[above], plain[0], rtol=1e-5)
        ratio = less / plain
        np.testing.assert_allclose(ratio[above] / ratio[~above].max(), 0.5, rtol=1e-4)
        assert (none[above] < 0.06 * plain[above]).all() and (none[~above] > plain[~above]).all()


def test_of_a_face_that_is_hidden_whole_landmarks_count_alike(face_model, screen, exact):
    rotation, _ = camera.extrinsics(jnp.zeros((1, 6)))
    hidden = jnp.ones((1, SIZE, SIZE, 1))
    given = face_model, screen, rotation, exact[0], None, hidden, jnp.ones(68)
    np.testing.assert_allclose(belief.believed(*given, doubt=1.0).weights, 1.0, rtol=1e-5)


def test_a_point_pulls_at_the_face_and_an_unknown_one_spoils_nothing(
    believe, face_model, screen, exact
):
    dense = exact[1].at[0, 61].add(3.0).at[0, 291].set(jnp.nan)
    points = believe(dense)

    def error(screen):
        return losses.landmark(belief.fitted(face_model, screen, points), *points)

    slope = jax.grad(error)(screen)
    assert jnp.isfinite(slope).all()
    pulled = np.flatnonzero(np.abs(np.asarray(slope[0])).max(-1) > 1e-6)
    assert set(pulled) == set(np.asarray(face_model.dense_landmark_vertices)[61].tolist())
    assert (slope[0, pulled, :2] < 0).all()
