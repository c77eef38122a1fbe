"""Weights as plain files.

focus-jax weights import FILE --as encoder|segmenter|arcface OUT.safetensors
focus-jax weights export RUN FOLDER       a trained model without its optimizers
focus-jax weights export RUN FOLDER --onnx      and its networks as ONNX
"""

import argparse
from collections.abc import Sequence

from focus_jax import weights
from focus_jax.commands.arguments import add_face_model
from focus_jax.system.command import in_one_sentence
from focus_jax.system.files import check_apart, check_file, check_folder, user_path
from focus_jax.weights import hub, to_onnx
from focus_jax.weights.run import export
from focus_jax.weights.torch import NETWORKS, convert, read


def main(arguments: Sequence[str] | None = None) -> int:
    """Convert a PyTorch checkpoint, or export a run; returns the exit status."""
    parser = argparse.ArgumentParser(
        prog="focus-jax weights",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    commands = parser.add_subparsers(dest="command", required=True)
    command = commands.add_parser("import", help="convert a PyTorch checkpoint; PyTorch not needed")
    command.add_argument(
        "file",
        type=user_path,
        help="the checkpoint: .pth, .pt, .model, .safetensors; .onnx of ArcFace",
    )
    command.add_argument("--as", dest="network", choices=NETWORKS, required=True)
    command.add_argument("--outputs", type=int, help="width of the encoder's output; default 257")
    command.add_argument("out", type=user_path, help="the safetensors file to write")
    command = commands.add_parser("export", help="a trained model as config and safetensors")
    command.add_argument("run", help="the folder of a training run")
    command.add_argument("folder", type=user_path, help="the folder to write")
    command.add_argument(
        "--onnx",
        action="store_true",
        help="also encoder.onnx and segmenter.onnx (extra `onnx`)",
    )
    add_face_model(command)
    options = parser.parse_args(arguments)
    return in_one_sentence(_export if options.command == "export" else _import)(options)


def _import(options: argparse.Namespace) -> None:
    check_apart(options.file, options.out)
    check_file(options.out)
    try:
        state = read(str(options.file))
    except FileNotFoundError:
        raise ValueError(f"there is no file {options.file}") from None
    except IsADirectoryError:
        raise ValueError(f"{options.file} is a folder; give the checkpoint in it") from None
    try:
        variables = convert(state, options.network, outputs=options.outputs)
    except ValueError as error:
        raise ValueError(f"{options.file} as {options.network}: {error}") from None
    weights.save(options.out, variables)
    numbers = sum(array.size for array in weights.flatten(variables["params"]).values())
    print(f"{options.out}: {numbers:,} weights")


def _export(options: argparse.Namespace) -> None:
    check_folder(options.folder)
    if options.onnx:
        to_onnx.check_installed()
    size = export(options.run, options.folder, options.face_model)
    print(f"{options.folder}: {size / 1e6:.1f} MB")
    if options.onnx:
        for path in to_onnx.write(options.run, options.folder, options.face_model):
            print(f"{path}: {path.stat().st_size / 1e6:.1f} MB")
        hub.write_sums(options.folder)
