import numpy as np
import pytest

from focus_jax.data.occluders import paste
from focus_jax.data.occluders.occluder import OCCLUDERS
from focus_jax.data.occluders.paste import HIDDEN, THIN, paste_occluder
from focus_jax.face_models import load_face_model
from focus_jax.rendering import camera, scenes
from focus_jax.rendering.render import render_mesh

SIZE = 96


@pytest.fixture(scope="module")
def photo():
    """The built-in mean face, as an aligned crop shows it, its landmarks and where it lies."""
    model = load_face_model("builtin")
    albedo, vertices = (np.asarray(a)[None] for a in (model.albedo_mean, model.shape_mean))
    light = np.zeros((1, 27), np.float32)
    light[:, [0, 9, 18]], light[:, [2, 11, 20]] = 2.6, -0.7
    pose = np.zeros((1, 6), np.float32)
    found = render_mesh(vertices, albedo, model.triangles, pose, light, SIZE, SIZE)
    screen = np.asarray(found.screen_vertices)[0, :, :2]
    landmarks = np.einsum("lkc,lk->lc", screen[model.landmark_vertices], model.landmark_weights)
    face = np.asarray(found.coverage)[0, ..., 0] > 0
    image = np.where(face[..., None], np.asarray(found.image)[0], 0.5)
    return np.round(np.clip(image, 0, 1) * 255).astype(np.uint8), landmarks, face


@pytest.mark.parametrize("kind", OCCLUDERS[1:])
def test_each_kind_hides_its_part_of_the_face_and_nothing_else_changes_much(kind, photo):
    image, landmarks, face = photo
    for seed in range(3):
        pasted, occluded = paste_occluder(image, landmarks, np.random.default_rng(seed), kind)
        assert pasted.dtype == occluded.dtype == np.uint8 and set(np.unique(occluded)) <= {0, 255}
        changed = np.abs(pasted.astype(int) - image).max(-1)
        # Wires and single hairs, narrower than a pixel, hide less than half of its light.
        least = 0 if kind in ("glasses", "fringe") else 0.2 * THIN.get(kind, HIDDEN[0])
        assert least < (occluded[face] > 0).mean() < HIDDEN[1] + 0.05
        assert (changed[face] > 8).mean() > 0.01
        # Outside there are soft edges and shadows only.
        assert (changed[occluded == 0] > 8).mean() < 0.4
        assert (changed[occluded > 0] > 5).mean() > 0.5


@pytest.mark.parametrize("kind", OCCLUDERS)
def test_pasting_is_a_pure_function(kind, photo):
    first, again = (paste_occluder(*photo[:2], np.random.default_rng(7), kind) for _ in range(2))
    np.testing.assert_array_equal(first.image, again.image)
    np.testing.assert_array_equal(first.occluded, again.occluded)


def test_none_hides_nothing(photo):
    image, landmarks, _ = photo
    pasted, occluded = paste_occluder(image, landmarks, np.random.default_rng(0), "none")
    assert not occluded.any()
    np.testing.assert_array_equal(pasted, image)


def test_what_does_not_fit_is_refused(photo):
    image, landmarks, _ = photo
    rng = np.random.default_rng(0)
    with pytest.raises(ValueError, match="square uint8"):
        paste_occluder(image.astype(np.float32), landmarks, rng, "mask")
    with pytest.raises(ValueError, match="68 landmarks"):
        paste_occluder(image, landmarks[:67], rng, "mask")
    with pytest.raises(ValueError, match="beard"):
        paste_occluder(image, landmarks, rng, "beard")


def test_glasses_show_the_eyes_and_sunglasses_hide_them(photo):
    image, landmarks, _ = photo
    pupils = np.stack([landmarks[36:42].mean(0), landmarks[42:48].mean(0)]).round().astype(int)
    for kind, hides in (("glasses", False), ("sunglasses", True)):
        occluded = paste_occluder(image, landmarks, np.random.default_rng(2), kind).occluded
        assert [occluded[y, x] == 255 for x, y in pupils] == [hides, hides]


def test_hands_have_the_light_of_the_photo(photo):
    """The darker the photo, the darker the hand."""
    image, landmarks, _ = photo
    levels = []
    for dim in (1.0, 0.5, 0.25):
        dark = (image * dim).astype(np.uint8)
        tones = []
        for seed in range(4):
            pasted = paste_occluder(dark, landmarks, np.random.default_rng(seed), "hand")
            tones.append(np.median(pasted.image[pasted.occluded > 0]))
        levels.append(np.mean(tones))
    assert levels[0] > 1.4 * levels[1] > 1.9 * levels[2] > 0


def test_the_face_is_found_where_the_landmarks_are(photo):
    _, landmarks, _ = photo
    rng = np.random.default_rng(0)
    angle, scale = 0.3, 1.3
    turn = scale * np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    points = landmarks @ turn.T + [3, 7]
    face, vertices, place = paste._laid(points + rng.normal(0, 0.2, points.shape), SIZE)
    screen = scenes.project(place(vertices), camera.FOCAL * SIZE / 2, SIZE, SIZE)
    found = np.einsum("lkc,lk->lc", screen[face.landmark_vertices], face.landmark_weights)
    assert np.abs(found[:, :2] - points).max() < 1.5
    assert np.abs(found[:, :2] - points).mean() < 0.5
