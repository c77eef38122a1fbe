"""Faces of files, photos and videos, written into a folder with a page to look at them."""

import json
import os
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np

from focus_jax.data.faces import Face, Found, Photo
from focus_jax.data.landmarks import Source
from focus_jax.photos import confidence, page, process, results, video
from focus_jax.photos import same_person as people
from focus_jax.photos.inference import Inference
from focus_jax.photos.video_people import NoFace
from focus_jax.system.files import read_json

# What of a face is to be looked at, as the summary counts it.
LOW = f"of low confidence [below {confidence.LOW:g}]"
TURNED = "turned further than the model knows"
UNLIKE = "unlike the other photos of the person"
STILL = "that refinement did not change"


def check_names(found: Found, out: Path) -> None:
    """ValueError where a result's folder would be one of the files, or lie elsewhere, or where an
    index.html is not of an earlier run."""
    if os.path.isfile(out / "index.html") and not os.path.isfile(out / "run.json"):
        raise ValueError(f"{out} holds an index.html of no earlier run; give another --out")
    for photo in found.photos + found.videos:
        if os.path.isfile(out / photo.name):
            raise ValueError(f"{out} holds {photo.name} itself; give another folder as --out")
    process.check_inside(out, [photo.name for photo in found.photos + found.videos])


def clear_all(out: Path) -> None:
    """Remove what earlier runs into `out` wrote of all photos, videos and people."""
    found = list(process.written(out, ("done.json", "face.json", "person.json")))
    for path in found:
        if path.name == "person.json" and _of_a_run(path):
            for name in people.FILES:
                path.with_name(name).unlink(missing_ok=True)
    for path in found:
        if path.name != "person.json" and path.exists():
            results.clear(path.parent if path.name == "done.json" else path.parent.parent)


def _of_a_run(path: Path) -> bool:
    """Whether a person.json is one that `write_person` wrote, not the user's own."""
    try:
        return read_json(path).keys() == {"identity", "albedo", "photos"}
    except ValueError:
        return False


def remarks(numbers: dict[str, Any]) -> list[str]:
    """What is to be looked at in a face, of its numbers."""
    refined = numbers["refinement"] or {"landmark": (0, 1)}
    cases = {
        LOW: numbers["confidence"] < confidence.LOW,
        TURNED: bool(numbers["flags"]),
        STILL: all(before == after for before, after in refined.values()),
    }
    return [what for what, so in cases.items() if so]


def reconstruct_files(
    found: Found,
    out: Path,
    shared: results.Shared,
    source: Source,
    *,
    steps: int = 0,
    batch_size: int = 8,
    resume: bool = False,
    codec: str = "vp8",
    same_person: bool = False,
) -> process.Summary:
    """Write OUT/NAME/NUMBER/ for every face of the photos, OUT/NAME/ of each video, and the page.

    `steps` are those of refinement, `codec` is of videos. With `resume` files that are done, or
    showed no face, are passed over; what was there of others is replaced. With `same_person` the
    photos of a folder are one person's. A file that fails is skipped and counted. OSError where
    results cannot be written.
    """
    counts: Counter[str] = Counter()
    told = {p.name: _told(out / p.name, resume) for p in found.photos + found.videos}
    stale = {name for name, about in told.items() if about is None}
    faceless = {n: about["reason"] for n, about in told.items() if about and "reason" in about}

    def write_photo(photo: Photo, image: np.ndarray, faces: list[tuple[Face, Inference]]) -> None:
        folder = out / photo.name
        results.clear(folder)
        stale.discard(photo.name)
        for face, inference in faces:
            where = folder / str(face.number)
            numbers = results.write_face(where, photo.name, image, face, inference, shared)
            counts.update(remarks(numbers))
        # Last, since it says that the photo is done.
        results.write_text(folder / "done.json", json.dumps({"faces": len(faces)}) + "\n")

    def remember(name: str, reason: str) -> None:
        """That a file shows no face, so that it is not searched again."""
        folder = out / name
        try:
            results.clear(folder)
            folder.mkdir(parents=True, exist_ok=True)
            about = {"faces": 0, "reason": reason}
            results.write_text(folder / "done.json", json.dumps(about) + "\n")
        except OSError as problem:
            process.raise_if_general(problem)
        stale.discard(name)

    def skip(line: str) -> None:
        name, reason = process.name_and_reason(line)
        if reason == process.NO_FACE:
            remember(name, reason)

    def write_person(name: str, views: list[people.View]) -> None:
        counts[UNLIKE] += sum(people.unlike(view, shared.model) for view in views)
        people.write_person(out / name, views, shared)

    options: dict[str, Any] = {"steps": steps, "batch_size": batch_size}
    options["done"] = lambda photo: photo.name not in stale
    options["tell"] = skip
    photos = [photo for photo in found.photos if photo.name not in faceless]
    given = photos, shared.model, source, write_photo
    if same_person:
        summary = people.process_people(*given, **options, person=write_person)
    else:
        summary = process.process(*given, **options)
    lines = [f"{p.name} ({faceless[p.name]})" for p in found.photos if p.name in faceless]
    summary = summary.with_faceless(lines)
    todo = [clip for clip in found.videos if clip.name in stale]
    again = [clip for clip in found.videos if clip.name in faceless]
    skipped, notes, videos, frames = list(summary.skipped), [], 0, 0
    skipped += [f"{clip.name} ({faceless[clip.name]})" for clip in again]
    for clip in todo:
        try:
            results.clear(out / clip.name)
            stale.discard(clip.name)
            clip_found = video.reconstruct_video(
                clip.path,
                out / clip.name,
                clip.name,
                shared,
                source,
                steps=steps,
                batch_size=batch_size,
                codec=codec,
            )
        except (*process.FAILURES, OSError) as problem:
            reason = process.sentence(problem)
            reason = reason.removeprefix(f"{process.sentence(ValueError(clip.path))} ")
            wrong = isinstance(problem, OSError)
            line = process.why_unwritten(clip.name, problem) if wrong else f"{clip.name} ({reason})"
            skipped.append(line)
            if isinstance(problem, NoFace):
                remember(clip.name, reason)
            print(f"skipped {skipped[-1]}", file=sys.stderr)
            continue
        videos, frames = videos + 1, frames + clip_found.tracked
        counts["frames that show only other faces"] += clip_found.others
        counts["more people in videos"] += clip_found.people - 1
        if clip_found.problem():
            notes.append(f"{clip.name} ({clip_found.problem()})")
            print(notes[-1], file=sys.stderr)
        results.write_text(out / clip.name / "done.json", json.dumps(clip_found.numbers()) + "\n")
    for name in stale:  # had a face once, and cannot be read now
        try:
            results.clear(out / name)
        except OSError as problem:
            process.raise_if_general(problem)
    before = summary.before + len(found.videos) - len(todo) - len(again)
    if "page" in shared.write and shared.surface is not None:
        page.write_page(out, shared.surface.atlas)
    return summary._replace(
        skipped=found.problems + skipped,
        unread=len(found.problems),
        before=before,
        videos=videos,
        frames=frames,
        notes=tuple(notes),
        remarks=tuple(f"{count} {what}" for what, count in sorted(counts.items()) if count),
    )


def _told(folder: Path, resume: bool) -> dict[str, Any] | None:
    """What an earlier run says of a file that it was done with; a damaged word is none."""
    path = folder / "done.json"
    try:
        return read_json(path) if resume and os.path.isfile(path) else None
    except (OSError, ValueError):
        return None
