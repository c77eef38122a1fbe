"""The training photos of the shipped model: those whose licence permits it, in one folder.

    python -m experiments.shipped_photos PHOTOS PEOPLE PORTRAITS FOLDER
    focus-jax prepare FOLDER DATA

PHOTOS is a data set in the layout of docs/training.md whose file names begin with their source
(`fairface_0001.jpg`), of whose train_landmarks.csv the permitted rows are taken; its
`val_landmarks.csv` is for the report only. PEOPLE is the Face Research Lab London Set with the
Young Adult White Faces, as `focus_jax.evaluation.people` reads them: their training people, neutral
and smiling, without whom crops_in_photos.csv names among PHOTOS. Of PORTRAITS, a folder of
generated ones, those whose number ends in 9 are left for testing. FOLDER gets links to them all.
"""

import argparse
import csv
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
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
    "london": "CC BY 4.0",  # as frl, whole photos
    "canada": "CC BY 4.0",
    "portrait": "CC0",  # generated
}
HELD = "9"  # the last digit of portraits that are not trained on


def main(argv: Sequence[str] | None = None) -> int:
    """The command; returns its exit status."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    for name in ("photos", "people", "portraits", "folder"):
        parser.add_argument(name, metavar=name.upper(), type=Path)
    arguments = parser.parse_args(argv)
    try:
        counts = select(*vars(arguments).values())
    except (OSError, ValueError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    for source, count in sorted(counts.items()):
        print(f"{source}: {count} photos, {PERMITTED[source]}")
    return 0


def select(photos: Path, people: Path, portraits: Path, folder: Path) -> Counter[str]:
    """Link the photos in the folder; returns how many there are of each source.

    ValueError where a source gives none.
    """
    parts = {
        photos: dict(_permitted(photos, people)),
        people: dict(_people(people)),
        portraits: {
            f"portrait_{path.name}": path
            for path in sorted(portraits.glob("*.jpg"))
            if not path.stem.endswith(HELD)
        },
    }
    folder.mkdir(parents=True, exist_ok=True)
    for given, found in parts.items():
        if not found:
            raise ValueError(f"{given} holds no photo to train on, see the docstring")
        for name, path in found.items():
            link = folder / name
            link.unlink(missing_ok=True)
            link.symlink_to(path.resolve(strict=True))
    return Counter(source_of(name) for found in parts.values() for name in found)


def _permitted(photos: Path, people: Path) -> Iterator[tuple[str, Path]]:
    test = {row["crop"] for row in _rows(people / "crops_in_photos.csv") if row["split"] == "test"}
    for row in csv.reader((photos / "train_landmarks.csv").read_text().splitlines()):
        if source_of(row[0]) in PERMITTED and Path(row[0]).name not in test:
            yield Path(row[0]).name, photos / "Dataset" / row[0]


def _people(people: Path) -> Iterator[tuple[str, Path]]:
    for row in _rows(people / "split.csv"):
        if row["split"] != "train":
            continue
        kinds = ("neutral_front", "smiling_front") if row["set"] == "london" else ("canada",)
        for kind in kinds:
            for path in sorted((people / kind).glob(f"{row['person']}*.jpg")):
                yield f"{row['set']}_{path.name}", path


def _rows(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def source_of(name: str) -> str:
    """The source of a photo, which its file name begins with."""
    return name.rpartition("/")[2].partition("_")[0]


if __name__ == "__main__":
    sys.exit(main())
