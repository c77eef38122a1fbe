"""The stages of a run side by side, with stand-ins for detection and networks."""

import json
import threading
import time
from pathlib import Path
from types import SimpleNamespace

import cv2
import numpy as np
import pytest

from focus_jax.data.detect import Detection
from focus_jax.data.faces import Photo
from focus_jax.photos import process

WAIT = 20  # seconds after which a stage that another should have begun counts as not begun


def landmarks():
    points = np.random.default_rng(1).uniform(30, 60, (68, 2))
    points[[36, 39, 42, 45]] = [(40, 30), (48, 30), (62, 30), (70, 30)]
    points[[30, 48, 54]] = [(55, 45), (46, 58), (64, 58)]
    return points


@pytest.fixture
def photos(tmp_path):
    def make(count):
        for number in range(count):
            cv2.imwrite(str(tmp_path / f"{number}.png"), np.full((90, 100, 3), number, np.uint8))
        return [Photo(tmp_path / f"{k}.png", f"{k}.png") for k in range(count)]

    return make


@pytest.fixture
def model(monkeypatch):
    """Its batches are the crops' first pixels; so is what it infers."""
    monkeypatch.setattr(process, "make_batch", lambda model, crops, *points: crops[:, 24, 24, 0])
    monkeypatch.setattr(process, "infer", lambda model, batch, steps: {"shade": batch})
    return SimpleNamespace(record_size=48, fix_y_offset=True)


def one_face(image, path):
    return [Detection(landmarks(), 1.0, "test")]


def test_photos_keep_their_faces_whatever_the_batch(photos, model):
    found = {}

    def source(image, path):
        return one_face(image, path) * (int(path.stem) % 4)

    def write(photo, image, faces):
        found[photo.name] = [int(f["shade"]) for _, f in faces]

    summary = process.process(photos(11), model, source, write, batch_size=3)
    assert found == {f"{k}.png": [k] * (k % 4) for k in range(11) if k % 4}
    assert (summary.photos, summary.faces, len(summary.skipped)) == (11, 15, 3)


def test_only_a_lone_face_is_refined_in_a_batch_of_its_own(photos, model):
    sizes = []

    def look(model, batch, steps):
        sizes.append(len(batch))
        return {"shade": batch}

    options = {"batch_size": 2, "look": look}
    for count, steps in ((1, 5), (1, 0), (3, 5)):
        process.process(photos(count), model, one_face, lambda *found: None, steps=steps, **options)
    assert sizes == [1, 2, 2, 2]


@pytest.mark.parametrize(("count", "threads"), [(1, 3), (4, 1)])
def test_several_readers_have_no_threads_of_opencv(photos, model, monkeypatch, count, threads):
    monkeypatch.setattr(process, "_cores", lambda: 2)
    before, seen = cv2.getNumThreads(), []

    def source(image, path):
        seen.append(cv2.getNumThreads())
        return one_face(image, path)

    try:
        cv2.setNumThreads(3)
        process.process(photos(count), model, source, lambda *found: None)
        assert seen == count * [threads] and cv2.getNumThreads() == 3
    finally:
        cv2.setNumThreads(before)


def test_reading_inferring_and_writing_overlap(photos, model, monkeypatch):
    """Each stage waits for the one before it to have begun the next photo."""
    count = 6
    seen, inferred = ([threading.Event() for _ in range(count + 1)] for _ in range(2))
    seen[count].set()
    inferred[count].set()
    waits = []

    def source(image, path):
        seen[int(path.stem)].set()
        return one_face(image, path)

    def infer(model, batch, steps):
        inferred[int(batch[0])].set()
        waits.append(seen[int(batch[0]) + 1].wait(WAIT))
        return {"shade": batch}

    def write(photo, image, faces):
        waits.append(inferred[int(photo.path.stem) + 1].wait(WAIT))

    monkeypatch.setattr(process, "infer", infer)
    process.process(photos(count), model, source, write, batch_size=1)
    assert waits == [True] * 2 * count


def test_photos_in_memory_do_not_grow_with_their_number(photos, model, monkeypatch):
    lock, alive, most = threading.Lock(), set(), []

    def source(image, path):
        with lock:
            alive.add(path.name)
            most.append(len(alive))
        return one_face(image, path)

    def write(photo, image, faces):
        time.sleep(0.002)  # the slowest stage: the others must wait for it
        with lock:
            alive.remove(photo.name)

    monkeypatch.setattr(process, "READERS", 2)
    process.process(photos(80), model, source, write, batch_size=2)
    assert not alive
    # Being read and read ahead, written behind, a batch.
    assert max(most) <= 2 + process.AHEAD + 2 * 2 + 2 + 3


