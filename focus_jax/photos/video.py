"""Faces of a video: each person, followed from frame to frame.

The frames are read three times, to find landmarks, to find codes, and to draw, so that memory does
not grow with their number: between the passes only numbers are kept. That also allows smoothing
with frames before and after, which does not lag behind as a filter on the past does.
"""

import contextlib
import json
from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple, TextIO

import cv2
import jax
import numpy as np
from tqdm import tqdm

from focus_jax.data.align import invert_transform, transform_points, turn_needed
from focus_jax.data.faces import Face
from focus_jax.data.landmarks import Detection, Source
from focus_jax.photos import confidence, masks, results, sound
from focus_jax.photos.inference import Inference, find_codes, show, turned
from focus_jax.photos.tracking import SMOOTH_CODES, Track, over_time
from focus_jax.photos.trained import Model, make_batch
from focus_jax.photos.video_files import Writer, check_size, frame_times, frames
from focus_jax.photos.video_people import Clip, align, find_tracks
from focus_jax.rendering import camera
from focus_jax.types import FaceCode

INSET = 0.3  # of a frame's shorter side: the face turned, in its corner


class Shown(NamedTuple):
    """A face in a frame."""

    person: int  # the number of the track
    place: int  # in it
    frame: int
    picture: np.ndarray


class Person(NamedTuple):
    """What is known of a person's frames, in their order."""

    track: Track
    codes: FaceCode
    encoded: list[np.ndarray | None]  # landmarks


class Drawn(NamedTuple):
    """What drawing a person's frames gave."""

    cameras: list[dict[str, Any]]  # of every frame
    best: tuple[np.ndarray, Face, Inference]  # the frame of the highest confidence


