"""Faces of a video: one person, followed from frame to frame.

The frames are read three times, to find landmarks, to find codes, and to draw, so that memory does
not grow with their number: between the passes only numbers are kept. That also allows smoothing
with frames before and after, which does not lag behind as a filter on the past does.
"""

import json
from collections.abc import Callable, Iterator
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
from tqdm import tqdm

from focus_jax.data.align import invert_transform, transform_points, turn_needed
from focus_jax.data.detect import of_film
from focus_jax.data.faces import Face, align_faces
from focus_jax.data.landmark_files import FileSource
from focus_jax.data.landmarks import Detection, Source
from focus_jax.networks import recognizer
from focus_jax.photos import confidence, masks, results, sound, tracking
from focus_jax.photos.inference import Inference, find_codes, show
from focus_jax.photos.tracking import SMOOTH_CODES, Seen, Track, bridge, over_time
from focus_jax.photos.trained import Model, make_batch
from focus_jax.photos.video_files import Count, Writer, count_frames, frame_rate, frames
from focus_jax.rendering import camera
from focus_jax.types import FaceCode

# A frame without a face costs several times what one with a face does, and whoever comes stays.
PATIENCE, EVERY = 5, 4

_embed = jax.jit(recognizer.embedding, static_argnames="kind")


class Clip(NamedTuple):
    """What was found in a video: numbers of frames."""

    frames: Count
    tracked: int  # with the person who is followed
    others: int  # that show only other faces

    def problem(self) -> str:
        """What of the video is not in the results, or nothing."""
        total, read = self.frames
        return f"{total - read} of {total} frames cannot be read" if read < total else ""

    def numbers(self) -> dict[str, int]:
        """For a file."""
        return {**self.frames._asdict(), "tracked": self.tracked, "others": self.others}


def find_track(path: Path, source: Source, model: Model) -> tuple[Track, Clip]:
    """The track of the person who is longest in view. ValueError where there is no face at all.

    Landmarks of files are a row a frame, all of one person.
    """
    find = _rows if isinstance(source, FileSource) else _seen
    found, numbers, others = find(path, source, model)
    count = count_frames(path, numbers)
    if isinstance(source, FileSource):
        source.check_count(path, count.total)
    if not found:
        raise ValueError(f"{path} shows no face in {count.read} frames")
    track = bridge(found, numbers)
    return track, Clip(count, len(track.frames), others)


def _finding(path: Path) -> Iterator[tuple[int, np.ndarray]]:
    return iter(tqdm(frames(path), desc="finding the face", unit="frame"))


def _rows(path: Path, source: Any, model: Model) -> tuple[dict[int, Detection], list[int], int]:
    """Faces of a file by frame, and the numbers of all frames."""
    del model
    found, numbers = {}, []
    for number, frame in _finding(path):
        numbers.append(number)
        for face in source.of_frame(frame, path, number):
            found[number] = face
    return found, numbers, 0


def _seen(path: Path, source: Source, model: Model) -> tuple[dict[int, Detection], list[int], int]:
    """Faces of one person by frame, the numbers of all frames, and how many show only others."""
    seen, numbers, find = [], [], of_film(source)
    for number, frame, there in searched(_finding(path), lambda frame: find(frame, path)):
        numbers.append(number)
        faces = [Seen(number, f.detection, features(model, f)) for f in _align(model, frame, there)]
        if faces:
            seen.append(faces)
    if not seen:
        return {}, numbers, 0
    kind = model.networks.recognizer if model.networks else "dlib"
    person, others = tracking.follow(seen, tracking.SAME.get(kind, tracking.SAME_ARCFACE))
    return {face.frame: face.detection for face in person}, numbers, others


