"""Frames of whole and of damaged videos, and overlays that browsers play."""

import functools
import inspect
import os
import shutil
import subprocess
from fractions import Fraction
from types import SimpleNamespace

import cv2
import numpy as np
import pytest

from focus_jax.photos import video_files
from focus_jax.photos.video import reconstruct_video
from focus_jax.photos.video_files import (
    CODECS,
    Count,
    Writer,
    count_frames,
    frame_times,
    frames,
)


def write(path, count, size=(64, 48), letters="mp4v"):
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*letters), 20, size)
    rng = np.random.default_rng(0)
    for number in range(count):
        noise = rng.integers(0, 40, (*size[::-1], 3))
        writer.write((noise + 5 * number).clip(0, 255).astype(np.uint8))
    writer.release()
    return path


def damage(path, begin, length):
    content = bytearray(path.read_bytes())
    start, count = int(begin * len(content)), int(length * len(content))
    content[start : start + count] = bytes(count)
    path.write_bytes(content)


def test_frames_come_in_order(tmp_path):
    path = write(tmp_path / "a.mp4", 30)
    numbers, means = zip(*((n, frame.mean()) for n, frame in frames(path)), strict=True)
    assert numbers == tuple(range(30)) and list(means) == sorted(means)
    assert count_frames(path, list(numbers)) == Count(30, 30)
    assert video_files.frame_rate(path) == 20


def test_a_file_that_is_no_video_is_named(tmp_path, capfd):
    (tmp_path / "a.mp4").write_text("nonsense")
    with pytest.raises(ValueError, match=r"a\.mp4 is not a video"):
        list(frames(tmp_path / "a.mp4"))
    capfd.readouterr()  # what OpenCV says of it


def test_frames_after_a_damage_keep_their_numbers(tmp_path, capfd):
    path = write(tmp_path / "a.mp4", 40)
    whole = dict(frames(path))
    damage(path, 0.3, 0.1)
    found = dict(frames(path))
    assert 30 < len(found) < 40 and 39 in found
    assert count_frames(path, list(found)) == Count(40, len(found))
    last = np.abs(found[39].astype(int) - whole[39]).mean()
    assert last < np.abs(found[39].astype(int) - whole[30]).mean()
    capfd.readouterr()


def test_the_frames_of_a_video_that_was_cut_off_are_missed(tmp_path, capfd):
    path = write(tmp_path / "a.avi", 40, letters="MJPG")
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    numbers = [number for number, _ in frames(path)]
    assert 5 < len(numbers) < 30
    assert count_frames(path, numbers) == Count(40, len(numbers))
    capfd.readouterr()


def test_a_rounded_number_of_frames_is_no_damage(tmp_path):
    path = write(tmp_path / "a.mp4", 60)
    assert count_frames(path, list(range(59))) == Count(59, 59)
    assert count_frames(path, []) == Count(60, 0)


def write_at(path, times):
    """A video whose frames are shown from these seconds on; later ones are brighter."""
    av = pytest.importorskip("av")
    thousandth = Fraction(1, 1000)
    with av.open(str(path), "w") as out:
        stream = out.add_stream("libvpx" if path.suffix == ".webm" else "mpeg4", rate=30)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        stream.time_base = stream.codec_context.time_base = thousandth
        for k, time in enumerate(times):
            frame = av.VideoFrame.from_ndarray(np.full((48, 64, 3), 20 + 6 * k, np.uint8))
            frame.pts, frame.time_base = round(time / thousandth), thousandth
            for packet in stream.encode(frame):
                out.mux(packet)
        for packet in stream.encode(None):
            out.mux(packet)
    return path


@pytest.mark.parametrize("suffix", [".webm", ".mp4"])
def test_an_overlay_keeps_the_times_of_a_video_without_a_steady_rate(tmp_path, suffix, capfd):
    """As telephones and recorders of calls write them; it is whole, too."""
    pauses = np.array([1, 1, 1, 6, 1, 1, 2, 1, 1, 9, 1, 1] * 3) / 25
    times = np.concatenate([[0.0], np.cumsum(pauses)])
    path = write_at(tmp_path / f"a{suffix}", times)
    numbers = [number for number, _ in frames(path)]
    assert count_frames(path, numbers) == Count(len(times), len(times))
    seconds, rate = frame_times(path)
    np.testing.assert_allclose(seconds, times, atol=2e-3)
    assert rate == pytest.approx(25, rel=0.03)
    with Writer(tmp_path / "overlay", "vp8", rate) as writer:
        for number, frame in frames(path):
            writer.write(frame, seconds[number])
    shown = np.array([frame.mean() for _, frame in frames(writer.path)])
    assert len(shown) / rate == pytest.approx(times[-1] + 1 / rate, abs=2 / rate)
    there = np.searchsorted(times, np.arange(len(shown)) / rate + 1e-3, side="right") - 1
    assert np.abs(shown - (20 + 6 * there)).max() < 12  # never two frames off
    capfd.readouterr()


def test_a_steady_rate_is_kept_to(tmp_path, capfd):
    path = write(tmp_path / "a.mp4", 40)
    np.testing.assert_array_equal(frame_times(path)[0], np.arange(40) / 20)
    damage(path, 0.3, 0.1)
    seconds, rate = frame_times(path)
    np.testing.assert_array_equal(seconds, np.arange(40) / 20)
    assert rate == 20
    capfd.readouterr()


