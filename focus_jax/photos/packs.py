"""Masks of very many photos: a shard of them each process, an archive each shard.

An archive is a tar file of PNG that grows as `NAME.tar.part`. Whoever goes on with it after a kill
keeps what is whole and goes on behind it; it gets its name once it has all. An npz is made of such
a file at its end, since a zip file that ends early has no contents.
"""

import contextlib
import csv
import hashlib
import io
import logging
import os
import tarfile
import threading
import zipfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import IO, NamedTuple

import cv2
import numpy as np

from focus_jax.data import archives
from focus_jax.data.faces import Found
from focus_jax.photos.process import NO_FACE, name_and_reason
from focus_jax.system import locks
from focus_jax.system.files import write_whole

log = logging.getLogger(__name__)

KINDS = ("tar", "npz")


class Shard(NamedTuple):
    """The part of all photos that one process has."""

    number: int  # from 0
    count: int

    def has(self, photo: str) -> bool:
        """Whether a photo of that name is in it: by the name alone, whatever others there are."""
        digest = hashlib.blake2b(photo.encode("utf-8", "surrogateescape"), digest_size=8).digest()
        return int.from_bytes(digest) % self.count == self.number

    def named(self, name: str) -> str:
        """The name of a file of its own; of a file of all where there is one shard."""
        return name if self.count == 1 else f"{name}-{self.number:05}-of-{self.count:05}"


def parse_shard(text: str | None) -> Shard:
    """`i/n` with i from 0; of None the task's among those that srun started. ValueError."""
    if text is None:
        # Of the step: a batch script itself is one process, though the job has more tasks.
        number, count = (os.environ.get(f"SLURM_{n}") for n in ("PROCID", "STEP_NUM_TASKS"))
        text = f"{number}/{count}" if number and count else "0/1"
    number, _, count = text.partition("/")
    if not (number.isdecimal() and count.isdecimal() and int(number) < int(count)):
        raise ValueError(f"--shard is i/n with i from 0 to n - 1, 0/16 for instance, not {text!r}")
    return Shard(int(number), int(count))


def part_of(found: Found, shard: Shard) -> Found:
    """A shard's photos and videos; what cannot be read is the first one's."""
    photos = [photo for photo in found.photos if shard.has(photo.name)]
    videos = [video for video in found.videos if shard.has(video.name)]
    first = shard.number == 0
    return Found(photos, videos, found.problems if first else [], found.others if first else [])


class Pack:
    """The archive of a shard, to which several threads add masks. `with` closes its files.

    `done` has the names of photos whose masks it has, `left_out` why those have none that need not
    be searched again: those without a face, and of a whole archive all. ValueError where another
    process is at it, where there is one already that is not to be gone on with (`resume`), and for
    an npz of names that are no UTF-8, which a zip file cannot hold.
    """

    def __init__(
        self, out: Path, shard: Shard, kind: str, names: dict[str, list[str]], *, resume: bool
    ) -> None:
        odd = [name for name in names if name.encode(errors="ignore").decode() != name]
        if kind == "npz" and odd:
            raise ValueError(
                f"the name {odd[0]!r} is no UTF-8, which an npz needs; rename it, or --pack tar"
            )
        self._names, self._lock = names, threading.Lock()
        self.path = out / f"{shard.named('masks')}.{kind}"
        self._part = out / f"{shard.named('masks')}.tar.part"
        self._skipped = out / f"{shard.named('skipped')}.csv"
        self.whole = self.path.exists()
        if not resume and (self.whole or self._part.exists()):
            there = self.path if self.whole else self._part
            raise ValueError(
                f"there is {there} already; go on with --resume, or give another --out"
            )
        self._files = contextlib.ExitStack()
        skipped = _rows(self._skipped) if resume else []
        if not self.whole:
            self._file = self._locked()
            files, end = _before_the_end(self._part, names)
            self._file.truncate(end)
            skipped = [row for row in skipped if row[1] == NO_FACE]  # others are tried again
            self._told = self._rewritten(skipped)
        else:
            files = _files_of(self.path)
        self.done = {photo for photo, own in names.items() if all(name in files for name in own)}
        self.left_out = {n: why for n, why in skipped if n in names and n not in self.done}
        if self.whole and (more := len(names.keys() - self.done - self.left_out.keys())):
            raise ValueError(
                f"{self.path} is whole, without {more} of these photos; give another --out"
            )

    def _locked(self) -> IO[bytes]:
        # Whatever is written goes to its end; nothing of it is lost by opening it.
        file = self._files.enter_context(self._part.open("ab"))
        try:
            locks.lock(file, wait=False)
        except BlockingIOError:
            self._files.close()
            raise ValueError(f"another process is at {self._part}; each needs its shard") from None
        except OSError:
            log.warning("%s cannot be locked; start one process a shard", self._part)
        return file

    def _rewritten(self, rows: list[tuple[str, str]]) -> IO[str]:
        """The csv of skipped photos with these rows, open for more."""
        lines = (_line(*row) for row in [("photo", "reason"), *rows])
        write_whole(self._skipped, "".join(lines))
        return self._files.enter_context(
            self._skipped.open("a", encoding="utf-8", errors="surrogateescape", newline="")
        )

    def __enter__(self) -> "Pack":
        return self

    def __exit__(self, *error: object) -> None:
        self._files.close()

    def add(self, photo: str, masks: Sequence[np.ndarray]) -> None:
        """The masks of a photo, uint8 `[h w]`, of which as many are taken as it has names."""
        blocks = io.BytesIO()
        with tarfile.open(fileobj=blocks, mode="w") as archive:
            for name, mask in zip(self._names[photo], masks, strict=False):
                encoded = cv2.imencode(".png", mask)[1].tobytes()
                about = tarfile.TarInfo(name)
                about.size = len(encoded)
                archive.addfile(about, io.BytesIO(encoded))
            length = archive.offset  # without the blocks that end an archive
        with self._lock:
            self._file.write(blocks.getbuffer()[:length])
            self._file.flush()

    def skip(self, line: str) -> None:
        """A photo that was left out: `NAME (reason)`."""
        with self._lock:
            self._told.write(_line(*name_and_reason(line)))
            self._told.flush()

    def finish(self) -> None:
        """Give the archive its name: from now on it is whole."""
        self._file.write(bytes(2 * tarfile.BLOCKSIZE))
        self._file.flush()
        os.fsync(self._file.fileno())
        if self.path.suffix == ".tar":
            self._part.replace(self.path)
            return
        made = self.path.with_name(self.path.name + ".part")
        _write_npz(made, self._part)
        made.replace(self.path)
        self._part.unlink()