def searched(
    stream: Iterator[tuple[int, np.ndarray]], find: Callable[[np.ndarray], list[Detection]]
) -> Iterator[tuple[int, np.ndarray, list[Detection]]]:
    """Frames with their numbers and the faces in them.

    After `PATIENCE` frames without a face only each `EVERY`-th is searched, and where that shows
    one, those before it are, too: what is missed is a face in view for less than `EVERY` frames.
    """
    without, waiting = 0, []
    for number, frame in stream:
        if without >= PATIENCE and len(waiting) < EVERY - 1:
            waiting.append((number, frame))
            continue
        faces = find(frame)
        for earlier, passed in waiting:
            yield earlier, passed, find(passed) if faces else []
        without, waiting = 0 if faces else without + 1, []
        yield number, frame, faces
    for earlier, passed in waiting:
        yield earlier, passed, find(passed)


def _align(
    model: Model, frame: np.ndarray, found: list[Detection], turn: float | None = None
) -> list[Face]:
    options = {"fix_y_offset": model.fix_y_offset, "turn": turn}
    return align_faces(frame, found, model.record_size, **options)


def features(model: Model, face: Face) -> np.ndarray:
    """What the recognizer makes of a face; of unit length."""
    kind = model.networks.recognizer if model.networks else "dlib"
    image = face.crop[None].astype(np.float32) / 255
    points = face.landmarks[None].astype(np.float32)
    return np.asarray(_embed(model.recognizer, image, points, kind=kind))[0]


def _batches(
    path: Path, track: Track, model: Model, batch_size: int
) -> Iterator[tuple[list[int], list[np.ndarray], list[Face], Any]]:
    """Places in the track, frames, faces, and the batch that they fill, padded at the end."""
    where = {int(n): i for i, n in enumerate(track.frames)}
    shown = ((where[n], f) for n, f in frames(path) if n in where)
    # All are turned alike, since codes are smoothed over time: by the middle face of the film.
    turn = turn_needed(np.median(track.landmarks - track.landmarks.mean(1, keepdims=True), axis=0))
    while chunk := list(islice(shown, batch_size)):
        places, pictures = [i for i, _ in chunk], [f for _, f in chunk]
        faces = []
        for i, picture in chunk:
            score = float(track.scores[i])
            detection = Detection(track.landmarks[i].astype(np.float32), score, "track")
            faces += _align(model, picture, [detection], turn)
        full = faces + [faces[-1]] * (batch_size - len(faces))
        crops = np.stack([f.crop for f in full])
        yield (
            places,
            pictures,
            faces,
            make_batch(model, crops, np.stack([f.landmarks for f in full])),
        )


def _rows_of(code: FaceCode, which: Any) -> FaceCode:
    return jax.tree.map(lambda x: x[which], code)


def trusted(
    model: Model, code: FaceCode, encoded: list[np.ndarray | None], faces: list[Face]
) -> list[float]:
    """How far each frame's code is to be trusted, see `confidence`; 0 where nothing was seen."""
    face_model = model.face_model
    corners = np.asarray(face_model.shape_mean)[np.asarray(face_model.landmark_vertices)]
    mean = (corners * np.asarray(face_model.landmark_weights)[..., None]).sum(1)
    rotations = np.asarray(camera.extrinsics(code.pose)[0])
    found = []
    for face, own, rotation in zip(faces, encoded, rotations, strict=True):
        marks = transform_points(masks.fine_transform(face), face.detection.landmarks)
        agreement = None if own is None else confidence.landmark_error(own, marks)
        turned = confidence.turn(rotation, mean, face.detection.landmarks)
        score = face.detection.score
        about = {"visible": 1.0, "agreement": agreement, "score": score, "turned": turned}
        found.append(confidence.confidence(**about))
    return found


