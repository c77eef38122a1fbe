import os
import tarfile

import cv2
import numpy as np
import pytest

from focus_jax.commands import prepare as command
from focus_jax.data import prepare as module
from focus_jax.data.detect import Detection
from focus_jax.data.faces import find_photos
from focus_jax.data.landmarks import read_landmarks
from focus_jax.data.photos import photo_records
from focus_jax.data.prepare import contact_sheet, crop_face, prepare, split_of
from focus_jax.data.records import open_records


def face(scale=1.0, at=(0.0, 0.0)):
    points = np.random.default_rng(1).uniform(30, 60, (68, 2))
    points[[36, 39, 42, 45]] = [(40, 30), (48, 30), (62, 30), (70, 30)]
    points[[30, 48, 54]] = [(55, 45), (46, 58), (64, 58)]
    return points * scale + at


def picture(seed, height=200, width=240):
    noise = np.random.default_rng(seed).integers(0, 256, (height, width, 3)).astype(np.uint8)
    return cv2.GaussianBlur(noise, (0, 0), 3.0)


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "in" / "deep").mkdir(parents=True)
    for number in range(12):
        cv2.imwrite(str(tmp_path / "in" / f"{number}.png"), picture(number))
    cv2.imwrite(str(tmp_path / "in" / "deep" / "a,b.png"), picture(50))
    cv2.imwrite(str(tmp_path / "in" / "again.png"), picture(3))
    cv2.imwrite(str(tmp_path / "in" / "empty.png"), picture(60))
    (tmp_path / "in" / "text.jpg").write_text("no photo")
    return tmp_path / "in"


def source(photo, path):
    if path.name == "empty.png":
        return []
    faces = [Detection(face(1.5).astype(np.float32), 1.0, "test")]
    if path.name == "1.png":  # a second one, too small
        faces.append(Detection(face(0.3).astype(np.float32), 1.0, "test"))
    return faces


def test_what_is_written_is_what_training_reads(folder, tmp_path):
    out = tmp_path / "out"
    counts, dropped = prepare(find_photos([str(folder)]), source, out, size=32)
    assert sum(counts.values()) == 13 and counts["train"] > counts["validation"] > 0
    assert dropped == 4
    first = (out / "report.txt").read_text().splitlines()[0]
    assert f"{counts['train']} faces to train, {counts['validation']} to validate" in first
    for split, name in (("train", "train_landmarks.csv"), ("validation", "val_landmarks.csv")):
        rows = read_landmarks(out / name)
        assert len(rows) == counts[split]
        expected = list(photo_records(out, split, 32))
        stored = open_records(out / "records" / split)
        assert len(expected) == len(stored) == counts[split]
        for before, after in zip(expected, stored, strict=True):
            np.testing.assert_array_equal(before["image"], after["image"])
            np.testing.assert_array_equal(before["landmarks"], after["landmarks"])
    assert cv2.imread(str(out / "contact.jpg")).shape == (80, 20 * 80, 3)


def test_dense_landmarks_lie_where_the_others_do(folder, tmp_path):
    """Of faces whose detector has them; the first 68 are the landmarks here."""

    def dense(photo, path):
        faces = source(photo, path)
        mesh = np.zeros((478, 3), np.float32)
        mesh[:68, :2] = faces[0].landmarks if faces else 0
        return [f._replace(mesh=mesh) for f in faces] if path.name != "2.png" else faces

    out = tmp_path / "out"
    counts, _ = prepare(find_photos([str(folder)]), dense, out, size=32)
    for split in module.CSV:
        records = open_records(out / "records" / split)
        assert len(records) == counts[split]
        for record in records:
            found = record["dense_landmarks"]
            if record["filename"] == "2.png_0.jpg":
                assert np.isnan(found).all()
            else:
                # The csv rounds.
                np.testing.assert_allclose(found[:68], record["landmarks"], atol=0.02)


def test_the_report_says_what_was_dropped_and_why(folder, tmp_path):
    prepare(find_photos([str(folder)]), source, tmp_path / "out", size=32)
    report = (tmp_path / "out" / "report.txt").read_text()
    for line in (
        "again.png: the same picture as 3.png",
        "empty.png: no face found",
        "1.png, face 1: the face is too small: 9 pixels between the eyes",
        "text.jpg: no picture: text",
    ):
        assert line in report.splitlines(), report


def test_a_crop_shows_what_the_photo_showed():
    photo, landmarks = picture(0, 600, 700), face(4.0, (60, 80))
    crop, moved = crop_face(photo, landmarks)
    assert max(crop.shape) <= 400
    scale = np.linalg.norm(moved[36] - moved[45]) / np.linalg.norm(landmarks[36] - landmarks[45])
    for (x, y), (u, v) in zip(landmarks[27:60], moved[27:60], strict=True):
        near = photo[round(y) - 1 : round(y) + 2, round(x) - 1 : round(x) + 2].mean((0, 1))
        assert np.abs(crop[round(v), round(u)] - near).max() < 60 * max(scale, 1)
    with pytest.raises(ValueError, match="too small"):
        crop_face(photo, face(0.2))
    with pytest.raises(ValueError, match="lies outside the photo"):
        crop_face(photo, face(2.0, (3000, 0)))
    with pytest.raises(ValueError, match="lies partly outside the photo"):
        crop_face(photo, face(4.0, (520, 80)))


