"""Who is in a video, and which frames are searched for faces."""

from pathlib import Path

import cv2
import numpy as np
import pytest

from focus_jax.data import detect
from focus_jax.data.landmarks import Detection
from focus_jax.photos import video_people
from focus_jax.photos.trained import load_model
from focus_jax.photos.video_files import frame_times
from tests.photos.video_files_test import damage, write

PORTRAITS = Path(__file__).parents[2].parent / "shared" / "portraits"


def shape():
    points = np.random.default_rng(1).uniform(-12, 12, (68, 2))
    points[[36, 39, 42, 45]] = [(-15, -10), (-7, -10), (7, -10), (15, -10)]
    points[[30, 48, 54]] = [(0, 0), (-9, 12), (9, 12)]
    return points


def find_tracks(path, *given):
    return video_people.find_tracks(path, *given, frame_times(path)[0])


@pytest.fixture(scope="module")
def model():
    return load_model("none")


@pytest.fixture
def clip(tmp_path):
    return write(tmp_path / "a.clip.mp4", 12, size=(160, 120))


def test_row_k_of_a_file_belongs_to_frame_k(model, clip):
    landmarks = np.stack([shape() + np.array([40 + 5 * k, 60]) for k in range(12)])
    landmarks[4] = np.nan  # no face there
    np.savez(clip.parent / "a.clip.npz", landmarks=landmarks)
    (track,), found = find_tracks(clip, detect.landmark_source("files"), model)
    assert found.tracked == 12 and found.others == 0 and found.frames == (12, 12)
    assert track.scores.tolist() == [float(k != 4) for k in range(12)]
    x = track.landmarks.mean(1)[:, 0] - shape().mean(0)[0]
    np.testing.assert_allclose(x[3:9], 40 + 5 * np.arange(3, 9), atol=0.01)


@pytest.mark.parametrize("count", [1, 11, 13])
def test_another_number_of_rows_is_refused(model, clip, count):
    landmarks = np.stack([shape() + np.array([60, 60])] * count)
    np.savez(clip.parent / "a.clip.npz", landmarks=landmarks if count > 1 else landmarks[0])
    with pytest.raises(ValueError, match=rf"has 12 frames, and a\.clip\.npz landmarks of {count};"):
        find_tracks(clip, detect.landmark_source("files"), model)


def test_a_csv_cannot_tell_of_a_video(model, clip):
    line = ",".join(["a.clip.mp4", *(str(v) for v in (shape() + 60).ravel())])
    (clip.parent / "l.csv").write_text(line)
    with pytest.raises(ValueError, match=r"a csv has no row a frame; .* a\.clip\.npz beside it"):
        find_tracks(clip, detect.landmark_source(str(clip.parent / "l.csv")), model)


def test_points_outside_the_frame_are_refused(model, clip):
    np.savez(clip.parent / "a.clip.npz", landmarks=np.full((12, 68, 2), 900.0))
    with pytest.raises(ValueError, match="frame 0, has points outside the 160 x 120"):
        find_tracks(clip, detect.landmark_source("files"), model)


def test_a_video_without_a_face_is_said_to_have_none(model, clip):
    with pytest.raises(ValueError, match="shows no face in 12 frames"):
        find_tracks(clip, lambda frame, path: [], model)


def test_few_frames_without_a_face_are_searched_and_all_with_one():
    """A face from frame 50 to 70, and one in frame 75; which frames are looked at."""
    looked = []

    def find(frame):
        number = int(frame)
        looked.append(number)
        there = 50 <= number <= 70 or number == 75
        return [Detection(shape().astype(np.float32), 1.0, "test")] if there else []

    stream = ((n, np.array(n)) for n in range(120) if n != 60)  # one cannot be read
    found = [(n, int(frame), len(faces)) for n, frame, faces in video_people.searched(stream, find)]
    assert [n for n, _, _ in found] == [n for n, _, _ in sorted(found)]
    assert [n for n, _, _ in found] == [n for n in range(120) if n != 60]
    assert all(n == frame for n, frame, _ in found)
    assert [n for n, _, faces in found if faces] == [*range(50, 60), *range(61, 71), 75]
    assert len(looked) == len(set(looked)) and len([n for n in looked if n < 48]) < 17


def test_what_of_a_damaged_video_is_missing_is_said(model, clip, capfd):
    damage(clip, 0.3, 0.15)

    def source(frame, path):
        return [Detection((shape() + np.array([80, 60])).astype(np.float32), 1.0, "test")]

    (track,), found = find_tracks(clip, source, model)
    missing = 12 - found.frames.read
    assert 0 < missing < 6 and track.frames[-1] == 11
    assert found.problem() == f"{missing} of 12 frames cannot be read"
    capfd.readouterr()


@pytest.mark.skipif(not PORTRAITS.is_dir(), reason="no ../shared/portraits")
def test_another_person_is_not_averaged_into_the_first(model, tmp_path):
    """By what the recognizer sees of two people who are shown at one place, one after the other."""
    pictures = [cv2.imread(str(PORTRAITS / f"female_{n}.jpg")) for n in ("00", "09")]
    pictures = [cv2.resize(picture, (256, 256)) for picture in pictures]
    path = tmp_path / "a.mp4"
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"mp4v"), 20, (256, 256))
    for number in range(10):
        writer.write(np.roll(pictures[number >= 6], number, 1))
    writer.release()
    (track,), found = find_tracks(path, detect.landmark_source("mediapipe"), model)
    assert track.frames.tolist() == list(range(6)) and found.others == 4
