"""What is done with a video between its faces and its results."""

import json
from dataclasses import fields

import cv2
import numpy as np
import pytest
import skimage.data
import untrained

from focus_jax import forward
from focus_jax.data import detect
from focus_jax.data.faces import Face
from focus_jax.data.landmarks import Detection
from focus_jax.face_models import fitting
from focus_jax.photos import masks, results, tracking, video
from focus_jax.photos.tracking import Track
from focus_jax.photos.trained import load_model
from focus_jax.photos.video_files import frames
from focus_jax.types import FaceCode


@pytest.fixture(scope="module")
def model():
    """Few modes and pixels, and few steps."""
    with pytest.MonkeyPatch.context() as patch:
        untrained.make_small(patch)
        yield load_model("none")


def test_two_people_have_a_track_each_and_one_overlay(model, tmp_path, monkeypatch):
    """The second one, of four frames, is seen in three; the face turned stands in the corner."""
    monkeypatch.setattr(tracking, "LEAST", 3)
    face = skimage.data.astronaut()[:300, 100:400, ::-1]
    writer = cv2.VideoWriter(
        str(tmp_path / "two.mp4"), cv2.VideoWriter.fourcc(*"mp4v"), 20, (600, 300)
    )
    for number in range(4):
        other = face[:, ::-1] if number != 1 else np.zeros_like(face)
        writer.write(np.roll(np.concatenate([face, other], axis=1), 2 * number, 1))
    writer.release()
    out, told = tmp_path / "out", {}
    shared = results.share(model, ["turned", "numbers"])
    source = detect.landmark_source("mediapipe")
    given = tmp_path / "two.mp4", out, "two.mp4", shared, source
    clip = video.reconstruct_video(*given, steps=0, batch_size=2)
    assert clip.numbers() == {"total": 4, "read": 4, "tracked": 4, "others": 0, "people": 2}
    for person, where in enumerate((out, out / "person1")):
        lines = [json.loads(line) for line in (where / "track.jsonl").read_text().splitlines()]
        assert [line["frame"] for line in lines] == [0, 1, 2, 3]  # a short gap is bridged
        assert [line["seconds"] for line in lines] == [0, 0.05, 0.1, 0.15]
        assert {line["face"] for line in lines} == {person}
        assert len({str(line["coefficients"]["identity"]) for line in lines}) == 1
        best = json.loads((out / str(person) / "face.json").read_text())
        told[person] = lines[0]["coefficients"]["identity"]
        assert best["face"] == person and best["coefficients"]["identity"] == told[person]
        assert np.mean([line["landmarks"][30][0] > 300 for line in lines]) == person
    assert told[0] != told[1]
    shown = [frame for _, frame in frames(out / "overlay.webm")]
    assert len(shown) == 4 and shown[0].shape == (300, 600, 3)
    corner = np.abs(shown[0][210:, 420:].astype(int) - 240).max(-1) < 12  # grey around them
    assert 0.3 < corner[:, :90].mean() < 0.9 and 0.3 < corner[:, 90:].mean() < 0.9
    assert (np.abs(shown[0][110:200].astype(int) - 240).max(-1) < 12).mean() < 0.1
    results.clear(out)
    assert not list(out.iterdir())


def test_as_many_turned_faces_stand_in_the_corner_as_fit():
    insets = [(k, np.full((9, 9, 3), k + 1, np.uint8)) for k in range(5)]
    frame = video._with_insets(np.zeros((80, 100, 3), np.uint8), insets)
    assert [frame[-1, x, 0] for x in (99, 76, 75, 52, 51, 28, 27)] == [1, 1, 2, 2, 3, 3, 4]
    assert not frame[:-24].any() and (frame[-24:, 28:] > 0).all()


def test_a_frame_that_agrees_with_its_landmarks_is_trusted(model):
    """Of two frames alike the one whose encoder put the landmarks aside says less, one of no face
    nothing."""
    widths = forward.widths(model.face_model)
    raw = np.zeros((3, widths.outputs), np.float32)
    code = forward.decode(raw, widths, model.decoding)
    face = np.asarray(fitting.landmark_points(model.face_model))[:, :2] * [1, -1] + 112
    crop, marks = np.zeros((224, 224, 3), np.uint8), face.astype(np.float32)
    seen = [Detection(marks, score, "test") for score in (1.0, 1.0, 0.0)]
    faces = [Face(0, one, crop, face, face, np.eye(2, 3)) for one in seen]
    marks = masks.fine_transform(faces[0])
    own = face @ marks[:, :2].T + marks[:, 2]
    found = video.trusted(model, code, [own, own + 30, own], faces)
    assert found[0] > 0.9 > found[1] > found[2] == 0
    assert video.trusted(model, code, [None] * 3, faces)[0] > 0.9  # no encoder, nothing to hold


def test_a_person_has_one_shape_and_bridged_frames_count_nothing():
    raw = np.random.default_rng(0).normal(size=(12, 2 + 1 + 2 + 33)).astype(np.float32)
    raw[5] = 1e3  # a dark frame

    def steady(raw):
        code = FaceCode(*np.split(raw, (2, 3, 5, 11), axis=1))
        found = video.steady(code, track, trust)
        return np.concatenate([getattr(found, f.name) for f in fields(FaceCode)], axis=1)

    scores = np.ones(12)
    scores[5] = 0
    trust = scores.copy()
    trust[3] = 2
    trust[[0, 1]] = 0.1  # below the median: who it is, the others say
    track = Track(np.arange(12), np.zeros((12, 68, 2)), scores, [np.arange(12)], np.arange(12) / 25)
    found = steady(raw)
    best = trust * (trust >= 1)
    identity = (raw * best[:, None])[best > 0].sum(0) / best.sum()
    np.testing.assert_allclose(found[:, :2], np.broadcast_to(identity[:2], (12, 2)), rtol=1e-4)
    np.testing.assert_allclose(found[:, 3:5], np.broadcast_to(identity[3:5], (12, 2)), rtol=1e-4)
    assert np.abs(found).max() < 5
    still = np.broadcast_to(raw[:1], raw.shape)
    np.testing.assert_allclose(steady(still), still, rtol=1e-4, atol=1e-5)
