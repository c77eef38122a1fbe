"""An exported model whose segmenter has more channels, and gives the same masks.

    python -m experiments.widen_segmenter MODEL OUT --times 2 [--seed 0]
    python -m experiments.widen_segmenter MODEL OUT --fine 16

Each channel stands there so many times, and what read it reads its copies in random shares whose
sum is one: the same function, from which a training goes on with more to learn with (Chen et al.,
Net2Net, ICLR 2016). With `--fine` the segmenter gets so many channels at single pixels
(`Segmenter.fine`), which say nothing as yet. Such a training needs `--config.segmenter.width` and
`.fine`, which are printed.
"""

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import traverse_util

from focus_jax import weights
from focus_jax.networks.segmenter import Segmenter
from focus_jax.weights import hub
from focus_jax.weights.run import export, load_trained

SPREAD = 0.25  # deviation of the shares, before they are made to add up
FIRST, LAST = ("down1", "conv1"), ("head", "smooth")


def main(argv: Sequence[str] | None = None) -> int:
    """The command; returns its exit status."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("model", metavar="MODEL", help="shipped, a run or an export")
    parser.add_argument("out", metavar="OUT", type=Path)
    parser.add_argument("--times", type=int, default=1, help="as many channels")
    parser.add_argument("--fine", type=int, default=0, help="channels at single pixels")
    parser.add_argument("--seed", type=int, default=0, help="of what is drawn")
    arguments = parser.parse_args(argv)
    try:
        if arguments.times < 1 or arguments.fine < 0 or (arguments.times, arguments.fine) == (1, 0):
            raise ValueError("give --times of at least 2, or --fine of at least 1, or both")
        if arguments.out.exists():
            raise ValueError(f"{arguments.out} exists; give a folder that does not")
        if load_trained(arguments.model).config.segmenter.get("fine", 0):
            raise ValueError(f"{arguments.model} has fine channels, which cannot be multiplied")
        export(arguments.model, arguments.out)
    except (OSError, ValueError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    path = arguments.out / "segmenter.safetensors"
    settings = arguments.out / "config.json"
    config = json.loads(settings.read_text())
    made = weights.load(path)
    if arguments.times > 1:
        made = widened(made, arguments.times, np.random.default_rng(arguments.seed))
        config["segmenter"]["width"] *= arguments.times
    if arguments.fine:
        config["segmenter"]["fine"] = arguments.fine
        made = finer(made, config["segmenter"], arguments.seed)
    weights.save(path, made)
    settings.write_text(json.dumps(config, indent=2, sort_keys=True) + "\n")
    hub.write_sums(arguments.out)
    fields = {name: config["segmenter"].get(name, 0) for name in ("width", "fine")}
    told = " ".join(f"--config.segmenter.{name}={number}" for name, number in fields.items())
    print(f"{arguments.out}: {told}")
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


def finer(variables: dict[str, Any], settings: dict[str, Any], seed: int) -> dict[str, Any]:
    """Variables of the segmenter of `settings`, drawn where `variables` has none."""
    picture = jnp.zeros((1, 32, 32, 3))
    drawn = Segmenter(**settings).init(jax.random.key(seed), picture, picture)
    flat = traverse_util.flatten_dict(drawn) | traverse_util.flatten_dict(variables)
    kind = np.asarray(variables["params"]["head"]["bias"]).dtype
    return traverse_util.unflatten_dict({k: np.asarray(v).astype(kind) for k, v in flat.items()})


def _shared(kernel: np.ndarray, times: int, rng: np.random.Generator) -> np.ndarray:
    """A kernel `[h w in out]` for inputs that are there `times` times each."""
    shares = rng.normal(0.0, SPREAD, (*kernel.shape[2:3], times, kernel.shape[3]))
    shares += 1 / times - shares.mean(axis=1, keepdims=True)
    parts = kernel[:, :, :, None] * shares
    return parts.reshape(*kernel.shape[:2], -1, kernel.shape[3]).astype(np.float32)


if __name__ == "__main__":
    sys.exit(main())
