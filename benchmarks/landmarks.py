"""What each source of landmarks finds in a folder of photos, and in what time.

    python -m benchmarks.landmarks FOLDER [--sources mediapipe dlib] [--every 1]

FOLDER has the layout of the README: photos in Dataset/, one labelled face in each, its landmarks in
train_landmarks.csv and val_landmarks.csv. Photos are grouped by their names up to the first
underscore. A labelled face is found where some face's points have a box that overlaps its box by
0.3 (intersection over union). Prints a table in Markdown: of the photos of each group the share
with any face, and with the labelled one, and the seconds of a photo, one after the other, without
reading it. A source that made the labels finds all of them.
"""

import argparse
import time
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from tqdm import tqdm

from focus_jax.data.detect import landmark_source
from focus_jax.data.landmarks import LandmarkRow, Source, read_landmarks
from focus_jax.data.photos import CSV, read_photo
from focus_jax.evaluation.report import table

OVERLAP = 0.3


class Looked(NamedTuple):
    """What a source made of a photo."""

    group: str
    any_face: bool
    labelled: bool
    seconds: float  # on the wall clock
    processor: float  # of all cores together, which another process disturbs less


def overlap(one: np.ndarray, other: np.ndarray) -> float:
    """Intersection over union of the bounding boxes of two faces' points `[n 2]`."""
    low = np.maximum(one.min(0), other.min(0))
    high = np.minimum(one.max(0), other.max(0))
    common = np.maximum(high - low, 0).prod()
    return float(common / (np.ptp(one, 0).prod() + np.ptp(other, 0).prod() - common))


def look(source: Source, folder: Path, rows: Sequence[LandmarkRow]) -> list[Looked]:
    """Every photo through a source, in turn."""
    found = []
    for row in tqdm(rows, unit="photo"):
        path = folder / "Dataset" / row.filename
        photo = read_photo(path)
        start, used = time.perf_counter(), time.process_time()
        faces = source(photo, path)
        seconds, processor = time.perf_counter() - start, time.process_time() - used
        labelled = any(overlap(face.landmarks, row.landmarks) > OVERLAP for face in faces)
        group = Path(row.filename).name.partition("_")[0]
        found.append(Looked(group, bool(faces), labelled, seconds, processor))
    return found


def table_rows(source: str, found: Sequence[Looked]) -> list[list[str]]:
    """A row a group, the largest first, after one for all."""
    names = [one.group for one in found]
    groups = sorted(set(names), key=lambda name: -names.count(name))
    rows = []
    for group in ("all", *groups):
        here = [one for one in found if group in ("all", one.group)]
        means = np.array([one[1:] for one in here], float).mean(0)
        shares, times = (f"{100 * n:.1f}" for n in means[:2]), (f"{n:.3f}" for n in means[2:])
        rows.append([source, group, str(len(here)), *shares, *times])
    return rows


def main(argv: Sequence[str] | None = None) -> None:
    """The command."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder", type=Path)
    parser.add_argument("--sources", nargs="+", default=["mediapipe"])
    parser.add_argument("--every", type=int, default=1, help="only each n-th photo (default: 1)")
    options = parser.parse_args(argv)
    rows = [row for name in CSV.values() for row in read_landmarks(options.folder / name)]
    rows = sorted(rows, key=lambda row: row.filename)[:: options.every]
    lines = []
    for name in options.sources:
        lines += table_rows(name, look(landmark_source(name), options.folder, rows))
    heads = ["source", "group", "photos", "any face, %", "labelled face, %"]
    heads += ["seconds a photo", "of the processor"]
    print(table(heads, lines))


if __name__ == "__main__":
    main()
