"""A folder of photographed people with points placed by hand: who they are, and where their photos.

The layout: `split.csv` (person,set,split), `london_info.csv` and `canada_info.csv` (face_id,
face_age, face_gender, of london face_eth), `neutral_front/` and `smiling_front/` (PERSON_*.jpg),
`canada/` (PERSON.jpg), `zoom/` (15cm.jpg and so on), beside each photo its points (.csv, one `x,y`
a line, in its pixels), and `crops_in_photos.csv` (crop,photo,...): which crops of a training set
show whom.
"""

import csv
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from focus_jax.evaluation.landmarks import HAND

SPLITS = ("train", "test", "all")
AGES = (25, 35)  # where a new group of age begins


class Person(NamedTuple):
    """Somebody photographed, as they described themselves."""

    name: str
    split: str  # train or test
    sex: str
    age: str  # a group of ages
    ethnicity: str
    neutral: Path
    smiling: Path | None


def read_people(folder: Path, split: str = "all") -> list[Person]:
    """The people of a split, sorted by name. ValueError names the file that is missing or wrong."""
    about = _rows(folder / "london_info.csv", ("face_id", "face_age", "face_gender", "face_eth"))
    about += _rows(folder / "canada_info.csv", ("face_id", "face_age", "face_gender"))
    known = {row["face_id"]: row for row in about}
    people = []
    for row in _rows(folder / "split.csv", ("person", "set", "split")):
        name, said = row["person"], known.get(row["person"])
        if said is None:
            raise ValueError(f"{folder / 'split.csv'} has {name}, of whom no *_info.csv knows")
        if split not in ("all", row["split"]):
            continue
        canada = row["set"] == "canada"
        neutral = _photo(folder / ("canada" if canada else "neutral_front"), name)
        smiling = None if canada else _photo(folder / "smiling_front", name)
        ethnicity = said.get("face_eth") or "white"  # the set from Canada is of white faces
        people.append(
            Person(
                name,
                row["split"],
                said["face_gender"],
                _age_group(said["face_age"]),
                ethnicity.replace("_", " "),
                neutral,
                smiling,
            )
        )
    if not people:
        raise ValueError(f"{folder / 'split.csv'} has nobody in the split {split!r}")
    return sorted(people)


def shown_in_training(folder: Path, trained_on: Path | None = None) -> set[str]:
    """The people whom crops of a training set show, by `crops_in_photos.csv`; none without it.

    `trained_on` lists the crops that were trained on, in the first column, as a train_landmarks.csv
    does; without it all count.
    """
    listed = folder / "crops_in_photos.csv"
    if not listed.is_file():
        return set()
    rows = _rows(listed, ("crop", "photo"))
    if trained_on is not None:
        if not trained_on.is_file():
            raise ValueError(f"{trained_on} does not exist; give the list of the training's crops")
        with trained_on.open(encoding="utf-8-sig") as file:
            crops = {line.split(",")[0].strip() for line in file}
        rows = [row for row in rows if row["crop"] in crops]
    return {Path(row["photo"]).stem.split("_")[0] for row in rows}


def read_points(photo: Path) -> Float[np.ndarray, "189 2"]:
    """The points beside a photo; ValueError where they are not 189 finite pairs."""
    path = photo.with_suffix(".csv")
    try:
        points = np.loadtxt(path, delimiter=",", ndmin=2)
    except (OSError, ValueError) as problem:
        raise ValueError(f"{path}: no points can be read ({problem})") from None
    if points.shape != (HAND, 2) or not np.isfinite(points).all():
        raise ValueError(f"{path}: {HAND} finite points are needed, not {points.shape}")
    return points


def read_zoom(folder: Path) -> list[tuple[int, Path]]:
    """Photos of one person from several distances in cm, the nearest first; none without them."""
    found = [(p.stem.removesuffix("cm"), p) for p in (folder / "zoom").glob("*cm.jpg")]
    return sorted((int(number), path) for number, path in found if number.isdigit())


def _age_group(age: str) -> str:
    try:
        years = float(age)
    except ValueError:
        return "of unknown age"
    young, old = AGES
    if years < young:
        return f"18 to {young - 1}"  # all gave their consent as adults
    return f"{young} to {old - 1}" if years < old else f"{old} and over"


def _photo(folder: Path, person: str) -> Path:
    found = sorted(p for p in folder.glob(f"{person}*.jpg") if p.stem.split("_")[0] == person)
    if len(found) != 1:
        raise ValueError(f"{folder} holds {len(found)} photos of {person}; one is needed")
    return found[0]


def _rows(path: Path, columns: tuple[str, ...]) -> list[dict[str, str]]:
    if not path.is_file():
        raise ValueError(
            f"{path} does not exist; give a folder in the layout of the Face Research Lab's people "
            "(split.csv, london_info.csv, canada_info.csv, neutral_front/ ...)"
        )
    with path.open(newline="", encoding="utf-8-sig") as file:
        rows = csv.DictReader(file)
        if not set(columns) <= set(rows.fieldnames or ()):
            raise ValueError(f"{path} has the columns {rows.fieldnames}, not {', '.join(columns)}")
        return list(rows)
