"""Names of masks, and what a record of them is for, without any network."""

import json
import tracemalloc

import numpy as np
import pytest

from focus_jax.data.faces import Found, Photo
from focus_jax.photos import segment


def test_mask_names():
    assert segment.mask_names("a/b.c.jpg", visible_skin=True) == ["a/b.c_visible_skin_mask.png"]
    names = segment.mask_names("b.jpg", visible_skin=False)
    assert names == ["b_mask.png", "b_occlusion.png"]


@pytest.mark.parametrize(
    "photos",
    [
        ["0001.jpg", "0001.png"],
        ["bareteeth.000001.jpg", "bareteeth.000002.jpg"],
        ["a.jpg", "a.png", "a.jpg.png"],
        ["deep/a.jpg", "a.jpg"],
    ],
)
def test_no_two_photos_share_a_mask(photos):
    names = segment.one_to_one(photos, visible_skin=False)
    every = [mask for masks in names.values() for mask in masks]
    assert names.keys() == set(photos) and len(set(every)) == 2 * len(photos)


def test_twins_keep_their_suffix_and_others_the_short_name():
    names = segment.one_to_one(["0001.jpg", "0001.png", "2.jpg"], visible_skin=True)
    assert [masks[0].partition("_visible")[0] for masks in names.values()] == [
        "0001.jpg",
        "0001.png",
        "2",
    ]


def test_what_one_face_hides_and_another_shows_is_seen(monkeypatch):
    def photo_masks(face, found, shape):
        seen, hidden = np.zeros(shape[:2], np.uint8), np.zeros(shape[:2], np.uint8)
        seen[face], hidden[face + 1 : face + 3] = 255, 255
        return seen, hidden

    monkeypatch.setattr(segment, "photo_masks", photo_masks)
    seen, hidden = segment.joined_masks(np.zeros((6, 4, 3), np.uint8), [(k, None) for k in (0, 2)])
    np.testing.assert_array_equal(seen[:, 0], [255, 0, 255, 0, 0, 0])
    np.testing.assert_array_equal(hidden[:, 0], [0, 255, 0, 255, 255, 0])


def test_memory_does_not_grow_with_the_faces_of_a_photo(monkeypatch):
    """The masks of thirty-six faces in 37 megapixels took gigabytes, held all at once."""
    image = np.zeros((400, 500, 3), np.uint8)
    masks = lambda *_: tuple(np.ones(image.shape[:2], np.uint8) for _ in range(2))  # noqa: E731
    monkeypatch.setattr(segment, "photo_masks", masks)
    tracemalloc.start()
    segment.joined_masks(image, [(k, None) for k in range(36)])
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 8 * image.shape[0] * image.shape[1]


def test_a_record_says_whose_masks_there_are(tmp_path):
    lines = [{"photo": "a.jpg", "files": ["a_mask.png"]}, {"photo": "b", "files": ["../b.png"]}]
    text = "".join(json.dumps(line) + "\n" for line in lines)
    out = tmp_path / "out"
    out.mkdir()
    (out / segment.RECORD).write_text(text + '{"photo": "c')  # a run that was killed
    assert segment.read_record(out) == {"a.jpg": ["a_mask.png"], "b": ["../b.png"]}
    for path in (out / "a_mask.png", out / "mine.png", tmp_path / "b.png"):
        path.touch()
    segment.clear_all(out)
    assert sorted(p.name for p in out.iterdir()) == ["mine.png"] and (tmp_path / "b.png").exists()


def test_links_lead_no_mask_elsewhere(tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "deep").symlink_to(tmp_path)
    photos = [Photo(tmp_path / "deep" / "a.jpg", "deep/a.jpg")]
    with pytest.raises(ValueError, match=r"leads deep/a_mask\.png elsewhere"):
        segment.check_names(Found(photos, [], [], []), tmp_path / "out")