def _line(photo: str, reason: str) -> str:
    """A line of the csv of skipped photos."""
    text = io.StringIO()
    # Some versions of Python leave a carriage return bare, at which readers end the line.
    quoting = csv.QUOTE_ALL if "\r" in photo + reason else csv.QUOTE_MINIMAL
    csv.writer(text, lineterminator="\n", quoting=quoting).writerow([photo, reason])
    return text.getvalue()


def _rows(path: Path) -> list[tuple[str, str]]:
    """Photos and reasons of a csv of skipped ones; a last line that was cut off is left out."""
    if not path.is_file():
        return []
    # As bytes, since names may hold what ends a line elsewhere.
    text = path.read_bytes().decode("utf-8", "surrogateescape")
    rows = csv.reader(io.StringIO(text[: text.rfind("\n") + 1], newline=""))
    return [(row[0], row[1]) for row in rows if len(row) == 2][1:]


def _files_of(path: Path) -> set[str]:
    """Names in a whole archive. ValueError where it is none."""
    try:
        if path.suffix == ".tar":
            return {member.name for member in archives.members(path)}
        with zipfile.ZipFile(path) as archive:
            return {name.removesuffix(".npy") for name in archive.namelist()}
    except (ValueError, zipfile.BadZipFile) as problem:
        raise ValueError(f"{path} is damaged ({problem}); remove it and go on") from None


def _before_the_end(part: Path, names: dict[str, list[str]]) -> tuple[set[str], int]:
    """Names of the masks in a part, of whole photos only, and the byte behind the last of them."""
    files: set[str] = set()
    group: list[str] = []
    end, together = 0, len(next(iter(names.values()), ()))
    length = part.stat().st_size
    # A member that is cut off ends it, as whatever the system had not written yet.
    with contextlib.suppress(ValueError):
        for member in archives.members(part):
            behind = member.start + member.size + -member.size % tarfile.BLOCKSIZE
            group.append(member.name)
            if len(group) == together and behind <= length:
                files |= set(group)
                group, end = [], behind
    return files, end


def _write_npz(path: Path, tar: Path) -> None:
    """Masks of a tar file as arrays `[h w]` by their names, one at a time."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, mask in read_masks(tar):
            with archive.open(f"{name}.npy", "w", force_zip64=True) as file:
                np.lib.format.write_array(file, mask)


def read_masks(tar: Path) -> Iterator[tuple[str, np.ndarray]]:
    """The masks of a tar file of them: name, uint8 `[h w]`."""
    for name, start, size in archives.members(tar):
        encoded = np.frombuffer(archives.read_member(tar, start, size), np.uint8)
        yield name, np.asarray(cv2.imdecode(encoded, cv2.IMREAD_GRAYSCALE))
