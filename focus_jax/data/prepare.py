"""A folder of photos made ready for training: `focus-jax prepare FOLDER OUT`.

OUT becomes what `--config.data.root` reads: crops around each face in Dataset/, and their landmarks
in train_landmarks.csv and val_landmarks.csv, dense ones in an npz beside each where the detector
gives them (`data.dense_landmarks`). Beside them: the same faces aligned as ArrayRecord in
records/train and records/validation (`data.records.open_records`), report.txt with all that was
dropped and why, and contact.jpg, a sheet of faces with their landmarks to look over. Whoever is
interrupted goes on by the same call; unfinished.jsonl says what is done.
"""

import base64
import contextlib
import hashlib
import json
import os
import sys
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import IO, Any, NamedTuple
from urllib.parse import quote

import cv2
import loky
import numpy as np
from tqdm import tqdm

from focus_jax.data.align import (
    crop_transform,
    invert_transform,
    transform_points,
    turn_needed,
)
from focus_jax.data.augment import MARGIN
from focus_jax.data.decode import UnreadablePhoto, read_photo
from focus_jax.data.dense_landmarks import unknown, write_dense
from focus_jax.data.detect import Source
from focus_jax.data.faces import Found, Photo, ahead, read_pixels
from focus_jax.data.landmarks import POINTS, LandmarkRow, outside
from focus_jax.data.photos import CSV, photo_records
from focus_jax.data.records import write_records
from focus_jax.system import locks

SIZES = 16, 1024  # of the records, least and most: networks halve them, crops hold no more
CROP = 400  # pixels of a crop's longer side, at most
AROUND = MARGIN + 0.1  # of the aligned crop's width, on every side of it
SMALLEST = 24.0  # pixels between the outer corners of the eyes
VALIDATION = 0.1  # of the photos
RESERVED = '%/\\,"'  # of names of crops
LONGEST = 240  # bytes of a name; with the number of a face, 255 are the most that systems take
THUMBNAIL, COLUMNS, ROWS = 80, 20, 20  # of the contact sheet
JOURNAL = "unfinished.jsonl"  # of a preparation, a line of arguments and a line a photo


class Looked(NamedTuple):
    """What there is in a photo, as a line of JSON holds it."""

    digest: str  # of its pixels; empty where they are another photo's or cannot be read
    # Of each crop its landmarks, 68 or 546, and pixels of the crop: float32 `[n 2]` in base64
    faces: dict[str, str]
    dropped: list[str]  # lines of the report


