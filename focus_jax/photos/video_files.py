"""Frames of video files as OpenCV reads them, damaged ones too, and videos that browsers play."""

import contextlib
import tempfile
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import count
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
from jaxtyping import Float

from focus_jax.data.faces import ahead
from focus_jax.system.names import in_utf8

# Codec: suffix of its container, and OpenCV's four letters. The first two are what every wheel of
# OpenCV writes and every browser plays; as OpenCV sets it, VP9 needs four times the time of VP8 for
# half the file (`benchmarks.overlays`). H.264 is in few wheels, MPEG-4 in no browser.
CODECS = {
    "vp8": (".webm", "VP80"),
    "vp9": (".webm", "VP90"),
    "h264": (".mp4", "avc1"),
    "mpeg4": (".mp4", "mp4v"),
}
# Of the frames that a file says it has: so many more may be a rounded duration times the rate.
ROUNDED = 0.02
LONGEST = 3600.0  # seconds that one frame may be shown; of a damaged file it may be years
STEADY = 1.5  # frames by which one may be shown earlier or later than by a steady rate
AHEAD = 4  # frames that are decoded before they are asked for, or still to be encoded


class Count(NamedTuple):
    """How many frames a video has, and how many of them can be read."""

    total: int
    read: int


def _open(path: Path) -> cv2.VideoCapture:
    with in_utf8(path) as name:
        return cv2.VideoCapture(name)


def frames(path: Path) -> Iterator[tuple[int, np.ndarray]]:
    """The frames of a video, RGB uint8, with their numbers from 0; unreadable ones are passed over.

    All have the size of the first, to which OpenCV scales others, as recorders of calls write them.
    ValueError for a file that is no video.
    """
    capture = _open(path)
    try:
        if not capture.isOpened():
            raise ValueError(f"{path} is not a video that OpenCV can read")
        said = int(capture.get(cv2.CAP_PROP_FRAME_COUNT))
        with ThreadPoolExecutor(1, "frames") as reader:  # whose frames are decoded ahead
            for number, future in ahead(count(), lambda _: capture.read(), reader, depth=AHEAD):
                there, frame = future.result()
                if there:
                    yield number, cv2.cvtColor(frame, cv2.COLOR_BGR2RGB)
                elif number >= said:
                    return
    finally:
        capture.release()


def count_frames(path: Path, numbers: list[int]) -> Count:
    """The count, where `frames` gave frames of these numbers."""
    capture = _open(path)
    said, rate = int(capture.get(cv2.CAP_PROP_FRAME_COUNT)), capture.get(cv2.CAP_PROP_FPS)
    capture.release()
    last = numbers[-1] + 1 if numbers else 0
    whole = last and said - last <= max(1, ROUNDED * said)
    if last and not whole:
        # Of some files it is their length times a rate that they do not keep.
        seconds, _ = frame_times(path)
        whole = seconds[last - 1] >= (1 - ROUNDED) * (said / rate) - 1 / rate
    return Count(last if whole else max(said, last), len(numbers))


def frame_rate(path: Path) -> float:
    """Frames per second, 25 where the file does not say."""
    capture = _open(path)
    rate = capture.get(cv2.CAP_PROP_FPS)
    capture.release()
    return rate if 1 <= rate <= 1000 else 25.0


def frame_times(path: Path) -> tuple[Float[np.ndarray, "n"], float]:
    """When each frame is shown, in seconds from the first, by its number; and frames a second.

    The numbers over the rate where the file keeps to one. Telephones and recorders of screens and
    calls do not: then what the file says of each frame, and the rate of the usual pause.
    """
    rate, capture, found = frame_rate(path), _open(path), []
    said = int(capture.get(cv2.CAP_PROP_FRAME_COUNT))
    while (there := capture.grab()) or len(found) < said:
        found.append(capture.get(cv2.CAP_PROP_POS_MSEC) / 1000 if there else np.nan)
    capture.release()
    given = np.array(found)
    known = np.flatnonzero(np.isfinite(given))
    even = np.arange(known.max(initial=-1) + 1) / rate
    pauses = np.diff(given[known])
    if not len(pauses) or pauses.min() <= 0 or pauses.max() > LONGEST:  # nothing, or nonsense
        return even, rate
    given = np.interp(np.arange(len(even)), known, given[known] - given[known[0]])
    if (np.abs(given - even)[known] <= STEADY / rate).all():
        return even, rate
    return given, float(1 / np.median(pauses))


