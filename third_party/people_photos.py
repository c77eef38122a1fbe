"""Photographs of people laid over one another, by landmarks that were placed by hand.

The Face Research Lab London Set and the Young Adult White Faces have 189 points in each photo. A
thin-plate spline through them brings every photo to the points' mean, the frame, in which lash
lines, lips and brows of all people lie at the same place. The frame's unit is a hundredth of the
distance between the pupils, which lie at (-50, 0) and (50, 0); y points down.
"""

import csv
import hashlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np

# SHA-256 of the names and contents of all files that are read, see `digest`.
PEOPLE_SHA256 = "9ee804513c6a5e761b8643cc29a9ba17ddb2ed3fb61df4968d9343c30d372b1c"
SCALE, LEFT, TOP, WIDTH, HEIGHT = 1.5, -150.0, -175.0, 450, 660  # of frame pictures, pixels
PUPILS = np.array([[-50.0, 0], [50, 0]])
STIFFNESS = 1e-4  # of the spline: the points are good to a pixel or two
Warp = Callable[[np.ndarray], np.ndarray]

# Which of the 189 points make up what; right and left are the subject's. Found by looking.
UPPER_LID = [18, 19, 20, 21, 22], [23, 24, 25, 26, 27]  # outer to inner, inner to outer
LOWER_LID = [18, 28, 29, 30, 22], [23, 31, 32, 33, 27]
CREASE = [34, 35, 36, 37, 38], [39, 40, 41, 42, 43]
IRIS_SIDES = [4, 8], [12, 16]
BROW_UPPER = [72, 73, 74, 75], [81, 80, 79, 78]  # outer to inner
BROW_LOWER = [83, 84], [86, 85]
BROW_ENDS = [71, 76], [82, 77]
UPPER_LIP, LOWER_LIP = [87, 88, 89, 90, 91, 92, 93], [93, 108, 107, 106, 105, 104, 87]
NOSE_BASE, NOSTRILS = 55, [63, 65, 179, 55, 182, 70, 68, 69, 181, 180, 64]
JAW = [111, 125, 126, 127, 128, 129, 130, 131, 132, 133, 114]
FACE = [*range(134, 145), 112, 113, 114, *range(133, 124, -1), 111, 110, 109]  # hairline, jaw
MOUTH_LINE = [(94, 99), (95, 100), (96, 101), (97, 102), (98, 103)]  # upper and lower lip meet
# Those that say where something of the face is. Not the hairline, the outline of the hair, the
# ears and the neck; of the irises pupils and rims that lids leave free.
USED = [
    *(0, 1, 4, 6, 8, 12, 14, 16),
    *(n for n in (*range(18, 115), *range(125, 134)) if n not in range(99, 104)),
    *(*range(158, 183), *range(185, 189)),
]
# Points whose mirror image is not the nearest point to their reflection.
TWINS = {2: 10, 4: 16, 6: 14, 8: 12, 20: 25, 90: 90, 94: 98, 95: 97, 96: 96, 99: 103, 100: 102}
TWINS |= {101: 101, 129: 129, 55: 55}


class Person(NamedTuple):
    """One of the training people."""

    photo: Path
    studio: str  # london or canada
    pale: bool  # white, by own account (canada: all)


class Frame(NamedTuple):
    """A person's photo in the frame."""

    person: Person
    image: np.ndarray  # uint8 [HEIGHT WIDTH 3]
    face: np.ndarray  # bool [HEIGHT WIDTH]: between hairline and jaw, less the rim


def people(folder: Path) -> list[Person]:
    """The training people of `split.csv`; nobody else's files are opened."""
    white = {r["face_id"] for r in _rows(folder / "london_info.csv") if r["face_eth"] == "white"}
    found = []
    for row in _rows(folder / "split.csv"):
        name = row["person"]
        if row["split"] == "train" and row["set"] == "london":
            photo = folder / "neutral_front" / f"{name}_03.jpg"
            found.append(Person(photo, "london", name in white))
        elif row["split"] == "train":
            found.append(Person(folder / "canada" / f"{name}.jpg", "canada", True))
    return found


