import numpy as np
import pytest

from focus_jax.data.occluders.occluder import OCCLUDERS, draw_occluder
from focus_jax.data.occluders.part import FACE, HAIR, OCCLUDER
from tests.occluder_heads import head


@pytest.mark.parametrize("kind", OCCLUDERS[1:])
def test_each_kind_is_sound_and_follows_its_seed(kind):
    for seed in range(2):
        parts, again = (
            draw_occluder(kind, head(seed), np.random.default_rng(seed)) for _ in range(2)
        )
        assert parts
        for part, same in zip(parts, again, strict=True):
            np.testing.assert_array_equal(part.vertices, same.vertices)
            np.testing.assert_array_equal(part.colours, same.colours)
            assert part.vertices.dtype == part.colours.dtype == np.float32
            assert part.triangles.dtype == np.int32
            assert np.isfinite(part.vertices).all() and np.abs(part.vertices).max() < 600
            assert part.triangles.min() >= 0 and part.triangles.max() < len(part.vertices)
            assert part.colours.shape == (len(part.vertices), 4)
            assert part.colours.min() >= 0 and part.colours.max() <= 1
            assert part.label in (FACE, HAIR, OCCLUDER)
            assert (part.uv is None) == (part.texture is None)
            if part.uv is not None and part.texture is not None:
                assert part.uv.shape == (len(part.vertices), 2) and part.texture.dtype == np.uint8


def test_none_is_nothing_and_other_kinds_are_refused():
    assert draw_occluder("none", head(0), np.random.default_rng(0)) == []
    with pytest.raises(ValueError, match="occluder must be one of"):
        draw_occluder("ghost", head(0), np.random.default_rng(0))