def check_codec(codec: str) -> None:
    """ValueError where this machine's OpenCV does not write videos of one of `CODECS`."""
    if not _can_write(codec, (64, 64)):
        others = ", ".join(name for name in CODECS if name != codec)
        raise ValueError(
            f"this machine's OpenCV cannot write {codec}; give --video-codec one of {others}"
        )


def check_size(path: Path, codec: str) -> None:
    """ValueError where the frames of a video are too large for one of `CODECS`."""
    with contextlib.closing(frames(path)) as stream:
        _, first = next(stream, (0, None))
    if first is not None and not _can_write(codec, first.shape[1::-1]):
        height, width = first.shape[:2]
        raise ValueError(
            f"{path} has frames of {width} x {height} pixels, which {codec} cannot hold; give "
            "another --video-codec, or make the video smaller"
        )


def _can_write(codec: str, size: Sequence[int]) -> bool:
    with tempfile.TemporaryDirectory() as folder:
        writer = _writer(Path(folder) / f"try{CODECS[codec][0]}", codec, 25.0, size)
        try:
            return writer.isOpened()
        finally:
            writer.release()


def _writer(path: Path, codec: str, rate: float, size: Sequence[int]) -> cv2.VideoWriter:
    with in_utf8(path) as name:
        return cv2.VideoWriter(name, cv2.VideoWriter.fourcc(*CODECS[codec][1]), rate, size)


class Writer:
    """A video of frames as they come, `rate` a second.

    The file is `stem` with the suffix of the codec's container. OSError where OpenCV cannot.
    """

    def __init__(self, stem: Path, codec: str, rate: float) -> None:
        self.path, self._codec = Path(f"{stem}{CODECS[codec][0]}"), codec
        self._rate = rate
        self._held: np.ndarray | None = None  # the last frame, until it is known how long
        self._count = 0  # of frames before it
        self._writer: cv2.VideoWriter | None = None
        self._encoder = ThreadPoolExecutor(1, "encode")
        self._waiting: deque[Future[None]] = deque()

    def __enter__(self) -> "Writer":
        return self

    def __exit__(self, *error: object) -> None:
        if not any(error) and self._held is not None:
            self._append(self._held)
        self._encoder.shutdown(cancel_futures=any(error))
        if self._writer is not None:
            self._writer.release()
        if not any(error):
            self._wait(0)

    def write(self, frame: np.ndarray, at: float | None = None) -> None:
        """A frame, RGB uint8 of the size of the first, which is not to be changed later.

        It is shown from `at` seconds on, by default behind the one before, which is repeated until
        then, or left out where two fall together. It is encoded in a thread, behind whoever draws
        the next ones.
        """
        if self._writer is None:
            self._writer = _writer(self.path, self._codec, self._rate, frame.shape[1::-1])
            if not self._writer.isOpened():
                raise OSError(f"OpenCV cannot write {self.path} as {self._codec}")
        if self._held is not None:
            until = self._count + 1 if at is None else round(at * self._rate)
            while self._count < until:
                self._append(self._held)
                self._count += 1
                self._wait(AHEAD)
        self._held = frame

    def _append(self, frame: np.ndarray) -> None:
        self._waiting.append(self._encoder.submit(self._encode, self._writer, frame))

    @staticmethod
    def _encode(writer: cv2.VideoWriter, frame: np.ndarray) -> None:
        writer.write(cv2.cvtColor(frame, cv2.COLOR_RGB2BGR))

    def _wait(self, most: int) -> None:
        """Until at most so many frames are still to be encoded; raise what failed."""
        while len(self._waiting) > most:
            self._waiting.popleft().result()
