"""Photos on disk to aligned faces, read ahead of whoever consumes them."""

import functools
import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Executor, Future
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import numpy as np

from focus_jax.data import archives
from focus_jax.data.align import align_face, transform_points
from focus_jax.data.decode import UnreadablePhoto, decode, read_photo
from focus_jax.data.dense_landmarks import unknown
from focus_jax.data.detect import Detection, Source
from focus_jax.system import content
from focus_jax.system.files import bare, check_path, read_json, user_path

PHOTO_SUFFIXES = (
    *(".jpg", ".jpeg", ".jpe", ".png", ".bmp", ".tif", ".tiff", ".webp", ".ppm", ".pgm"),
    *(".gif", ".jp2", ".avif", ".heic", ".heif", ".tga"),  # what cannot be read is counted
)
VIDEO_SUFFIXES = (".mp4", ".mov", ".avi", ".mkv", ".webm", ".m4v")

Item = TypeVar("Item")
Result = TypeVar("Result")


class Photo(NamedTuple):
    """A photo or video, mostly a file."""

    path: Path
    name: str  # relative to the folder that was given; results carry it
    pixels: np.ndarray | None = None  # uint8 RGB [h w 3] of one that is no file
    encoded: Callable[[], bytes] | None = None  # reads one that lies in an archive


class Found(NamedTuple):
    """What a list of paths holds."""

    photos: list[Photo]
    videos: list[Photo]
    problems: list[str]  # folders and files that cannot be read, and why
    others: list[str]  # names of files of other kinds, left alone


class Face(NamedTuple):
    """A face of a photo, aligned for the networks."""

    number: int  # within its photo, from 0
    detection: Detection
    crop: np.ndarray  # uint8 [r r 3]
    landmarks: np.ndarray  # [68 2], pixels of the crop
    dense_landmarks: np.ndarray  # [478 2], too; nan where the detector has none
    transform: np.ndarray  # [2 3]: crop pixel = transform @ (photo x, photo y, 1)


def find_photos(paths: Sequence[str], out: Path | None = None) -> Found:
    """The photos and videos among files and, recursively, folders; sorted within a folder.

    Their names or their first bytes tell. Links are followed, and each folder is looked at once.
    An archive, NAME.tar, is a folder NAME of the photos in it.
    The folder `out`, which holds the pictures that a run wrote, is passed over, and so are results
    of other runs below a folder, which are among `others`. A file that is given twice is taken
    once. Raises ValueError for an empty path and when two photos would carry the same name.
    """
    for given in paths:
        check_path(given, "a photo, a video or a folder")
    found = Found([], [], [], [])
    results = out.resolve() if out is not None else None
    for given in map(user_path, paths):
        if given.is_dir():
            for path in _files(given, results, found):
                _sort_in(found, Photo(path, path.relative_to(given).as_posix()))
        elif given.suffix.lower() == ".tar" and given.is_file():
            _open_archive(found, given, "")
        elif given.is_file():
            _sort_in(found, Photo(given, given.name), asked=True)
        else:
            there = "neither a file nor a" if given.exists() else "no such file or"
            found.problems.append(f"{given} ({there} folder)")
    seen: dict[str, Path] = {}
    photos, videos = _each_once(found.photos, seen), _each_once(found.videos, seen)
    return found._replace(photos=photos, videos=videos)


def _files(root: Path, out: Path | None, found: Found) -> Iterator[Path]:
    """The files below a folder: first those really there, then what links lead to.

    `found` gets what cannot be read, and the folders below that are a run's results.
    """
    seen: set[tuple[int, int]] = set()
    waiting = deque([root])
    while waiting:
        for folder, folders, files in os.walk(
            waiting.popleft(), onerror=lambda e: _tell(e, found.problems)
        ):
            about = os.stat(folder)
            if (about.st_dev, about.st_ino) in seen or Path(folder).resolve() == out:
                folders.clear()
                continue
            seen.add((about.st_dev, about.st_ino))
            if "run.json" in files and Path(folder) != root and _of_a_run(Path(folder)):
                found.others.append(f"{Path(folder).relative_to(root).as_posix()}/ (results)")
                folders.clear()
                continue
            links = sorted(f for f in folders if (Path(folder) / f).is_symlink())
            waiting.extend(Path(folder) / f for f in links)
            folders[:] = sorted(set(folders) - set(links))
            yield from (Path(folder) / file for file in sorted(files))


def _of_a_run(folder: Path) -> bool:
    """Whether the folder has what `focus-jax reconstruct` writes: pictures with faces in them.

    Masks, which show none, may lie beside the photos.
    """
    try:
        return {"model", "refine", "write"} <= read_json(folder / "run.json").keys()
    except (OSError, ValueError):
        return False


