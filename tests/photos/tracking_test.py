"""Who is who in a video: by place, and by features that are given here instead of computed."""

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter1d

from focus_jax.data.landmarks import Detection
from focus_jax.photos import tracking
from focus_jax.photos.tracking import (
    LEAST,
    LONGEST_GAP,
    SMOOTH_CODES,
    Seen,
    Track,
    bridge,
    over_time,
    smooth,
)

SAME = 0.9


def follow(frames, same, rate=25):
    last = max(face.frame for faces in frames for face in faces)
    return tracking.follow(frames, same, np.arange(last + 1) / rate)


def shape():
    return np.random.default_rng(0).uniform(-20, 20, (68, 2))


def detection(x, score=1.0):
    return Detection((shape() + np.array([x, 50])).astype(np.float32), score, "test")


def seen(frame, x, person):
    """A person's face at a place; each has features of its own, which vary a little."""
    features = np.eye(4)[person] + 0.1 * np.random.default_rng(frame).normal(size=4)
    return Seen(frame, detection(x), features / np.linalg.norm(features))


def places(faces):
    return [(face.frame, round(float(face.detection.landmarks.mean(0)[0]))) for face in faces]


def test_one_person_is_followed():
    """A larger face comes in later, elsewhere; the track stays with the first."""
    frames = [[seen(n, 100 + n, 0)] for n in range(4)]
    frames += [[seen(n, 900, 1), seen(n, 100 + n, 0)] for n in range(4, 8)]
    (faces, *_), others = follow(frames, SAME)
    assert [n for n, _ in places(faces)] == list(range(8)) and others == 0
    assert all(x < 200 for _, x in places(faces))


def test_a_face_that_jumps_at_a_cut_is_the_same_person():
    (faces, *_), others = follow([[seen(n, 100 if n < 20 else 700, 0)] for n in range(40)], SAME)
    assert len(faces) == 40 and others == 0


def test_a_face_that_comes_back_elsewhere_is_the_same_person():
    numbers = [*range(10), *range(60, 80)]
    (faces, *_), others = follow([[seen(n, 100 if n < 10 else 700, 0)] for n in numbers], SAME)
    assert [n for n, _ in places(faces)] == numbers and others == 0


def test_another_person_at_the_same_place_is_another_track():
    (faces, *_), others = follow([[seen(n, 100, int(n >= 12))] for n in range(20)], SAME)
    assert [n for n, _ in places(faces)] == list(range(12)) and others == 8
    # Also where the other one is longer in view; then both are there long enough to be followed.
    people, others = follow([[seen(n, 100, int(n >= 12))] for n in range(40)], SAME)
    assert [[face.frame for face in faces] for faces in people] == [[*range(12, 40)], [*range(12)]]
    assert others == 0


def test_a_lookalike_at_the_same_place_is_another_track():
    """Siblings, whose features have a cosine of 0.947; those of one person's frames have 0.98."""
    siblings = np.array([[1.0, 0, 0, 0], [0.947, np.sqrt(1 - 0.947**2), 0, 0]])

    def frame(n):
        change = 0.1 * np.random.default_rng(n).choice([-1, 1]) * np.eye(4)[3]
        features = siblings[int(n >= 12)] + change
        return [Seen(n, detection(100), features / np.linalg.norm(features))]

    (faces, *_), others = follow([frame(n) for n in range(20)], tracking.SAME["dlib"])
    assert [n for n, _ in places(faces)] == list(range(12)) and others == 8


def test_two_who_change_places_are_told_apart():
    def frame(n):
        left, right = (0, 1) if n < 15 else (1, 0)
        return [seen(n, 100, left), seen(n, 300, right)]

    people, others = follow([frame(n) for n in range(30)], SAME)
    where = [[round(x / 100) for _, x in places(faces)] for faces in people]
    assert where == [[1] * 15 + [3] * 15, [3] * 15 + [1] * 15] and others == 0


def test_who_is_there_for_a_moment_of_a_long_video_is_not_followed():
    """Three who come one after the other, the second for 29 of 300 frames, the third for 30."""
    people, others = follow(
        [[seen(n, 100, int(n >= 300) + int(n >= 329))] for n in range(359)], SAME
    )
    assert [len(faces) for faces in people] == [300, 30] and others == 29


def test_two_alike_in_one_frame_are_two():
    (faces, *_), _ = follow([[seen(n, 100, 0), seen(n, 400, 0)] for n in range(5)], SAME)
    assert places(faces) == [(n, places(faces)[0][1]) for n in range(5)]


def test_short_gaps_are_bridged_and_long_ones_left():
    far = 20 + LONGEST_GAP + 2
    numbers = [*range(10), *range(13, 20), *range(far, far + 5)]
    track = bridge(
        {n: detection(100.0 + 2 * n) for n in numbers}, range(far + 9), np.arange(far + 9) / 25
    )
    assert track.frames.tolist() == [*range(20), *range(far, far + 5)]
    assert (track.scores[10:13] == 0).all() and (track.scores[:10] == 1).all()
    x = track.landmarks.mean(1)[:, 0] - shape().mean(0)[0]
    np.testing.assert_allclose(x[5:15], 100 + 2 * np.arange(5, 15), atol=1e-3)
    assert [piece.tolist() for piece in track.pieces] == [list(range(20)), list(range(20, 25))]


