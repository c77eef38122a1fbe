import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import reference

from focus_jax import weights
from focus_jax.networks import chips, recognizer
from focus_jax.weights.recognizer import load_recognizer
from tests.training.train_test import random_variables


@pytest.fixture(scope="module")
def dlib_variables():
    return load_recognizer("dlib")


def face_landmarks(size: float, left: float = 0.0, top: float = 0.0, turn: float = 0.0):
    """68 landmarks of which those that dlib aligns by are its mean face."""
    points = np.zeros((68, 2))
    points[chips.DLIB_LANDMARKS] = chips.DLIB_POINTS - 0.5
    c, s = np.cos(turn), np.sin(turn)
    points = points @ np.array([[c, s], [-s, c]]) + 0.5
    return np.float32(points * size + [left, top])


def smooth_picture(size: int, seed: int = 0):
    rng = np.random.default_rng(seed)
    small = rng.random((1, size // 8, size // 8, 3), dtype=np.float32)
    return np.asarray(enlarge(small, shape=(1, size, size, 3), method="cubic")).clip(0, 1)


# What is not compiled as a whole is compiled operation by operation, which takes longer.
enlarge = jax.jit(jax.image.resize, static_argnames=("shape", "method"))
warp_face = jax.jit(chips.warp_face, static_argnames=("kind", "size", "align_corners"))


# --- the crop ------------------------------------------------------------------------------------


def test_similarity_recovers_a_transform():
    rng = np.random.default_rng(0)
    source = rng.normal(size=(3, 7, 2)).astype(np.float32)
    matrix = np.array([[0.6, -0.8, 3.0], [0.8, 0.6, -2.0]], np.float32)
    target = source @ matrix[:, :2].T * 1.5 + matrix[:, 2]
    found = jax.jit(chips.similarity)(source, target)
    expected = matrix * np.array([1.5, 1.5, 1.0], np.float32)
    np.testing.assert_allclose(found, np.stack([expected] * 3), atol=1e-5)


def test_arcface_chip_is_the_releases():
    arrays = reference.load("alignment")
    landmarks = np.float32(arrays["landmarks_aligned"][None])
    image = np.float32(arrays["aligned"][None] / 255)
    np.testing.assert_allclose(
        jax.jit(chips.arcface_matrix)(landmarks)[0], arrays["arcface_matrix"], rtol=1e-5, atol=5e-5
    )
    chip = np.asarray(warp_face(image, landmarks, kind="arcface_r50"))
    np.testing.assert_allclose(chip[0].transpose(2, 0, 1), arrays["arcface_crop"], atol=1e-4)
    shifted = warp_face(image, landmarks, kind="arcface_r50", align_corners=False)
    assert 1e-3 < np.mean(np.abs(shifted - chip)) < 0.02


@pytest.mark.parametrize(("side", "turn"), [(100.0, 0.0), (90.0, 0.3), (85.0, -1.0)])
def test_dlib_chip_is_dlibs(side, turn):
    dlib = pytest.importorskip("dlib", reason="dlib-bin is not installed")
    image = np.asarray(smooth_picture(200) * 255).astype(np.uint8)
    landmarks = np.round(face_landmarks(side, 50, 40, turn))
    points = [dlib.point(int(x), int(y)) for x, y in landmarks]
    shape = dlib.full_object_detection(dlib.rectangle(50, 40, 150, 140), points)
    expected = dlib.get_face_chip(image[0], shape, 150, 0.25)
    found = np.asarray(warp_face(np.float32(image), landmarks[None], kind="dlib"))[0]
    # dlib cuts off the fraction; at the photo's border it gives black sooner than we do.
    inside = expected.any(-1)
    assert inside.mean() > 0.8
    assert np.abs(found - expected)[inside].max() <= 1.01


def test_chip_size_is_a_choice():
    image, landmarks = smooth_picture(128), face_landmarks(70, 25, 25)[None]
    for kind, large, small in (("dlib", 150, 75), ("arcface_r50", 112, 56)):
        big = np.asarray(warp_face(image, landmarks, kind=kind))
        half = np.asarray(warp_face(image, landmarks, kind=kind, size=small))
        assert big.shape == (1, large, large, 3) and half.shape == (1, small, small, 3)
        shrunk = enlarge(big, shape=half.shape, method="linear")
        assert np.abs(half - shrunk)[:, 4:-4, 4:-4].mean() < 0.03


def test_bilinear():
    image = np.arange(12, dtype=np.float32).reshape(1, 3, 4, 1)
    points = [[0, 0], [3, 2], [1.5, 0.5], [-0.5, 0], [3.5, 2], [-9, 1], [1, 99]]
    found = jax.jit(chips.bilinear)(image, np.float32(points)[None, None])[0, 0, :, 0]
    np.testing.assert_allclose(found, [0, 11, 3.5, 0, 5.5, 0, 0], atol=1e-6)
    # Of a photo with more pixels than float32 counts, in one column of four.
    tall = jnp.broadcast_to(jnp.arange(4.0)[:, None], (1, 2**22 + 9, 4, 1))
    points = np.float32([[[[2, 2**22 + 4], [1, 2**22 + 3], [3, 2**22 + 4]]]])
    np.testing.assert_array_equal(chips.bilinear(tall, points)[0, 0, :, 0], [2, 1, 3])
    assert chips.bilinear(tall[:0, :5], points[:0]).shape == (0, 1, 3, 1)


@pytest.mark.parametrize("kind", ["dlib", "arcface_r50"])
def test_gradient_reaches_the_image_only(kind):
    image = np.tile(smooth_picture(64), (2, 1, 1, 1))
    landmarks = face_landmarks(40, 10, 10)
    # The second face's landmarks all coincide: nothing to see, but nothing that is not a number.
    both = np.stack([landmarks, np.zeros_like(landmarks)])

    @jax.jit
    def gradients(image, landmarks):
        def loss(image, landmarks):
            return jnp.sum(chips.warp_face(image, landmarks, kind=kind, size=32) ** 2)

        return jax.grad(loss, argnums=(0, 1))(image, landmarks)

    by_image, by_landmarks = jax.device_get(gradients(image, both))
    assert np.isfinite(by_image).all() and by_image[0].any()
    assert not by_landmarks.any()


# --- dlib's network ------------------------------------------------------------------------------


def test_small_chips_are_differentiable(dlib_variables):
    image = smooth_picture(64)

    def difference(x):
        seen = recognizer.features(dlib_variables, x, kind="dlib")
        return jnp.sum(seen.deep**2) + jnp.mean(seen.shallow), seen

    gradient, whole = jax.device_get(jax.jit(jax.grad(difference, has_aux=True))(image))
    assert np.isfinite(gradient).all() and gradient.any()
    assert whole.shallow.shape == (1, 14, 14, 32) and whole.deep.shape == (1, 128)
    options = {"kind": "dlib", "shallow_only": True}
    shallow = jax.jit(functools.partial(recognizer.features, **options))(dlib_variables, image)
    assert shallow.deep.shape == (1, 0)
    np.testing.assert_allclose(whole.shallow, shallow.shallow, atol=1e-4)


@pytest.mark.parametrize("size", [32, 150])
def test_stages(dlib_variables, size):
    maps = jax.eval_shape(recognizer.dlib_maps, dlib_variables, jnp.zeros((1, size, size, 3)))
    assert [m.shape[-1] for m in maps] == [32, 64, 128, 256, 256]
    assert all(min(m.shape) > 0 for m in maps)


def test_encoder_features(dlib_variables):
    image = np.concatenate([smooth_picture(64), smooth_picture(64, seed=1)])
    found = np.asarray(jax.jit(recognizer.encoder_features)(dlib_variables, image))
    assert found.shape == (2, 4224)
    np.testing.assert_allclose(np.mean(found[:, :1024] ** 2, -1), 1, rtol=1e-3)
    assert not np.allclose(found[0], found[1], atol=0.1)
    # Finer places of the first map, the same of the others; their means lie nearby.
    look = functools.partial(recognizer.encoder_features, detail=True)
    finer = np.asarray(jax.jit(look)(dlib_variables, image))
    assert finer.shape == (2, 7296)
    np.testing.assert_allclose(finer[:, 4096:], found[:, 1024:], atol=1e-3)
    first = finer[:, :4096].reshape(2, 4, 2, 4, 2, 64).mean((2, 4)).reshape(2, -1)
    alike = np.sum(first * found[:, :1024], -1) / (
        np.linalg.norm(first, axis=-1) * np.linalg.norm(found[:, :1024], axis=-1)
    )
    assert (alike > 0.95).all()


def test_features_with_landmarks_end_with_the_embedding_and_these(dlib_variables):
    photos, places = smooth_picture(96), face_landmarks(64, 20, 12)[None]
    look = jax.jit(functools.partial(recognizer.encoder_features, detail=True))
    found = np.asarray(look(dlib_variables, photos, places))
    count = recognizer.direct_features("dlib")
    assert found.shape == (1, 7296 + 136) and count == 128 + 136
    told = found[0, -136:].reshape(68, 2) / recognizer.PLACES_SCALE + 0.5
    np.testing.assert_allclose(told * 96, places[0], atol=1e-3)
    own = found[0, -count:-136]
    expected = jax.jit(recognizer.embedding)(dlib_variables, photos, places)[0]
    np.testing.assert_allclose(own / np.linalg.norm(own), expected, atol=1e-4)


def test_an_embedding_is_of_the_face_wherever_it_lies(dlib_variables):
    near, landmarks = smooth_picture(128), face_landmarks(64, 24, 24)[None]
    moved, other = np.roll(near, (9, -5), (1, 2)), smooth_picture(128, seed=1)
    photos = np.concatenate([near, moved, other])
    places = np.concatenate([landmarks, landmarks + np.float32([-5, 9]), landmarks])
    found = np.asarray(jax.jit(recognizer.embedding)(dlib_variables, photos, places))
    alike = found @ found.T
    np.testing.assert_allclose(np.diag(alike), 1, rtol=1e-4)
    assert alike[0, 1] > 0.98 > alike[0, 2]


def small_arcface(monkeypatch, blocks=(1, 1, 1, 1)):
    network = recognizer.IResNet(blocks, width=4, embedding=8)
    monkeypatch.setitem(recognizer.ARCFACE, "arcface_r50", network)
    shapes = jax.eval_shape(network.init, jax.random.key(0), jnp.zeros((1, 112, 112, 3)))
    return random_variables(shapes)


def test_weights_of_another_depth_are_refused(tmp_path, monkeypatch):
    path = tmp_path / "arcface.safetensors"
    weights.save(path, small_arcface(monkeypatch, (1, 1, 2, 1)))
    expected = small_arcface(monkeypatch)
    with pytest.raises(ValueError, match="is not for arcface_r50") as caught:
        load_recognizer("arcface_r50", path)
    assert "unknown: params/layer3_1/conv1/kernel" in str(caught.value)
    weights.save(path, expected)
    found = load_recognizer("arcface_r50", path)
    jax.tree.map(np.testing.assert_array_equal, found, expected)


def test_chips_that_a_network_cannot_read_are_refused_before_a_run():
    check = recognizer.check_chip_size
    for size in (-1, 112):
        check("arcface_r100", size, crop=224, deep=True)
    check("arcface_r50", 0, crop=112, deep=True)
    check("arcface_r50", 0, crop=64, deep=False)
    check("dlib", 0, crop=64, deep=True)
    with pytest.raises(
        ValueError, match="shows 224 pixels, but the deep features of arcface_r50 need 112"
    ):
        check("arcface_r50", 0, crop=224, deep=True)
    with pytest.raises(ValueError, match="16 pixels are too few"):
        check("dlib", 0, crop=16, deep=False)
    with pytest.raises(ValueError, match="not -2"):
        check("dlib", -2, crop=64, deep=False)


def test_refusals(dlib_variables):
    image, landmarks = jnp.zeros((1, 64, 64, 3)), jnp.zeros((1, 68, 2))
    with pytest.raises(ValueError, match="not 'facenet'"):
        load_recognizer("facenet")
    with pytest.raises(ValueError, match="not 'facenet'"):
        recognizer.warp_face(image, landmarks, kind="facenet")
    with pytest.raises(
        ValueError, match=r"arcface_r50 needs config\.recognizer\.weights, the path"
    ):
        load_recognizer("arcface_r50")
    with pytest.raises(ValueError, match="too small"):
        recognizer.features(dlib_variables, image[:, :16, :16], kind="dlib")