def test_a_photo_that_fails_is_skipped_with_the_reason(photos, model, capsys):
    def source(image, path):
        if path.stem == "1":
            raise RuntimeError("out of\n(memory)")
        return one_face(image, path)

    def write(photo, image, faces):
        if photo.path.stem == "2":
            raise ValueError("a picture of 70000 pixels")

    summary = process.process(photos(4), model, source, write, batch_size=2)
    assert summary.skipped == [
        "1.png (out of [memory])",
        "2.png (cannot be drawn: a picture of 70000 pixels)",
    ]
    assert (summary.photos, summary.faces) == (4, 2)
    assert "skipped 2.png" in capsys.readouterr().err


def test_brackets_in_a_name_are_no_reason(tmp_path, model):
    path = tmp_path / "sub" / "IMG (1).jpg"
    path.parent.mkdir()
    path.write_bytes(b"\xff\xd8\xff\xe0" + bytes(50))
    summary = process.process([Photo(path, "sub/IMG (1).jpg")], model, one_face, lambda *_: None)
    assert summary.skipped == ["sub/IMG (1).jpg (truncated)"]


def test_a_folder_is_gone_on_with_by_the_same_command_and_settings_only(tmp_path):
    now = {"command": "segment", "refine": 0}

    def claim(before, *, settings=now, **how):
        (tmp_path / "run.json").write_text(json.dumps(before))
        return process.claim_folder(tmp_path, settings, **how)

    assert not claim(now, resume=True) and not claim(now, resume=False)
    assert not claim({"refine": 0}, resume=True)  # of before the command was kept
    assert json.loads((tmp_path / "run.json").read_text()) == now
    shards = {**now, "shards": 4}
    for resume in (True, False):
        with pytest.raises(ValueError, match=r"other settings: shards \(was 4, now None\)"):
            claim(shards, resume=resume)
    assert claim(shards, resume=False, overwrite=True)
    with pytest.raises(ValueError, match=r"repeat those, or give another --out$"):
        claim({**now, "pack": "npz"}, resume=False)
    with pytest.raises(ValueError, match="holds archives, which --overwrite leaves"):
        claim({**now, "pack": "tar"}, resume=False, overwrite=True)
    other = {**now, "command": "reconstruct"}
    with pytest.raises(ValueError, match=r"results of focus-jax reconstruct; give another --out"):
        claim(other, resume=False, overwrite=True)
    assert json.loads((tmp_path / "run.json").read_text()) == other


def test_a_full_disk_ends_the_run(photos, model):
    def write(photo, image, faces):
        raise OSError(28, "No space left on device", "mask.png")

    with pytest.raises(OSError, match="No space left"):
        process.process(photos(9), model, one_face, write, batch_size=2)


def test_names_are_checked_by_their_folders(tmp_path, monkeypatch):
    """A link to a file, to a folder and to a folder above; a million names take seconds."""
    out, elsewhere = tmp_path / "out", tmp_path / "elsewhere"
    (out / "a" / "b").mkdir(parents=True)
    elsewhere.mkdir()
    (out / "a" / "own.png").symlink_to(out / "a" / "b" / "x.png")
    (out / "a" / "b" / "odd.png").symlink_to(elsewhere / "x.png")
    (out / "linked").symlink_to(elsewhere)
    for name in ("a/b/odd.png", "linked/x.png", "linked/deep/x.png", "../x.png"):
        with pytest.raises(ValueError, match=f"leads {name} elsewhere"):
            process.check_inside(out, ["a/x.png", name])
    asked, resolve = [], Path.resolve
    monkeypatch.setattr(Path, "resolve", lambda self: asked.append(self) or resolve(self))
    process.check_inside(out, [f"a/{folder}/{k}.png" for folder in "bc" for k in range(500)])
    process.check_inside(out, ["a/own.png"])
    assert len(asked) < 10


def test_what_cannot_be_read_is_not_said_to_be_written(tmp_path):
    out = tmp_path / "out"
    cases = ((out / "face.json", "write"), (tmp_path, "write"), (tmp_path / "marks.csv", "open"))
    for path, verb in cases:
        problem = PermissionError(13, "Permission denied", str(path))
        assert process.explain(problem, out) == f"cannot {verb} {path}: Permission denied"
