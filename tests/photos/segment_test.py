"""Names of masks, which are whose, and how many of them are held at once."""

import tracemalloc
from types import SimpleNamespace

import numpy as np
import pytest

from focus_jax.data.detect import Detection
from focus_jax.data.faces import Found, Photo
from focus_jax.photos import process, segment
from focus_jax.photos.segment import (
    RECORD,
    check_own,
    clear_all,
    joined_masks,
    mask_names,
    one_to_one,
    read_record,
    segment_files,
)


def test_mask_names():
    assert mask_names("a/b.c.jpg", visible_skin=True) == ["a/b.c_visible_skin_mask.png"]
    assert mask_names("b.jpg", visible_skin=False) == ["b_mask.png", "b_occlusion.png"]


@pytest.mark.parametrize(
    "photos",
    [
        ["f.000001.jpg", "f.000002.jpg"],
        ["f.000001", "f.000002"],
        ["0001.jpg", "0001.png"],
        ["0001.jpg", "0001.png", "0001.png.jpg"],
        ["a/1.jpg", "b/1.jpg", "a/1.v1", "a/1.v2"],
    ],
)
def test_every_photo_has_masks_of_its_own(photos):
    names = one_to_one(photos, visible_skin=False)
    files = [name for masks in names.values() for name in masks]
    assert list(names) == photos and len(set(files)) == 2 * len(photos)


def test_photos_that_would_share_masks_keep_their_suffix():
    names = one_to_one(["0001.jpg", "0001.png", "2.png"], visible_skin=True)
    assert {photo: masks[0] for photo, masks in names.items()} == {
        "0001.jpg": "0001.jpg_visible_skin_mask.png",
        "0001.png": "0001.png_visible_skin_mask.png",
        "2.png": "2_visible_skin_mask.png",
    }


def test_seen_by_one_face_is_seen_and_two_masks_are_held(monkeypatch):
    side = 1000
    image = np.broadcast_to(np.uint8(0), (side, side, 3))

    def masks(face, inference, shape):
        seen, hidden = np.zeros(shape[:2], np.uint8), np.zeros(shape[:2], np.uint8)
        seen[face * 10 : face * 10 + 10], hidden[face * 10 + 5 : face * 10 + 25] = 255, 255
        return seen, hidden

    monkeypatch.setattr("focus_jax.photos.masks.photo_masks", masks)
    tracemalloc.start()
    seen, hidden = joined_masks(image, [(k, None) for k in range(30)])
    most = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert (seen[:300] == 255).all() and not seen[300:].any()
    assert not hidden[:300].any() and (hidden[300:315] == 255).all()
    assert most < 8 * side**2  # two totals, two of the face at hand, and what NumPy needs between


# --- whole runs, with stand-ins for detection and networks ---------------------------------------


@pytest.fixture
def run(tmp_path, monkeypatch):
    """Segments photos of these names below `photos`; `faces` says which of them show one."""
    import cv2

    points = np.random.default_rng(1).uniform(30, 60, (68, 2))
    points[[36, 39, 42, 45]] = [(40, 30), (48, 30), (62, 30), (70, 30)]
    points[[30, 48, 54]] = [(55, 45), (46, 58), (64, 58)]
    monkeypatch.setattr(process, "make_batch", lambda model, crops, *points: crops[:, 24, 24, 0])
    monkeypatch.setattr(segment, "infer_masks", lambda model, batch, steps: {"shade": batch})

    def masks(face, inference, shape):
        shade = np.full(shape[:2], int(inference["shade"]), np.uint8)
        return shade, np.zeros_like(shade)

    monkeypatch.setattr("focus_jax.photos.masks.photo_masks", masks)

    def start(shades, *, faces=None, resume=False):
        folder, out = tmp_path / "photos", tmp_path / "out"
        folder.mkdir(exist_ok=True)
        out.mkdir(exist_ok=True)
        for name, shade in shades.items():
            picture = cv2.imencode(".png", np.full((90, 100, 3), shade, np.uint8))[1]
            (folder / name).write_bytes(picture.tobytes())
        found = Found([Photo(folder / n, n) for n in shades], [], [], [])

        def source(image, path):
            there = faces is None or path.name in faces
            return [Detection(points, 1.0, "test")] if there else []

        names = segment.check_names(found, out)
        model = SimpleNamespace(record_size=48, fix_y_offset=True)
        summary = segment_files(found, out, names, model, source, resume=resume)
        shown = {
            p.relative_to(out).as_posix(): int(cv2.imread(str(p), 0).max())
            for p in sorted(out.rglob("*_mask.png"))
        }
        return summary, shown, out

    return start


