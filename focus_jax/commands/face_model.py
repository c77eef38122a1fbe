"""Face models: `focus-jax face-model show MODEL [PICTURE.png]`, `... convert MODEL OUT.npz`."""

import argparse
import logging
import sys
from collections.abc import Sequence
from pathlib import Path

from focus_jax.face_models import describe_companions, load_face_model, npz, show
from focus_jax.rendering import pictures
from focus_jax.system.command import in_one_sentence
from focus_jax.system.files import check_apart, check_file, user_path


def main(arguments: Sequence[str] | None = None) -> int:
    """Convert or show a face model; returns the exit status."""
    parser = argparse.ArgumentParser(prog="focus-jax face-model", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    convert = commands.add_parser("convert", help="write any face model as this project's npz")
    convert.add_argument("model", help="'builtin', or the face model's file or folder")
    convert.add_argument("out", type=user_path, help="the npz to write")
    for kind, kept in (("identity", 80), ("expression", 64), ("albedo", 80)):
        convert.add_argument(f"--{kind}", type=int, default=kept, help=f"modes; default {kept}")
    convert.add_argument("--full", action="store_true", help="the whole mesh, not only the face")
    look = commands.add_parser("show", help="print what a face model has, and write a picture")
    look.add_argument("model", help="'builtin', or the face model's file or folder")
    look.add_argument("picture", type=user_path, nargs="?", default=Path("face_model.png"))
    options = parser.parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    logging.getLogger("jax").setLevel(logging.WARNING)
    return in_one_sentence(_convert if options.command == "convert" else _show)(options)


def _convert(options: argparse.Namespace) -> None:
    check_apart(options.model, options.out)
    check_file(options.out)
    model = load_face_model(
        options.model,
        identity=options.identity,
        expression=options.expression,
        albedo=options.albedo,
        mesh="full" if options.full else "cropped",
    )
    npz.write(options.out, model)
    size = options.out.stat().st_size / 1e6
    print(f"{options.out}: {len(model.shape_mean):,} vertices, {size:.1f} MB")
    print(f"its licence stays that of {options.model}: {model.licence or 'not stated'}")


def _show(options: argparse.Namespace) -> None:
    check_file(options.picture)
    every = sys.maxsize
    cropped = load_face_model(options.model, identity=every, expression=every, albedo=every)
    full = load_face_model(options.model, identity=1, expression=1, albedo=1, mesh="full")
    print(show.describe(cropped, full))
    if beside := describe_companions(options.model):
        print(beside)
    pictures.write_png(options.picture, show.picture(cropped, full))
    print(f"picture: {options.picture}")
