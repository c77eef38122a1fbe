"""A face from landmarks alone."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from focus_jax import forward
from focus_jax.face_models import load_face_model
from focus_jax.photos import landmark_fit
from focus_jax.photos.landmark_fit import fit_landmarks, fit_together
from focus_jax.photos.trained import UNTRAINED
from focus_jax.rendering import camera, morphable

SIZE = 100
YAWS = (0, 30, -60)  # degrees


@pytest.fixture(scope="module")
def face_model():
    return jax.tree.map(jnp.asarray, load_face_model("builtin", identity=6, expression=4, albedo=2))


@pytest.fixture(scope="module")
def truth(face_model):
    """Codes and both kinds of landmarks of a face from three sides."""
    widths, rng = forward.widths(face_model), np.random.default_rng(0)
    raw = np.zeros((len(YAWS), widths.outputs), np.float32)
    raw[:, : widths.identity + widths.expression] = rng.normal(
        size=(1, widths.identity + widths.expression)
    )
    raw[:, sum(widths) : sum(widths) + 3] = np.deg2rad([(5, yaw, -8) for yaw in YAWS]) / 0.3
    code = forward.decode(jnp.asarray(raw), widths, UNTRAINED)
    vertices = morphable.vertices(face_model, code.identity, code.expression)
    screen = camera.project(vertices, *camera.extrinsics(code.pose), camera.intrinsics(SIZE, SIZE))
    points = (
        f(face_model, screen)[..., :2] for f in (morphable.landmarks, morphable.dense_landmarks)
    )
    return code, *points


def fit(truth, face_model, dense):
    raw = fit_landmarks(truth[1], dense, face_model, size=SIZE, decoding=UNTRAINED)
    return forward.decode(raw, forward.widths(face_model), UNTRAINED)


@pytest.mark.parametrize("with_dense", [False, True])
def test_pose_and_shape_are_found_again(truth, face_model, with_dense):
    found = fit(truth, face_model, truth[2] if with_dense else None)
    turned = np.rad2deg(found.pose - truth[0].pose)[:, :3]
    assert np.abs(turned).max() < 3, turned
    shapes = [
        np.asarray(morphable.vertices(face_model, code.identity, code.expression))
        for code in (found, truth[0])
    ]
    off = np.linalg.norm(shapes[0] - shapes[1], axis=-1).mean()
    mean = np.linalg.norm(face_model.shape_mean - shapes[1], axis=-1).mean()
    assert off < 0.5 * mean, (off, mean)  # mm


def test_unknown_dense_landmarks_count_for_nothing(truth, face_model):
    unknown = jnp.full_like(truth[2], jnp.nan)
    for a, b in zip(
        jax.tree.leaves(fit(truth, face_model, unknown)),
        jax.tree.leaves(fit(truth, face_model, None)),
        strict=True,
    ):
        np.testing.assert_allclose(a, b, atol=1e-3)


@pytest.mark.parametrize("given", ["one place", "mirrored", "far away"])
def test_landmarks_of_no_face_give_finite_codes(truth, face_model, given):
    points = {
        "one place": jnp.full_like(truth[1], SIZE / 2),
        "mirrored": SIZE - truth[1],
        "far away": truth[1] + 1e4,
    }[given]
    found = fit((truth[0], points, truth[2]), face_model, None)
    assert np.isfinite(np.concatenate([np.ravel(x) for x in jax.tree.leaves(found)])).all()
    assert (found.pose[:, 5] > -camera.DISTANCE).all()  # not behind the camera


def test_landmarks_that_agree_with_no_face_give_a_likely_one(truth, face_model):
    noise = jax.random.normal(jax.random.key(0), truth[1].shape) * 0.03 * SIZE
    found = fit((truth[0], truth[1] + noise, truth[2]), face_model, None)
    assert np.abs(np.asarray(found.identity)).max() < 4
    assert np.isfinite(np.concatenate([np.ravel(x) for x in jax.tree.leaves(found)])).all()


def test_several_views_agree_on_one_face(truth, face_model, monkeypatch):
    """The true one, where nothing holds it to where it begins."""
    monkeypatch.setattr(landmark_fit, "STRAYING", 5.0)
    begun = jax.tree.map(jnp.zeros_like, truth[0])
    begun = dataclasses.replace(begun, pose=truth[0].pose * 0.9, light=truth[0].light)
    found = fit_together(begun, truth[1], truth[2], face_model, size=SIZE)
    assert (found.identity == found.identity[0]).all()
    np.testing.assert_array_equal(found.light, begun.light)

    def off(code):
        shapes = (
            morphable.vertices(face_model, c.identity, c.expression) for c in (code, truth[0])
        )
        first, second = map(np.asarray, shapes)
        return np.linalg.norm(first - second, axis=-1).mean()

    assert off(found) < 0.1 * off(begun)
    assert np.rad2deg(np.abs(found.pose - truth[0].pose)[:, :3]).max() < 1


def test_views_of_no_face_change_nothing(truth, face_model):
    points = jnp.where(jnp.arange(68)[:, None] % 2 > 0, 1e4, -1e4) + truth[1]
    found = fit_together(truth[0], points, None, face_model, size=SIZE)
    assert np.isfinite(np.concatenate([np.ravel(x) for x in jax.tree.leaves(found)])).all()
