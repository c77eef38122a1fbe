import os
from concurrent.futures import ThreadPoolExecutor

import cv2
import numpy as np
import pytest

from focus_jax.data.decode import UnreadablePhoto
from focus_jax.data.detect import Detection
from focus_jax.data.faces import Photo, ahead, find_photos, read_faces


def touch(path):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"")
    return path


def test_folders_are_searched_and_everything_is_accounted_for(tmp_path):
    for name in ("b.JPG", "a.png", "deep/c.webp", "film.mp4", "notes.txt", "deep/x.csv"):
        touch(tmp_path / name)
    found = find_photos([str(tmp_path)])
    assert [p.name for p in found.photos] == ["a.png", "b.JPG", "deep/c.webp"]
    assert (
        [v.name for v in found.videos] == ["film.mp4"]
        and found.others == ["notes.txt", "deep/x.csv"]
        and not found.problems
    )


def test_pictures_that_a_run_wrote_are_no_photos(tmp_path):
    for name in ("a.png", "out/a.png/0/mask.png", "deep/out/b.png"):
        touch(tmp_path / name)
    found = find_photos([str(tmp_path)], tmp_path / "deep" / ".." / "out")
    assert [p.name for p in found.photos] == ["a.png", "deep/out/b.png"]


def test_results_of_other_runs_are_no_photos(tmp_path):
    for name in ("a.png", "deep/r1/a.png/0/strip.jpg", "other/b.png"):
        touch(tmp_path / name)
    results = tmp_path / "deep" / "r1"
    (results / "run.json").write_text('{"model": "shipped", "refine": 0, "write": []}')
    # Masks, too, have a run.json, and may lie beside the photos.
    (tmp_path / "other" / "run.json").write_text('{"model": "shipped", "refine": 0}')
    found = find_photos([str(tmp_path)], tmp_path / "r2")
    assert [p.name for p in found.photos] == ["a.png", "other/b.png"]
    assert found.others == ["deep/r1/ (results)", "other/run.json"]
    # Who gives such a folder itself wants what is in it.
    assert [p.name for p in find_photos([str(results)]).photos] == ["a.png/0/strip.jpg"]


def test_a_file_that_was_asked_for_counts_whatever_it_is_called(tmp_path):
    odd = touch(tmp_path / "scan.dat")
    found = find_photos([str(odd), str(tmp_path / "gone.jpg")])
    assert found.photos == [Photo(odd, "scan.dat")]
    assert found.problems == [f"{tmp_path / 'gone.jpg'} (no such file or folder)"]


def test_a_folder_without_rights_is_a_problem_and_no_end(tmp_path, monkeypatch):
    touch(tmp_path / "locked" / "a.jpg")
    touch(tmp_path / "open" / "b.jpg")
    scandir = os.scandir

    def refuse(path):  # the tests may run as root, whom no rights stop
        if str(path).endswith("locked"):
            raise PermissionError(13, "Permission denied", str(path))
        return scandir(path)

    monkeypatch.setattr(os, "scandir", refuse)
    found = find_photos([str(tmp_path)])
    assert [p.name for p in found.photos] == ["open/b.jpg"]
    assert found.problems == [f"{tmp_path / 'locked'} (Permission denied)"]


def test_photos_whose_results_would_collide_are_refused(tmp_path):
    one, two = touch(tmp_path / "1" / "a.jpg"), touch(tmp_path / "2" / "a.jpg")
    with pytest.raises(ValueError, match="would write the same results"):
        find_photos([str(one), str(two)])
    assert len(find_photos([str(tmp_path)]).photos) == 2


def test_a_file_that_is_given_twice_is_taken_once(tmp_path):
    one, clip = touch(tmp_path / "a.jpg"), touch(tmp_path / "b.mp4")
    found = find_photos([str(one), str(tmp_path), str(clip), str(one)])
    assert [p.name for p in found.photos + found.videos] == ["a.jpg", "b.mp4"]