def _open_archive(found: Found, path: Path, below: str) -> None:
    """Put the photos of an archive where they belong, their names `below` what is given."""
    photos: dict[str, Photo] = {}  # of two files of a name the later one counts, as with tar
    others = 0
    try:
        for name, *place in archives.members(path):
            suffix = Path(name).suffix.lower()
            if suffix in PHOTO_SUFFIXES:
                read = functools.partial(archives.read_member, path, *place)
                photos[name] = Photo(path / name, below + name, encoded=read)
            else:
                others += 1
    except OSError as error:
        _tell(error, found.problems)
    except ValueError as problem:
        found.problems.append(f"{path} ({problem})")
    found.photos.extend(photos.values())
    if others:
        found.others.append(f"{path}: {others} files that are no photos")


def data_set_photos(name_or_folder: str) -> Found:
    """The pictures of a data set of tensorflow-datasets (`archives.pictures`). ValueError."""
    path = Path(name_or_folder)
    listed = archives.pictures(name_or_folder)
    return Found([Photo(path / name, name, encoded=read) for name, read in listed], [], [], [])


def _tell(error: OSError, problems: list[str]) -> None:
    problems.append(f"{error.filename} ({error.strerror})")


def _sort_in(found: Found, file: Photo, *, asked: bool = False) -> None:
    """Put a file where it belongs; one that was `asked` for by its name is no less than a photo."""
    suffix = file.path.suffix.lower()
    if suffix == ".tar" and file.path.is_file():
        _open_archive(found, file.path, f"{bare(Path(file.name)).as_posix()}/")
        return
    try:
        # Pipes and the like, reading from which would not end, are no files.
        kind = "other" if file.path.exists() and not file.path.is_file() else None
        if suffix in PHOTO_SUFFIXES + VIDEO_SUFFIXES:
            kind = kind or ("picture" if suffix in PHOTO_SUFFIXES else "video")
        kind = kind or content.of_file(file.path).kind
    except OSError as error:
        _tell(error, found.problems)
        return
    if kind == "video":
        found.videos.append(file)
    elif kind == "picture" or asked:
        found.photos.append(file)
    else:
        found.others.append(file.name)


def _each_once(photos: list[Photo], seen: dict[str, Path]) -> list[Photo]:
    """Without those that are there by this name before; ValueError for another file of the name."""
    once = []
    for photo in photos:
        before = seen.setdefault(photo.name, photo.path)
        if before is photo.path:
            once.append(photo)
        elif before.resolve() != photo.path.resolve():
            raise ValueError(
                f"{photo.path} and {before} would write the same results; give their common folder "
                "instead, or run them one after the other into two folders"
            )
    return once


def read_faces(
    photo: Photo, source: Source, size: int, *, fix_y_offset: bool = True
) -> tuple[np.ndarray, list[Face]]:
    """The photo `[h w 3]` and its faces as crops of `size` pixels, cut as `align_face` says.

    Raises UnreadablePhoto, or ValueError for landmarks that cannot be used.
    """
    image = read_pixels(photo)
    faces = source(image, photo.path)
    return image, align_faces(image, faces, size, fix_y_offset=fix_y_offset)


def read_pixels(photo: Photo) -> np.ndarray:
    """The photo as uint8 RGB `[h w 3]`. Raises UnreadablePhoto."""
    if photo.pixels is not None:
        return photo.pixels
    try:
        return read_photo(photo.path) if photo.encoded is None else decode(photo.encoded())
    except (MemoryError, OverflowError) as error:
        raise UnreadablePhoto(photo.path.name, f"too large: {error}") from None
    except (OSError, ValueError) as problem:
        raise UnreadablePhoto(photo.path.name, str(problem)) from None


def align_faces(
    image: np.ndarray,
    detections: Sequence[Detection],
    size: int,
    *,
    fix_y_offset: bool = True,
    turn: float | None = None,
) -> list[Face]:
    """The detected faces as crops of `size` pixels, as training aligned them (`align_face`)."""
    faces = []
    for detection in detections:
        aligned = align_face(image, detection.landmarks, size, fix_y_offset=fix_y_offset, turn=turn)
        mesh = unknown() if detection.mesh is None else detection.mesh[:, :2]
        faces.append(
            Face(
                len(faces),
                detection,
                aligned.image,
                aligned.landmarks,
                transform_points(aligned.transform, mesh),
                aligned.transform,
            )
        )
    return faces


def ahead(
    items: Iterable[Item], work: Callable[[Item], Result], pool: Executor, *, depth: int
) -> Iterator[tuple[Item, "Future[Result]"]]:
    """Each item with the future of its `work`, in order, with `depth` of them begun early.

    Memory is bounded: unlike `Executor.map`, nothing further is read before it is asked for.
    """
    pending: deque[tuple[Any, Future]] = deque()
    for item in items:
        pending.append((item, pool.submit(work, item)))
        if len(pending) > depth:
            yield pending.popleft()
    while pending:
        yield pending.popleft()
