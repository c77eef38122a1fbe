"""Arguments that several commands have, and how those that look at photos run."""

import argparse
import sys
from collections.abc import Callable
from pathlib import Path

from focus_jax.data.detect import DEFAULT
from focus_jax.data.faces import Found, data_set_photos, find_photos
from focus_jax.photos import process, trained
from focus_jax.system import cpu, devices
from focus_jax.system.command import keep_programs, quiet
from focus_jax.system.files import check_folder, check_path, user_path

LISTED = 100  # files that are left alone, by their names
Job = Callable[[argparse.Namespace, Path, Found], process.Summary]


def add_landmarks(parser: argparse.ArgumentParser) -> None:
    """`--landmarks`, as `data.detect.landmark_source` understands it."""
    parser.add_argument(
        "--landmarks",
        default=DEFAULT,
        help="mediapipe (the default); dlib; mediapipe+dlib: dlib where the other finds no face; "
        "files: NAME.pts or NAME.npz beside a photo; or a .csv",
    )


def add_face_model(parser: argparse.ArgumentParser) -> None:
    """`--face-model`, of commands that use a trained model."""
    parser.add_argument(
        "--face-model",
        help="where the face model lies that the model was trained with, if it has moved; with "
        "--model none, where there is that: builtin, or a file",
    )


def of_photos(program: str, description: str | None) -> argparse.ArgumentParser:
    """What `reconstruct` and `segment` have in common."""
    parser = argparse.ArgumentParser(
        prog=program,
        description=description,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "paths", nargs="*", metavar="PATH", help="photos, videos, folders or .tar files of them"
    )
    parser.add_argument("--out", required=True, metavar="DIR", help="where results go")
    parser.add_argument(
        "--model",
        help="shipped (the default), the model of this package; the folder of a training run or of "
        "an exported model; hf://OWNER/NAME[@REVISION] of a hub; or none, which fits each face by "
        "gradient descent",
    )
    add_face_model(parser)
    add_landmarks(parser)
    parser.add_argument("--batch-size", type=int, default=8, help="faces at a time (default: 8)")
    parser.add_argument("--resume", action="store_true", help="pass over photos already done")
    parser.add_argument(
        "--overwrite", action="store_true", help="remove first what another run wrote into DIR"
    )
    parser.add_argument(
        "--strict",
        action="store_true",
        help="exit with 1 if a photo was skipped, has no face, or a video is damaged",
    )
    return parser


def run(arguments: argparse.Namespace, job: Job) -> int:
    """Run a job on photos: errors as one sentence, an exit status at the end."""
    quiet()
    cpu.prepare()
    keep_programs()
    out = Path(arguments.out).expanduser()
    try:
        devices.single_precision()
        devices.check()
        check_path(arguments.out, "a folder as --out")
        check_folder(out)
        summary = job(arguments, out, _photos(arguments))
        listed = "".join(process.listed(summary))
        if summary.listing:
            (out / summary.listing).write_text(listed, encoding="utf-8", errors="surrogateescape")
    except KeyboardInterrupt:
        print("stopped; run the same command with --resume to go on", file=sys.stderr)
        return 130
    except OSError as error:
        print(f"error: {process.explain(error, out)}", file=sys.stderr)
        return 1
    except (ValueError, ImportError) as error:  # the latter of an extra that is not installed
        print(f"error: {error}", file=sys.stderr)
        return 1
    print(summary.line())
    if summary.empty():
        print("no face was found in any of them", file=sys.stderr)
    return int(summary.empty() or (arguments.strict and bool(summary.skipped or summary.notes)))


def _photos(arguments: argparse.Namespace) -> Found:
    in_range(arguments.batch_size, "--batch-size", 1, process.MOST_AT_ONCE)
    data_set = getattr(arguments, "tfds", None)
    if bool(arguments.paths) == bool(data_set):
        raise ValueError("give photos or folders of them" + " or --tfds, not both" * bool(data_set))
    if data_set:
        return data_set_photos(data_set)
    out = user_path(arguments.out)
    found = find_photos(arguments.paths, out)
    for problem in found.problems:
        print(f"skipped {problem}", file=sys.stderr)
    if not found.photos and not found.videos:
        if any(user_path(path).resolve() == out.resolve() for path in arguments.paths):
            raise ValueError(f"{out} is the photos' own folder; give another folder as --out")
        why = f": {'; '.join(found.problems)}" if found.problems else ""
        raise ValueError(f"no photos in {', '.join(arguments.paths)}{why}")
    if found.others:
        # Of a million photos with a text each, nobody reads more.
        more = len(found.others) - LISTED
        listed = "".join(f"\n  {name}" for name in found.others[:LISTED])
        listed += f"\n  and {more} more" if more > 0 else ""
        print(f"{len(found.others)} other files left alone:{listed}", file=sys.stderr)
    return found


def model_and_steps(arguments: argparse.Namespace) -> tuple[trained.Model, int]:
    """The model, and the steps of refinement."""
    # A face model of the user's own goes with no trained one.
    name = arguments.model or ("none" if arguments.face_model else "shipped")
    steps = arguments.refine
    if steps is None:
        steps = trained.UNTRAINED_STEPS if name == "none" else 0
    in_range(steps, "--refine", 0, process.MOST_STEPS)
    return trained.load_model(name, arguments.face_model), steps


def in_range(value: int, name: str, least: int, most: int | None = None) -> int:
    """The value of an argument; ValueError, with its name, for one out of its range."""
    if value < least or (most is not None and value > most):
        wanted = f"at least {least}" if most is None else f"from {least} to {most}"
        raise ValueError(f"{name} must be {wanted}, not {value}")
    return value
