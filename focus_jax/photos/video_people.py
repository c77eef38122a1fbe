"""Who is in a video: the faces of its frames, and of them a track of each person."""

import itertools
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from tqdm import tqdm

from focus_jax.data.detect import of_film
from focus_jax.data.faces import Face, align_faces
from focus_jax.data.landmark_files import FileSource
from focus_jax.data.landmarks import Detection, Source
from focus_jax.networks import recognizer
from focus_jax.photos import tracking
from focus_jax.photos.programs import program
from focus_jax.photos.tracking import Seen, Track, bridge
from focus_jax.photos.trained import Model
from focus_jax.photos.video_files import Count, count_frames, frames

# A frame without a face costs several times what one with a face does, and whoever comes stays.
PATIENCE, EVERY = 5, 4
TOGETHER = 8  # faces that the recognizer sees at once

# Each person's faces by frame, the numbers of all frames, and how many show only others.
Told = tuple[list[dict[int, Detection]], list[int], int]

_embed = program(recognizer.embedding, static=("kind",))


class NoFace(ValueError):  # noqa: N818  (listed, not raised to the user)
    """A video of which every frame was read and none shows a face."""


class Clip(NamedTuple):
    """What was found in a video: numbers of frames, and of people."""

    frames: Count
    tracked: int  # with somebody who is followed
    others: int  # that show only other faces
    people: int  # who are followed

    def problem(self) -> str:
        """What of the video is not in the results, or nothing."""
        total, read = self.frames
        return f"{total - read} of {total} frames cannot be read" if read < total else ""

    def numbers(self) -> dict[str, int]:
        """For a file."""
        own = {name: value for name, value in self._asdict().items() if name != "frames"}
        return {**self.frames._asdict(), **own}


def find_tracks(
    path: Path, source: Source, model: Model, seconds: np.ndarray
) -> tuple[list[Track], Clip]:
    """A track of each person, who is longest in view first. ValueError where there is no face,
    `NoFace` if all of the video could be read.

    Frame k is shown from `seconds[k]` on. Landmarks of files are a row a frame, all of one person.
    """
    find = _rows if isinstance(source, FileSource) else _seen
    people, numbers, others = find(path, source, model, seconds)
    count = count_frames(path, numbers)
    if isinstance(source, FileSource):
        source.check_count(path, count.total)
    if not people:
        whole = 0 < count.read == count.total
        raise (NoFace if whole else ValueError)(f"{path} shows no face in {count.read} frames")
    tracks = [bridge(found, numbers, seconds) for found in people]
    tracked = len(set().union(*(track.frames.tolist() for track in tracks)))
    return tracks, Clip(count, tracked, others, len(tracks))


def _finding(path: Path) -> Iterator[tuple[int, np.ndarray]]:
    return iter(tqdm(frames(path), desc="finding the face", unit="frame"))


def _rows(path: Path, source: Any, model: Model, seconds: np.ndarray) -> Told:
    """The faces of a file are one person's."""
    del model, seconds
    found, numbers = {}, []
    for number, frame in _finding(path):
        numbers.append(number)
        for face in source.of_frame(frame, path, number):
            found[number] = face
    return [found] if found else [], numbers, 0


def _seen(path: Path, source: Source, model: Model, seconds: np.ndarray) -> Told:
    seen: list[Seen] = []
    waiting: list[tuple[int, Face]] = []
    numbers, find = [], of_film(source)

    def look(least: int) -> None:
        """See faces together while so many wait: one by one takes twice as long."""
        while len(waiting) >= least and waiting:
            some, waiting[:] = waiting[:TOGETHER], waiting[TOGETHER:]
            full = [face for _, face in some] + [some[-1][1]] * (TOGETHER - len(some))
            for (number, face), own in zip(some, features(model, full), strict=False):
                seen.append(Seen(number, face.detection, own))

    for number, frame, there in searched(_finding(path), lambda frame: find(frame, path)):
        numbers.append(number)
        waiting += [(number, face) for face in align(model, frame, there)]
        look(TOGETHER)
    look(1)
    if not seen:
        return [], numbers, 0
    of_frames = [list(faces) for _, faces in itertools.groupby(seen, key=lambda face: face.frame)]
    kind = model.networks.recognizer if model.networks else "dlib"
    same = tracking.SAME.get(kind, tracking.SAME_ARCFACE)
    people, others = tracking.follow(of_frames, same, seconds)
    return [{face.frame: face.detection for face in faces} for faces in people], numbers, others


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


def align(
    model: Model, frame: np.ndarray, found: list[Detection], turn: float | None = None
) -> list[Face]:
    """Faces as the model wants them, turned by `turn` radians, by default each as it needs."""
    options = {"fix_y_offset": model.fix_y_offset, "turn": turn}
    return align_faces(frame, found, model.record_size, **options)


def features(model: Model, faces: Sequence[Face]) -> np.ndarray:
    """What the recognizer makes of faces, `[n c]`, each of unit length."""
    kind = model.networks.recognizer if model.networks else "dlib"
    images = np.stack([face.crop for face in faces]).astype(np.float32) / 255
    points = np.stack([face.landmarks for face in faces]).astype(np.float32)
    return np.asarray(_embed(model.recognizer, images, points, kind=kind))