@pytest.mark.parametrize("codec", ["vp9", "vp8", "mpeg4"])
def test_what_is_written_is_read_again(tmp_path, codec, capfd):
    pictures = [np.full((48, 64, 3), (40 * k, 90, 200), np.uint8) for k in range(4)]
    with Writer(tmp_path / "overlay", codec, 20.0) as writer:
        for picture in pictures:
            writer.write(picture)
    assert writer.path == tmp_path / f"overlay{CODECS[codec][0]}"
    found = [frame for _, frame in frames(writer.path)]
    assert len(found) == 4 and video_files.frame_rate(writer.path) == 20
    np.testing.assert_allclose([f.mean((0, 1)) for f in found], [p[0, 0] for p in pictures], atol=9)
    capfd.readouterr()


def test_the_quickest_that_browsers_play_is_the_default():
    given = inspect.signature(reconstruct_video).parameters["codec"].default
    assert given == next(iter(CODECS)) == "vp8"


def test_a_codec_that_is_missing_is_said_in_a_sentence(tmp_path, monkeypatch, capfd):
    monkeypatch.setitem(CODECS, "h264", (".mp4", "zzzz"))
    with (
        Writer(tmp_path / "overlay", "h264", 25.0) as writer,
        pytest.raises(OSError, match="as h264"),
    ):
        writer.write(np.zeros((48, 64, 3), np.uint8))
    with pytest.raises(ValueError, match="h264; give --video-codec one of vp8, vp9, mpeg4"):
        video_files.check_codec("h264")
    video_files.check_codec("vp8")
    capfd.readouterr()


@pytest.mark.parametrize(("codec", "plays"), [("vp8", True), ("vp9", True), ("mpeg4", False)])
def test_a_browser_plays_the_overlay(tmp_path, codec, plays, capfd):
    """The test can fail: MPEG-4, as overlays once were, does not play."""
    names = ("chromium-headless-shell", "chromium", "google-chrome")
    browser = next(filter(None, map(shutil.which, names)), None)
    if browser is None:
        pytest.skip("no Chromium on this machine")
    with Writer(tmp_path / "overlay", codec, 25.0) as writer:
        for k in range(5):
            writer.write(np.full((48, 64, 3), 40 * k, np.uint8))
    page = tmp_path / "page.html"
    page.write_text(f"""<video id=v muted src="{writer.path.name}"></video><script>
v.onloadeddata = () => document.body.dataset.state = `${{v.videoWidth}} wide`;
v.onerror = () => document.body.dataset.state = "error";</script>""")
    options = ["--headless", "--no-sandbox", "--virtual-time-budget=5000", "--dump-dom"]
    run = functools.partial(subprocess.run, check=True, capture_output=True, timeout=60)
    # On a busy machine the browser's time may run out before the video is decoded.
    for _ in range(5):
        shown = run([browser, *options, page.as_uri()]).stdout.decode()
        if "data-state" in shown:
            break
    assert ('data-state="64 wide"' in shown) == plays, shown
    capfd.readouterr()


def test_names_that_are_no_utf8(tmp_path):
    """At which OpenCV ends the process."""
    path = write(tmp_path / "a.mp4", 5).rename(tmp_path / os.fsdecode(b"caf\xe9.mp4"))
    stem = tmp_path / os.fsdecode(b"over\xe9")
    with Writer(stem, "vp9", 20.0) as writer:
        for _, frame in frames(path):
            writer.write(frame)
    assert count_frames(writer.path, [n for n, _ in frames(writer.path)]) == Count(5, 5)
    assert sorted(os.listdir(os.fsencode(tmp_path))) == [b"caf\xe9.mp4", b"over\xe9.webm"]


@pytest.mark.parametrize(
    "last, kept", [(0.5, True), (1e7, False)], ids=["a long pause", "a damaged file"]
)
def test_years_between_two_frames_are_not_believed(monkeypatch, last, kept):
    class Capture:
        """Of four frames at 25 a second, the last of them at its own time."""

        def __init__(self):
            self.left = [0.0, 0.04, 0.08, last]

        def get(self, field):
            known = {cv2.CAP_PROP_FPS: 25.0, cv2.CAP_PROP_FRAME_COUNT: 4.0}
            return known[field] if field in known else 1000 * self.now

        def grab(self):
            self.now = self.left.pop(0) if self.left else None
            return self.now is not None

        def release(self):
            pass

    monkeypatch.setattr(video_files, "_open", lambda path: Capture())
    seconds, rate = frame_times("film.mp4")
    np.testing.assert_allclose(seconds, [0, 0.04, 0.08, last if kept else 0.12])
    assert rate == pytest.approx(25)


def test_frames_that_change_size_are_scaled_to_the_first(tmp_path, capfd):
    """By OpenCV; the encoder would leave them out of the overlay without a word."""
    path, shapes = tmp_path / "a.mjpeg", [(48, 64), (24, 32), (96, 32), (48, 64)]
    pictures = [np.full((*shape, 3), 200, np.uint8) for shape in shapes]
    path.write_bytes(b"".join(cv2.imencode(".jpg", p)[1].tobytes() for p in pictures))
    given = [frame for _, frame in frames(path)]
    assert [frame.shape for frame in given] == [(48, 64, 3)] * 4
    capfd.readouterr()


def test_frames_too_large_for_a_codec_are_refused_at_once(tmp_path, monkeypatch, capfd):
    wide = np.zeros((32, 16_400, 3), np.uint8)
    monkeypatch.setattr(video_files, "frames", lambda path: (pair for pair in [(0, wide)]))
    monkeypatch.setattr("focus_jax.photos.video.find_tracks", lambda *given: pytest.fail("begun"))
    given = tmp_path / "wide.avi", tmp_path, "wide.avi", SimpleNamespace(), lambda *given: []
    with pytest.raises(ValueError, match=r"wide\.avi has frames of 16400 x 32 pixels, which vp8"):
        reconstruct_video(*given, steps=0, batch_size=2)
    assert not list(tmp_path.iterdir())
    capfd.readouterr()
