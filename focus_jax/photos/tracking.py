"""Which faces of a video are one person's: by place from frame to frame, by features over gaps.

Within a piece of the video a face is the one that lies nearest to where it was and looks like it.
After a gap only its looks count: it may come back anywhere, and somebody else where it was.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from focus_jax.data.landmarks import Detection

# Numbers of frames are those of films of 24 to 30 a second; of others as many as last as long, see
# `frames_as_long`.
USUAL = 24.0, 30.0
LONGEST_GAP = 10  # frames without a detection that are bridged
SMOOTH_LANDMARKS, SMOOTH_CODES = 0.04, 0.08  # deviation of the Gaussian, in seconds
PAUSE = 1.0  # seconds that one frame counts as being shown, at most, where others are smoothed
# Cosine between a face's features and a piece's mean, below which it is somebody else. dlib's own
# bound between photos, a distance of 0.6 where features are 1.4 long, is 0.91, and lookalikes pass
# it; frames of one film, smiling or half turned away, stay above this one. ArcFace's are sharper.
SAME = {"dlib": 0.95}
SAME_ARCFACE = 0.3
# Whoever is in view for fewer frames, or for a smaller share of those of the person who is longest
# in view, has no track: passers-by, and turned heads that the recognizer takes for somebody else's.
LEAST, SHARE = 12, 0.1


class Seen(NamedTuple):
    """A face in a frame, and its features, of unit length."""

    frame: int
    detection: Detection
    features: np.ndarray  # [c]


class Track(NamedTuple):
    """A face over a video: which frames show it, and where."""

    frames: np.ndarray  # [n] numbers of frames, rising
    landmarks: np.ndarray  # [n 68 2], smoothed
    scores: np.ndarray  # [n] of the detector; 0 for bridged frames
    pieces: list[np.ndarray]  # indices of the frames of each unbroken piece
    seconds: np.ndarray  # [n] when each frame is shown, rising


class Piece:
    """A face followed without a gap."""

    def __init__(self, first: Seen) -> None:
        self.seen = [first]
        self.total = first.features.copy()

    def likeness(self, features: np.ndarray) -> float:
        """Cosine to the mean of what was seen."""
        return float(self.total @ features / np.linalg.norm(self.total))

    def add(self, face: Seen) -> None:
        self.seen.append(face)
        self.total += face.features

    def ended(self, frame: int, gap: int) -> bool:
        return frame - self.seen[-1].frame > gap + 1


def frames_as_long(usual: int, seconds: np.ndarray) -> int:
    """How many frames last as long as so many of a film of 24 to 30 a second, at least one.

    Frame k is shown from `seconds[k]` on. Films of those rates keep the number itself.
    """
    step = _step(seconds)
    low, high = (usual / (rate * step) for rate in USUAL[::-1])
    return max(1, round(np.clip(usual, low, high)))


def _step(seconds: np.ndarray) -> float:
    """The usual pause between frames; that of 25 a second where there is none."""
    return float(np.median(_pauses(seconds))) if len(seconds) > 1 else 1 / 25


def _pauses(seconds: np.ndarray) -> np.ndarray:
    return np.minimum(np.diff(seconds), PAUSE)


def follow(
    seen: Sequence[Sequence[Seen]], same: float, seconds: np.ndarray
) -> tuple[list[list[Seen]], int]:
    """Each person's faces, who is longest in view first, and how many frames show only others.

    `seen` has the faces of each frame that shows any, in the order of the frames, of which frame k
    is shown from `seconds[k]` on. Of two persons in view as long the one who came first goes
    before, of two who came together the larger one. Those who are there too shortly (`LEAST`,
    `SHARE`) are not among them.
    """
    persons = [
        sorted((face for piece in person for face in piece.seen), key=lambda face: face.frame)
        for person in join(cut(seen, same, frames_as_long(LONGEST_GAP, seconds)), same)
    ]
    first, *rest = sorted(persons, key=lambda faces: -len(faces))
    bound = max(frames_as_long(LEAST, seconds), SHARE * len(first))
    followed = [first, *(faces for faces in rest if len(faces) >= bound)]
    return followed, len(seen) - len({face.frame for faces in followed for face in faces})


def cut(seen: Sequence[Sequence[Seen]], same: float, gap: int) -> list[Piece]:
    """Pieces in which one face is followed by its place and looks, over at most `gap` frames."""
    done: list[Piece] = []
    open_: list[Piece] = []
    for faces in seen:
        frame = faces[0].frame
        done += [piece for piece in open_ if piece.ended(frame, gap)]
        open_ = [piece for piece in open_ if not piece.ended(frame, gap)]
        for piece, face in _pairs(open_, faces, same):
            piece.add(face)
        taken = {id(piece.seen[-1]) for piece in open_}
        open_ += [Piece(face) for face in faces if id(face) not in taken]
    return sorted(done + open_, key=lambda piece: piece.seen[0].frame)


def _pairs(pieces: list[Piece], faces: Sequence[Seen], same: float) -> list[tuple[Piece, Seen]]:
    """Pieces and the faces that go on with them, the nearest first, each once."""
    near = []
    for p, piece in enumerate(pieces):
        before = piece.seen[-1].detection.landmarks
        for f, face in enumerate(faces):
            away = np.linalg.norm(face.detection.landmarks.mean(0) - before.mean(0))
            if away <= np.ptp(before, 0).max() and piece.likeness(face.features) >= same:
                near.append((float(away), p, f))
    chosen, used = [], (set(), set())
    for _, p, f in sorted(near):
        if p not in used[0] and f not in used[1]:
            chosen.append((pieces[p], faces[f]))
            used[0].add(p)
            used[1].add(f)
    return chosen


def join(pieces: Sequence[Piece], same: float) -> list[list[Piece]]:
    """Pieces of each person: alike ones of which no two share a frame. The longest come first."""
    persons: list[list[Piece]] = []
    for piece in sorted(pieces, key=lambda piece: -len(piece.seen)):
        alike = [
            (likeness, number)
            for number, person in enumerate(persons)
            if (likeness := _alike(piece, person)) >= same and not _together(piece, person)
        ]
        if alike:
            persons[max(alike)[1]].append(piece)
        else:
            persons.append([piece])
    return persons


def _alike(piece: Piece, person: list[Piece]) -> float:
    total = np.sum([other.total for other in person], axis=0)
    mean = piece.total / np.linalg.norm(piece.total)
    return float(total @ mean / np.linalg.norm(total))


def _together(piece: Piece, person: list[Piece]) -> bool:
    here = {face.frame for face in piece.seen}
    return any(face.frame in here for other in person for face in other.seen)


# --- the person's track --------------------------------------------------------------------------


def bridge(found: dict[int, Detection], readable: Sequence[int], seconds: np.ndarray) -> Track:
    """A track without short gaps, its landmarks smoothed within each unbroken piece.

    `found` are the faces by their frames' numbers, `readable` all frames that there are; frame k
    is shown from `seconds[k]` on.
    """
    numbers, there = np.array(sorted(found)), np.array(readable)
    points = np.stack([found[n].landmarks for n in numbers]).astype(np.float64)
    kept, landmarks, scores = [], [], []
    broken = breaks(numbers, points, frames_as_long(LONGEST_GAP, seconds))
    for piece in np.split(np.arange(len(numbers)), broken):
        here = there[(there >= numbers[piece[0]]) & (there <= numbers[piece[-1]])]
        flat = points[piece].reshape(len(piece), -1)
        filled = _interpolated(seconds[here], seconds[numbers[piece]], flat)
        kept.append(here)
        landmarks.append(smooth(filled, seconds[here], SMOOTH_LANDMARKS).reshape(-1, 68, 2))
        scores.append([found[n].score if n in found else 0.0 for n in here])
    ends = np.cumsum([len(piece) for piece in kept])
    pieces = np.split(np.arange(ends[-1]), ends[:-1])
    frames = np.concatenate(kept)
    given = np.concatenate(landmarks), np.concatenate(scores), pieces
    return Track(frames, *given, seconds[frames])


def breaks(numbers: np.ndarray, landmarks: np.ndarray, gap: int) -> np.ndarray:
    """Indices `[k]` where a track is broken: more than `gap` frames without a face, and jumps
    further than the face is wide."""
    middles = landmarks.mean(1)
    away = np.linalg.norm(np.diff(middles, axis=0), axis=-1)
    widths = np.ptp(landmarks, axis=1).max(-1)[:-1]
    return 1 + np.nonzero((np.diff(numbers) > gap + 1) | (away > widths))[0]


def smooth(values: np.ndarray, seconds: np.ndarray, deviation: float) -> np.ndarray:
    """Values `[n k]` of times `[n]`, rising, through a symmetric filter: it delays nothing.

    `deviation` is in seconds, rounded to whole frames, so that films of 24 to 30 frames a second
    are smoothed alike. Frames without a steady rate are laid on an even one, of their usual pause.
    """
    from scipy.ndimage import gaussian_filter1d  # heavy, and only here

    pauses, step = _pauses(seconds), _step(seconds)
    frames = round(deviation / step)
    if frames == 0 or not len(pauses):
        return values
    times = np.concatenate([[0.0], np.cumsum(pauses)])
    even = np.linspace(0.0, times[-1], round(times[-1] / step) + 1)
    smoothed = gaussian_filter1d(_interpolated(even, times, values), frames, axis=0, mode="nearest")
    return _interpolated(times, even, smoothed)


def _interpolated(at: np.ndarray, known: np.ndarray, values: np.ndarray) -> np.ndarray:
    """Values `[n k]` of times `known [n]`, at the times `at [m]`: `[m k]`."""
    return np.stack([np.interp(at, known, column) for column in values.T], -1)


def over_time(track: Track, values: np.ndarray, deviation: float) -> np.ndarray:
    """Values `[n k]` of the track's frames, smoothed within its pieces; as `smooth`.

    Bridged frames, which may show no face at all, lie between their neighbours.
    """
    seen, result = track.scores > 0, np.empty_like(values)
    for piece in track.pieces:
        known = piece[seen[piece]]
        times = track.seconds[piece]
        filled = _interpolated(times, track.seconds[known], values[known])
        result[piece] = smooth(filled, times, deviation)
    return result
