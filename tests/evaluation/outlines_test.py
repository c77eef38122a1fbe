import json
from pathlib import Path

import cv2
import numpy as np
import pytest

from focus_jax.evaluation.outlines import (
    BACKGROUND,
    KINDS,
    Outline,
    crop_labels,
    labels,
    outline_scores,
    read_outlines,
)

ROOT = Path(__file__).parents[2]
PHOTOS = ROOT.parent / "shared" / "photos" / "Dataset"
SQUARE = [[2, 3], [8, 3], [8, 9], [2, 9]]


def content(**changes):
    whole = {
        "split": {"choose": ["a.jpg"], "test": []},
        "used_in_training": ["a.jpg"],
        "photos": {"a.jpg": [{"kind": "hand", "polygon": SQUARE}]},
    }
    return whole | changes


def written(tmp_path, whole):
    path = tmp_path / "outlines.json"
    path.write_text(whole if isinstance(whole, str) else json.dumps(whole))
    return path


def outline(kind, polygon, holes=()):
    return Outline(kind, np.array(polygon, float), tuple(np.array(h, float) for h in holes))


def test_what_is_written_is_read(tmp_path):
    found = read_outlines(written(tmp_path, content()))
    assert found.photos["a.jpg"][0].kind == "hand" and found.split["choose"] == ("a.jpg",)
    assert found.used_in_training == {"a.jpg"}
    np.testing.assert_array_equal(found.photos["a.jpg"][0].polygon, SQUARE)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"photos": {"a.jpg": [{"kind": "foot", "polygon": SQUARE}]}}, "kind 'foot'"),
        ({"photos": {"a.jpg": [{"kind": "hand", "polygon": SQUARE[:2]}]}}, "three or more"),
        ({"photos": {"a.jpg": [{"kind": "hand", "polygon": [[0, None]] * 3}]}}, "pairs of numbers"),
        ({"photos": {"a.jpg": [{"kind": "hand", "polygon": SQUARE, "hole": []}]}}, "nothing else"),
        ({"split": {"choose": [], "test": []}}, "a.jpg must be outlined"),
        ({"split": {"choose": ["a.jpg"], "test": ["a.jpg"]}}, "a.jpg must be outlined"),
        ({"split": {"choose": ["a.jpg"], "test": ["b.jpg"]}}, "b.jpg must be outlined"),
        ({"split": {"choose": ["a.jpg"]}}, "parts choose and test"),
        ({"used_in_training": ["c.jpg"]}, "c.jpg"),
        ({"photos": {"a.jpg": {"kind": "hand"}}}, "a.jpg must have a list"),
        ({"photos": ["a.jpg"]}, "photos must be an object"),
        ({"used_in_training": "a.jpg"}, "lists of names"),
        ({"more": 1}, "photos, split, used_in_training"),
    ],
)
def test_what_is_wrong_is_said(tmp_path, change, message):
    with pytest.raises(ValueError, match=message):
        read_outlines(written(tmp_path, content(**change)))


def test_files_that_cannot_be_read_are_named(tmp_path):
    with pytest.raises(ValueError, match=r"nowhere\.json does not exist"):
        read_outlines(tmp_path / "nowhere.json")
    with pytest.raises(ValueError, match="is not JSON"):
        read_outlines(written(tmp_path, "{"))


def test_labels_are_of_kinds_with_holes_cut_and_the_first_in_front():
    found = labels(
        [
            outline(
                "glasses", [[0, 0], [9, 0], [9, 9], [0, 9]], [[[3, 3], [6, 3], [6, 6], [3, 6]]]
            ),
            outline("hair", [[0, 0], [19, 0], [19, 4], [0, 4]]),
            outline(BACKGROUND, [[15, 0], [19, 0], [19, 19], [15, 19]]),
        ],
        20,
        20,
    )
    glasses, hair = (KINDS.index(k) + 1 for k in ("glasses", "hair"))
    assert found[1, 1] == glasses and found[8, 8] == glasses
    assert found[5, 5] == 0 and found[3, 4] == hair  # through the hole
    assert found[1, 12] == hair and found[1, 17] == hair and found[12, 17] == -1
    assert found[15, 5] == 0


def test_points_outside_the_photo_are_refused():
    with pytest.raises(ValueError, match=r"x\.jpg: a hat's outline has the point \(20, 4\)"):
        labels([outline("hat", [[0, 0], [20, 4], [0, 4]])], 20, 20, "x.jpg")
    with pytest.raises(ValueError, match="20 x 20 pixels"):
        labels([outline("hat", SQUARE, [[[0, 0], [1, -1], [1, 1]]])], 20, 20)


