"""Photos a second that the input pipeline prepares, beside what the steps consume.

    python -m benchmarks.input                 both sizes; ten minutes, most of it compiling
    python -m benchmarks.input --sizes=default

All rates are per second of processor time, of all cores together, so that other work on the machine
disturbs them less. Photos are smooth pictures, which decode like photos, as JPEG of 512 pixels.
There are RECORDS of them: grain's order of a few dozen costs more than all else (0.6 ms a photo of
64, 0.01 ms of 6,000), since it draws from 65,536 numbers until one is small enough.
"""

import argparse
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from benchmarks import measure
from configs import celeba_bfm2017, em
from focus_jax.data.align import align_face
from focus_jax.data.augment import MARGIN
from focus_jax.data.decode import read_photo
from focus_jax.data.pipeline import make_iterator
from focus_jax.data.records import open_records, write_records
from focus_jax.evaluation import report

CONFIGS = {"full": celeba_bfm2017, "default": em}
RECORDS = 2048


def smooth(rng: np.random.Generator, side: int) -> np.ndarray:
    """A picture `[side side 3]` of soft blobs with a little noise."""
    small = rng.integers(0, 256, (side // 16, side // 16, 3)).astype(np.uint8)
    picture = cv2.resize(small, (side, side), interpolation=cv2.INTER_CUBIC)
    return cv2.add(picture, rng.integers(0, 8, picture.shape).astype(np.uint8))


def rate(task: Callable[[], Any], photos: int) -> float:
    """Photos a second of processor time, the better of three rounds."""
    times = []
    for _ in range(3):
        begun = time.process_time()
        task()
        times.append(time.process_time() - begun)
    return photos / min(times)


def aligned_photos(size: int, photos: int = 96) -> float:
    """Photos that are read, decoded and aligned a second: once in the life of a folder of them."""
    rng = np.random.default_rng(0)
    points = rng.uniform(150, 350, (68, 2))
    points[36:48] += [0, -60]  # eyes above the mouth, so that there is a crop to cut
    points[48:] += [0, 60]
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "photo.jpg"
        cv2.imwrite(str(path), smooth(rng, 512))

        def task() -> None:
            for _ in range(photos):
                align_face(read_photo(path), points, size, margin=round(MARGIN * size))

        return rate(task, photos)


def prepared_photos(config: Any, photos: int = 384) -> dict[str, float]:
    """Photos that become batches a second: of records in memory, and of records on the disk."""
    size, batch_size = config.data.size, config.data.batch_size
    # Records with recognizer features were augmented when these were computed, see `train`.
    augmented = config.data.augment and config.encoder.kind != "recognizer"
    side = size + 2 * round(MARGIN * size) if augmented else size
    rng = np.random.default_rng(0)
    records = [
        {
            "image": smooth(rng, side),
            "landmarks": rng.uniform(0.3 * side, 0.7 * side, (68, 2)).astype(np.float32),
        }
        | ({} if augmented else {"features": rng.standard_normal(4224).astype(np.float16)})
        for _ in range(RECORDS)
    ]
    rates = {}
    with tempfile.TemporaryDirectory() as folder:
        write_records(Path(folder), records)
        for name, in_memory in (("in memory", 10**9), ("on disk", 0)):
            batches: Iterator = make_iterator(
                open_records(Path(folder), in_memory=in_memory),
                batch_size=batch_size,
                size=size,
                seed=0,
                augmented=augmented,
                paste=config.data.paste,
            )
            next(batches)

            def task(batches: Iterator = batches) -> None:
                for _ in range(-(-photos // batch_size)):
                    next(batches)

            rates[name] = rate(task, -(-photos // batch_size) * batch_size)
    return rates


def main() -> None:
    parser = argparse.ArgumentParser(description="Time the input pipeline against the steps.")
    parser.add_argument("--sizes", nargs="+", default=["full", "default"], choices=list(CONFIGS))
    rows = []
    for size in parser.parse_args().sizes:
        config = CONFIGS[size].get_config()
        batch_size = {"full": 4}.get(size, config.data.batch_size)
        able = prepared_photos(config)
        wanted = {}
        for stage in ("initialisation", "joint segmenter", "joint autoencoder"):
            numbers = measure.in_a_process("benchmarks.step.step", size, stage, batch_size)
            wanted[stage] = 1 / numbers[5]  # of processor time
        most = max(wanted.values())
        able = {"read and aligned, once": aligned_photos(config.data.size)} | able
        rows += [[size, name, able[name], most, able[name] / most] for name in able]
    header = ["size", "prepared", "photos / s", "steps consume at most", "ratio"]
    print(report.table(header, rows) + "\n")
    print(measure.machine("jax", "grain", "opencv-python-headless"))


if __name__ == "__main__":
    main()
