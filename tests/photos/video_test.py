from dataclasses import fields

import cv2
import numpy as np
import pytest

from focus_jax.data.detect import Detection
from focus_jax.photos import video
from focus_jax.photos.video import LONGEST_GAP, Track, bridge, follow, frames, smooth
from focus_jax.types import FaceCode


def shape():
    return np.random.default_rng(0).uniform(-20, 20, (68, 2))


def detection(x, score=1.0):
    return Detection((shape() + np.array([x, 50])).astype(np.float32), score, "test")


def write(path, count, size=(64, 48)):
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"mp4v"), 20, size)
    for number in range(count):
        writer.write(np.full((*size[::-1], 3), number, np.uint8))
    writer.release()
    return path


def test_frames_come_in_order(tmp_path):
    path = write(tmp_path / "a.mp4", 30)
    found = [int(frame.mean()) for frame in frames(path)]
    assert len(found) == 30 and found == sorted(found)
    assert video.frame_rate(path) == 20


def test_a_file_that_is_no_video_is_named(tmp_path, capfd):
    (tmp_path / "a.mp4").write_text("nonsense")
    with pytest.raises(ValueError, match=r"a\.mp4 is not a video"):
        list(frames(tmp_path / "a.mp4"))
    capfd.readouterr()  # what OpenCV says of it


def test_short_gaps_are_bridged_and_long_ones_left():
    far = 20 + LONGEST_GAP + 2
    numbers = [*range(10), *range(13, 20), *range(far, far + 5)]
    track = bridge({n: detection(100.0 + 2 * n) for n in numbers})
    assert track.frames.tolist() == [*range(20), *range(far, far + 5)]
    assert (track.scores[10:13] == 0).all() and (track.scores[:10] == 1).all()
    x = track.landmarks.mean(1)[:, 0] - shape().mean(0)[0]
    np.testing.assert_allclose(x[5:15], 100 + 2 * np.arange(5, 15), atol=1e-3)


def test_smoothing_does_not_lag():
    time = np.arange(200)
    values = np.sin(time / 15)[:, None]
    noisy = values + 0.1 * np.random.default_rng(0).normal(size=values.shape)
    smoothed = smooth(noisy, 2.0)
    lags = [
        np.corrcoef(smoothed[10:-10, 0], np.roll(values, k)[10:-10, 0])[0, 1] for k in range(-3, 4)
    ]
    assert int(np.argmax(lags)) == 3  # no shift at all fits best
    assert np.abs(smoothed - values)[5:-5].std() < 0.6 * np.abs(noisy - values)[5:-5].std()


def test_one_person_is_followed(tmp_path):
    """A larger face comes in later, elsewhere; the track stays with the first."""
    path = write(tmp_path / "a.mp4", 8)
    seen = iter(range(8))

    def source(frame, path):
        number = next(seen)
        own = detection(100.0 + number)
        return [detection(900.0), own] if number > 3 else [own]

    track, count = follow(path, source)
    assert count == 8 and track.frames.tolist() == list(range(8))
    assert np.abs(track.landmarks.mean(1)[:, 0] - 104).max() < 10
    with pytest.raises(ValueError, match="shows no face in 8 frames"):
        follow(path, lambda frame, path: [])


def test_a_person_has_one_shape_and_bridged_frames_count_nothing():
    raw = np.random.default_rng(0).normal(size=(12, 2 + 1 + 2 + 33)).astype(np.float32)
    raw[5] = 1e3  # a dark frame

    def steady(raw):
        code = FaceCode(*np.split(raw, (2, 3, 5, 11), axis=1))
        found = video.steady(code, track)
        return np.concatenate([getattr(found, f.name) for f in fields(FaceCode)], axis=1)

    scores = np.ones(12)
    scores[5] = 0
    scores[3] = 2
    track = Track(np.arange(12), np.zeros((12, 68, 2)), scores)
    found = steady(raw)
    identity = (raw * scores[:, None])[scores > 0].sum(0) / scores.sum()
    np.testing.assert_allclose(found[:, :2], np.broadcast_to(identity[:2], (12, 2)), rtol=1e-4)
    np.testing.assert_allclose(found[:, 3:5], np.broadcast_to(identity[3:5], (12, 2)), rtol=1e-4)
    assert np.abs(found).max() < 5
    still = np.broadcast_to(raw[:1], raw.shape)
    np.testing.assert_allclose(steady(still), still, rtol=1e-4, atol=1e-5)
