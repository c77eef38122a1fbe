"""Pictures of results: a row for each photo, a column for each thing known of it."""

from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np


def overlay(photo: np.ndarray, rendering: np.ndarray, coverage: np.ndarray) -> np.ndarray:
    """The rendered face drawn over the photo. Arrays `[... h w c]`, values in [0, 1]."""
    return photo * (1 - coverage) + np.clip(rendering, 0, 1) * coverage


def grid(columns: Sequence[np.ndarray | None], *, side: int = 128, gap: int = 2) -> np.ndarray:
    """Columns `[n h w 3 or 1]` in [0, 1] side by side, as uint8 RGB; None columns are left out."""
    pictures = []
    for column in columns:
        if column is None:
            continue
        column = np.clip(np.asarray(column, np.float32), 0, 1)
        column = np.broadcast_to(column, (*column.shape[:3], 3))
        cells = [
            cv2.resize(
                cell,
                (side, side),
                interpolation=cv2.INTER_AREA if cell.shape[0] > side else cv2.INTER_LINEAR,
            )
            for cell in column
        ]
        pictures.append(
            [np.pad(cell, ((gap, gap), (gap, gap), (0, 0)), constant_values=1.0) for cell in cells]
        )
    rows = [
        np.concatenate([column[i] for column in pictures], axis=1) for i in range(len(pictures[0]))
    ]
    return (np.concatenate(rows, axis=0) * 255 + 0.5).astype(np.uint8)


def write_png(path: Path, picture: np.ndarray) -> None:
    """Write an RGB uint8 picture; raises OSError when the file cannot be written."""
    path.parent.mkdir(parents=True, exist_ok=True)
    # imwrite says nothing of a full disk.
    _, encoded = cv2.imencode(".png", np.ascontiguousarray(picture[..., ::-1]))
    path.write_bytes(encoded.tobytes())


def write_image(path: Path, picture: np.ndarray, *, quality: int | None = None) -> None:
    """An RGB or grey uint8 picture, in the format that the name says; OSError when it fails.

    `quality` is JPEG's, 95 unless told otherwise.
    """
    turned = cv2.cvtColor(picture, cv2.COLOR_RGB2BGR) if picture.ndim == 3 else picture
    options = [] if quality is None else [cv2.IMWRITE_JPEG_QUALITY, quality]
    # imwrite says nothing of a full disk; encoding first and writing after does.
    done, encoded = cv2.imencode(path.suffix, turned, options)
    if not done:
        raise ValueError(f"{path.name} cannot be a picture of {picture.shape[1::-1]} pixels")
    path.write_bytes(encoded.tobytes())
