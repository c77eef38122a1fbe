"""A folder of photos made ready for training: `focus-jax prepare FOLDER OUT`.

OUT becomes what `--config.data.root` reads: crops around each face in Dataset/, and their landmarks
in train_landmarks.csv and val_landmarks.csv, dense ones in an npz beside each where the detector
gives them. Beside them: the same faces aligned as ArrayRecord in records/train and
records/validation (`data.records.open_records`), report.txt with all that was dropped and why, and
contact.jpg, a sheet of faces with their landmarks to look over. After an interruption the same
command goes on where it was.
"""

import argparse
from collections.abc import Sequence

from focus_jax.commands.arguments import add_landmarks, in_range
from focus_jax.data.detect import landmark_source
from focus_jax.data.faces import find_photos
from focus_jax.data.prepare import SIZES, prepare
from focus_jax.system.command import in_one_sentence
from focus_jax.system.files import check_folder, check_path, user_path


def main(argv: Sequence[str] | None = None) -> int:
    """The command; returns its exit status."""
    parser = argparse.ArgumentParser(
        prog="focus-jax prepare",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("folder", metavar="FOLDER")
    parser.add_argument("out", metavar="OUT")
    add_landmarks(parser)
    parser.add_argument(
        "--size", type=int, default=224, help="pixels of the records (default: 224)"
    )
    return in_one_sentence(_prepare)(parser.parse_args(argv))


def _prepare(arguments: argparse.Namespace) -> None:
    check_path(arguments.out, "a folder as OUT")
    out = user_path(arguments.out)
    check_folder(out)
    in_range(arguments.size, "--size", *SIZES)
    if out.resolve() == user_path(arguments.folder).resolve():
        raise ValueError("OUT is the photos' own folder; choose another, which may lie in it")
    found = find_photos([arguments.folder], out)
    if not found.photos:
        why = f": {'; '.join(found.problems)}" if found.problems else ""
        raise ValueError(f"no photos in {arguments.folder}{why}")
    source = landmark_source(arguments.landmarks)
    begun = {
        "FOLDER": str(user_path(arguments.folder).resolve()),
        "--landmarks": str(arguments.landmarks),
    }
    try:
        counts, dropped = prepare(found, source, out, size=arguments.size, begun=begun)
    except OSError as error:
        raise OSError(
            f"{error.strerror or error}: {error.filename or out}; when that is mended, the same "
            "command goes on"
        ) from error
    print(
        f"{counts['train']} faces to train, {counts['validation']} to validate, {dropped} dropped "
        f"({out / 'report.txt'}); train with --config.data.root={out}"
    )
