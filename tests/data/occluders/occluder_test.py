import numpy as np
import pytest

from focus_jax.data.occluders.occluder import (
    HIDDEN,
    OCCLUDERS,
    hidden_part,
    paint_occluder,
    paste_occluder,
    shrink,
)
from focus_jax.data.occluders.painting import Layer, composite, polygon
from focus_jax.data.occluders.scene import face_outline, look_at

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
        face = polygon(SIZE, face_outline(look_at(image / np.float32(255), landmarks))) > 0.5
        # The bounds hold on the canvas; averaging it down thins what is as narrow as a pixel.
        assert 0.7 * HIDDEN[0] < (occluded[face] > 0).mean() < HIDDEN[1] + 0.05
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


@pytest.mark.parametrize("kind", OCCLUDERS[1:])
def test_layers_are_pictures_and_hide_within_bounds(kind, landmarks):
    points = (landmarks + 0.5) * 2 - 0.5
    scene = look_at(np.full((2 * SIZE, 2 * SIZE, 3), 0.6, np.float32), points)
    region = polygon(scene.size, face_outline(scene)) > 0.5
    layer = paint_occluder(scene, kind, region, np.random.default_rng(0))
    assert HIDDEN[0] <= hidden_part(layer.alpha, region) <= HIDDEN[1]
    for plane in (layer.colour[layer.alpha > 0.5], layer.alpha, layer.shadow):
        assert np.isfinite(plane).all()
        assert plane.min() >= -1e-5 and plane.max() <= 1 + 1e-5


def test_glasses_show_the_eyes_and_sunglasses_hide_them(image, landmarks):
    pupils = np.stack([landmarks[36:42].mean(0), landmarks[42:48].mean(0)]).round().astype(int)
    for kind, hides in (("glasses", False), ("sunglasses", True)):
        occluded = paste_occluder(image, landmarks, np.random.default_rng(2), kind).occluded
        assert [occluded[y, x] == 255 for x, y in pupils] == [hides, hides]


def test_a_mask_hides_mouth_and_nostrils_but_not_the_eyes(image, landmarks):
    for seed in range(4):
        occluded = paste_occluder(image, landmarks, np.random.default_rng(seed), "mask").occluded
        x, y = landmarks[[33, 51, 57]].round().astype(int).T
        assert (occluded[y, x] == 255).all()
        x, y = landmarks[36:48].round().astype(int).T
        assert not occluded[y, x].any()


def test_shrinking_averages_light_not_colours():
    """Composing on the canvas and averaging equals composing with the averaged layer."""
    rng = np.random.default_rng(0)
    alpha = (rng.random((8, 8)) > 0.5).astype(np.float32)
    layer = Layer(rng.random((8, 8, 3), np.float32), alpha, np.zeros((8, 8), np.float32))
    even = np.full((8, 8, 3), 0.3, np.float32)
    large = composite(even, layer).reshape(4, 2, 4, 2, 3).mean((1, 3))
    np.testing.assert_allclose(composite(even[:4, :4], shrink(layer, 4)), large, atol=1e-3)
