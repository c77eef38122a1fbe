from fractions import Fraction

import numpy as np
import pytest

from focus_jax.photos import sound
from focus_jax.photos.video_files import Writer, frames
from tests.photos.video_files_test import write

av = pytest.importorskip("av")
RATE, LENGTH = 44_100, 2.0  # as cameras have it; 40 frames


@pytest.fixture(scope="module")
def silent(tmp_path_factory):
    return write(tmp_path_factory.mktemp("silent") / "a.mp4", 40)


@pytest.fixture(scope="module")
def spoken(silent, tmp_path_factory):
    """The same frames with a tone of 440 Hz in their second second."""
    path = tmp_path_factory.mktemp("spoken") / "a.mp4"
    time = np.arange(int(RATE * LENGTH)) / RATE
    tone = np.float32(0.5 * np.sin(2 * np.pi * 440 * time) * (time > 1))[None]
    with av.open(str(silent)) as shown, av.open(str(path), "w") as out:
        video = out.add_stream_from_template(shown.streams.video[0])
        track = out.add_stream("aac", rate=RATE, layout="mono")
        for packet in shown.demux(video=0):
            if packet.dts is not None:
                packet.stream = video
                out.mux(packet)
        for start in range(0, tone.shape[1], 1024):
            piece = np.ascontiguousarray(tone[:, start : start + 1024])
            frame = av.AudioFrame.from_ndarray(piece, format="fltp", layout="mono")
            frame.sample_rate, frame.pts, frame.time_base = RATE, start, Fraction(1, RATE)
            for packet in track.encode(frame):
                out.mux(packet)
        for packet in track.encode(None):
            out.mux(packet)
    return path


def heard(path):
    """Loudness of each tenth of a second, and the frequency of the last."""
    with av.open(str(path)) as file:
        rate = file.streams.audio[0].rate
        parts = [frame.to_ndarray() for frame in file.decode(audio=0)]
    wave = np.concatenate(parts, axis=1)[0]
    tenths = [part.std() for part in np.array_split(wave[: int(LENGTH * rate)], 20)]
    last = wave[int(1.2 * rate) : int(1.8 * rate)]
    peak = np.abs(np.fft.rfft(last)).argmax() / len(last) * rate
    return np.array(tenths), peak


@pytest.mark.parametrize("codec", ["vp8", "mpeg4"])
def test_an_overlay_has_the_frames_it_had_and_the_sound_of_the_video(spoken, codec, tmp_path):
    with Writer(tmp_path / "overlay", codec, 20.0) as writer:
        for _, frame in frames(spoken):
            writer.write(frame)
    before = [frame for _, frame in frames(writer.path)]
    assert sound.add_sound(writer.path, spoken)
    after = [frame for _, frame in frames(writer.path)]
    assert len(after) == len(before) == 40
    np.testing.assert_array_equal(after[7], before[7])
    loud, tone = heard(writer.path)
    assert loud[:9].max() < 0.02 < 0.2 < loud[11:19].min() and abs(tone - 440) < 5
    assert [path.name for path in tmp_path.iterdir()] == [writer.path.name]


def test_without_a_sound_nothing_changes(silent, spoken, tmp_path):
    (tmp_path / "overlay.webm").write_bytes(b"as it was")
    assert not sound.add_sound(tmp_path / "overlay.webm", silent)
    (tmp_path / "noise.mp4").write_bytes(b"no video")
    assert not sound.add_sound(tmp_path / "overlay.webm", tmp_path / "noise.mp4")
    assert not sound.add_sound(tmp_path / "overlay.webm", spoken)  # no video itself
    assert (tmp_path / "overlay.webm").read_bytes() == b"as it was"
