import dataclasses

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import short_recognizer

from focus_jax import forward
from focus_jax.evaluation.shape import shape_error
from focus_jax.face_models import load_face_model
from focus_jax.photos import refine as refine_module
from focus_jax.photos.refine import freed, refine, start, threshold_mask, write_freed
from focus_jax.photos.trained import UNTRAINED
from focus_jax.weights import recognizer

SIZE, STEPS = 32, 24
FEW = 14  # enough to see where a descent goes


@pytest.fixture(scope="module")
def face_model():
    model = load_face_model("builtin", identity=4, expression=3, albedo=2)
    return jax.tree.map(jnp.asarray, model)


@pytest.fixture(scope="module")
def scene(face_model):
    """Two rendered faces, and codes that are off from theirs."""
    widths = forward.widths(face_model)
    rng = np.random.default_rng(0)
    true = jnp.asarray(0.5 * rng.normal(size=(2, widths.outputs)).astype(np.float32))
    face = forward.reconstruct(forward.decode(true, widths, UNTRAINED), face_model, SIZE, SIZE)
    off = true + 0.3 * jnp.asarray(rng.normal(size=true.shape).astype(np.float32))
    return off, face.rendering.image, face.landmarks, face.rendering.coverage


@pytest.fixture(scope="module", autouse=True)
def no_doubt():
    """Masks here say where the true face lies, not what hides it."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(refine_module, "DOUBT", 0.0)
        yield


@pytest.fixture(scope="module")
def frozen():
    return recognizer.load_recognizer("dlib")


@pytest.fixture
def quick(monkeypatch):
    """A short recognizer, where the likeness is not what is looked at."""
    short_recognizer.shorten(monkeypatch)
    return recognizer.load_recognizer("dlib")


@pytest.fixture(scope="module")
def refined(scene, face_model, frozen):
    return refine(*scene, face_model, frozen, STEPS, decoding=UNTRAINED)


def test_colours_landmarks_and_likeness_come_closer(refined):
    _, before, after = refined
    assert (after.photometric < before.photometric).all()
    assert (after.landmark < 0.5 * before.landmark).all()
    assert (after.likeness < 0.8 * before.likeness).all(), after.likeness / before.likeness


def test_photos_of_one_person_keep_one_identity(scene, face_model, quick):
    off, *photos = scene
    shared = jnp.r_[:4, 7:9]  # identity and albedo of four, three and two modes
    same = off.at[:, shared].set(off[:1, shared])
    options = {"decoding": UNTRAINED, "together": True}
    found, before, after = refine(same, *photos, face_model, quick, 6, **options)
    np.testing.assert_allclose(found[0, shared], found[1, shared], atol=1e-6)
    assert (found[0, shared] != same[0, shared]).all()  # and it moved
    assert (jnp.abs(found[0] - found[1])[4:7] > 1e-2).any()
    assert after.photometric.mean() < before.photometric.mean()
    assert after.landmark.mean() <= 1.22 * before.landmark.mean()


def test_shapes_come_closer_to_the_truth(face_model, frozen):
    """From the mean face, all else nearly right; the likeness does not lead them away.

    Across the view, that is: in depth, which is held, they stay nearer to where they begin.
    """
    widths, rng = forward.widths(face_model), np.random.default_rng(1)
    true = 0.5 * rng.normal(size=(2, widths.outputs)).astype(np.float32)
    true[:, : widths.identity] = rng.normal(size=(2, widths.identity))
    off = true + 0.2 * rng.normal(size=true.shape).astype(np.float32)
    off[:, : widths.identity] = 0

    def drawn(raw):
        code = forward.decode(jnp.asarray(raw), widths, UNTRAINED)
        return forward.reconstruct(code, face_model, SIZE, SIZE)

    face = drawn(true)
    photo = face.rendering.image, face.landmarks, face.rendering.coverage
    found, _, _ = refine(jnp.asarray(off), *photo, face_model, frozen, STEPS, decoding=UNTRAINED)
    begun, ended = (drawn(raw).neutral for raw in (off, found))
    before, after = (shape_error(shape, face.neutral, scale=True) for shape in (begun, ended))
    assert (after < 0.95 * before).all(), (before, after)
    flat = (shape.at[..., 2].set(face.neutral[..., 2]) for shape in (begun, ended))
    before, after = (shape_error(shape, face.neutral, scale=True) for shape in flat)
    assert (after < 0.9 * before).all() and after.mean() < 0.75 * before.mean(), (before, after)


def test_the_errors_are_those_of_the_codes(scene, refined, face_model):
    _, image, landmarks, mask = scene
    code = forward.decode(refined[0], forward.widths(face_model), UNTRAINED)
    face = forward.reconstruct(code, face_model, SIZE, SIZE)
    seen = np.asarray(mask * face.rendering.coverage)
    distance = np.linalg.norm(np.asarray(image - face.rendering.image) * seen, axis=-1)
    expected = distance.sum((1, 2)) / seen.sum((1, 2, 3))
    np.testing.assert_allclose(refined[2].photometric, expected, rtol=1e-4)
    squared = ((np.asarray(face.landmarks - landmarks) / SIZE) ** 2).mean((1, 2))
    np.testing.assert_allclose(refined[2].landmark, squared, rtol=1e-3)


def test_hidden_landmarks_do_not_pull(scene, face_model, quick, monkeypatch):
    off, image, landmarks, mask = scene
    below = landmarks[..., 1] > SIZE / 2
    guessed = landmarks + 3.0 * below[..., None]
    hidden = mask.at[:, SIZE // 2 :].set(0.0)

    def missed(doubt):
        monkeypatch.setattr(refine_module, "DOUBT", doubt)
        given = off, image, guessed, hidden, face_model, quick, FEW
        found, _, _ = refine(*given, decoding=UNTRAINED)
        code = forward.decode(found, forward.widths(face_model), UNTRAINED)
        own = forward.reconstruct(code, face_model, SIZE, SIZE).landmarks
        return float(jnp.linalg.norm(own - landmarks, axis=-1)[~below].mean())

    assert missed(1.0) < 0.8 * missed(0.0)


def test_dense_landmarks_are_met_too(scene, face_model, quick):
    """All on corners of eyes and mouth, which are landmarks as well, and moved downwards."""
    landmarks, corners = scene[2], np.array([36, 45, 48, 54])
    chosen = np.resize(corners, 478)
    dense = landmarks[:, chosen] + jnp.array([0.0, 2.0])
    has = dataclasses.replace(
        face_model,
        dense_landmark_vertices=face_model.landmark_vertices[chosen],
        dense_landmark_weights=face_model.landmark_weights[chosen],
    )

    def low(raw):
        code = forward.decode(raw, forward.widths(has), UNTRAINED)
        found = forward.reconstruct(code, has, SIZE, SIZE).landmarks
        return np.asarray(found - landmarks)[:, corners, 1].mean()

    met, _, _ = refine(*scene, has, quick, FEW, decoding=UNTRAINED, dense=dense)
    without, _, _ = refine(*scene, face_model, quick, FEW, decoding=UNTRAINED)
    assert low(met) > low(without) + 0.05


def test_a_face_does_not_depend_on_its_neighbours(scene, face_model, quick):
    # Few steps: those of Adam through a deep network enlarge the last bits of a sum.
    found, other = (
        refine(*arrays, face_model, quick, 6, decoding=UNTRAINED)[0]
        for arrays in (scene, [x[::-1] for x in scene])
    )
    np.testing.assert_allclose(other[::-1], found, atol=1e-2)


def test_no_steps_change_nothing(scene, face_model, quick):
    found, before, after = refine(*scene, face_model, quick, 0, decoding=UNTRAINED)
    np.testing.assert_array_equal(found, scene[0])
    np.testing.assert_array_equal(before.photometric, after.photometric)


def test_a_code_is_written_for_the_freed_decoding(scene, face_model):
    widths = forward.widths(face_model)
    code = forward.decode(scene[0], widths, UNTRAINED)
    free = freed(UNTRAINED)
    found = forward.decode(write_freed(code, decoding=free), widths, free)
    chex.assert_trees_all_close(found, code, atol=1e-5)
    # Without a bound in training there is none here; at the bound the code stays finite.
    assert freed(forward.Decoding()).albedo_limit == np.inf
    wide = code.replace(albedo=jnp.full_like(code.albedo, free.albedo_limit))
    assert np.isfinite(write_freed(wide, decoding=free)).all()


def test_freed_light_is_not_held_by_the_bounds_of_training(scene, face_model, quick):
    off, image, landmarks, mask = scene
    green = image * jnp.array([0.7, 1.2, 0.7])
    widths, free = forward.widths(face_model), freed(UNTRAINED)
    freely = write_freed(forward.decode(off, widths, UNTRAINED), decoding=free)

    def tint(raw, decoding):
        faces = raw, green, landmarks, mask, face_model, quick
        found, _, _ = refine(*faces, FEW, decoding=decoding)
        light = forward.decode(found, widths, decoding).light.reshape(2, 3, 9)[..., 0]
        return np.asarray(light[:, 1] - light[:, 0])

    limit = UNTRAINED.light_colour_limit
    assert (tint(off, UNTRAINED) < 2 * limit).all()
    assert (tint(freely, free) > 4 * limit).all()


def test_a_face_that_lies_on_its_landmarks_finds_its_colours(scene, face_model, frozen):
    """Nothing but tone and light is wrong; no step of theirs leaves the landmarks exactly."""
    _, image, landmarks, mask = scene
    widths, rng = forward.widths(face_model), np.random.default_rng(0)
    raw = 0.5 * rng.normal(size=(2, widths.outputs)).astype(np.float32)  # as the scene's faces
    shape = widths.identity + widths.expression
    coloured = np.r_[shape : shape + widths.albedo, widths.outputs - 27 : widths.outputs]
    raw[:, coloured] += 0.4 * rng.normal(size=(2, len(coloured)))
    found, before, after = refine(
        jnp.asarray(raw), image, landmarks, mask, face_model, frozen, STEPS, decoding=UNTRAINED
    )
    assert (before.landmark < 1e-12).all()  # crop widths^2
    assert (np.abs(found - raw).max(-1) > 0.1).all()
    assert (after.photometric < 0.6 * before.photometric).all(), (before, after)
    assert (after.likeness < before.likeness).all(), (before, after)
    assert (after.landmark < 0.005**2).all(), after.landmark


@pytest.mark.slow  # the command's tests go through it, too
def test_a_start_without_a_network_finds_the_landmarks(scene, face_model):
    _, image, landmarks, _ = scene
    size = image.shape[1]
    found = start(image, landmarks, face_model, 60, decoding=UNTRAINED)
    widths = forward.widths(face_model)

    def error(raw):
        face = forward.reconstruct(forward.decode(raw, widths, UNTRAINED), face_model, size, size)
        return np.linalg.norm(np.asarray(face.landmarks - landmarks), axis=-1).mean(1)

    assert (error(found) < 0.5 * error(jnp.zeros_like(found))).all()


def test_the_threshold_leaves_out_what_differs():
    coverage = np.zeros((1, 60, 60, 1), np.float32)
    coverage[:, 5:55, 5:55] = 1
    rendering = np.full((1, 60, 60, 3), 0.5, np.float32)
    image = rendering.copy()
    image[:, 20:40, 20:40] = 0.95
    mask = np.asarray(threshold_mask(image, rendering, coverage))
    assert mask[0, 30, 30] == 0 and mask[0, 10, 10] == 1 and mask[0, 0, 0] == 0
    assert (mask <= coverage).all() and 0.75 < mask.sum() / coverage.sum() < 0.9
    # A face that is met badly everywhere is not left out everywhere.
    assert np.asarray(threshold_mask(rendering + 0.2, rendering, coverage)).sum() == 2500
