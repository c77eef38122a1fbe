"""What a video's overlay costs to write, by codec.

    python -m benchmarks.overlays [--frames 25] [--noise 0]

A window of 1280 x 720 pixels moves over the astronaut (public domain), with `--noise` of so many
levels of 255 on top. Prints a table in Markdown: seconds a frame, on the wall clock and of the
processor, the file's size a frame, and how far what is read again is from what was written.
"""

import argparse
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
import skimage.data

from focus_jax.evaluation.report import table
from focus_jax.photos.video_files import CODECS, Writer, frames


def pictures(count: int, noise: int) -> list[np.ndarray]:
    """Frames, RGB uint8."""
    large = cv2.resize(skimage.data.astronaut(), (1400, 1400), interpolation=cv2.INTER_CUBIC)
    rng, found = np.random.default_rng(0), []
    for k in range(count):
        window = large[100 + k : 820 + k, 40 + k : 1320 + k].astype(int)
        window += rng.integers(-noise, noise + 1, window.shape)
        found.append(window.clip(0, 255).astype(np.uint8))
    return found


def row(codec: str, shown: list[np.ndarray]) -> list[str]:
    """A line of the table."""
    with tempfile.TemporaryDirectory() as folder:
        start, used = time.perf_counter(), time.process_time()
        with Writer(Path(folder) / "overlay", codec, 25.0) as writer:
            for picture in shown:
                writer.write(picture)
        seconds, processor = time.perf_counter() - start, time.process_time() - used
        size = writer.path.stat().st_size / 1000
        squared = [
            np.mean((frame.astype(float) - picture) ** 2)
            for (_, frame), picture in zip(frames(writer.path), shown, strict=True)
        ]
    each = (value / len(shown) for value in (seconds, processor))
    error = 10 * np.log10(255**2 / np.mean(squared))
    return [codec, *(f"{n:.3f}" for n in each), f"{size / len(shown):.1f}", f"{error:.1f}"]


def main(argv: Sequence[str] | None = None) -> None:
    """The command."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--frames", type=int, default=25)
    parser.add_argument("--noise", type=int, default=0)
    options = parser.parse_args(argv)
    shown, rows = pictures(options.frames, options.noise), []
    for codec in CODECS:
        try:
            rows.append(row(codec, shown))
        except OSError as error:
            rows.append([codec, str(error), "-", "-", "-"])
    print(table(["codec", "seconds a frame", "of the processor", "kB a frame", "PSNR, dB"], rows))


if __name__ == "__main__":
    main()