def test_splits_depend_on_names_alone():
    splits = [split_of(f"{i}.jpg") for i in range(2000)]
    assert splits == [split_of(f"{i}.jpg") for i in range(2000)]
    assert 0.07 < splits.count("validation") / 2000 < 0.13


def test_nothing_is_overwritten_and_nothing_found_is_an_error(
    folder, tmp_path, monkeypatch, capsys
):
    monkeypatch.setattr(command, "landmark_source", lambda name: lambda photo, path: [])
    assert command.main([str(folder), str(tmp_path / "none")]) == 1
    assert "no faces to train on" in capsys.readouterr().err.splitlines()[-1]
    assert command.main([str(folder), str(tmp_path / "none"), "--landmarks=dlib"]) == 1
    told = capsys.readouterr().err.splitlines()[-1]
    assert "was begun with --landmarks mediapipe, not dlib; give the same again" in told
    (tmp_path / "none" / module.JOURNAL).unlink()
    assert command.main([str(folder), str(tmp_path / "none")]) == 1
    assert "holds a data set already" in capsys.readouterr().err.splitlines()[-1]
    assert command.main([str(folder), str(folder)]) == 1
    assert "OUT is the photos' own folder" in capsys.readouterr().err.splitlines()[-1]
    (tmp_path / "bare").mkdir()
    assert command.main([str(tmp_path / "bare"), str(tmp_path / "other")]) == 1
    assert "no photos in" in capsys.readouterr().err.splitlines()[-1]
    assert command.main([str(folder), ""]) == command.main(["", str(tmp_path / "other")]) == 1
    assert capsys.readouterr().err.count("a path is empty") == 2


def test_a_full_disk_is_said_in_a_sentence(folder, tmp_path, monkeypatch, capsys):
    def full(*arguments):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(command, "landmark_source", lambda name: source)
    monkeypatch.setattr(module, "write_records", full)
    out = tmp_path / "out"
    assert command.main([str(folder), str(out), "--size", "32"]) == 1
    expected = f"error: No space left on device: {out}; when that is mended, the same"
    assert capsys.readouterr().err.splitlines()[-1].startswith(expected)


def files_of(folder):
    """By their names; times, and what tensorflow-datasets says of them, left out."""
    files = {p.relative_to(folder).as_posix(): p for p in folder.rglob("*") if p.is_file()}
    return {n: p.read_bytes() for n, p in files.items() if not n.endswith((".npz", ".json"))}


@pytest.mark.parametrize("place", ["a photo", "the records", "a line"])
def test_whoever_is_interrupted_goes_on(folder, tmp_path, monkeypatch, capsys, place):
    """To the same files, and no photo is looked at twice."""

    def dense(photo, path):
        looked.append(path.name)
        if stopping and path.name == "7.png":
            raise KeyboardInterrupt
        return [f._replace(mesh=np.full((478, 3), 50, np.float32)) for f in source(photo, path)]

    def stop(*arguments):
        raise KeyboardInterrupt

    # One thread, so that what is begun early is little.
    monkeypatch.setattr(module.loky, "cpu_count", lambda: 1)
    looked, stopping = [], False
    whole, out, written = tmp_path / "whole", tmp_path / "out", module.write_records
    expected = prepare(find_photos([str(folder)]), dense, whole, size=32)
    looked.clear()
    stopping = place != "the records"
    if not stopping:
        monkeypatch.setattr(module, "write_records", stop)
    with pytest.raises(KeyboardInterrupt):
        prepare(find_photos([str(folder)], out), dense, out, size=32)
    monkeypatch.setattr(module, "write_records", written)
    if place == "a line":  # the last of which was not written whole
        text = (out / module.JOURNAL).read_bytes()
        (out / module.JOURNAL).write_bytes(text[:-20])
    stopping, before = False, len(looked)
    assert prepare(find_photos([str(folder)], out), dense, out, size=32) == expected
    assert "photos of" in capsys.readouterr().err
    total = len(find_photos([str(folder)]).photos) - 1  # one is no picture
    again = {"a photo": 4, "the records": 0, "a line": 5}[place]  # the one, and what was begun
    assert total <= len(looked) <= total + again and before > 5
    assert files_of(out) == files_of(whole)
    assert not (out / module.JOURNAL).exists()
    for split in module.CSV:
        pairs = zip(*(open_records(f / "records" / split) for f in (out, whole)), strict=True)
        for one, other in pairs:
            np.testing.assert_array_equal(one["image"], other["image"])
            np.testing.assert_array_equal(one["dense_landmarks"], other["dense_landmarks"])


