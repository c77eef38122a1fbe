import numpy as np

from focus_jax.data.occluders import shapes
from focus_jax.data.occluders.head import Girth, Heights
from focus_jax.data.occluders.part import FACE, HAIR, OCCLUDER
from tests.occluder_heads import head


def test_clear_lenses_show_the_face_and_dark_ones_hide_it():
    for seed in range(4):
        for dark in (False, True):
            rng = np.random.default_rng(seed)
            parts = shapes.worn(head(seed), rng, "glasses", dark=dark)
            frame, temples, *lenses = parts
            assert frame.label == temples.label == OCCLUDER and len(lenses) == 2
            for lens in lenses:
                assert lens.label == (OCCLUDER if dark else FACE)
                opacity = np.asarray(lens.texture)[..., 3].mean() / 255
                assert opacity > 0.6 if dark else opacity < 0.5


def test_glasses_sit_before_the_eyes_and_out_of_the_skin():
    for seed in range(6):
        person = head(seed)
        frame = shapes.worn(person, np.random.default_rng(seed), "glasses")[0].vertices
        assert Heights(person.vertices, np.eye(3)[2]).depth(frame).max() < 4
        eyes = person.landmarks[36:48].mean(axis=0)
        assert abs(frame.mean(axis=0)[1] - eyes[1]) < 15
        assert 0 < frame[:, 2].mean() - eyes[2] < 40


def test_a_mask_lies_on_the_skin():
    person = head(2)
    cloth = shapes.worn(person, np.random.default_rng(0), "mask")[0].vertices
    girth = Girth(person)
    offset = cloth - girth.centre
    gap = np.hypot(offset[:, 0], offset[:, 2])
    gap = gap - girth.reach(np.arctan2(offset[:, 0], offset[:, 2]), cloth[:, 1])
    before = (np.abs(offset[:, 0]) < 45) & (cloth[:, 1] > person.landmarks[8, 1] + 5)
    assert gap[before].min() > -0.5 and np.median(gap[before]) < 15


def test_a_fringe_has_the_colour_of_the_hair():
    parts = shapes.worn(head(0), np.random.default_rng(0), "fringe", hair=np.array([0.8, 0.1, 0.1]))
    assert all(part.label == HAIR for part in parts)
    red, green, _, opaque = np.asarray(parts[0].texture).reshape(-1, 4).mean(axis=0)
    assert red > 4 * green and 100 < opaque < 250


def test_patches_lie_before_the_face():
    for seed in range(6):
        person = head(seed)
        (part,) = shapes.patch(person, np.random.default_rng(seed))
        assert part.texture is not None and part.texture.shape == (128, 128, 4)
        assert part.vertices[:, 2].mean() > person.landmarks[:, 2].min()
