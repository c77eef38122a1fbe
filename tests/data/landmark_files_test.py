import numpy as np
import pytest

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
    with pytest.raises(ValueError, match=r"l\.csv has no row for b\.jpg"):
        source(np.zeros((100, 100, 3), np.uint8), tmp_path / "b.jpg")