def test_what_is_no_journal_and_another_process_are_told(folder, tmp_path):
    (tmp_path / "out").mkdir()
    journal = tmp_path / "out" / module.JOURNAL
    for text in ("nothing\n", "[1]\n", "{}\n{}\n", '{}\n{"photo": "a", "digest": ""}\n'):
        journal.write_text(text)
        with pytest.raises(ValueError, match="is damaged; remove"):
            prepare(find_photos([str(folder)]), source, tmp_path / "out", size=32)
    with journal.open("w") as file:
        module.locks.lock(file)
        with pytest.raises(ValueError, match="another process is at"):
            prepare(find_photos([str(folder)]), source, tmp_path / "out", size=32)


def test_photos_in_an_archive_are_photos_too(folder, tmp_path):
    (tmp_path / "packed").mkdir()
    with tarfile.open(tmp_path / "packed" / "some.tar", "w") as archive:
        archive.add(folder, ".")
    found = find_photos([str(tmp_path / "packed")])
    counts, dropped = prepare(found, source, tmp_path / "out", size=32)
    assert sum(counts.values()) == 13 and dropped == 4  # as of the folder


def test_a_photo_at_which_opencv_fails_is_one_of_many(folder, tmp_path):
    def fails(photo, path):
        if path.name == "5.png":
            raise cv2.error("too odd")
        return source(photo, path)

    counts, _ = prepare(find_photos([str(folder)]), fails, tmp_path / "out", size=32)
    assert sum(counts.values()) == 12
    assert "5.png: too odd" in (tmp_path / "out" / "report.txt").read_text().splitlines()


def test_a_sheet_has_rows_of_thumbnails():
    sheet = contact_sheet([np.full((80, 80, 3), i, np.uint8) for i in range(21)])
    assert sheet.shape == (160, 1600, 3) and sheet[85, 5, 0] == 20 and sheet[85, 95, 0] == 0


def noise(path, seed):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(cv2.imencode(".png", picture(seed))[1].tobytes())


def test_each_photo_has_names_of_its_own(tmp_path):
    """Folders and odd letters are part of the names; a row never comes to another's picture."""
    names = [
        "14/14_7.png",
        "14_14/7.png",
        "14_14_7.png",
        "a,b.png",
        "a_b.png",
        "a%2Cb.png",
        " c.png",
    ]
    names.append("d" * 246 + ".png")
    for seed, name in enumerate(names):
        noise(tmp_path / "in" / name, seed)
    (tmp_path / "in" / "notes.txt").write_text("no photo")
    found = find_photos([str(tmp_path / "in")])
    counts, dropped = prepare(found, source, tmp_path / "out", size=32)
    assert sum(counts.values()) == len(names) and not dropped
    out = tmp_path / "out"
    rows = [row for name in module.CSV.values() for row in read_landmarks(out / name)]
    crops = module.crop_names(found.photos)
    assert {row.filename for row in rows} == {f"{name}_0.jpg" for name in crops.values()}
    for photo in found.photos:
        crop, _ = crop_face(module.read_photo(photo.path), source(None, photo.path)[0].landmarks)
        stored = cv2.imread(str(out / "Dataset" / f"{crops[photo.name]}_0.jpg"))[..., ::-1]
        assert np.abs(stored.astype(int) - crop).mean() < 8, photo.name
    assert "notes.txt: left alone" in (out / "report.txt").read_text().splitlines()


def test_two_photos_of_one_name_are_refused_before_any_work(tmp_path, monkeypatch):
    for name in ("a.png", "b.png"):
        noise(tmp_path / "in" / name, 1)
    monkeypatch.setattr(module, "_flat", lambda name: "same")
    with pytest.raises(ValueError, match=r"a\.png and b\.png would have one name"):
        prepare(find_photos([str(tmp_path / "in")]), source, tmp_path / "out", size=32)
    assert not list(tmp_path.rglob("*.jpg"))


def test_names_that_are_no_utf8(tmp_path):
    name = os.fsdecode(b"Andr\xe9.png")
    for seed in range(3):
        noise(tmp_path / "in" / str(seed) / name, seed)
    noise(tmp_path / "in" / "empty.png", 9)
    (tmp_path / "in" / os.fsdecode(b"\xe9.jpg")).write_text("no photo")
    counts, dropped = prepare(
        find_photos([str(tmp_path / "in")]), source, tmp_path / "out", size=32
    )
    assert sum(counts.values()) == 3 and dropped == 2
    assert b"\xe9.jpg: no picture: text\n" in (tmp_path / "out" / "report.txt").read_bytes()
    rows = [r for n in module.CSV.values() for r in read_landmarks(tmp_path / "out" / n)]
    assert sorted(r.filename for r in rows) == [f"{i}%2FAndr%E9.png_0.jpg" for i in range(3)]
