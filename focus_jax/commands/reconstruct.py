"""Faces of photos: `focus-jax reconstruct PATH... --out DIR`; PATHs are photos, folders, videos.

Finds every face, fits the face model and the mask, and writes for each face meshes, masks,
pictures and numbers into DIR/PHOTO/NUMBER/, and DIR/index.html to look at them. Of a video it
follows each person: DIR/VIDEO/overlay.webm, track.jsonl and the best frame's face in 0/ of who is
longest in view; of the next person1/track.jsonl and 1/, and so on.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from focus_jax.commands import arguments as common
from focus_jax.data.detect import landmark_source
from focus_jax.data.faces import Found
from focus_jax.photos import process, results, sound
from focus_jax.photos.reconstruct import check_names, clear_all, reconstruct_files
from focus_jax.photos.video_files import CODECS, check_codec
from focus_jax.system.files import user_path


def main(argv: Sequence[str] | None = None, *, program: str = "focus-reconstruct") -> int:
    """The command; returns its exit status."""
    parser = common.of_photos(program, __doc__)
    parser.add_argument(
        "--refine",
        type=int,
        metavar="N",
        help="steps of gradient descent on each face (default: 0, without a model 100)",
    )
    parser.add_argument(
        "--write",
        default=",".join(results.WRITTEN),
        metavar="KIND,...",
        help=f"what is written of a face, by default {','.join(results.WRITTEN)}: "
        + "; ".join(f"{kind} ({files})" for kind, files in results.KINDS.items()),
    )
    parser.add_argument(
        "--export",
        default="",
        metavar="KIND,...",
        help="written beside what --write says: "
        + "; ".join(f"{kind} ({results.KINDS[kind]})" for kind in results.EXPORTS)
        + "; flame=FILE or gnm=FILE (flame.npz, gnm.npz: the face in the parameters of that head, "
        "of which FILE is your own)",
    )
    parser.add_argument(
        "--same-person",
        action="store_true",
        help="the photos of a folder, or those that are named, are one person's: one identity and "
        "albedo, and DIR/person.glb with the texture of all",
    )
    parser.add_argument(
        "--video-codec",
        choices=tuple(CODECS),
        default="vp8",
        help="of a video's overlay: vp8 (the default) and vp9 (smaller, slower) as .webm, h264 "
        "(where this machine's OpenCV has it) and mpeg4 (no browser plays it) as .mp4",
    )
    return common.run(parser.parse_args(argv), _job)


def _folders(given: Sequence[str]) -> set[Path]:
    """The folders among paths; archives are such."""
    paths = {user_path(path).resolve() for path in given}
    return {path for path in paths if path.is_dir() or path.suffix.lower() == ".tar"}


def _job(arguments: argparse.Namespace, out: Path, found: Found) -> process.Summary:
    exported, heads = results.exports(arguments.export)
    write = results.kinds([*arguments.write.split(","), *exported])
    check_names(found, out)
    # Photos are named below the folder that is given: those of two would be of one person.
    if arguments.same_person and len(_folders(arguments.paths)) > 1:
        raise ValueError(
            "--same-person takes one folder or .tar file; of several people give the common folder"
        )
    if arguments.same_person and found.videos:
        raise ValueError("--same-person is of photos; in a video people are told apart anyway")
    if found.videos:
        check_codec(arguments.video_codec)
    if found.videos and not sound.installed():
        print(
            'overlays will be silent: sound needs `pip install "focus_jax[sound]"`', file=sys.stderr
        )
    model, steps = common.model_and_steps(arguments)
    if model.networks is None:
        print(
            "without a model each face is fitted from nothing and its mask is a threshold: slower "
            "and rougher than with one",
            file=sys.stderr,
        )
    # What is refused is refused before results of before are removed.
    shared, source = results.share(model, write, heads), landmark_source(arguments.landmarks)
    settings = process.settings("reconstruct", model, steps, arguments.landmarks)
    settings["write"] = sorted(write) + sorted(f"{kind}={path}" for kind, path in heads.items())
    if arguments.same_person:
        settings["same_person"] = True
    if process.claim_folder(out, settings, resume=arguments.resume, overwrite=arguments.overwrite):
        clear_all(out)
    return reconstruct_files(
        found,
        out,
        shared,
        source,
        steps=steps,
        batch_size=arguments.batch_size,
        resume=arguments.resume,
        codec=arguments.video_codec,
        same_person=arguments.same_person,
    )