def steady(code: FaceCode, track: Track, trust: np.ndarray) -> FaceCode:
    """Codes of one person, a row a frame: one shape and tone, the rest smoothed over time.

    Shape and tone are of the better half of the frames by `trust [n]`, `trusted`; bridged frames
    count nothing.
    """
    seen = (track.scores > 0) & (trust >= np.median(trust[track.scores > 0]))
    weights = np.maximum(trust, 1e-6) * seen
    weights = (weights / weights.sum())[:, None]

    def one(values: np.ndarray) -> np.ndarray:
        return np.broadcast_to((weights * values).sum(0), values.shape).astype(values.dtype)

    return FaceCode(
        identity=one(np.asarray(code.identity)),
        expression=over_time(track, np.asarray(code.expression), SMOOTH_CODES),
        albedo=one(np.asarray(code.albedo)),
        pose=over_time(track, np.asarray(code.pose), SMOOTH_CODES),
        light=over_time(track, np.asarray(code.light), SMOOTH_CODES),
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
    codec: str = "vp8",
) -> Clip:
    """Write overlay.webm, track.jsonl (a line a frame), and the best frame's face as a photo's.

    `codec` is one of `video_files.CODECS`, which also tells the overlay's suffix. ValueError for a
    video that cannot be read or shows no face, OSError where results cannot be written.
    """
    model = shared.model
    track, clip = find_track(path, source, model)
    parts: list[FaceCode] = []
    encoded: list[np.ndarray | None] = []  # landmarks, a row a frame of the track
    trust: list[float] = []
    for places, _, faces, batch in tqdm(
        _batches(path, track, model, batch_size), desc="fitting", unit="batch"
    ):
        found = jax.device_get(find_codes(model, batch, steps))
        parts.append(_rows_of(found.code, slice(len(places))))
        encoded += (
            [None] * len(places) if found.encoded is None else list(found.encoded)[: len(places)]
        )
        trust += trusted(model, parts[-1], encoded[-len(places) :], faces)
    codes = steady(jax.tree.map(lambda *x: np.concatenate(x), *parts), track, np.array(trust))

    folder.mkdir(parents=True, exist_ok=True)
    with (
        (folder / "track.jsonl").open("w") as lines,
        Writer(folder / "overlay", codec, path) as video,
    ):
        cameras, best = _draw(
            path, name, shared, track, codes, encoded, clip, batch_size, lines, video
        )
    if sound.installed():
        sound.add_sound(video.path, path)
    numbers = results.write_face(folder / "0", name, *best, shared)
    shown, moving = (best[0], numbers, best[2], shared), np.asarray(codes.expression)
    results.write_track(folder, *shown, moving, cameras, track.frames, frame_rate(path))
    return clip


def _draw(
    path: Path,
    name: str,
    shared: results.Shared,
    track: Track,
    codes: FaceCode,
    encoded: list[np.ndarray | None],
    clip: Clip,
    batch_size: int,
    lines: Any,
    video: Writer,
) -> tuple[list[dict[str, Any]], tuple[np.ndarray, Face, Inference]]:
    """Draw every frame and write its numbers; returns all cameras and the best frame."""
    model, cameras = shared.model, []
    best: tuple[float, np.ndarray, Face, Inference] | None = None
    stream = iter(tqdm(frames(path), desc="drawing", unit="frame", total=clip.frames.read))
    for places, pictures, faces, batch in _batches(path, track, model, batch_size):
        full = places + places[-1:] * (batch_size - len(places))
        found = jax.device_get(show(model, batch, _rows_of(codes, full)))
        for k, (place, picture, face) in enumerate(zip(places, pictures, faces, strict=True)):
            one = jax.tree.map(lambda x, k=k: np.asarray(x)[k], found)._replace(
                encoded=encoded[place]
            )
            numbers = results.describe(name, face, one, model, picture.shape)
            cameras.append(numbers["camera"])
            lines.write(json.dumps({"frame": int(track.frames[place]), **numbers}) + "\n")
            for number, frame in stream:
                if number == track.frames[place]:
                    break
                video.write(frame)  # without the face, as it is
            to_photo = invert_transform(masks.fine_transform(face))
            video.write(results.overlay_photo(picture, to_photo, one))
            if best is None or numbers["confidence"] > best[0]:
                best = numbers["confidence"], picture, face, one
    for _, frame in stream:
        video.write(frame)
    assert best is not None  # a track is never empty
    return cameras, best[1:]