def test_a_crop_takes_its_labels_with_it():
    photo = labels([outline("hand", [[20, 10], [59, 10], [59, 49], [20, 49]])], 80, 80)
    transform = np.array([[1.0, 0, -20], [0, 1, -10]])  # crop of 40 pixels: the hand alone
    assert (crop_labels(photo, transform, 40, 40) == 1).all()
    np.testing.assert_array_equal(crop_labels(photo, transform, 40, 20), np.ones((20, 20)))
    wider = crop_labels(photo, np.array([[0.5, 0, -0.25], [0, 0.5, -0.25]]), 40, 40)
    np.testing.assert_array_equal(wider, photo[::2, ::2] | photo[1::2, 1::2])


def test_a_crop_of_half_the_size_keeps_the_places_of_a_smaller_picture():
    """A mask drawn in the photo and one drawn in the resized photo overlap as well as can be."""
    photo = labels([outline("hand", [[12, 21], [81, 30], [40, 90]])], 100, 100)
    small = crop_labels(photo, np.array([[1.0, 0, 0], [0, 1, 0]]), 100, 50)
    resized = cv2.resize(photo.astype(np.float32), (50, 50), interpolation=cv2.INTER_AREA) > 0.5
    assert ((small > 0) != resized).mean() < 0.02


def scene():
    """Two photos of 20 x 20: a hand left of column 5 and hair above row 4; a hat above row 6."""
    found = np.zeros((2, 20, 20), np.int32)
    found[0, :4], found[0, :, :5] = KINDS.index("hair") + 1, KINDS.index("hand") + 1
    found[1, :6] = KINDS.index("hat") + 1
    return found, np.ones((2, 20, 20, 1), np.float32)


def test_the_truth_scores_one_for_every_kind():
    found, coverage = scene()
    scores = outline_scores(found, (found == 0)[..., None].astype(np.float32), coverage)
    assert set(scores) == {"hand", "hair", "hat", "all"}
    assert scores["hand"]["index"].tolist() == [0] and scores["all"]["index"].tolist() == [0, 1]
    for columns in scores.values():
        for name in ("f1", "iou", "occluder_iou", "boundary_iou"):
            np.testing.assert_allclose(columns[name], 1, rtol=1e-5)
        np.testing.assert_allclose(columns["ece"], 0)


def test_a_kind_is_judged_without_the_others():
    """Hair that is missed takes nothing from the hand that is found, and everything from hair."""
    found, coverage = scene()
    mask = (found != KINDS.index("hand") + 1)[..., None].astype(np.float32)
    scores = outline_scores(found, mask, coverage)
    np.testing.assert_allclose(scores["hand"]["iou"], 1, rtol=1e-5)
    np.testing.assert_allclose(scores["hair"]["occluder_iou"], 0, atol=1e-6)
    np.testing.assert_allclose(scores["hair"]["iou"], scores["hair"]["everything_iou"])
    assert 0 < scores["all"]["occluder_iou"][0] < 1


def test_background_and_what_is_not_rendered_do_not_count():
    found, coverage = scene()
    coverage[:, :, 15:] = 0
    found[0, 10:, 10:] = -1
    mask = (found == 0)[..., None].astype(np.float32)
    scores = outline_scores(found, mask, coverage)
    mask[0, 10:, 10:], mask[:, :, 15:] = 1, 0.5
    for kind, columns in outline_scores(found, mask, coverage).items():
        for name, values in columns.items():
            np.testing.assert_array_equal(values, scores[kind][name])


def test_traces_of_a_kind_are_not_scored():
    found, coverage = scene()
    found[1] = 0
    found[1, 0, :3] = KINDS.index("mask") + 1
    assert "mask" not in outline_scores(found, coverage, coverage)


def test_the_repository_s_outlines_lie_inside_their_photos():
    outlined = read_outlines(ROOT / "experiments" / "occluded_photos.json")
    counts = [len(names) for names in outlined.split.values()]
    assert abs(counts[0] - counts[1]) <= 1
    assert not outlined.used_in_training & set(outlined.split["test"])
    if not PHOTOS.is_dir():
        pytest.skip("../shared/photos is not there")
    for name, outlines in outlined.photos.items():
        photo = cv2.imread(str(PHOTOS / name))
        assert photo is not None, name
        assert (labels(outlines, *photo.shape[:2], name) > 0).mean() > 0.01, name