def test_a_photo_with_too_long_a_name_is_skipped_alone(run):
    long = "x" * 250
    for resume in (False, True):
        summary, shown, _ = run({f"{long}.png": 70, "a.png": 60}, resume=resume)
        assert summary.skipped == [f"{long}.png (cannot be written: File name too long)"]
        assert shown == {"a_mask.png": 60}
    assert summary.before == 1


def test_a_new_photo_of_the_same_stem_takes_nobodys_mask(run):
    assert run({"1.png": 60})[1] == {"1_mask.png": 60}
    shades = {"1.jpg": 50, "1.png": 60}
    _, shown, _ = run(shades, resume=True)
    assert shown == {"1.jpg_mask.png": 50, "1.png_mask.png": 60}


def test_a_photo_without_a_face_any_more_loses_its_masks(run):
    assert run({"1.png": 60, "2.png": 50})[1] == {"1_mask.png": 60, "2_mask.png": 50}
    summary, shown, _ = run({"1.png": 60, "2.png": 50}, faces=["1.png"])
    assert shown == {"1_mask.png": 60} and len(summary.skipped) == 1


def test_files_that_no_run_wrote_are_not_replaced(run, monkeypatch):
    _, _, out = run({"1.png": 60})
    names = {name: mask_names(name, visible_skin=False) for name in ("1.png", "x.png")}
    (out / "run.json").write_text('{"command": "segment"}')
    check_own(out, names)

    def stops(path, mask):
        path.write_text("half")
        raise OSError(28, "No space left on device")

    # What a run that ended early had begun is its own, and not done.
    monkeypatch.setattr(segment, "write_image", stops)
    with pytest.raises(OSError, match="No space left"):
        run({"x.png": 50})
    assert (out / "x_mask.png").read_text() == "half" and list(read_record(out)) == ["1.png"]
    check_own(out, names)
    names["2.png"] = mask_names("2.png", visible_skin=False)
    (out / "2_mask.png").write_text("the user's own")
    with pytest.raises(ValueError, match=r"2_mask\.png is of no earlier run and would be replaced"):
        check_own(out, names)
    (out / "run.json").write_text("{}")  # of before masks were recorded as soon as they were begun
    check_own(out, names)


def test_all_that_a_run_wrote_can_be_removed_and_nothing_else(run):
    _, _, out = run({"1.png": 60})
    (out / "notes.txt").write_text("the user's own")
    outside = out.parent / "outside.png"
    outside.write_text("elsewhere")
    (out / "of a shard.png").write_text("a mask")
    line = '{"photo": "y", "files": ["of a shard.png"]}\n'
    (out / "masks-00001-of-00004.jsonl").write_text(line)
    with (out / RECORD).open("a") as record:
        record.write('{"photo": "x", "files": ["../outside.png"]}\n{"photo": "y", "fi')
    assert list(read_record(out)) == ["1.png", "x"]
    clear_all(out)
    assert [p.name for p in out.iterdir()] == ["notes.txt"] and outside.is_file()


def test_photos_without_a_face_are_not_searched_again(run):
    shades = {"1.png": 60, "2.png": 50}
    first, _, out = run(shades, faces=["1.png"])
    searched = ["2.png (no face found)"]
    assert first.skipped == searched and read_record(out)["2.png"] == []
    again, _, _ = run(shades, resume=True)  # now it would be found to have one
    assert again.skipped == searched and not (out / "2_mask.png").exists()
    assert (again.photos, again.faces, again.before) == (1, 0, 1)
    assert run(shades)[1] == {"1_mask.png": 60, "2_mask.png": 50}


def test_a_mask_that_is_another_photos_by_now_is_not_removed(run):
    """`a` has no suffix: with it, `a.jpg` keeps its own, and leaves `a_mask.png` to the other."""
    assert run({"a.jpg": 60})[1] == {"a_mask.png": 60}
    shades = {"a": 50, "a.jpg": 60}
    assert run(shades)[1] == {"a.jpg_mask.png": 60, "a_mask.png": 50}
