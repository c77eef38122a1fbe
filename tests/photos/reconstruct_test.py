"""What a run of reconstruct leaves and takes up again, with stand-ins for detection, networks."""

import json
from types import SimpleNamespace

import cv2
import numpy as np
import pytest

from focus_jax.data.detect import Detection
from focus_jax.data.faces import Found, Photo
from focus_jax.photos import process, reconstruct, results, same_person, video
from focus_jax.photos.video_files import Count
from focus_jax.photos.video_people import Clip, NoFace


@pytest.fixture
def run(tmp_path, monkeypatch):
    """Reconstructs photos of these names, of which `faces` show one; also which were searched."""
    points = np.random.default_rng(1).uniform(30, 60, (68, 2))
    points[[36, 39, 42, 45]] = [(40, 30), (48, 30), (62, 30), (70, 30)]
    points[[30, 48, 54]] = [(55, 45), (46, 58), (64, 58)]
    monkeypatch.setattr(process, "make_batch", lambda model, crops, *points: crops[:, 24, 24, 0])
    monkeypatch.setattr(process, "infer", lambda model, batch, steps: {"shade": batch})
    monkeypatch.setattr(reconstruct, "remarks", lambda numbers: [])

    def write(folder, name, *rest):
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "face.json").write_text("{}")

    monkeypatch.setattr(results, "write_face", write)
    encoded = cv2.imencode(".png", np.full((90, 100, 3), 60, np.uint8))[1].tobytes()
    out = tmp_path / "out"

    def start(*photos, faces=(), videos=(), unreadable=(), **options):
        searched = []

        def source(image, path):
            searched.append(path.name)
            return [Detection(points, 1.0, "test")] if path.name in faces else []

        def content(name):
            return lambda: b"" if name in unreadable else encoded

        given = [Photo(tmp_path / n, n, encoded=content(n)) for n in photos]
        model = SimpleNamespace(record_size=48, fix_y_offset=True, networks=None)
        shared = SimpleNamespace(model=model, write=frozenset(), surface=None)
        found = Found(given, [Photo(tmp_path / v, v) for v in videos], [], [])
        out.mkdir(exist_ok=True)
        summary = reconstruct.reconstruct_files(found, out, shared, source, **options)
        return summary, sorted(searched), out

    return start


def test_photos_without_a_face_are_not_searched_again(run):
    given = ("a.png", "dark.png", "broken.png")
    options = {"faces": ["a.png"], "unreadable": ["broken.png"]}
    first, searched, out = run(*given, **options)
    assert searched == ["a.png", "dark.png"]
    assert sorted(first.skipped)[1] == "dark.png (no face found)"
    for _ in range(2):
        again, searched, _ = run(*given, **options, resume=True)
        assert searched == [] and sorted(again.skipped) == sorted(first.skipped)
        assert (again.photos, again.faces, again.before) == (2, 0, 1)
    # Without --resume all are, and what says so may be damaged.
    assert run(*given, **options)[1] == ["a.png", "dark.png"]
    (out / "dark.png" / "done.json").write_text("{")
    assert run(*given, **options, resume=True)[1] == ["dark.png"]


def test_a_photo_without_a_face_any_more_loses_its_results(run):
    run("a.png", faces=["a.png"])
    _, _, out = run("a.png")
    assert not list(out.rglob("face.json")) and run("a.png", resume=True)[1] == []
    run("a.png", faces=["a.png"])
    assert list(out.rglob("face.json")) and run("a.png", resume=True)[0].before == 1


def test_a_photo_without_a_face_does_not_begin_its_person_anew(run, monkeypatch):
    searched = []

    def people(photos, *given, tell, done, **options):
        for photo in photos:
            if not done(photo):
                searched.append(photo.name)
                tell(f"{photo.name} (no face found)")
        return process.Summary(0, 0, 0, [])

    monkeypatch.setattr(same_person, "process_people", people)
    for resume in (False, True):
        run("anna/a.png", same_person=True, resume=resume)
    assert searched == ["anna/a.png"]


def test_a_film_without_a_face_is_not_read_again(run, monkeypatch):
    read = []

    def shows(path, folder, name, *rest, **options):
        read.append(name)
        if name == "cut.mp4":
            raise ValueError(f"{path} shows no face in 3 frames")
        if name == "film (1).mp4":
            raise NoFace(f"{path} shows no face in 9 frames")
        folder.mkdir(parents=True)
        return Clip(Count(5, 5), 5, 0, 1)

    monkeypatch.setattr(video, "reconstruct_video", shows)
    videos = ["cut.mp4", "film (1).mp4", "talk.mp4"]
    first, _, out = run(videos=videos)
    assert first.skipped[1] == "film (1).mp4 (shows no face in 9 frames)"
    again, _, _ = run(videos=videos, resume=True)
    assert read == [*videos, "cut.mp4"]  # of which not all could be read
    assert sorted(again.skipped) == sorted(first.skipped)
    assert (again.videos, again.before) == (0, 1)
    assert json.loads((out / "talk.mp4" / "done.json").read_text())["total"] == 5


def test_too_long_a_name_does_not_end_the_run(run, monkeypatch):
    long = "x" * 300 + ".png"  # as archives may have them
    summary, _, _ = run("a.png", long, "b" * 300 + ".png", faces=["a.png", long])
    assert (summary.photos, summary.faces) == (3, 1)
    assert f"{long} (cannot be written: File name too long)" in summary.skipped
    film = "y" * 300 + ".mp4"
    summary, _, _ = run(videos=[film])
    assert summary.skipped == [f"{film} (cannot be written: File name too long)"]
