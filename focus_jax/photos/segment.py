"""Masks of files, written into a folder: two pictures a photo, whatever faces it has."""

import json
import os
import threading
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np

from focus_jax.data.detect import Source
from focus_jax.data.faces import Face, Found, Photo
from focus_jax.photos import process
from focus_jax.photos.inference import Masks, infer_masks
from focus_jax.photos.masks import joined_masks
from focus_jax.photos.packs import Pack
from focus_jax.photos.trained import Model
from focus_jax.rendering.pictures import write_image
from focus_jax.system.files import bare, read_json

# In the folder of results, of each shard: a line a photo that is begun, and another once it is
# done, with its files; of one without a face that has none.
RECORD = "masks.jsonl"


def mask_names(photo: str, *, visible_skin: bool, whole: bool = False) -> list[str]:
    """Names of a photo's masks: of the face, and of what hides it; `whole` keeps its suffix."""
    stem = photo if whole else bare(Path(photo)).as_posix()
    if visible_skin:
        return [f"{stem}_visible_skin_mask.png"]
    return [f"{stem}_mask.png", f"{stem}_occlusion.png"]


def one_to_one(photos: Iterable[str], *, visible_skin: bool) -> dict[str, list[str]]:
    """`mask_names` of each photo; those that would share theirs keep their suffix, all of them.

    None keeps the short name, so that it never means another photo once a photo is added.
    """
    names = {photo: mask_names(photo, visible_skin=visible_skin) for photo in photos}
    while True:
        count = Counter(masks[0] for masks in names.values())
        shared = {photo for photo, masks in names.items() if count[masks[0]] > 1}
        longer = {p: mask_names(p, visible_skin=visible_skin, whole=True) for p in shared}
        if all(names[photo] == masks for photo, masks in longer.items()):
            return names
        names |= longer


def check_names(found: Found, out: Path, *, visible_skin: bool = False) -> dict[str, list[str]]:
    """Names of each photo's masks, no two alike; ValueError where a link leads one elsewhere."""
    names = one_to_one((p.name for p in found.photos), visible_skin=visible_skin)
    process.check_inside(out, [name for masks in names.values() for name in masks])
    return names


def check_own(out: Path, names: dict[str, list[str]]) -> None:
    """ValueError where a mask would replace a file, one of the photos even, that no run wrote."""
    about = out / "run.json"
    if about.is_file() and "command" not in read_json(about):
        return  # of before masks were recorded as soon as they were begun
    # First what is there: whoever else writes records a mask before it is there.
    there = list(_there(out, (file for masks in names.values() for file in masks)))
    lines = (line for record in _records(out) for line in _lines(out, record))
    own = {file for _, files, _ in lines for file in files}
    if strange := [file for file in there if file not in own]:
        raise ValueError(
            f"{out / strange[0]} is of no earlier run and would be replaced; give another --out"
        )


def _there(out: Path, files: Iterable[str]) -> Iterator[str]:
    """Which of the files there are; each folder is listed once."""
    listed: dict[str, frozenset[str]] = {}
    for file in files:
        folder, _, name = file.rpartition("/")
        if folder not in listed:
            where = out / folder
            listed[folder] = frozenset(os.listdir(where) if where.is_dir() else ())
        if name in listed[folder]:
            yield file


def read_record(out: Path, record: str = RECORD) -> dict[str, list[str]]:
    """Photos of which earlier runs wrote all masks into `out`, and the masks' names; none for
    photos without a face."""
    found = {}
    for photo, files, begun in _lines(out, record):
        found.pop(photo, None)
        if not begun:
            found[photo] = files
    return found


def _lines(out: Path, record: str) -> Iterator[tuple[str, list[str], bool]]:
    """Of each line of a record the photo, the masks' names, and whether they are only begun."""
    path = out / record
    lines = path.read_text(encoding="utf-8").splitlines() if path.is_file() else []
    for line in lines:
        try:
            told = json.loads(line)
            yield str(told["photo"]), [str(file) for file in told["files"]], "begun" in told
        except (ValueError, KeyError, TypeError):
            continue  # the last line of a run that was killed


def clear_all(out: Path) -> None:
    """Remove the masks that earlier runs wrote, shards too, and what is known of them."""
    for record in _records(out):
        for _, files, _ in _lines(out, record):
            _remove(out, files)
        (out / record).unlink(missing_ok=True)


