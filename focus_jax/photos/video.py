"""Faces of a video: one person, followed from frame to frame.

The frames are read three times, to find landmarks, to find codes, and to draw, so that memory does
not grow with their number: between the passes only numbers are kept. That also allows smoothing
with frames before and after, which does not lag behind as a filter on the past does.
"""

import json
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import jax
import numpy as np
from scipy.ndimage import gaussian_filter1d
from tqdm import tqdm

from focus_jax.data.align import invert_transform, turn_needed
from focus_jax.data.detect import Detection, Source
from focus_jax.data.faces import Face, align_faces
from focus_jax.photos import results
from focus_jax.photos.inference import Inference, find_codes, show
from focus_jax.photos.trained import Model, make_batch
from focus_jax.types import FaceCode

LONGEST_GAP = 10  # frames without a detection that are bridged
SMOOTH_LANDMARKS, SMOOTH_CODES = 1.0, 2.0  # deviation of the Gaussian, in frames


class Track(NamedTuple):
    """A face over a video: which frames show it, and where."""

    frames: np.ndarray  # [n] numbers of frames, rising
    landmarks: np.ndarray  # [n 68 2], smoothed
    scores: np.ndarray  # [n] of the detector; 0 for bridged frames


def frames(path: Path) -> Iterator[np.ndarray]:
    """The frames of a video, RGB uint8. ValueError for a file that is none."""
    capture = cv2.VideoCapture(str(path))
    try:
        if not capture.isOpened():
            raise ValueError(f"{path} is not a video that OpenCV can read")
        while True:
            there, frame = capture.read()
            if not there:
                return
            yield np.ascontiguousarray(frame[..., ::-1])
    finally:
        capture.release()


def frame_rate(path: Path) -> float:
    """Frames per second, 25 where the file does not say."""
    capture = cv2.VideoCapture(str(path))
    rate = capture.get(cv2.CAP_PROP_FPS)
    capture.release()
    return rate if 1 <= rate <= 1000 else 25.0


def follow(path: Path, source: Source) -> tuple[Track, int]:
    """The track of the largest face, and the number of frames. ValueError where there is none."""
    found: dict[int, Detection] = {}
    last: np.ndarray | None = None
    number = -1
    for number, frame in enumerate(tqdm(frames(path), desc="finding the face", unit="frame")):
        faces = source(frame, path)
        if not faces:
            continue
        face = faces[0] if last is None else min(faces, key=lambda f: _distance(f.landmarks, last))
        # Another face, far from where this one was, is somebody else's.
        if last is not None and _distance(face.landmarks, last) > np.ptp(last, 0).max():
            continue
        found[number], last = face, face.landmarks
    if not found:
        raise ValueError(f"{path} shows no face in {number + 1} frames")
    return bridge(found), number + 1


def _distance(a: np.ndarray, b: np.ndarray) -> float:
    return float(np.linalg.norm(a.mean(0) - b.mean(0)))


def bridge(found: dict[int, Detection]) -> Track:
    """A track without short gaps, its landmarks smoothed within each unbroken piece."""
    numbers = np.array(sorted(found))
    points = np.stack([found[n].landmarks for n in numbers]).astype(np.float64)
    kept, landmarks, scores = [], [], []
    for piece in np.split(np.arange(len(numbers)), 1 + np.nonzero(_breaks(numbers))[0]):
        here = np.arange(int(numbers[piece[0]]), int(numbers[piece[-1]]) + 1)
        flat = points[piece].reshape(len(piece), -1)
        filled = np.stack([np.interp(here, numbers[piece], column) for column in flat.T], -1)
        kept.append(here)
        landmarks.append(smooth(filled, SMOOTH_LANDMARKS).reshape(-1, 68, 2))
        scores.append([found[n].score if n in found else 0.0 for n in here])
    return Track(np.concatenate(kept), np.concatenate(landmarks), np.concatenate(scores))


def _breaks(numbers: np.ndarray) -> np.ndarray:
    return np.diff(numbers) > LONGEST_GAP + 1


def smooth(values: np.ndarray, deviation: float) -> np.ndarray:
    """Values `[n k]` over time through a symmetric filter: it delays nothing."""
    return gaussian_filter1d(values, deviation, axis=0, mode="nearest")


def _batches(
    path: Path, track: Track, model: Model, batch_size: int
) -> Iterator[tuple[list[int], list[np.ndarray], list[Face], Any]]:
    """Places in the track, frames, faces, and the batch that they fill, padded at the end."""
    where = {int(n): i for i, n in enumerate(track.frames)}
    shown = ((where[n], f) for n, f in enumerate(frames(path)) if n in where)
    # All are turned alike, since codes are smoothed over time: by the middle face of the film.
    turn = turn_needed(np.median(track.landmarks - track.landmarks.mean(1, keepdims=True), axis=0))
    while chunk := list(islice(shown, batch_size)):
        places, pictures = [i for i, _ in chunk], [f for _, f in chunk]
        faces = []
        for i, picture in chunk:
            score = float(track.scores[i])
            detection = Detection(track.landmarks[i].astype(np.float32), score, "track")
            faces += align_faces(
                picture, [detection], model.record_size, fix_y_offset=model.fix_y_offset, turn=turn
            )
        full = faces + [faces[-1]] * (batch_size - len(faces))
        crops = np.stack([f.crop for f in full])
        yield (
            places,
            pictures,
            faces,
            make_batch(model, crops, np.stack([f.landmarks for f in full])),
        )


