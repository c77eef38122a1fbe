"""The sound of a video under another picture of it, by PyAV (extra `sound`)."""

import heapq
import importlib.util
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

CODECS = {".webm": ("libopus", "flt"), ".mp4": ("aac", "fltp")}  # which all browsers play, and how
RATE = 48_000  # samples a second


def installed() -> bool:
    """Whether PyAV is there."""
    return importlib.util.find_spec("av") is not None


def add_sound(picture: Path, original: Path) -> bool:
    """Put the sound of `original` into `picture`, a .webm or .mp4 that shows the same frames.

    False, and `picture` as it was, where the original has no sound that can be read. OSError where
    results cannot be written.
    """
    import av
    from av.error import FFmpegError

    part = picture.with_name(f"{picture.stem}.part{picture.suffix}")
    try:
        with av.open(str(original)) as heard:
            if not heard.streams.audio:
                return False
            with av.open(str(picture)) as shown, av.open(str(part), "w") as out:
                _join(shown, heard, out, *CODECS[picture.suffix])
        os.replace(part, picture)
    except FFmpegError as problem:
        part.unlink(missing_ok=True)
        if isinstance(problem, OSError):  # a full disk; what is broken in a file is none
            raise
        return False
    return True


def _join(shown: Any, heard: Any, out: Any, codec: str, form: str) -> None:
    """The packets of both in the order of their times, which players read as they come."""
    video = out.add_stream_from_template(shown.streams.video[0])
    sound = out.add_stream(codec, rate=RATE, layout="stereo", format=form)
    first = heard.streams.video[0]
    start = float((first.start_time or 0) * first.time_base)

    def pictures() -> Iterator[Any]:
        for packet in shown.demux(video=0):
            if packet.pts is not None:
                packet.stream = video
                yield packet

    both = heapq.merge(
        pictures(),
        _encoded(heard, sound, form, start),
        key=lambda packet: float(packet.pts * packet.time_base),
    )
    for packet in both:
        out.mux(packet)


def _encoded(heard: Any, sound: Any, form: str, start: float) -> Iterator[Any]:
    """Packets of the sound, which begins with the first frame at `start` seconds."""
    import av

    resampler = av.AudioResampler(format=form, layout="stereo", rate=RATE)
    early = round(start * RATE)
    for frame in heard.decode(audio=0):
        for piece in resampler.resample(frame):
            if piece.pts is not None:
                piece.pts -= early
                if piece.pts < 0:
                    continue
            yield from sound.encode(piece)
    yield from sound.encode(None)