def test_faces_are_aligned_with_the_way_back(tmp_path):
    landmarks = np.random.default_rng(1).uniform(30, 60, (68, 2))
    landmarks[[36, 39, 42, 45]] = [(40, 30), (48, 30), (62, 30), (70, 30)]
    landmarks[[30, 48, 54]] = [(55, 45), (46, 58), (64, 58)]
    cv2.imwrite(str(tmp_path / "a.png"), np.full((90, 120, 3), 7, np.uint8))
    photo = Photo(tmp_path / "a.png", "a.png")
    image, faces = read_faces(
        photo, lambda image, path: [Detection(landmarks, 1.0, "test")] * 2, 48
    )
    assert image.shape == (90, 120, 3) and [f.number for f in faces] == [0, 1]
    assert faces[0].crop.shape == (48, 48, 3)
    led = landmarks @ faces[0].transform[:, :2].T + faces[0].transform[:, 2]
    np.testing.assert_allclose(led, faces[0].landmarks, atol=0.01)
    with pytest.raises(UnreadablePhoto):
        read_faces(Photo(tmp_path / "b.png", "b.png"), lambda image, path: [], 48)


def test_work_is_begun_ahead_but_not_far():
    begun = []

    def items():
        for i in range(100):
            begun.append(i)
            yield i

    with ThreadPoolExecutor(1) as pool:
        stream = ahead(items(), lambda i: i * i, pool, depth=3)
        first, future = next(stream)
        assert (first, future.result()) == (0, 0) and len(begun) == 4
        assert [future.result() for _, future in stream] == [i * i for i in range(1, 100)]


def test_content_tells_where_names_do_not(tmp_path):
    picture = cv2.imencode(".jpg", np.zeros((8, 8, 3), np.uint8))[1].tobytes()
    film = b"0&\xb2u\x8ef\xcf\x11" + bytes(40)
    for name in ("a.jfif", "noname", "b.tga"):
        touch(tmp_path / name).write_bytes(picture)
    stream = (b"G" + bytes(187)) * 3
    contents = {"c.wmv": film, "d.mpg": b"\0\0\x01\xba" + bytes(9), "e.ts": stream}
    for name, content in {**contents, "f.ts": b"const x = 1", "g.json": b'{"a": 1}'}.items():
        (tmp_path / name).write_bytes(content)
    (tmp_path / "h.3gp").write_bytes(b"\0\0\0\x14ftyp3gp4\0\0\0\0")
    found = find_photos([str(tmp_path)])
    assert [p.name for p in found.photos] == ["a.jfif", "b.tga", "noname"]
    assert [v.name for v in found.videos] == ["c.wmv", "d.mpg", "e.ts", "h.3gp"]
    assert found.others == ["f.ts", "g.json"]
    assert find_photos([str(tmp_path / "c.wmv")]).videos == [Photo(tmp_path / "c.wmv", "c.wmv")]


def test_links_are_followed_once(tmp_path):
    touch(tmp_path / "elsewhere" / "a.jpg")
    touch(tmp_path / "in" / "deep" / "b.jpg")
    (tmp_path / "in" / "album").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "in" / "deep" / "loop").symlink_to(tmp_path / "in")
    (tmp_path / "in" / "again").symlink_to(tmp_path / "in" / "deep")
    (tmp_path / "in" / "c.jpg").symlink_to(tmp_path / "elsewhere" / "a.jpg")
    (tmp_path / "in" / "out").symlink_to(touch(tmp_path / "out" / "d.jpg").parent)
    found = find_photos([str(tmp_path / "in")], tmp_path / "out")
    assert [p.name for p in found.photos] == ["c.jpg", "deep/b.jpg", "album/a.jpg"]


def test_a_pipe_is_no_photo(tmp_path):
    os.mkfifo(tmp_path / "a.jpg")
    assert find_photos([str(tmp_path)]).others == ["a.jpg"]
