"""An exported model whose segmenter has so many times the channels, and gives the same masks.

    python -m experiments.widen_segmenter MODEL OUT [--times 2] [--seed 0]

Each channel stands there so many times, and what read it reads its copies in random shares whose
sum is one: the same function, from which a training goes on with more to learn with (Chen et al.,
Net2Net, ICLR 2016). Such a training needs `--config.segmenter.width`, which is printed.
"""

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from focus_jax import weights
from focus_jax.weights import hub
from focus_jax.weights.run import export

SPREAD = 0.25  # deviation of the shares, before they are made to add up
FIRST, LAST = ("down1", "conv1"), ("head", "smooth")


def main(argv: Sequence[str] | None = None) -> int:
    """The command; returns its exit status."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("model", metavar="MODEL", help="shipped, a run or an export")
    parser.add_argument("out", metavar="OUT", type=Path)
    parser.add_argument("--times", type=int, default=2, help="as many channels; at least 2")
    parser.add_argument("--seed", type=int, default=0, help="of the shares")
    arguments = parser.parse_args(argv)
    try:
        if arguments.times < 2:
            raise ValueError(f"--times must be at least 2, not {arguments.times}")
        if arguments.out.exists():
            raise ValueError(f"{arguments.out} exists; give a folder that does not")
        export(arguments.model, arguments.out)
    except (OSError, ValueError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    path = arguments.out / "segmenter.safetensors"
    made = widened(weights.load(path), arguments.times, np.random.default_rng(arguments.seed))
    weights.save(path, made)
    settings = arguments.out / "config.json"
    config = json.loads(settings.read_text())
    config["segmenter"]["width"] *= arguments.times
    settings.write_text(json.dumps(config, indent=2, sort_keys=True) + "\n")
    hub.write_sums(arguments.out)
    print(f"{arguments.out}: --config.segmenter.width={config['segmenter']['width']}")
    return 0


def widened(variables: dict[str, Any], times: int, rng: np.random.Generator) -> dict[str, Any]:
    """Variables of a segmenter of `times` the width, of the same function and types."""

    def walk(tree: dict[str, Any], path: tuple[str, ...]) -> dict[str, Any]:
        found = {}
        for name, value in tree.items():
            here = (*path, name)
            if isinstance(value, dict):
                found[name] = walk(value, here)
                continue
            values = np.asarray(value, np.float32)
            if here[1] == "smooth":  # of the mask, not of channels
                found[name] = value
                continue
            if name == "kernel" and here[1:3] != FIRST:
                values = _shared(values, times, rng)
            if here[1] not in LAST:
                values = np.repeat(values, times, axis=-1)
            found[name] = values.astype(np.asarray(value).dtype)
        return found

    return walk(variables, ())


def _shared(kernel: np.ndarray, times: int, rng: np.random.Generator) -> np.ndarray:
    """A kernel `[h w in out]` for inputs that are there `times` times each."""
    shares = rng.normal(0.0, SPREAD, (*kernel.shape[2:3], times, kernel.shape[3]))
    shares += 1 / times - shares.mean(axis=1, keepdims=True)
    parts = kernel[:, :, :, None] * shares
    return parts.reshape(*kernel.shape[:2], -1, kernel.shape[3]).astype(np.float32)


if __name__ == "__main__":
    sys.exit(main())