def _records(out: Path) -> list[str]:
    """Names of the records in `out`, of runs and of shards."""
    return [path.name for end in ("", "-*-of-*") for path in out.glob(f"masks{end}.jsonl")]


def _remove(out: Path, files: Iterable[str]) -> None:
    for name in files:
        # A record that was edited removes nothing elsewhere.
        if (out / name).resolve().is_relative_to(out.resolve()):
            (out / name).unlink(missing_ok=True)


def segment_files(
    found: Found,
    out: Path,
    names: dict[str, list[str]],
    model: Model,
    source: Source,
    *,
    steps: int = 0,
    batch_size: int = 8,
    resume: bool = False,
    record: str = RECORD,
) -> process.Summary:
    """Write the masks of every photo below `out` by its `names` (`check_names`).

    With `resume` photos that are done, or showed no face, are passed over; one that fails is
    skipped and counted. `record` is the name of the file that says which are done, a shard's own.
    OSError where results cannot be written.
    """

    before = read_record(out, record)
    lock = threading.Lock()
    owners = {file: photo for photo, files in names.items() for file in files}

    def tell(photo: str, files: list[str], **more: bool) -> None:
        line = json.dumps({"photo": photo, "files": files, **more}) + "\n"
        with lock, (out / record).open("a", encoding="utf-8") as file:
            file.write(line)

    def clear(photo: str, kept: list[str]) -> None:
        """Remove what there is of a photo; a name may be another photo's by now."""
        old = (file for file in before.get(photo, []) if owners.get(file, photo) == photo)
        _remove(out, set(old) - set(kept))

    def write(photo: Photo, image: np.ndarray, faces: list[tuple[Face, Masks]]) -> None:
        masks, files = joined_masks(image, faces), names[photo.name]
        tell(photo.name, files, begun=True)  # first: what no line names is not ours to replace
        for name, mask in zip(files, masks, strict=False):
            (out / name).parent.mkdir(parents=True, exist_ok=True)
            write_image(out / name, mask)
        clear(photo.name, files)
        # Last, since it says that the photo is done.
        tell(photo.name, files)

    def skip(line: str) -> None:
        name, reason = process.name_and_reason(line)
        clear(name, [])
        if reason == process.NO_FACE:
            tell(name, [])

    def done(photo: Photo) -> bool:
        files = names[photo.name]
        told = resume and before.get(photo.name) == files
        return told and all(os.path.isfile(out / file) for file in files)

    faceless = {name for name, files in before.items() if resume and not files}
    passed = {photo.name for photo in found.photos if done(photo)}
    summary = process.process(
        [photo for photo in found.photos if photo.name not in faceless],
        model,
        source,
        write,
        steps=steps,
        batch_size=batch_size,
        done=lambda photo: photo.name in passed,
        look=infer_masks,
        tell=skip,
    )
    lines = [f"{p.name} ({process.NO_FACE})" for p in found.photos if p.name in faceless]
    return _with_left_out(summary.with_faceless(lines), found)


def segment_pack(
    found: Found,
    pack: Pack,
    model: Model,
    source: Source,
    *,
    steps: int = 0,
    batch_size: int = 8,
) -> process.Summary:
    """Write the masks of every photo into an archive, and pass over those that it has.

    Photos that showed an earlier run no face are counted and listed as if it were now. OSError
    where the archive cannot be written.
    """
    lines = [f"{p.name} ({pack.left_out[p.name]})" for p in found.photos if p.name in pack.left_out]
    if pack.whole:
        before = len(found.photos) - len(lines)
        return _with_left_out(process.Summary(0, 0, before, []).with_faceless(lines), found)
    for line in _left_out(found):
        pack.skip(line)
    summary = process.process(
        [photo for photo in found.photos if photo.name not in pack.left_out],
        model,
        source,
        lambda photo, image, faces: pack.add(photo.name, joined_masks(image, faces)),
        steps=steps,
        batch_size=batch_size,
        done=lambda photo: photo.name in pack.done,
        look=infer_masks,
        tell=pack.skip,
    )
    pack.finish()
    return _with_left_out(summary.with_faceless(lines), found)


def _left_out(found: Found) -> list[str]:
    videos = [f"{v.name} (a video; focus-jax reconstruct takes those)" for v in found.videos]
    return found.problems + videos


def _with_left_out(summary: process.Summary, found: Found) -> process.Summary:
    skipped = _left_out(found) + summary.skipped
    return summary._replace(skipped=skipped, unread=len(found.problems))
