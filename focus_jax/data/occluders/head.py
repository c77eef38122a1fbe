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
