"""A person's face as the things before it meet it: its landmarks, and how far out it reaches."""

import functools
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np

CELL = 3.0  # of a map of heights, mm


class Head(NamedTuple):
    """A face in its own space: millimetres, x right as seen from before it, y up, z out."""

    vertices: np.ndarray  # [v 3]
    landmarks: np.ndarray  # [68 3]
    skin: np.ndarray  # [3] mean colour, sRGB in [0, 1]


@functools.cache
def things() -> Mapping[str, np.ndarray]:
    """The archive of what things are made of (`third_party/build_things.py` derives it)."""
    with np.load(Path(__file__).parent / "things.npz") as file:
        return {key: file[key] for key in file.files}


class Heights:
    """How far out points reach in a direction, as a map across it."""

    def __init__(self, points: np.ndarray, direction: np.ndarray) -> None:
        out = direction / np.linalg.norm(direction)
        across = np.cross([0.0, 1.0, 0.0] if abs(out[1]) < 0.9 else [1.0, 0.0, 0.0], out)
        across /= np.linalg.norm(across)
        self.axes = np.stack([across, np.cross(out, across), out])
        seen = points @ self.axes.T
        self.low = seen[:, :2].min(axis=0) - 2 * CELL
        cells = ((seen[:, :2] - self.low) / CELL).astype(int)
        width, height = cells.max(axis=0) + 3
        self.map = np.full((height, width), -1e4, np.float32)
        np.maximum.at(self.map, (cells[:, 1], cells[:, 0]), seen[:, 2])
        closed = cv2.morphologyEx(self.map, cv2.MORPH_CLOSE, np.ones((3, 3)))
        self.map = np.where(self.map > -1e3, self.map, closed)

    def depth(self, points: np.ndarray) -> np.ndarray:
        """How deep points `[n 3]` lie under the surface, mm; far below zero beside it."""
        seen = points @ self.axes.T
        x, y = (((seen[:, :2] - self.low) / CELL).astype(np.float32) - 0.5).T
        found = cv2.remap(
            self.map, x, y, cv2.INTER_NEAREST, borderMode=cv2.BORDER_CONSTANT, borderValue=-1e4
        )
        return found.ravel() - seen[:, 2]


def fitted(head: Head, points: np.ndarray) -> np.ndarray:
    """Points `[n 3]` around the mean face taken to this one, stretched along each axis."""
    mean = things()["landmarks"][:48].astype(np.float64)  # without the mouth, which may be open
    middle, own = mean.mean(axis=0), head.landmarks[:48].mean(axis=0)
    stretch = np.linalg.norm(head.landmarks[:48] - own, axis=0) / np.linalg.norm(
        mean - middle, axis=0
    )
    return (points - middle) * stretch + own


class Girth:
    """How far the face reaches out from an upright axis through the head, smooth where it ends."""

    CELLS = 4.0, 5.0  # degrees, mm

    def __init__(self, head: Head) -> None:
        self.centre = head.landmarks[[0, 16]].mean(axis=0) - 15 * np.eye(3)[2]
        offset = head.vertices - self.centre
        self.low = offset[:, 1].min()
        column = np.rad2deg(np.arctan2(offset[:, 0], offset[:, 2])) / self.CELLS[0] + 45
        row = (offset[:, 1] - self.low) / self.CELLS[1]
        count = int(row.max()) + 2
        reach = np.zeros((count, 91), np.float32)
        far = np.hypot(offset[:, 0], offset[:, 2]).astype(np.float32)
        np.maximum.at(reach, (row.astype(int), column.astype(int)), far)
        known = (reach > 0).astype(np.float32)
        self.map = reach
        for width in (1.0, 3.0, 9.0):  # holes take the mean of what is around them
            blur = cv2.GaussianBlur(reach, (0, 0), width)
            share = cv2.GaussianBlur(known, (0, 0), width)
            empty = (self.map <= 0) & (share > 0.02)
            self.map = np.where(empty, blur / np.maximum(share, 1e-6), self.map)
        self.map = np.where(self.map > 0, self.map, 78.0)

    def reach(self, angle: np.ndarray, height: np.ndarray, smooth: float = 0.0) -> np.ndarray:
        """Radii in mm where `angle` (radians, 0 in front, to +x) and `height` (mm, as y) say.

        With `smooth` in mm as of a cloth that spans hollows of about that width.
        """
        plane = self.map
        if smooth:
            size = (2 * int(smooth / 6) + 1, 2 * int(smooth / 6) + 1)
            closed = cv2.morphologyEx(plane, cv2.MORPH_CLOSE, np.ones(size[::-1]))
            plane = np.maximum(cv2.GaussianBlur(closed, (0, 0), smooth / 12), plane)
        x = np.rad2deg(angle) / self.CELLS[0] + 44.5
        y = (height - self.centre[1] - self.low) / self.CELLS[1] - 0.5
        shape = np.shape(x)
        x, y = (np.atleast_2d(a).astype(np.float32) for a in (x, y))
        found = cv2.remap(plane, x, y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
        return found.reshape(shape)

    def points(self, angle: np.ndarray, height: np.ndarray, radius: np.ndarray) -> np.ndarray:
        """Places `[* 3]` at those coordinates."""
        x, z = radius * np.sin(angle), radius * np.cos(angle)
        return np.stack([x + self.centre[0], height + 0 * x, z + self.centre[2]], axis=-1)

    def outside(self, points: np.ndarray, gap: float) -> np.ndarray:
        """The points, those before the face moved out until they are `gap` mm from it."""
        offset = points - self.centre
        angle, far = np.arctan2(offset[:, 0], offset[:, 2]), np.hypot(offset[:, 0], offset[:, 2])
        least = self.reach(angle, points[:, 1]) + gap
        top = self.centre[1] + self.low + self.CELLS[1] * len(self.map)
        least = np.where((np.abs(angle) < 1.4) & (points[:, 1] < top - 8), least, 0)
        grown = np.maximum(far, least) / np.maximum(far, 1e-6)
        return self.centre + offset * np.stack([grown, np.ones_like(grown), grown], axis=1)


@functools.cache
def _pictures(kind: str) -> tuple[np.ndarray, ...]:
    data = things()
    keys = sorted(k for k in data if k.startswith(f"{kind}_"))
    return tuple(np.asarray(cv2.imdecode(data[k], cv2.IMREAD_COLOR))[..., ::-1] for k in keys)


def photo(rng: np.random.Generator, kind: str = "photo") -> np.ndarray:
    """A photograph of what may be around, `[256 256 3]` uint8, or of "cloth" `[128 128 3]`."""
    pictures = _pictures(kind)
    return pictures[rng.integers(len(pictures))]
