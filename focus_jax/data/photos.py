"""A folder of photos with landmarks, as aligned crops: the layout of the authors' release.

FOLDER/train_landmarks.csv and FOLDER/val_landmarks.csv, the photos in FOLDER/Dataset or FOLDER.
Dense landmarks may lie beside each csv (`dense_landmarks`).
"""

import functools
import hashlib
import logging
import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import loky
import numpy as np
from tqdm import tqdm

from focus_jax.data.align import align_face, transform_points
from focus_jax.data.augment import MARGIN
from focus_jax.data.decode import UnreadablePhoto, read_photo
from focus_jax.data.dense_landmarks import read_dense, unknown
from focus_jax.data.landmarks import LandmarkRow, check_inside, read_landmarks

log = logging.getLogger(__name__)

CSV = {"train": "train_landmarks.csv", "validation": "val_landmarks.csv"}
MAX_UNREADABLE = 0.05  # of the photos; more means a wrong folder rather than a bad photo


def fingerprint(root: Path) -> str:
    """A digest that changes when the landmarks or a photo of the folder change.

    Photos count by name, size and time, so that thousands take no second.
    """
    digest = hashlib.sha256()
    for name in CSV.values():
        for file in (root / name, (root / name).with_suffix(".npz")):
            digest.update(file.read_bytes() if file.is_file() else b"")
    files = sorted(p for p in _folder(root).rglob("*") if p.is_file())
    known = set(files)  # those behind linked folders are not among them
    files += [p for p in _named(root) if p not in known and p.is_file()]
    for path in files:
        about = path.stat()
        line = f"{path.relative_to(root)} {about.st_size} {about.st_mtime_ns}\n"
        digest.update(os.fsencode(line))
    return digest.hexdigest()


def _named(root: Path) -> list[Path]:
    """The photos that the landmarks of the folder name, in their order."""
    found = []
    for file in (root / name for name in CSV.values()):
        for line in file.read_bytes().splitlines() if file.is_file() else ():
            found.append(_folder(root) / os.fsdecode(line.partition(b",")[0].strip()))
    return found


def photo_records(
    root: Path, split: str, size: int, *, fix_y_offset: bool = True
) -> Iterator[dict[str, Any]]:
    """Aligned crops of a split, `train` or `validation`, in the order of its csv.

    Crops have `size` pixels and a margin for augmentation around them (`augment.MARGIN`); their
    landmarks, `dense_landmarks` where there are any, and `transform` (photo to crop) are in pixels
    with the margin; `fix_y_offset` is of `align_face`. Unreadable photos are left out and listed; a
    ValueError tells of more than 5 % of them, of a missing folder, and of rows that do not fit
    their photo.
    """
    if not root.is_dir():
        raise ValueError(f"{root} is not a folder; give that of your photos")
    path = root / CSV[split]
    rows, dense = read_landmarks(path), read_dense(path)
    unreadable: list[str] = []
    read = functools.partial(_crop, _folder(root), path, dense, size, fix_y_offset)
    # A few at a time: the pool would read on without end before a slow writer, or after an error.
    with (
        ThreadPoolExecutor(loky.cpu_count()) as pool,
        tqdm(total=len(rows), desc=f"{split} photos", unit="photo") as bar,
    ):
        for start in range(0, len(rows), 32):
            for found in pool.map(read, rows[start : start + 32]):
                bar.update()
                if not isinstance(found, str):
                    yield found
                    continue
                unreadable.append(found)
                if len(unreadable) > MAX_UNREADABLE * len(rows):
                    message = _unreadable(unreadable, bar.n, path)
                    raise ValueError(f"{message}; mend them, or remove their rows")
    if unreadable:
        log.warning("%s; going on without them", _unreadable(unreadable, len(rows), path))


def _folder(root: Path) -> Path:
    return root / "Dataset" if (root / "Dataset").is_dir() else root


def _unreadable(names: list[str], count: int, csv: Path) -> str:
    listed = "; ".join(names[:20]) + ("; ..." if len(names) > 20 else "")
    return f"{len(names)} of {count} photos of {csv} cannot be read: {listed}"


def _crop(
    folder: Path,
    csv: Path,
    dense: dict[str, np.ndarray] | None,
    size: int,
    fix_y_offset: bool,
    row: LandmarkRow,
) -> dict[str, Any] | str:
    try:
        photo = read_photo(folder / row.filename)
    except UnreadablePhoto as problem:
        return str(problem)
    check_inside(row, csv, *photo.shape[:2], photo=folder / row.filename)
    try:
        aligned = align_face(
            photo,
            row.landmarks,
            size,
            margin=round(MARGIN * size),
            fix_y_offset=fix_y_offset,
        )
    except ValueError as error:
        raise ValueError(f"{csv}, row {row.row} ({row.filename}): {error}") from None
    record = {
        "image": aligned.image,
        "landmarks": aligned.landmarks,
        "transform": aligned.transform.astype(np.float32),
        "filename": row.filename,
    }
    if dense is not None:
        points = dense.get(row.filename, unknown())
        record["dense_landmarks"] = transform_points(aligned.transform, points)
    return record
