"""Faces of files, photos and videos, written into a folder with a page to look at them."""

import json
import sys
from pathlib import Path

import numpy as np

from focus_jax.data.detect import Source
from focus_jax.data.faces import Face, Found, Photo
from focus_jax.photos import page, process, results, video
from focus_jax.photos.inference import Inference
from focus_jax.photos.trained import Model


def check_names(found: Found, out: Path) -> None:
    """ValueError where a result's folder would be one of the files, or lie elsewhere."""
    for photo in found.photos + found.videos:
        if (out / photo.name).is_file():
            raise ValueError(f"{out} holds {photo.name} itself; give another folder as --out")
    process.check_inside(out, [photo.name for photo in found.photos + found.videos])


def reconstruct_files(
    found: Found,
    out: Path,
    model: Model,
    source: Source,
    *,
    steps: int = 0,
    batch_size: int = 8,
    resume: bool = False,
) -> process.Summary:
    """Write OUT/NAME/NUMBER/ for every face of the photos, OUT/NAME/ of each video, and the page.

    `steps` are those of refinement. With `resume` files that are done are passed over; one that
    fails is skipped and counted. OSError where results cannot be written.
    """
    shared = results.share(model)

    def write(photo: Photo, image: np.ndarray, faces: list[tuple[Face, Inference]]) -> None:
        folder = out / photo.name
        for face, inference in faces:
            where = folder / str(face.number)
            results.write_face(where, photo.name, image, face, inference, shared)
        # Last, since it says that the photo is done.
        results.write_text(folder / "done.json", json.dumps({"faces": len(faces)}) + "\n")

    def done(photo: Photo) -> bool:
        return resume and (out / photo.name / "done.json").is_file()

    summary = process.process(
        found.photos, model, source, write, steps=steps, batch_size=batch_size, done=done
    )
    skipped = found.problems + summary.skipped
    todo, videos, frames = [v for v in found.videos if not done(v)], 0, 0
    for clip in todo:
        try:
            count = video.reconstruct_video(
                clip.path,
                out / clip.name,
                clip.name,
                shared,
                source,
                steps=steps,
                batch_size=batch_size,
            )
        except process.FAILURES as problem:
            reason = process.sentence(problem).removeprefix(f"{clip.path} ")
            skipped.append(f"{clip.name} ({reason})")
            print(f"skipped {skipped[-1]}", file=sys.stderr)
            continue
        videos, frames = videos + 1, frames + count
        results.write_text(out / clip.name / "done.json", json.dumps({"frames": count}) + "\n")
    before = summary.before + len(found.videos) - len(todo)
    page.write_page(out)
    return summary._replace(skipped=skipped, before=before, videos=videos, frames=frames)
