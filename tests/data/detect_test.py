import sys
import types
from concurrent.futures import ThreadPoolExecutor

import cv2
import numpy as np
import pytest
import skimage.data
from PIL import Image

from focus_jax.data import detect
from focus_jax.data.detect import landmark_source, read_pts

NOWHERE = detect.Path("photo.jpg")


@pytest.fixture(scope="module")
def dlib_source():
    pytest.importorskip("dlib")
    return landmark_source("dlib")


@pytest.fixture(scope="module")
def astronaut():
    return skimage.data.astronaut()


@pytest.fixture(scope="module")
def face(dlib_source, astronaut):
    return dlib_source(astronaut, NOWHERE)[0]


def eyes(landmarks):
    return np.linalg.norm(landmarks[36] - landmarks[45])


def test_the_face_of_a_photo_is_found_once(dlib_source, astronaut, face):
    assert len(dlib_source(astronaut, NOWHERE)) == 1
    assert face.landmarks.shape == (68, 2) and face.source == "dlib" and face.score > 1
    # Her pupils and the tip of her chin, read off the picture.
    np.testing.assert_allclose(face.landmarks[36:42].mean(0), (203, 101), atol=4)
    np.testing.assert_allclose(face.landmarks[42:48].mean(0), (247, 104), atol=4)
    np.testing.assert_allclose(face.landmarks[8], (222, 177), atol=5)


def test_several_faces_come_largest_first(dlib_source, astronaut):
    small = cv2.resize(astronaut[:300, 100:400], (200, 200))
    canvas = np.zeros((300, 520, 3), np.uint8)
    canvas[:200, :200], canvas[:, 220:] = small, astronaut[:300, 100:400]
    found = dlib_source(canvas, NOWHERE)
    assert len(found) == 2
    assert found[0].landmarks[30, 0] > 220 > found[1].landmarks[30, 0]


def test_small_faces_of_a_group_are_found(dlib_source, astronaut):
    """Half as large as the fast detector sees at first; nobody in this photo is near."""
    small = cv2.resize(astronaut[:300, 100:400], None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA)
    canvas = np.full((400, 1200, 3), 90, np.uint8)
    canvas[20:170, 40:190] = canvas[220:370, 900:1050] = small
    found = dlib_source(canvas, NOWHERE)
    assert sorted(int(f.landmarks[30, 0]) // 300 for f in found) == [0, 3]


def test_a_huge_photo_gives_the_same_landmarks(dlib_source, astronaut, face):
    huge = cv2.resize(astronaut, None, fx=6, fy=6, interpolation=cv2.INTER_CUBIC)
    found = dlib_source(huge, NOWHERE)
    assert len(found) == 1
    error = np.linalg.norm((found[0].landmarks + 0.5) / 6 - 0.5 - face.landmarks, axis=1)
    assert error.mean() < 0.06 * eyes(face.landmarks)


def test_the_slow_detector_helps_where_the_fast_one_finds_nothing(
    dlib_source, astronaut, monkeypatch
):
    monkeypatch.setattr(detect, "LEAST_SCORE", 100.0)  # the fast one is never sure enough
    found = dlib_source(astronaut, NOWHERE)
    assert [f.source for f in found] == ["dlib-cnn"]


def test_threads_find_what_one_finds(dlib_source, astronaut):
    views = [np.ascontiguousarray(astronaut[:n, :n]) for n in range(240, 480, 24)]
    alone = [dlib_source(view, NOWHERE) for view in views]
    with ThreadPoolExecutor(4) as pool:
        together = list(pool.map(lambda view: dlib_source(view, NOWHERE), 3 * views))
    for one, other in zip(3 * alone, together, strict=True):
        assert len(one) == len(other) > 0
        np.testing.assert_array_equal(one[0].landmarks, other[0].landmarks)


@pytest.mark.parametrize("shape", [(1, 1), (1, 200), (40, 40), (300, 300)])
def test_there_is_no_face_in_the_dark(dlib_source, shape):
    assert dlib_source(np.zeros((*shape, 3), np.uint8), NOWHERE) == []


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


def test_unknown_sources_are_refused():
    with pytest.raises(ValueError, match=r"dlib, files, a \.csv or mediapipe.*, not 'retina'"):
        landmark_source("retina")


def test_mediapipe_is_read_at_68_places(monkeypatch, tmp_path):
    """A stand-in of its interface: vertex i of the mesh lies at (i, 2 i) thousandths."""
    with pytest.raises(ValueError, match="pip install mediapipe"):
        landmark_source("face.task")
    small, mesh = (
        [types.SimpleNamespace(x=k * i / 1000, y=2 * k * i / 1000) for i in range(478)]
        for k in (0.5, 1)
    )
    found = types.SimpleNamespace(face_landmarks=[small, mesh])
    made = {}

    def create(options):
        made.update(options)
        return types.SimpleNamespace(detect=lambda image: found)

    module = types.ModuleType("mediapipe")
    module.__spec__ = types.SimpleNamespace()  # type: ignore[assignment]
    module.tasks = types.SimpleNamespace(  # type: ignore[attr-defined]
        BaseOptions=dict,
        vision=types.SimpleNamespace(
            FaceLandmarkerOptions=dict,
            FaceLandmarker=types.SimpleNamespace(create_from_options=create),
        ),
    )
    module.Image, module.ImageFormat = dict, types.SimpleNamespace(SRGB=1)  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "mediapipe", module)
    with pytest.raises(ValueError, match=r"gone\.task does not exist; it is the face landmarker"):
        landmark_source(str(tmp_path / "gone.task"))
    (tmp_path / "face.task").write_bytes(b"")
    source = landmark_source(str(tmp_path / "face.task"))
    assert made["base_options"] == {"model_asset_path": str(tmp_path / "face.task")}
    large, _ = source(np.zeros((100, 200, 3), np.uint8), NOWHERE)
    # The tip of the nose is vertex 4, the outer corner of the subject's right eye 33.
    np.testing.assert_allclose(large.landmarks[30], (0.004 * 200 - 0.5, 0.008 * 100 - 0.5))
    np.testing.assert_allclose(large.landmarks[36], (0.033 * 200 - 0.5, 0.066 * 100 - 0.5))
    assert len(set(detect.MEDIAPIPE_68)) == 68
