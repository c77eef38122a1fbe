"""Photos that lie in archives and in data sets of tensorflow-datasets."""

import io
import tarfile

import cv2
import numpy as np
import pytest

from focus_jax.data.decode import UnreadablePhoto
from focus_jax.data.faces import data_set_photos, find_photos, read_faces
from focus_jax.data.records import NAME, VERSION, write_records

PICTURE = cv2.imencode(".png", np.full((30, 20, 3), 7, np.uint8))[1].tobytes()


def write(path, files):
    path.parent.mkdir(exist_ok=True)
    with tarfile.open(path, "w") as archive:
        for name, content in files:
            about = tarfile.TarInfo(name)
            about.size = len(content)
            archive.addfile(about, io.BytesIO(content))
    return path


def test_a_tar_is_read_where_it_lies(tmp_path):
    files = ("a/1.png", PICTURE), ("a/1.json", b"{}"), ("2.jpg", b"no")
    shots = write(tmp_path / "photos" / "shots.tar", files)
    found = find_photos([str(shots.parent)])
    assert [p.name for p in found.photos] == ["shots/a/1.png", "shots/2.jpg"]
    assert found.others == [f"{shots}: 1 files that are no photos"] and not found.problems
    assert [p.name for p in find_photos([str(shots)]).photos] == ["a/1.png", "2.jpg"]
    image, faces = read_faces(found.photos[0], lambda image, path: [], 16)
    assert image.shape == (30, 20, 3) and (image == 7).all() and faces == []
    with pytest.raises(UnreadablePhoto, match=r"2.jpg \(no picture"):
        read_faces(found.photos[1], lambda image, path: [], 16)
    shots.write_bytes(shots.read_bytes()[: 512 + len(PICTURE) // 2])
    assert find_photos([str(shots)]).problems == [f"{shots} (ends in the middle of a file)"]
    shots.write_bytes(b"not a tar at all" * 99)
    assert "not a whole tar archive" in find_photos([str(shots)]).problems[0]


def test_a_name_that_leads_out_of_a_tar_is_told(tmp_path):
    files = ("1.png", PICTURE), ("../2.png", PICTURE)
    found = find_photos([str(write(tmp_path / "a.tar", files))])
    assert [p.name for p in found.photos] == ["1.png"]
    assert found.problems == [f"{tmp_path / 'a.tar'} (holds '../2.png', which leads out of it)"]


def test_pictures_of_a_built_data_set(tmp_path):
    records = ({"image": np.full((8, 9, 3), k, np.uint8), "number": k} for k in range(3))
    write_records(tmp_path, records)
    found = data_set_photos(str(tmp_path / NAME / VERSION))
    assert [p.name for p in found.photos] == [f"train/{k:08}" for k in range(3)]
    image, _ = read_faces(found.photos[2], lambda image, path: [], 16)
    assert image.shape == (8, 9, 3) and (image == 2).all()
    write_records(tmp_path / "numbers", ({"number": k} for k in range(3)))
    with pytest.raises(ValueError, match=r"cannot be read: it has no pictures, but number; give"):
        data_set_photos(str(tmp_path / "numbers" / NAME / VERSION))
    with pytest.raises(ValueError, match="cannot be read: Dataset no_such_thing not found; give"):
        data_set_photos("no_such_thing")
