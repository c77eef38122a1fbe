import numpy as np

from focus_jax.data.occluders import hair
from focus_jax.data.occluders.head import things
from focus_jax.data.occluders.part import HAIR
from tests.occluder_heads import head


def test_every_style_covers_the_crown_and_not_the_nose():
    person, colour = head(0), np.array([0.5, 0.3, 0.1])
    tip = person.landmarks[30]
    for style in range(len(things()["hair_weight"])):
        (part,) = hair.hairdo(person, np.random.default_rng(0), colour, style)
        assert part.label == HAIR and part.triangles.max() < len(part.vertices)
        assert part.vertices[:, 1].max() > person.landmarks[27, 1] + 95
        assert np.linalg.norm(part.vertices - tip, axis=1).min() > 15
        r, g, _, a = np.asarray(part.texture).reshape(-1, 4).astype(float).T
        assert abs(g[a > 200].mean() / r[a > 200].mean() - 0.6) < 0.12


def test_colours_of_hair_are_colours():
    colours = [hair.hair_colour(np.random.default_rng(k)) for k in range(200)]
    assert np.min(colours) > 0 and np.max(colours) <= 1
    assert np.median(np.mean(colours, axis=1)) < 0.35  # most people's is dark
