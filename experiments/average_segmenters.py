"""An exported model whose segmenter lies between its own and that of a run that went on from it.

    python -m focus_jax.main --config=configs/shipped.py:further --config.data.root=DATA \\
        --config.data.codes=CODES.npz --workdir=RUN
    python -m experiments.average_segmenters shipped RUN OUT --share 0.6 --bias 0.3

A network that learns anew from other pictures forgets; the average of its weights before and after
keeps more of both than either (Wortsman et al., Robust fine-tuning of zero-shot models, CVPR 2022).
`--share` is the run's part. `--bias` is added to the segmenter's last bias, whose output is scaled
by five and then a logit: above zero it leaves more to the face.
"""

import argparse
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path

import jax
import numpy as np

from focus_jax import weights
from focus_jax.weights import hub
from focus_jax.weights.run import folder_of, load_trained


def main(argv: Sequence[str] | None = None) -> int:
    """The command; returns its exit status."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("model", metavar="MODEL", help="shipped, or an exported model's folder")
    parser.add_argument("run", metavar="RUN", help="what went on from it, a run or exported")
    parser.add_argument("out", metavar="OUT", type=Path)
    parser.add_argument("--share", type=float, default=0.5, help="of the run, from 0 to 1")
    parser.add_argument("--bias", type=float, default=0.0)
    arguments = parser.parse_args(argv)
    try:
        found = between(arguments.model, arguments.run, arguments.share, arguments.bias)
        shutil.copytree(folder_of(arguments.model), arguments.out)
    except (OSError, ValueError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    weights.save(arguments.out / "segmenter.safetensors", found)
    hub.write_sums(arguments.out)
    print(f"{arguments.out}: {arguments.share:g} of the segmenter of {arguments.run}")
    return 0


def between(model: str, run: str, share: float, bias: float) -> dict:
    """The segmenter's variables in half precision. ValueError for networks that do not match."""
    if not 0 <= share <= 1:
        raise ValueError(f"--share is a part from 0 to 1, not {share:g}")
    own, other = (load_trained(name).variables["segmenter"] for name in (model, run))
    if jax.tree.map(np.shape, own) != jax.tree.map(np.shape, other):
        raise ValueError(f"the segmenters of {model} and {run} are not of one architecture")
    mixed = jax.tree.map(lambda a, b: np.asarray((1 - share) * a + share * b), own, other)
    last = mixed["params"].get("smooth", mixed["params"]["head"])
    last["bias"] = last["bias"] + bias
    return weights.halved(mixed)


if __name__ == "__main__":
    sys.exit(main())