def _rows(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def digest(files: list[Path]) -> str:
    """SHA-256 of names and contents together."""
    total = hashlib.sha256()
    for file in sorted(files):
        total.update(file.name.encode() + hashlib.sha256(file.read_bytes()).digest())
    return total.hexdigest()


def read_points(person: Person) -> np.ndarray:
    """The points `[189 2]` in pixels; where closed lips meet, both lips' points are one."""
    points = np.loadtxt(person.photo.with_suffix(".csv"), delimiter=",")
    return _lips_meet(points)


def _lips_meet(points: np.ndarray) -> np.ndarray:
    points = points.copy()
    for upper, lower in MOUTH_LINE:
        points[[upper, lower]] = (points[upper] + points[lower]) / 2
    return points


# --- the frame -----------------------------------------------------------------------------------


def similar(points: np.ndarray, source: np.ndarray, target: np.ndarray) -> np.ndarray:
    """Points moved, turned and scaled as brings `source` nearest to `target`, all `[n 2]`."""
    a, b = (p @ [1, 1j] for p in (source - source.mean(0), target - target.mean(0)))
    moved = (np.vdot(a, b) / np.vdot(a, a)) * ((points - source.mean(0)) @ [1, 1j])
    return np.stack([moved.real, moved.imag], 1) + target.mean(0)


def mean_points(points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The frame's points `[189 2]`, symmetric, and each person's laid over them `[n 189 2]`."""
    mean = points[0]
    for _ in range(6):
        laid = np.stack([similar(p, p[USED], mean[USED]) for p in points])
        mean = laid.mean(0)
        mean = similar(mean, mean[:2], PUPILS)
    laid = np.stack([similar(p, p[USED], mean[USED]) for p in points])
    mirrored = mean * [-1, 1]
    twin = np.linalg.norm(mirrored[:, None] - mean, axis=-1).argmin(1)
    for one, other in TWINS.items():
        twin[one], twin[other] = other, one
    return _lips_meet((mean + mirrored[twin]) / 2), laid


def spline(source: np.ndarray, target: np.ndarray, stiffness: float = STIFFNESS) -> Warp:
    """The thin-plate spline that brings `source` `[n 2]` to `target` (Bookstein 1989)."""
    count = len(source)

    def terms(points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        squared = ((points[:, None] - source) ** 2).sum(-1) / 1e4
        radial = 0.5 * squared * np.log(np.maximum(squared, 1e-12))
        return radial, np.c_[np.ones(len(points)), points / 100]

    radial, affine = terms(source)
    left = np.block([[radial + stiffness * np.eye(count), affine], [affine.T, np.zeros((3, 3))]])
    weights = np.linalg.solve(left, np.r_[target, np.zeros((3, 2))])

    def warp(points: np.ndarray) -> np.ndarray:
        parts = [np.concatenate(terms(p), 1) @ weights for p in np.array_split(points, 64)]
        return np.concatenate(parts)

    return warp


def with_own_brows(mean: np.ndarray, own: np.ndarray) -> np.ndarray:
    """The frame's points, with brows as thick as the person's, so that thickness is not warped
    away: it is a matter of colour, where the place of a brow is one of shape."""
    points = mean.copy()
    for upper, lower, ends in zip(BROW_UPPER, BROW_LOWER, BROW_ENDS, strict=True):
        thick = [
            (p[lower, 1] - np.polyval(np.polyfit(*p[upper[:3]].T, 2), p[lower, 0])).mean()
            for p in (own, mean)
        ]
        line = np.polyfit(*mean[[*upper[:3], *lower, *ends]].T, 3)
        rim = [*upper, *lower]
        middle = np.polyval(line, mean[rim, 0])
        points[rim, 1] = middle + np.clip(thick[0] / thick[1], 0.5, 1.8) * (mean[rim, 1] - middle)
    return points


def pixels(points: np.ndarray) -> np.ndarray:
    """Pixels of frame pictures, from the frame's units."""
    return (points - [LEFT, TOP]) * SCALE - 0.5


def grid() -> tuple[np.ndarray, np.ndarray]:
    """x and y of each pixel of a frame picture, in the frame's units."""
    rows, columns = np.mgrid[:HEIGHT, :WIDTH] + 0.5
    return LEFT + columns / SCALE, TOP + rows / SCALE


def polygon(points: np.ndarray, grown: int = 0, shape: tuple[int, int] = (HEIGHT, WIDTH)):
    """Where a polygon of pixels is, bool; grown (or, if negative, shrunk) by so many pixels."""
    inside = np.zeros(shape, np.uint8)
    cv2.fillPoly(inside, [np.round(points * 16).astype(np.int32)], 1, shift=4)
    disc = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * abs(grown) + 1,) * 2)
    inside = np.pad(inside, 1)  # outside the picture there is nothing
    inside = cv2.erode(inside, disc) if grown < 0 else cv2.dilate(inside, disc)
    return inside[1:-1, 1:-1] > 0


def frames(persons: list[Person]) -> tuple[np.ndarray, Iterator[Frame]]:
    """The frame's points, and everybody's photo in it."""
    placed = [read_points(person) for person in persons]
    mean, laid = mean_points(np.stack(placed))
    return mean, (
        _frame(person, points, with_own_brows(mean, own))
        for person, points, own in zip(persons, placed, laid, strict=True)
    )


def _frame(person: Person, points: np.ndarray, target: np.ndarray) -> Frame:
    photo = cv2.cvtColor(cv2.imread(str(person.photo)), cv2.COLOR_BGR2RGB)
    # The spline is smooth: a third of the pixels each way is enough.
    x, y = (v[1::3, 1::3] for v in grid())
    coarse = spline(target[USED], points[USED])(np.stack([x.ravel(), y.ravel()], 1))
    coarse = coarse.reshape(*x.shape, 2).astype(np.float32)
    at = cv2.resize(coarse, (WIDTH, HEIGHT), interpolation=cv2.INTER_CUBIC)
    border = {"borderMode": cv2.BORDER_REPLICATE}
    image = cv2.remap(photo, at, None, cv2.INTER_CUBIC, **border)
    face = polygon(points[FACE], shape=photo.shape[:2]).astype(np.uint8)
    seen = cv2.remap(face, at, None, cv2.INTER_NEAREST)
    disc = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (15, 15))
    return Frame(person, image, cv2.erode(np.pad(seen, 1), disc)[1:-1, 1:-1] > 0)
