"""Whether memory stays flat over very many photos: `focus-jax segment --pack tar` of one archive.

    python -m benchmarks.many [--count 20000] [--stand-ins]

The photos are an archive of scikit-image's astronaut, 256 pixels wide, each a little darker than
the one before. Prints the process's memory after each 1,000 of them. With `--stand-ins` detector
and networks are replaced by what takes no time: the rest is as in the command.
"""

import argparse
import io
import os
import tarfile
import tempfile
import time
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import skimage.data

from benchmarks import measure
from focus_jax.data.detect import landmark_source
from focus_jax.data.faces import find_photos
from focus_jax.photos import inference, packs, process, segment
from focus_jax.photos.trained import load_model
from focus_jax.system import cpu
from focus_jax.system.command import keep_programs, quiet

EVERY = 1000


def memory() -> float:
    """Of this process, in MB."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 1e6


def archive(path: Path, count: int) -> None:
    """A tar file of so many photos."""
    small = cv2.resize(
        skimage.data.astronaut()[..., ::-1], (256, 256), interpolation=cv2.INTER_AREA
    )
    pictures = [
        cv2.imencode(".jpg", cv2.convertScaleAbs(small, alpha=1 - k / 200))[1].tobytes()
        for k in range(50)
    ]
    with tarfile.open(path, "w") as tar:
        for number in range(count):
            about = tarfile.TarInfo(f"{number:07}.jpg")
            about.size = len(pictures[number % 50])
            tar.addfile(about, io.BytesIO(pictures[number % 50]))
            tar.members.clear()


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--count", type=int, default=20000)
    parser.add_argument("--stand-ins", action="store_true")
    options = parser.parse_args()
    quiet()
    cpu.prepare()
    keep_programs()
    model, find = load_model("shipped"), landmark_source("mediapipe")
    if options.stand_ins:
        find = _stand_ins(find)
    print("| photos | memory, MB | seconds |\n| --- | --- | --- |", flush=True)
    begun, seen = time.monotonic(), 0

    def counted(image: np.ndarray, path: Path) -> Any:
        nonlocal seen
        seen += 1
        if seen % EVERY == 0:
            print(f"| {seen} | {memory():.0f} | {time.monotonic() - begun:.0f} |", flush=True)
        return find(image, path)

    with tempfile.TemporaryDirectory() as folder:
        given, out = Path(folder) / "photos.tar", Path(folder) / "out"
        archive(given, options.count)
        out.mkdir()
        found = find_photos([str(given)])
        names = segment.check_names(found, out)
        shard = packs.Shard(0, 1)
        with packs.Pack(out, shard, "tar", names, resume=False) as pack:
            summary = segment.segment_pack(found, pack, model, counted)
        print(f"\n{summary.line()}; {pack.path.stat().st_size / 1e6:.0f} MB of masks")
    print(measure.machine("jax"))


def _stand_ins(find: Any) -> Any:
    """A detector that finds the astronaut where she is, and networks that see all of her."""
    photo = cv2.resize(skimage.data.astronaut(), (256, 256), interpolation=cv2.INTER_AREA)
    always = find(photo, Path())
    full = np.ones((8, inference.FINE, inference.FINE, 1), np.float32)
    process.make_batch = lambda model, crops, *points: crops
    segment.infer_masks = lambda model, batch, steps: inference.Masks(full, full)  # pyright: ignore
    return lambda image, path: always


if __name__ == "__main__":
    main()