def _rows(code: FaceCode, which: Any) -> FaceCode:
    return jax.tree.map(lambda x: x[which], code)


def steady(code: FaceCode, track: Track) -> FaceCode:
    """Codes of one person, a row a frame: one shape and tone, the rest smoothed over time.

    The detector's score says how much each frame counts for the person. Bridged frames, which may
    show no face at all, count nothing and lie between their neighbours.
    """
    seen = track.scores > 0
    weights = (track.scores * seen / track.scores[seen].sum())[:, None]

    def one(values: np.ndarray) -> np.ndarray:
        return np.broadcast_to((weights * values).sum(0), values.shape).astype(values.dtype)

    def over_time(values: np.ndarray) -> np.ndarray:
        result = np.empty_like(values)
        for piece in np.split(np.arange(len(values)), 1 + np.nonzero(_breaks(track.frames))[0]):
            known = piece[seen[piece]]
            filled = np.stack([np.interp(piece, known, column) for column in values[known].T], -1)
            result[piece] = smooth(filled, SMOOTH_CODES)
        return result

    return FaceCode(
        identity=one(np.asarray(code.identity)),
        expression=over_time(np.asarray(code.expression)),
        albedo=one(np.asarray(code.albedo)),
        pose=over_time(np.asarray(code.pose)),
        light=over_time(np.asarray(code.light)),
    )


def reconstruct_video(
    path: Path,
    folder: Path,
    name: str,
    shared: results.Shared,
    source: Source,
    *,
    steps: int,
    batch_size: int,
) -> int:
    """Write overlay.mp4, track.jsonl (a line a frame), and the best frame's face as a photo's.

    Returns the number of frames with a face. ValueError for a video that cannot be read or shows
    no face, OSError where results cannot be written.
    """
    model = shared.model
    track, count = follow(path, source)
    parts: list[FaceCode] = []
    for places, _, _, batch in tqdm(
        _batches(path, track, model, batch_size), desc="fitting", unit="batch"
    ):
        found, _, _ = jax.device_get(find_codes(model, batch, steps))
        parts.append(_rows(found, slice(len(places))))
    codes = steady(jax.tree.map(lambda *x: np.concatenate(x), *parts), track)

    folder.mkdir(parents=True, exist_ok=True)
    best: tuple[float, np.ndarray, Face, Inference] | None = None
    with (
        (folder / "track.jsonl").open("w") as lines,
        _Writer(folder / "overlay.mp4", path) as video,
    ):
        stream = iter(tqdm(frames(path), desc="drawing", unit="frame", total=count))
        number = 0
        for places, pictures, faces, batch in _batches(path, track, model, batch_size):
            full = places + places[-1:] * (batch_size - len(places))
            found = jax.device_get(show(model, batch, _rows(codes, full)))
            for k, (place, picture, face) in enumerate(zip(places, pictures, faces, strict=True)):
                one = jax.tree.map(lambda x, k=k: np.asarray(x)[k], found)
                numbers = results.describe(name, face, one, model, picture.shape)
                lines.write(json.dumps({"frame": int(track.frames[place]), **numbers}) + "\n")
                while number < track.frames[place]:  # frames without the face, as they are
                    video.write(next(stream))
                    number += 1
                next(stream)
                number += 1
                to_photo = invert_transform(results.fine_transform(face))
                video.write(results.overlay_photo(picture, to_photo, one))
                if best is None or numbers["confidence"] > best[0]:
                    best = numbers["confidence"], picture, face, one
        for frame in stream:
            video.write(frame)
    assert best is not None  # a track is never empty
    results.write_face(folder / "0", name, *best[1:], shared)
    return len(track.frames)


class _Writer:
    """An mp4 of frames as they come, at the rate of another video."""

    def __init__(self, path: Path, like: Path) -> None:
        self._path, self._rate, self._writer = path, frame_rate(like), None

    def __enter__(self) -> "_Writer":
        return self

    def __exit__(self, *error: object) -> None:
        if self._writer is not None:
            self._writer.release()

    def write(self, frame: np.ndarray) -> None:
        if self._writer is None:
            code, size = cv2.VideoWriter.fourcc(*"mp4v"), frame.shape[1::-1]
            self._writer = cv2.VideoWriter(str(self._path), code, self._rate, size)
            if not self._writer.isOpened():
                raise OSError(f"cannot write the video {self._path}")
        self._writer.write(np.ascontiguousarray(frame[..., ::-1]))
