import numpy as np
import pytest

from focus_jax.data.cutting import PROBABILITY, cut_records


def records(count=40, side=20):
    rng = np.random.default_rng(0)
    images = rng.integers(128, 255, (count, side, side, 3), dtype=np.uint8)
    return [{"image": i, "mask": np.full((side, side), 255, np.uint8)} for i in images]


@pytest.mark.parametrize("kind", ["cutout", "cutmix"])
def test_only_what_is_cut_changes_and_the_mask_knows_it(kind):
    before = records()
    after = list(cut_records(before, kind, seed=0))
    cut = [not np.array_equal(a["image"], b["image"]) for a, b in zip(before, after, strict=True)]
    assert 0.2 < np.mean(cut) < 1.6 * PROBABILITY
    for a, b in zip(before, after, strict=True):
        hidden = b["mask"] == 0
        np.testing.assert_array_equal(a["image"][~hidden], b["image"][~hidden])
        if kind == "cutout":
            assert (b["image"][hidden] == 127).all()
        assert hidden.mean() <= 0.25
    assert all(r["mask"].all() for r in before)  # the originals are left alone


def test_photos_are_a_function_of_the_seed():
    first, again, other = (list(cut_records(records(), "cutmix", seed=s)) for s in (0, 0, 1))
    for a, b in zip(first, again, strict=True):
        np.testing.assert_array_equal(a["image"], b["image"])
    assert any((a["mask"] != b["mask"]).any() for a, b in zip(first, other, strict=True))


def test_what_cannot_be_cut_is_refused():
    with pytest.raises(ValueError, match="must be one of"):
        list(cut_records(records(), "cutup", seed=0))
    with pytest.raises(ValueError, match="true masks"):
        list(cut_records([{"image": np.zeros((4, 4, 3), np.uint8)}], "cutout", seed=0))
