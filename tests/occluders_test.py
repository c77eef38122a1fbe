import numpy as np
import pytest

from focus_jax.data.occluders import HIDDEN, OCCLUDERS, paste_occluder

SIZE = 96


@pytest.fixture(scope="module")
def landmarks():
    """The built-in mean face, as an aligned crop shows it."""
    from focus_jax.face_models import load_face_model

    model = load_face_model("builtin")
    points = model.shape_mean[model.landmark_vertices[:, 0]]
    scale = 9.06 * SIZE / 2 / 1000
    return points[:, :2] * np.array([scale, -scale]) + (SIZE - 1) / 2


@pytest.fixture(scope="module")
def image():
    return np.full((SIZE, SIZE, 3), (190, 150, 130), np.uint8)


@pytest.mark.parametrize("kind", OCCLUDERS[1:])
def test_each_kind_hides_its_part_of_the_face_and_nothing_else_changes_much(kind, image, landmarks):
    for seed in range(4):
        pasted, occluded = paste_occluder(image, landmarks, np.random.default_rng(seed), kind)
        low, high = landmarks.min(0).astype(int), landmarks.max(0).astype(int)
        face = occluded[low[1] : high[1], low[0] : high[0]] > 0
        assert HIDDEN[0] / 3 < face.mean() < 0.8
        changed = np.abs(pasted.astype(int) - image).max(-1)
        # Outside there are soft edges and shadows only.
        assert (changed[occluded == 0] > 0).mean() < 0.5
        assert np.median(changed[occluded > 0]) > 5


@pytest.mark.parametrize("kind", OCCLUDERS)
def test_pasting_is_a_pure_function(kind, image, landmarks):
    first, again = (
        paste_occluder(image, landmarks, np.random.default_rng(7), kind) for _ in range(2)
    )
    np.testing.assert_array_equal(first.image, again.image)
    np.testing.assert_array_equal(first.occluded, again.occluded)


def test_none_hides_nothing(image, landmarks):
    pasted, occluded = paste_occluder(image, landmarks, np.random.default_rng(0), "none")
    assert not occluded.any()
    np.testing.assert_array_equal(pasted, image)


def test_what_does_not_fit_is_refused(image, landmarks):
    rng = np.random.default_rng(0)
    with pytest.raises(ValueError, match="square uint8"):
        paste_occluder(image.astype(np.float32), landmarks, rng, "mask")
    with pytest.raises(ValueError, match="68 landmarks"):
        paste_occluder(image, landmarks[:67], rng, "mask")
    with pytest.raises(ValueError, match="beard"):
        paste_occluder(image, landmarks, rng, "beard")