def _batches(
    path: Path, tracks: Sequence[Track], model: Model, batch_size: int, *, encoded: bool
) -> Iterator[tuple[list[Shown], list[Face], Any]]:
    """Frames of the tracks, the faces in them, and the batch that they fill, padded at the end.

    `encoded` is `make_batch`'s.
    """
    where = [{int(n): i for i, n in enumerate(track.frames)} for track in tracks]
    shown = (
        Shown(person, places[n], n, picture)
        for n, picture in frames(path)
        for person, places in enumerate(where)
        if n in places
    )
    # All of a person are turned alike, since codes are smoothed over time: by its middle face.
    around = [track.landmarks - track.landmarks.mean(1, keepdims=True) for track in tracks]
    turns = [turn_needed(np.median(points, axis=0)) for points in around]
    while chunk := list(islice(shown, batch_size)):
        faces = []
        for person, place, _, picture in chunk:
            points, score = (x[place] for x in (tracks[person].landmarks, tracks[person].scores))
            detection = Detection(points.astype(np.float32), float(score), "track")
            found = align(model, picture, [detection], turns[person])
            faces += [face._replace(number=person) for face in found]
        full = faces + [faces[-1]] * (batch_size - len(faces))
        given = (np.stack([getattr(f, part) for f in full]) for part in ("crop", "landmarks"))
        yield chunk, faces, make_batch(model, *given, encoded=encoded)


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

    That is of the person who is longest in view, number 0; of number k the track is in personk/,
    the best frame's face in k/. `codec` is one of `video_files.CODECS`, which also tells the
    overlay's suffix. ValueError for a video that cannot be read, shows no face or is too large for
    the codec, OSError where results cannot be written.
    """
    check_size(path, codec)
    seconds, rate = frame_times(path)
    tracks, clip = find_tracks(path, source, shared.model, seconds)
    people = _fit(path, tracks, shared.model, steps, batch_size)
    folders = [folder, *(folder / f"person{number}" for number in range(1, len(people)))]
    with contextlib.ExitStack() as files:
        lines = []
        for where in folders:
            where.mkdir(parents=True, exist_ok=True)
            lines.append(files.enter_context((where / "track.jsonl").open("w")))
        video = files.enter_context(Writer(folder / "overlay", codec, rate))
        about = path, name, seconds, clip.frames.read
        drawn = _draw(*about, shared, people, batch_size, lines, video)
    if sound.installed():
        sound.add_sound(video.path, path)
    for number, (where, person, (cameras, best)) in enumerate(
        zip(folders, people, drawn, strict=True)
    ):
        numbers = results.write_face(folder / str(number), name, *best, shared)
        shown = best[0], numbers, best[2], shared
        moving, of = np.asarray(person.codes.expression), person.track.frames
        results.write_track(where, *shown, moving, cameras, of, seconds[of], rate)
    return clip


def _fit(
    path: Path, tracks: Sequence[Track], model: Model, steps: int, batch_size: int
) -> list[Person]:
    parts: list[FaceCode] = []
    who: list[int] = []
    encoded: list[np.ndarray | None] = []
    trust: list[float] = []
    for chunk, faces, batch in tqdm(
        _batches(path, tracks, model, batch_size, encoded=True), desc="fitting", unit="batch"
    ):
        found = jax.device_get(find_codes(model, batch, steps))
        parts.append(_rows_of(found.code, slice(len(chunk))))
        who += [one.person for one in chunk]
        own = [None] * len(chunk) if found.encoded is None else list(found.encoded)[: len(chunk)]
        encoded += own
        trust += trusted(model, parts[-1], own, faces)
    codes = jax.tree.map(lambda *x: np.concatenate(x), *parts)
    people = []
    for number, track in enumerate(tracks):
        rows = [k for k, person in enumerate(who) if person == number]
        steadied = steady(_rows_of(codes, rows), track, np.array(trust)[rows])
        people.append(Person(track, steadied, [encoded[k] for k in rows]))
    return people


def _draw(
    path: Path,
    name: str,
    seconds: np.ndarray,
    total: int,
    shared: results.Shared,
    people: Sequence[Person],
    batch_size: int,
    lines: Sequence[TextIO],
    video: Writer,
) -> list[Drawn]:
    """Draw all frames, `total`, each shown from `seconds` on by its number, and write each person's
    numbers into its file of `lines`."""
    model, inset = shared.model, "turned" in shared.write
    cameras: list[list[dict[str, Any]]] = [[] for _ in people]
    best: dict[int, tuple[float, np.ndarray, Face, Inference]] = {}
    stream = iter(tqdm(frames(path), desc="drawing", unit="frame", total=total))
    (at, canvas), corner = next(stream), []
    tracks = [one.track for one in people]
    for chunk, faces, batch in _batches(path, tracks, model, batch_size, encoded=False):
        rows = [_rows_of(people[one.person].codes, one.place) for one in chunk]
        rows += rows[-1:] * (batch_size - len(rows))
        codes = jax.tree.map(lambda *x: np.stack(x), *rows)
        found = jax.device_get(show(model, batch, codes))
        sides = jax.device_get(turned(model, codes)) if inset else None
        for k, ((person, place, number, picture), face) in enumerate(
            zip(chunk, faces, strict=True)
        ):
            one = jax.tree.map(lambda x, k=k: np.asarray(x)[k], found)._replace(
                encoded=people[person].encoded[place]
            )
            numbers = results.describe(name, face, one, model, picture.shape)
            cameras[person].append(numbers["camera"])
            place = {"frame": number, "seconds": round(float(seconds[number]), 4)}
            lines[person].write(json.dumps({**place, **numbers}) + "\n")
            while at < number:
                video.write(_with_insets(canvas, corner), seconds[at])
                (at, canvas), corner = next(stream), []
            to_photo = invert_transform(masks.fine_transform(face))
            canvas = results.overlay_photo(canvas, to_photo, one)
            corner += [] if sides is None else [(person, sides[k])]
            if person not in best or numbers["confidence"] > best[person][0]:
                best[person] = numbers["confidence"], picture, face, one
    video.write(_with_insets(canvas, corner), seconds[at])
    for at, frame in stream:
        video.write(frame, seconds[at])
    return [Drawn(cameras[k], best[k][1:]) for k in range(len(people))]  # no track is empty


def _with_insets(frame: np.ndarray, insets: Sequence[tuple[int, np.ndarray]]) -> np.ndarray:
    """A frame with pictures in its lower corner, leftwards by their numbers; as many as fit."""
    side = round(INSET * min(frame.shape[:2]))
    for number, picture in insets:
        right = frame.shape[1] - number * side
        if right >= side:
            small = cv2.resize(picture, (side, side), interpolation=cv2.INTER_AREA)
            frame[-side:, right - side : right] = small
    return frame