def crop_face(photo: np.ndarray, landmarks: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The part of a photo that training can see of a face, at most CROP wide, and its landmarks.

    These are 68, and any others after them, `[n 2]`. It ends where the photo ends. ValueError for
    faces that are too small, cannot be aligned, or lie too far outside to be trained on.
    """
    eyes = float(np.linalg.norm(landmarks[36] - landmarks[45]))
    if eyes < SMALLEST:
        raise ValueError(f"the face is too small: {eyes:.0f} pixels between the eyes")
    back = invert_transform(crop_transform(landmarks, 100, turn=turn_needed(landmarks)))
    near, far = -100 * AROUND, 100 * (1 + AROUND)
    corners = transform_points(back, np.array([(near, near), (far, near), (near, far), (far, far)]))
    size = np.array(photo.shape[1::-1])
    low = np.clip(np.floor(corners.min(0)).astype(int), 0, size)
    high = np.clip(np.ceil(corners.max(0)).astype(int), 0, size)
    if (high - low < 16).any():
        raise ValueError("the face lies outside the photo")
    piece = photo[low[1] : high[1], low[0] : high[0]]
    factor = min(1.0, CROP / max(piece.shape[:2]))
    width, height = (round(n * factor) for n in piece.shape[1::-1])
    scale = np.array([width, height]) / (high - low)
    if factor < 1:
        piece = cv2.resize(piece, (width, height), interpolation=cv2.INTER_AREA)
    moved = (landmarks - low + 0.5) * scale - 0.5
    if outside(moved[:POINTS], height, width).any():
        raise ValueError("the face lies partly outside the photo")
    return np.ascontiguousarray(piece), moved


def split_of(name: str) -> str:
    """The split of a photo, by its name alone, so that adding photos moves none."""
    number = int(hashlib.sha256(os.fsencode(name)).hexdigest()[:8], 16) / 16**8
    return "validation" if number < VALIDATION else "train"


def prepare(
    found: Found, source: Source, out: Path, *, size: int, begun: Mapping[str, str] | None = None
) -> tuple[dict[str, int], int]:
    """Fill `out`; returns the number of faces of each split, and of photos dropped.

    After an interruption the same call goes on behind the last photo, to the same files; `begun` is
    what has to be the same, by the names of a command's arguments. ValueError when `out` holds a
    data set already, was begun with other arguments or by a process that is at it, and when no face
    was found.
    """
    journal, folder = out / JOURNAL, out / "Dataset"
    if not journal.exists() and any((out / name).exists() for name in (*CSV.values(), "Dataset")):
        raise ValueError(f"{out} holds a data set already; choose another folder")
    names = crop_names(found.photos)
    folder.mkdir(parents=True, exist_ok=True)
    with journal.open("a+b") as file:
        looked = _go_on(file, {**(begun or {}), "crop": str(CROP)})
        todo = [photo for photo in found.photos if photo.name not in looked]
        seen = {of.digest: name for name, of in looked.items() if of.digest}
        if looked:
            print(f"going on: {len(looked)} photos of {out} are done", file=sys.stderr)
        for photo, of in _look(todo, names, source, folder, seen):
            _add(file, {"photo": photo.name, **of._asdict()})
            looked[photo.name] = of
        # Those of photos that were taken away since count no more.
        counts = _finish(found, [(p.name, looked[p.name]) for p in found.photos], out, size)
    journal.unlink()
    return counts


def _finish(
    found: Found, looked: list[tuple[str, Looked]], out: Path, size: int
) -> tuple[dict[str, int], int]:
    """All that comes after the crops."""
    rows: dict[str, list[LandmarkRow]] = {name: [] for name in CSV}
    dense: dict[str, np.ndarray] = {}
    dropped = list(found.problems)
    for photo, of in looked:
        dropped += of.dropped
        for name, encoded in of.faces.items():
            points = np.frombuffer(base64.b64decode(encoded), "<f4").reshape(-1, 2)
            rows[split_of(photo)].append(LandmarkRow(name, points[:POINTS], 0))
            if len(points) > POINTS:
                dense[name] = points[POINTS:]
    _fill_splits(rows)
    _write_text(out / "report.txt", _report(rows, dropped, found))
    faces = [row for split in rows.values() for row in split]
    if not faces:
        raise ValueError(f"no faces to train on; {out / 'report.txt'} says why for each photo")
    for split, name in CSV.items():
        lines = (
            ",".join([row.filename, *(f"{v:.2f}" for v in row.landmarks.ravel())])
            for row in rows[split]
        )
        _write_text(out / name, "\n".join(lines) + "\n")
        if dense:  # of each face, so that all records have the same fields
            names = [row.filename for row in rows[split]]
            write_dense(out / name, {n: dense.get(n, unknown()) for n in names})
    some = faces[:: -(-len(faces) // (COLUMNS * ROWS))]
    (out / "contact.jpg").write_bytes(_jpeg(contact_sheet([_thumbnail(out, row) for row in some])))
    for split in CSV:
        if rows[split]:
            write_records(out / "records" / split, photo_records(out, split, size))
    return {split: len(found) for split, found in rows.items()}, len(dropped)


def _go_on(file: IO[bytes], begun: dict[str, str]) -> dict[str, Looked]:
    """What a journal says of photos, by their names; it is begun if it is empty.

    A last line that was cut off is removed.
    """
    with contextlib.suppress(OSError):  # where files cannot be locked
        try:
            locks.lock(file, wait=False)
        except BlockingIOError:
            raise ValueError(f"another process is at {file.name}; wait for its end") from None
    file.seek(0)
    lines = file.read().splitlines(keepends=True)
    if lines and not lines[-1].endswith(b"\n"):
        file.truncate(sum(map(len, lines[:-1])))
        lines.pop()
    if not lines:
        _add(file, begun)
        return {}
    try:
        first, *others = ({**json.loads(line)} for line in lines)
        looked = {of.pop("photo"): Looked(**of) for of in others}
    except (ValueError, TypeError, KeyError):
        raise ValueError(
            f"{file.name} is damaged; remove {Path(file.name).parent} and begin again"
        ) from None
    for name, value in begun.items():
        if first.get(name) != value:
            raise ValueError(
                f"{Path(file.name).parent} was begun with {name} {first.get(name)}, not {value}; "
                "give the same again, or another folder"
            )
    return looked


def _add(file: IO[bytes], line: Mapping[str, Any]) -> None:
    file.write(json.dumps(line).encode() + b"\n")  # names that are no UTF-8 are escaped
    file.flush()


def crop_names(photos: Sequence[Photo]) -> dict[str, str]:
    """By the names of photos, what their crops are called, without the faces' numbers.

    That of the photo, in which `/`, what a csv cannot hold, and bytes that are no UTF-8 are written
    as in addresses of pages. ValueError where two photos have one name nevertheless.
    """
    names = {photo.name: _flat(photo.name) for photo in photos}
    owners: dict[str, str] = {}
    for photo, name in names.items():
        if owners.setdefault(name, photo) != photo:
            raise ValueError(f"{owners[name]} and {photo} would have one name; rename one")
    return names


def _flat(name: str) -> str:
    flat = "".join(
        c if c.isprintable() and c not in RESERVED else quote(c, "", errors="surrogateescape")
        for c in name
    )
    if flat.startswith(" "):  # which readers of a csv drop
        flat = quote(" ") + flat[1:]
    encoded = flat.encode()
    if len(encoded) <= LONGEST:
        return flat
    digest = hashlib.sha256(os.fsencode(name)).hexdigest()[:16]
    return f"{encoded[: LONGEST - 17].decode(errors='ignore')}%{digest}"


def _write_text(path: Path, text: str) -> None:
    """Names of files as they are, whether they are UTF-8 or not."""
    path.write_text(text, encoding="utf-8", errors="surrogateescape")


def _fill_splits(rows: dict[str, list[LandmarkRow]]) -> None:
    """Training needs both: of a few photos chance may have put all into one."""
    for here, there in (("train", "validation"), ("validation", "train")):
        if not rows[here] and len(rows[there]) > 1:
            rows[here].append(rows[there].pop())


def _look(
    photos: Sequence[Photo],
    names: dict[str, str],
    source: Source,
    folder: Path,
    seen: dict[str, str],
) -> Iterator[tuple[Photo, Looked]]:
    """What there is in each photo, in their order, whose crops are written into `folder`.

    `seen` has the names of pictures by their digests, and gets those of these photos.
    """

    def read(photo: Photo) -> tuple[np.ndarray, list, str]:
        image = read_pixels(photo)
        digest = hashlib.sha256(image.tobytes()).hexdigest()
        return image, source(image, photo.path), digest

    cores = loky.cpu_count()  # that this process may use
    with ThreadPoolExecutor(cores) as pool, tqdm(total=len(photos), unit="photo") as bar:
        for photo, future in ahead(photos, read, pool, depth=2 * cores):
            bar.update()
            digest = ""
            try:
                image, detections, digest = future.result()
                if digest in seen:
                    other, digest = seen[digest], ""
                    raise ValueError(f"the same picture as {other}")
                seen[digest] = photo.name
                if not detections:
                    raise ValueError("no face found")
            except UnreadablePhoto as problem:
                yield photo, Looked("", {}, [f"{photo.name}: {problem.reason}"])
                continue
            except (ValueError, RuntimeError, MemoryError, cv2.error) as problem:
                yield photo, Looked(digest, {}, [f"{photo.name}: {problem}"])
                continue
            of = Looked(digest, {}, [])
            for number, detection in enumerate(detections):
                points = [detection.landmarks]
                if detection.mesh is not None:
                    points.append(detection.mesh[:, :2])
                try:
                    crop, moved = crop_face(image, np.concatenate(points))
                except ValueError as problem:
                    of.dropped.append(f"{photo.name}, face {number}: {problem}")
                    continue
                name = f"{names[photo.name]}_{number}.jpg"
                (folder / name).write_bytes(_jpeg(crop))
                of.faces[name] = base64.b64encode(moved.astype("<f4").tobytes()).decode()
            yield photo, of


def _jpeg(picture: np.ndarray) -> bytes:
    # imwrite says nothing of a full disk; encoding first and writing after does.
    done, encoded = cv2.imencode(".jpg", picture[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, 92])
    assert done  # a crop is no wider than JPEG allows
    return encoded.tobytes()


def _thumbnail(out: Path, row: LandmarkRow) -> np.ndarray:
    crop = read_photo(out / "Dataset" / row.filename)
    transform = crop_transform(row.landmarks, THUMBNAIL)
    small = cv2.warpAffine(crop, transform, (THUMBNAIL, THUMBNAIL), flags=cv2.INTER_AREA)
    for x, y in transform_points(transform, row.landmarks):
        cv2.circle(small, (round(float(x)), round(float(y))), 1, (0, 255, 0), -1)
    return small


def contact_sheet(thumbnails: Sequence[np.ndarray]) -> np.ndarray:
    """Thumbnails in rows of COLUMNS."""
    count = -(-len(thumbnails) // COLUMNS) * COLUMNS
    filled = [*thumbnails, *[np.zeros_like(thumbnails[0])] * (count - len(thumbnails))]
    rows = [np.concatenate(filled[i : i + COLUMNS], 1) for i in range(0, count, COLUMNS)]
    return np.concatenate(rows, 0)


def _report(rows: dict[str, list[LandmarkRow]], dropped: list[str], found: Found) -> str:
    counts = Counter(text.partition(": ")[2].partition(":")[0] for text in dropped)
    lines = [
        f"{len(found.photos)} photos; {len(rows['train'])} faces to train, "
        f"{len(rows['validation'])} to validate; {len(dropped)} dropped",
        *(f"{count} {reason}" for reason, count in counts.most_common()),
        f"{len(found.others)} files that are no photos left alone; {len(found.videos)} videos too",
        "",
        *dropped,
        "",
        *(f"{name}: left alone" for name in [*found.others, *(v.name for v in found.videos)]),
    ]
    return "\n".join(lines) + "\n"
