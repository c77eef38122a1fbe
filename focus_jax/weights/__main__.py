"""Weights as plain files.

python -m focus_jax.weights import FILE --as encoder|segmenter|arcface OUT.safetensors
python -m focus_jax.weights export RUN FOLDER       a trained model without its optimizers
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from focus_jax import weights
from focus_jax.weights.torch import NETWORKS, convert, read


def main(arguments: Sequence[str] | None = None) -> int:
    """Convert a PyTorch checkpoint, or export a run; returns the exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m focus_jax.weights",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    commands = parser.add_subparsers(dest="command", required=True)
    command = commands.add_parser("import", help="convert a PyTorch checkpoint; PyTorch not needed")
    command.add_argument("file", help="the checkpoint: .pth, .pt, .model; .onnx of ArcFace")
    command.add_argument("--as", dest="network", choices=NETWORKS, required=True)
    command.add_argument("--outputs", type=int, help="width of the encoder's output; default 257")
    command.add_argument("out", help="the safetensors file to write")
    command = commands.add_parser("export", help="a trained model as config and safetensors")
    command.add_argument("run", help="the folder of a training run")
    command.add_argument("folder", help="the folder to write")
    options = parser.parse_args(arguments)
    if options.command == "export":
        return _export(Path(options.run), Path(options.folder))
    try:
        variables = _import(options.file, options.network, options.outputs)
        weights.save(options.out, variables)
    except FileNotFoundError as error:
        print(f"error: there is no file {error.filename or options.file}", file=sys.stderr)
        return 1
    except (ValueError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    numbers = sum(array.size for array in weights.flatten(variables["params"]).values())
    print(f"{options.out}: {numbers:,} weights")
    return 0


def _import(file: str, network: str, outputs: int | None) -> dict:
    state = read(file)
    try:
        return convert(state, network, outputs=outputs)
    except ValueError as error:
        raise ValueError(f"{file} as {network}: {error}") from None


def _export(run: Path, folder: Path) -> int:
    # Here, since importing a checkpoint needs none of the training.
    from focus_jax.weights.run import export

    try:
        size = export(run, folder)
    except (ValueError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    print(f"{folder}: {size / 1e6:.1f} MB")
    return 0


if __name__ == "__main__":
    sys.exit(main())
