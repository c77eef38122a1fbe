"""Many photos through one model: decoding, detection, networks and writing side by side.

A thread for each core reads photos and finds faces ahead of the networks, others write results
behind them; each queue is short, so memory does not grow with the number of photos.
"""

import contextlib
import errno
import functools
import json
import os
import secrets
import sys
from collections import Counter, deque
from collections.abc import Callable, Collection, Generator, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from importlib.metadata import version
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import jax
import numpy as np
from tqdm import tqdm

from focus_jax.data.decode import UnreadablePhoto
from focus_jax.data.detect import Source
from focus_jax.data.faces import Face, Photo, ahead, read_faces
from focus_jax.photos import programs
from focus_jax.photos.inference import infer
from focus_jax.photos.trained import Model, make_batch
from focus_jax.system.files import read_json
from focus_jax.types import Batch

AHEAD = 2  # photos that are read before they are needed, beside one a thread
READERS = 16  # threads at most: each holds a photo, and a network never asks for more
# More faces at a time or steps of refinement are a slip: out of memory, or done after weeks.
MOST_AT_ONCE, MOST_STEPS = 4096, 100_000
NO_FACE = "no face found"  # why a photo is skipped; it need not be searched again
HELD = 150_000_000  # pixels of photos that wait for a batch to fill; more empty it early
# What one photo may bring about: it is skipped, the run goes on.
FAILURES = (ValueError, RuntimeError, MemoryError, cv2.error)
# Of what the system refuses, these are of one file's name; a full disk ends the run.
OF_ONE = (errno.ENAMETOOLONG, errno.EISDIR, errno.ENOTDIR, errno.EEXIST, errno.EACCES)

# Called with a photo, its pixels, and each face with what was inferred of it; any thread.
Write = Callable[[Photo, np.ndarray, list[tuple[Face, Any]]], None]
Look = Callable[[Model, Batch, int], Any]


class Summary(NamedTuple):
    """Counts of a run; `skipped` has a line for each photo without results, with the reason."""

    photos: int
    faces: int
    before: int  # photos done by an earlier run
    skipped: list[str]
    videos: int = 0
    frames: int = 0  # of videos, with somebody who is followed
    notes: tuple[str, ...] = ()  # on what is not as whole as it could be, with the names
    remarks: tuple[str, ...] = ()  # counts of results to look at
    part: bool = False  # of a run, of which others have the rest
    listing: str | None = "skipped.txt"  # file for `skipped`; None where one has been written
    unread: int = 0  # of `skipped`, files that were not found or not opened: not in `photos`

    def empty(self) -> bool:
        """Whether no face came of it, now or before; a part without photos is as it should be."""
        return not (self.faces or self.videos or self.before or (self.part and not self.photos))

    def with_faceless(self, lines: Sequence[str]) -> "Summary":
        """With photos in which an earlier run found no face, as if they had been searched again."""
        skipped = [*lines, *self.skipped]
        return self._replace(photos=self.photos + len(lines), skipped=skipped)

    def line(self) -> str:
        """All of it in one line, without the photos' names."""
        reasons = Counter(name_and_reason(text)[1] for text in self.skipped)
        why = "; ".join(f"{count} {reason}" for reason, count in reasons.most_common())
        done = f", {self.before} done before" if self.before else ""
        skipped = f"{len(self.skipped)} skipped" + (f" ({why})" if why else "")
        clips = f", {self.videos} videos ({self.frames} frames)" if self.videos else ""
        incomplete = f", {len(self.notes)} incomplete" if self.notes else ""
        said = "".join(f"; {remark}" for remark in self.remarks)
        photos = self.photos + self.unread
        return f"{photos} photos, {self.faces} faces{clips}{done}, {skipped}{incomplete}{said}"


def name_and_reason(line: str) -> tuple[str, str]:
    """The two of `NAME (reason)`."""
    name, _, reason = line.rpartition(" (")
    return name, reason.removesuffix(")")


class Waiting(NamedTuple):
    """A photo whose faces are not all inferred yet."""

    photo: Photo
    image: np.ndarray
    faces: list[Face]
    found: list[Any]


