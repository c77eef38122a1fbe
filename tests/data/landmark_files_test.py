import numpy as np
import pytest
from PIL import Image

from focus_jax.data.detect import landmark_source
from focus_jax.data.landmark_files import read_pts


def write_pts(path, points):
    lines = "\n".join(f"{x + 1} {y + 1}" for x, y in points)
    path.write_text(f"version: 1\nn_points: {len(points)}\n{{\n{lines}\n}}\n")


def points(seed=0):
    return np.random.default_rng(seed).uniform(10, 90, (68, 2))


def test_pts_and_npz_beside_a_photo(tmp_path):
    photo, source = np.zeros((100, 100, 3), np.uint8), landmark_source("files")
    write_pts(tmp_path / "a.pts", points())
    (found,) = source(photo, tmp_path / "a.jpg")
    np.testing.assert_allclose(found.landmarks, points(), atol=1e-4)
    np.savez(tmp_path / "b.npz", landmarks=np.stack([points(1), points(2)]))
    found = source(photo, tmp_path / "b.png")
    np.testing.assert_allclose([f.landmarks for f in found], [points(1), points(2)], atol=1e-4)


def test_files_that_do_not_fit_are_named(tmp_path):
    photo, source = np.zeros((100, 100, 3), np.uint8), landmark_source("files")
    with pytest.raises(ValueError, match=r"a\.jpg has neither a\.pts nor a\.npz"):
        source(photo, tmp_path / "a.jpg")
    write_pts(tmp_path / "a.pts", points()[:5])
    with pytest.raises(ValueError, match=r"a\.pts has 5 points"):
        source(photo, tmp_path / "a.jpg")
    (tmp_path / "a.pts").write_text("{ 1 two }")
    with pytest.raises(ValueError, match=r"a\.pts is not a .pts file"):
        read_pts(tmp_path / "a.pts")
    write_pts(tmp_path / "a.pts", points() + 300)
    with pytest.raises(ValueError, match="outside the 100 x 100 photo"):
        source(photo, tmp_path / "a.jpg")
    (tmp_path / "b.npz").write_bytes(b"nonsense")
    with pytest.raises(ValueError, match=r"b\.npz is not an npz"):
        source(photo, tmp_path / "b.jpg")
    np.savez(tmp_path / "b.npz", landmarks=points()[:5])
    with pytest.raises(ValueError, match=r"shape \(5, 2\)"):
        source(photo, tmp_path / "b.jpg")


def test_landmarks_of_a_csv_are_found_by_file_name(tmp_path):
    line = ",".join(f"{v:.3f}" for v in points().ravel())
    (tmp_path / "l.csv").write_text(f"deep/a.jpg,{line}\n")
    source = landmark_source(str(tmp_path / "l.csv"))
    (found,) = source(np.zeros((100, 100, 3), np.uint8), tmp_path / "deep" / "a.jpg")
    np.testing.assert_allclose(found.landmarks, points(), atol=1e-3)
    with pytest.raises(ValueError, match=r"l\.csv has no row for .*b\.jpg"):
        source(np.zeros((100, 100, 3), np.uint8), tmp_path / "b.jpg")


def test_rows_are_found_below_the_folder_that_was_given(tmp_path):
    """Photos of one name in several folders; one that has no row gets no other's."""
    names = ["1.jpg", "14/1.jpg", "15/1.jpg", "15/2.jpg"]
    for name in [*names, "16/1.jpg", "14/2.jpg", "1/14/1.jpg"]:
        (tmp_path / "in" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "in" / name).touch()
    lines = [",".join([n, *(f"{v:.3f}" for v in points(i).ravel())]) for i, n in enumerate(names)]
    (tmp_path / "l.csv").write_text("\n".join(lines))
    source, photo = landmark_source(str(tmp_path / "l.csv")), np.zeros((100, 100, 3), np.uint8)
    for number, name in enumerate(names):
        (found,) = source(photo, tmp_path / "in" / name)
        np.testing.assert_allclose(found.landmarks, points(number), atol=1e-3)
    with pytest.raises(
        ValueError, match=r"no row for .*16/1\.jpg; of that name it has 1\.jpg, 14/"
    ):
        source(photo, tmp_path / "in" / "16" / "1.jpg")
    with pytest.raises(ValueError, match=r"no row for .*14/2\.jpg; of that name it has 15/2\.jpg"):
        source(photo, tmp_path / "in" / "14" / "2.jpg")


def test_landmarks_beside_a_turned_photo(tmp_path):
    face = points()
    face[36:48], face[48:] = (50, 30), (50, 70)
    exif = Image.Exif()
    exif[0x0112] = 8
    Image.fromarray(np.zeros((100, 100, 3), np.uint8)).save(tmp_path / "a.jpg", exif=exif)
    source, photo = landmark_source("files"), np.zeros((100, 100, 3), np.uint8)
    write_pts(tmp_path / "a.pts", face)
    assert len(source(photo, tmp_path / "a.jpg")) == 1
    write_pts(tmp_path / "a.pts", np.stack([99 - face[:, 1], face[:, 0]], -1))
    with pytest.raises(ValueError, match=r"of a\.jpg before its EXIF orientation \(8\)"):
        source(photo, tmp_path / "a.jpg")
