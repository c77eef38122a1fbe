"""`python -m focus_jax.weights import FILE --as encoder|segmenter|arcface OUT.safetensors`"""

import argparse
import sys
from collections.abc import Sequence

from focus_jax import weights
from focus_jax.weights.torch import NETWORKS, convert, read


def main(arguments: Sequence[str] | None = None) -> int:
    """Convert a PyTorch checkpoint; returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m focus_jax.weights", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    command = commands.add_parser("import", help="convert a PyTorch checkpoint; PyTorch not needed")
    command.add_argument("file", help="the checkpoint: .pth, .pt, .model; .onnx of ArcFace")
    command.add_argument("--as", dest="network", choices=NETWORKS, required=True)
    command.add_argument("--outputs", type=int, help="width of the encoder's output; default 257")
    command.add_argument("out", help="the safetensors file to write")
    options = parser.parse_args(arguments)
    try:
        state = read(options.file)
        variables = convert(state, options.network, outputs=options.outputs)
    except (ValueError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    weights.save(options.out, variables)
    numbers = sum(array.size for array in weights.flatten(variables["params"]).values())
    print(f"{options.out}: {numbers:,} weights")
    return 0


if __name__ == "__main__":
    sys.exit(main())
