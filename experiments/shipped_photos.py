"""The training photos of the shipped model: those rows of a data set whose licence permits it.

    python -m experiments.shipped_photos PHOTOS FOLDER

PHOTOS is a data set in the layout of the README whose file names begin with their source
(`fairface_0001.jpg`). FOLDER gets a `Dataset` that links to its photos, a `train_landmarks.csv` of
the permitted rows, and a `val_landmarks.csv` for watching the training: every tenth of them, which
is then left out of the former. The data set's own `val_landmarks.csv` is for the report only.
"""

import argparse
import sys
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

# Source, by the file name's beginning -> licence.
PERMITTED = {
    "fairface": "CC BY 4.0",  # github.com/joojs/fairface
    "frl": "CC BY 4.0",  # Face Research Lab London Set; Young Adult White Faces
    "fmd": "MIT",  # github.com/chandrikadeb7/Face-Mask-Detection
    "deepface": "MIT",  # github.com/serengil/deepface
    "human": "MIT",  # github.com/vladmandic/human
    "azure": "MIT",  # github.com/Azure-Samples/cognitive-services-sample-data-files
    "facerec": "MIT",  # github.com/ageitgey/face_recognition
}
WATCHED = 10  # one of so many photos watches the training


def main(argv: Sequence[str] | None = None) -> int:
    """The command; returns its exit status."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("photos", metavar="PHOTOS", type=Path)
    parser.add_argument("folder", metavar="FOLDER", type=Path)
    arguments = parser.parse_args(argv)
    try:
        counts = select(arguments.photos, arguments.folder)
    except (OSError, ValueError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    for source, count in sorted(counts.items()):
        print(f"{source}: {count} photos, {PERMITTED[source]}")
    return 0


def select(photos: Path, folder: Path) -> Counter[str]:
    """Write the folder; returns how many photos of each source it has. ValueError for none."""
    rows = [
        row
        for row in (photos / "train_landmarks.csv").read_text().splitlines(keepends=True)
        if source_of(row) in PERMITTED
    ]
    if not rows:
        raise ValueError(f"no file name in {photos}/train_landmarks.csv begins with a known source")
    folder.mkdir(parents=True, exist_ok=True)
    link = folder / "Dataset"
    if not link.exists():
        link.symlink_to((photos / "Dataset").resolve())
    watched = rows[WATCHED // 2 :: WATCHED]
    trained = [row for number, row in enumerate(rows) if number % WATCHED != WATCHED // 2]
    (folder / "train_landmarks.csv").write_text("".join(trained))
    (folder / "val_landmarks.csv").write_text("".join(watched))
    return Counter(map(source_of, rows))


def source_of(row: str) -> str:
    """The source of a csv's row, which its file name begins with."""
    return row.split(",")[0].rpartition("/")[2].partition("_")[0]


if __name__ == "__main__":
    sys.exit(main())