@pytest.mark.parametrize(
    ("rate", "gap", "least"),
    [
        *((usual, 10, 12) for usual in (23.976, 24, 25, 29.97, 30)),
        *((1, 1, 1), (12, 5, 6), (50, 17, 20), (60, 20, 24), (120, 40, 48)),
    ],
)
def test_gaps_and_people_last_as_long_at_every_rate(rate, gap, least):
    """Of films of 24 to 30 frames a second so many frames, of others those of the same time."""
    for missing, pieces in ((gap, 1), (gap + 1, 2)):
        numbers = [*range(10), *range(10 + missing, 20 + missing)]
        seconds = np.arange(30 + missing) / rate
        track = bridge({n: detection(100.0) for n in numbers}, range(len(seconds)), seconds)
        assert len(track.pieces) == pieces
        longest = tracking.frames_as_long(LONGEST_GAP, seconds)
        assert len(tracking.cut([[seen(n, 100, 0)] for n in numbers], 0.5, longest)) == pieces
    for count, people in ((least - 1, 1), (least, 2)):
        there = [[seen(n, 100, int(n >= least + 1))] for n in range(least + 1 + count)]
        assert len(follow(there, SAME, rate)[0]) == people
    assert (LONGEST_GAP, LEAST) == (10, 12)


def test_frames_that_cannot_be_read_are_in_no_track():
    track = bridge({n: detection(100.0) for n in (0, 1, 5)}, [0, 1, 2, 5, 6], np.arange(7) / 25)
    assert track.frames.tolist() == [0, 1, 2, 5]


def test_nothing_is_smoothed_over_a_jump():
    found = {n: detection(100.0 if n < 5 else 900.0) for n in range(10)}
    track = bridge(found, range(10), np.arange(10) / 25)
    x = track.landmarks.mean(1)[:, 0] - shape().mean(0)[0]
    np.testing.assert_allclose(x, [100] * 5 + [900] * 5, atol=1e-3)
    values = np.repeat([[0.0], [1.0]], 5, axis=0)
    np.testing.assert_allclose(over_time(track, values, SMOOTH_CODES), values)


def test_smoothing_does_not_lag():
    time = np.arange(200)
    values = np.sin(time / 15)[:, None]
    noisy = values + 0.1 * np.random.default_rng(0).normal(size=values.shape)
    smoothed = smooth(noisy, time / 25, SMOOTH_CODES)
    lags = [
        np.corrcoef(smoothed[10:-10, 0], np.roll(values, k)[10:-10, 0])[0, 1] for k in range(-3, 4)
    ]
    assert int(np.argmax(lags)) == 3  # no shift at all fits best
    assert np.abs(smoothed - values)[5:-5].std() < 0.6 * np.abs(noisy - values)[5:-5].std()


def test_a_track_without_faces_in_between_is_interpolated():
    track = Track(
        np.arange(3), np.zeros((3, 68, 2)), np.array([1, 0, 1]), [np.arange(3)], np.arange(3) / 25
    )
    found = over_time(track, np.array([[0.0], [99.0], [2.0]]), 1e-3)
    np.testing.assert_allclose(found[:, 0], [0, 1, 2])


@pytest.mark.parametrize("rate", [24, 25, 29.97, 30])
def test_usual_rates_are_smoothed_by_two_frames(rate):
    noise = np.random.default_rng(0).normal(size=(40, 3))
    found = smooth(noise, np.arange(40) / rate, SMOOTH_CODES)
    np.testing.assert_allclose(found, gaussian_filter1d(noise, 2.0, axis=0, mode="nearest"))


def test_smoothing_is_over_the_same_time_at_every_rate():
    """Of a blink in the middle of a second, filmed at 25 and at 50 frames a second."""
    shown = []
    for rate in (25, 50):
        seconds = np.arange(rate + 1) / rate
        blink = np.maximum(0, 1 - np.abs(seconds - 0.5) / 0.2)[:, None]
        shown.append(smooth(blink, seconds, SMOOTH_CODES)[:: rate // 25])
    np.testing.assert_allclose(*shown, atol=0.01)
    assert shown[0].max() < 0.75


def test_frames_without_a_steady_rate_are_smoothed_by_their_times():
    steady = np.arange(200) / 25
    seconds = np.delete(steady, np.arange(5, 195, 3))  # a third of the frames is not there
    values = np.sin(4 * seconds)[:, None]
    found = smooth(values, seconds, SMOOTH_CODES)[20:-20]
    whole = smooth(np.sin(4 * steady)[:, None], steady, SMOOTH_CODES)[:, 0]
    np.testing.assert_allclose(found[:, 0], np.interp(seconds[20:-20], steady, whole), atol=0.02)
    # A year's pause costs no memory, and what is before it does not move what is behind.
    far = np.concatenate([steady, 3e7 + steady])
    found = smooth(np.repeat([[0.0], [1.0]], 200, axis=0), far, SMOOTH_CODES)
    np.testing.assert_allclose(found[[0, 190, 210, 399], 0], [0, 0, 1, 1], atol=1e-6)
    assert smooth(values[:1], seconds[:1], SMOOTH_CODES) == values[:1]