def process(
    photos: Sequence[Photo],
    model: Model,
    source: Source,
    write: Write,
    *,
    steps: int = 0,
    batch_size: int = 8,
    progress: bool = True,
    done: Callable[[Photo], bool] = lambda photo: False,
    look: Look | None = None,
    tell: Callable[[str], object] = lambda line: None,
) -> Summary:
    """Find, infer and write all faces of `photos`; those for which `done` is true are passed over.

    `look` is what is inferred of a batch, `infer` unless told otherwise. `tell` gets a line of
    each photo that is skipped, as it is.

    A photo that fails is skipped and counted; `progress` shows a bar and says so. OSError when
    results cannot be written.
    """
    todo = [photo for photo in photos if not done(photo)]
    skipped: list[str] = []
    faces = 0

    crops = {"size": model.record_size, "fix_y_offset": model.fix_y_offset}
    read = functools.partial(read_faces, source=source, **crops)
    waiting: deque[Waiting] = deque()
    written: deque[tuple[Photo, int, Future[None]]] = deque()
    readers = min(_cores(), READERS)
    with (
        _one_thread_each(min(readers, len(todo))),
        ThreadPoolExecutor(readers, "read") as reader,
        ThreadPoolExecutor(2, "write") as writer,
        tqdm(total=len(todo), unit="photo", disable=not (todo and progress)) as bar,
        programs.telling(bar.set_postfix_str),
    ):

        def skip(text: str) -> None:
            skipped.append(text)
            tell(text)
            if progress:
                tqdm.write(f"skipped {text}", file=sys.stderr)

        def finish(least: int) -> None:
            """Infer batches while `least` faces wait; hand complete photos to the writers."""
            nonlocal faces
            while _count(waiting) >= least and waiting:
                if not faces:
                    bar.set_postfix_str("reading programs")
                before = _count(waiting)
                # Steps of a batch filled up with copies take most of the time of a lone face.
                alone = steps > 0 and not faces and before == 1
                _infer(waiting, model, look or infer, steps, 1 if alone else batch_size)
                faces += before - _count(waiting)
                for photo, image, pairs in _complete(waiting):
                    future = writer.submit(write, photo, image, pairs)
                    written.append((photo, len(pairs), future))
                    bar.update()
                bar.set_postfix_str(f"{faces / max(bar.format_dict['elapsed'], 1e-3):.2g} faces/s")
                collect(2 * batch_size)

        def collect(most: int) -> None:
            nonlocal faces
            for count, text in _unwritten(written, most):
                faces -= count
                skip(text)

        try:
            for photo, future in ahead(todo, read, reader, depth=readers + AHEAD):
                found = _result(photo, future)
                if isinstance(found, str):
                    skip(found)
                    bar.update()
                else:
                    waiting.append(Waiting(photo, *found, []))
                finish(batch_size)
                if sum(w.image.size // 3 for w in waiting) > HELD:
                    finish(1)
            finish(1)
            collect(0)
        except BaseException:
            reader.shutdown(cancel_futures=True)
            writer.shutdown(cancel_futures=True)
            raise
    return Summary(len(todo), faces, len(photos) - len(todo), skipped)


def _complete(
    waiting: deque[Waiting],
) -> Iterator[tuple[Photo, np.ndarray, list[tuple[Face, Any]]]]:
    """Take out the first photos, up to one with faces that are not inferred yet."""
    while waiting and len(waiting[0].found) == len(waiting[0].faces):
        photo, image, faces, found = waiting.popleft()
        yield photo, image, list(zip(faces, found, strict=True))


def _unwritten(
    written: deque[tuple[Photo, int, Future[None]]], most: int
) -> Iterator[tuple[int, str]]:
    """Wait until at most so many photos are still to be written; of those that could not be, their
    number of faces and `NAME (reason)`."""
    while len(written) > most:
        photo, count, future = written.popleft()
        try:
            future.result()
        except (*FAILURES, OSError) as problem:
            yield count, why_unwritten(photo.name, problem)


def why_unwritten(name: str, problem: Exception) -> str:
    """`NAME (reason)`; raises what is of more than one photo."""
    raise_if_general(problem)
    what = "written" if isinstance(problem, OSError) else "drawn"
    return f"{name} (cannot be {what}: {sentence(problem)})"


def raise_if_general(problem: Exception) -> None:
    """Raise what the system refuses to more than one photo."""
    if isinstance(problem, OSError) and problem.errno not in OF_ONE:
        raise problem


def sentence(problem: Exception) -> str:
    """A library's message on one line, without the brackets that a list of reasons uses."""
    text = getattr(problem, "err", None) or str(problem)  # OpenCV's has its source's line, too
    if isinstance(problem, UnreadablePhoto):
        text = problem.reason
    if isinstance(problem, OSError):
        text = problem.strerror or text  # without the path, which may be what is too long
    return " ".join(text.split()).replace("(", "[").replace(")", "]")


@contextlib.contextmanager
def _one_thread_each(readers: int) -> Generator[None]:
    """Several readers need no threads of OpenCV's, which would wait for cores that are at work."""
    before = cv2.getNumThreads()
    if readers > 1:
        cv2.setNumThreads(1)
    try:
        yield
    finally:
        cv2.setNumThreads(before)


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _count(waiting: deque[Waiting]) -> int:
    return sum(len(w.faces) - len(w.found) for w in waiting)


def _result(photo: Photo, future: Future) -> tuple[np.ndarray, list[Face]] | str:
    """The photo and its faces, or why there are none: `NAME (reason)`."""
    try:
        image, faces = future.result()
    except (UnreadablePhoto, *FAILURES) as problem:
        return f"{photo.name} ({sentence(problem)})"
    return (image, faces) if faces else f"{photo.name} ({NO_FACE})"


def _infer(waiting: deque[Waiting], model: Model, look: Look, steps: int, batch_size: int) -> None:
    """Infer the next batch of faces of the waiting photos, into their `found`."""
    chosen: list[tuple[Waiting, Face]] = []
    for place in waiting:
        chosen += [(place, face) for face in place.faces[len(place.found) :]]
    chosen = chosen[:batch_size]
    # Filled up with the last face, so that one compiled program serves all.
    full = [face for _, face in chosen]
    full += [full[-1]] * (batch_size - len(full))
    batch = make_batch(
        model,
        *(
            np.stack([getattr(f, k) for f in full])
            for k in ("crop", "landmarks", "dense_landmarks")
        ),
    )
    found = jax.device_get(look(model, batch, steps))
    for i, (place, _) in enumerate(chosen):
        # Copied: a view would keep the whole batch in memory as long as the face.
        place.found.append(jax.tree.map(lambda x, i=i: np.asarray(x)[i].copy(), found))


# --- what a run leaves, so that another can go on from it ---------------------------------------


def settings(command: str, model: Model, steps: int, landmarks: str) -> dict[str, Any]:
    """What results depend on, for run.json."""
    return {
        "command": command,
        "version": version("focus_jax"),
        "model": model.name,
        "weights": model.weights,
        "face_model": model.face_model.name,
        "misfit_prior": model.misfit is not None,
        "landmarks": landmarks,
        "refine": steps,
    }


def claim_folder(
    out: Path, settings: dict[str, Any], *, resume: bool, overwrite: bool = False
) -> bool:
    """Write the run's settings into `out`; whether results of another run are to be removed.

    ValueError for a folder with results of other settings, unless they may be overwritten, and for
    another command's, which would not know what to remove. OSError when `out` cannot be written.
    """
    out.mkdir(parents=True, exist_ok=True)
    path = out / "run.json"
    before = read_json(path) if path.is_file() else settings
    # Folders of before the name was kept go by their settings alone.
    command = before.get("command", settings.get("command"))
    if command != settings.get("command"):
        raise ValueError(f"{out} holds results of focus-jax {command}; give another --out")
    both = [k for k in {**settings, **before} if k != "command"]
    changed = [k for k in both if before.get(k) != settings.get(k)]
    if changed and (resume or not overwrite):
        listed = ", ".join(f"{k} (was {before.get(k)}, now {settings.get(k)})" for k in changed)
        ways = "repeat those, or give another --out"
        if not before.get("pack"):  # archives are not overwritten
            ways = "repeat those, give another --out, or remove them all by --overwrite"
        raise ValueError(f"{out} holds results with other settings: {listed}; {ways}")
    if overwrite and before.get("pack"):
        raise ValueError(f"{out} holds archives, which --overwrite leaves; give another --out")
    # Several shards write the same: each in one piece, by a file of its own name.
    part = path.with_name(f"run.json.{secrets.token_hex(4)}.part")
    part.write_text(json.dumps(settings, indent=1) + "\n")
    part.replace(path)
    return overwrite and not resume


def written(out: Path, names: Collection[str]) -> Iterator[Path]:
    """The files of these names in `out`, without those of runs into folders below it."""
    for folder, folders, files in os.walk(out):
        if "run.json" in files and Path(folder) != out:
            folders.clear()
            continue
        yield from (Path(folder) / name for name in names if name in files)


def check_inside(out: Path, names: Iterable[str]) -> None:
    """ValueError where a link in `out` leads what will be written there elsewhere.

    Each folder is listed once: to ask for each of a million names takes half an hour.
    """
    top, links = out.resolve(), dict[str, frozenset[str]]()
    for name in names:
        folder, _, file = name.rpartition("/")
        if folder not in links:
            links[folder] = _links(out / folder, top)
        odd = file in links[folder] or "." in links[folder]
        if odd and not (out / name).resolve().is_relative_to(top):
            raise ValueError(f"a link in {out} leads {name} elsewhere; give another --out")


def _links(folder: Path, top: Path) -> frozenset[str]:
    """Names of the links in a folder; `.` where it is itself not below `top`."""
    if not folder.resolve().is_relative_to(top):
        return frozenset(".")
    if not folder.is_dir():
        return frozenset()
    with os.scandir(folder) as entries:
        return frozenset(entry.name for entry in entries if entry.is_symlink())


def explain(error: OSError, out: Path) -> str:
    """One sentence about results that could not be written, or what could not be read for them."""
    what = error.strerror or str(error)
    where = Path(error.filename or out)
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return f"{what}: {where}; make room and go on with --resume"
    one, other = where.absolute(), out.absolute()
    ours = one.is_relative_to(other) or other.is_relative_to(one)
    return f"cannot {'write' if ours else 'open'} {where}: {what}"


def listed(summary: Summary) -> Iterator[str]:
    """The skipped photos and what is incomplete, for a file."""
    yield from (f"{text}\n" for text in [*summary.skipped, *summary.notes])
