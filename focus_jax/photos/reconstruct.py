"""From photos to faces: `focus-reconstruct PATH... --out DIR`; a PATH is a photo, folder or video.

Finds every face, fits the face model and the mask, and writes for each face meshes, masks,
pictures and numbers into DIR/PHOTO/NUMBER/, and DIR/index.html to look at them. Of a video it
follows one person: DIR/VIDEO/overlay.mp4, track.jsonl, and the best frame's face in DIR/VIDEO/0/.
"""

import argparse
import json
import logging
import sys
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

from focus_jax.data.detect import landmark_source
from focus_jax.data.faces import Face, Found, Photo, check_path, find_photos
from focus_jax.photos import page, process, results, video
from focus_jax.photos.inference import Inference
from focus_jax.photos.trained import Model, load_model
from focus_jax.system import cpu
from focus_jax.system.command import keep_programs

STEPS = 100  # of refinement, where no trained model has found the face


def main(argv: Sequence[str] | None = None) -> int:
    """The command; returns its exit status."""
    parser = common_arguments(__doc__)
    parser.add_argument(
        "--refine",
        type=int,
        metavar="N",
        help="steps of gradient descent on each face (default: 0, without a model 100)",
    )
    parser.add_argument(
        "--face-model", help="without a trained model (--model none): builtin, or a file"
    )
    return run(parser.parse_args(argv), _reconstruct)


def common_arguments(description: str | None) -> argparse.ArgumentParser:
    """What this command and `focus-segment` have in common."""
    parser = argparse.ArgumentParser(
        description=description, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "paths", nargs="+", metavar="PATH", help="photos, videos, or folders of them"
    )
    parser.add_argument("--out", required=True, metavar="DIR", help="where results go")
    parser.add_argument(
        "--model",
        help="shipped (the default), the model of this package; the folder of a training run or of "
        "an exported model; or none, which fits each face by gradient descent",
    )
    parser.add_argument(
        "--landmarks",
        default="dlib",
        help="dlib (the default); files: NAME.pts or NAME.npz beside a photo; a .csv; or "
        "mediapipe's face_landmarker.task",
    )
    parser.add_argument("--batch-size", type=int, default=8, help="faces at a time (default: 8)")
    parser.add_argument("--resume", action="store_true", help="pass over photos already done")
    parser.add_argument(
        "--strict", action="store_true", help="exit with 1 if a photo was skipped or has no face"
    )
    return parser


def run(arguments: argparse.Namespace, job: Any) -> int:
    """Run a command's job: errors as one sentence, an exit status at the end."""
    logging.basicConfig(level=logging.WARNING, format="%(message)s")
    cpu.prepare()
    keep_programs()
    out = Path(arguments.out)
    try:
        check_path(arguments.out, "a folder as --out")
        found = _photos(arguments)
        summary = job(arguments, out, found)
        _write_skipped(out, summary)
    except KeyboardInterrupt:
        print("stopped; run the same command with --resume to go on", file=sys.stderr)
        return 130
    except OSError as error:
        print(f"error: {process.explain(error, out)}", file=sys.stderr)
        return 1
    except ValueError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    print(summary.line())
    return int(arguments.strict and bool(summary.skipped))


def _photos(arguments: argparse.Namespace) -> Found:
    if arguments.batch_size < 1:
        raise ValueError(f"--batch-size must be at least 1, not {arguments.batch_size}")
    found = find_photos(arguments.paths, Path(arguments.out))
    for problem in found.problems:
        print(f"skipped {problem}", file=sys.stderr)
    if not found.photos and not found.videos:
        why = f": {'; '.join(found.problems)}" if found.problems else ""
        raise ValueError(f"no photos in {', '.join(arguments.paths)}{why}")
    if found.others:
        print(f"{found.others} other files left alone", file=sys.stderr)
    return found


def _write_skipped(out: Path, summary: process.Summary) -> None:
    path = out / "skipped.txt"
    path.write_text("".join(process.listed(summary)))


def _reconstruct(arguments: argparse.Namespace, out: Path, found: Found) -> process.Summary:
    for photo in found.photos + found.videos:
        if (out / photo.name).is_file():
            raise ValueError(f"{out} holds {photo.name} itself; give another folder as --out")
    process.check_inside(out, [photo.name for photo in found.photos + found.videos])
    model, steps = prepare(arguments)
    if model.method is None:
        print(
            "without a model each face is fitted from nothing and its mask is a threshold: slower "
            "and rougher than with one",
            file=sys.stderr,
        )
    shared = results.share(model)
    process.claim_folder(out, settings(arguments, model, steps), resume=arguments.resume)

    def write(photo: Photo, image: np.ndarray, faces: list[tuple[Face, Inference]]) -> None:
        folder = out / photo.name
        for face, inference in faces:
            where = folder / str(face.number)
            results.write_face(where, photo.name, image, face, inference, shared)
        # Last, since it says that the photo is done.
        results.write_text(folder / "done.json", json.dumps({"faces": len(faces)}) + "\n")

    def done(photo: Photo) -> bool:
        return arguments.resume and (out / photo.name / "done.json").is_file()

    source = landmark_source(arguments.landmarks)
    summary = process.process(
        found.photos,
        model,
        source,
        write,
        steps=steps,
        batch_size=arguments.batch_size,
        done=done,
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
                batch_size=arguments.batch_size,
            )
        except process.FAILURES as problem:
            reason = process.sentence(problem).removeprefix(f"{clip.path} ")
            skipped.append(f"{clip.name} ({reason})")
            print(f"skipped {skipped[-1]}", file=sys.stderr)
            continue
        videos, frames = videos + 1, frames + count
        results.write_text(out / clip.name / "done.json", json.dumps({"frames": count}) + "\n")
    before = summary.before + len(found.videos) - len(todo)
    summary = summary._replace(skipped=skipped, before=before, videos=videos, frames=frames)
    page.write_page(out)
    return summary


def prepare(arguments: argparse.Namespace) -> tuple[Model, int]:
    """The model, and the steps of refinement."""
    # A face model of the user's own goes with no trained one.
    name = arguments.model or ("none" if arguments.face_model else "shipped")
    steps = arguments.refine
    if steps is None:
        steps = STEPS if name == "none" else 0
    if steps < 0:
        raise ValueError(f"--refine must be 0 or more, not {steps}")
    return load_model(name, arguments.face_model), steps


def settings(arguments: argparse.Namespace, model: Model, steps: int) -> dict[str, Any]:
    """What results depend on, for run.json."""
    return {
        "version": version("focus_jax"),
        "model": model.name,
        "weights": model.weights,
        "face_model": model.face_model.name,
        "misfit_prior": model.misfit is not None,
        "landmarks": arguments.landmarks,
        "refine": steps,
    }


if __name__ == "__main__":
    sys.exit(main())
