"""A recognizer of fewer layers, for tests that only need one: its programs compile and run sooner.

dlib's network with the first block of each stage, which looks at small chips: the description and
what an encoder reads have their shapes. It tells nobody apart; what depends on that needs the whole
network.
"""

from typing import Any

import pytest

from focus_jax.networks import chips
from focus_jax.networks import recognizer as network
from focus_jax.weights import recognizer


def shorten(patch: pytest.MonkeyPatch) -> None:
    """`load_recognizer("dlib")` gives the short one. Its variables are others, so are programs."""
    load, stages = recognizer.load_dlib_recognizer, network.STAGES

    def load_short(path: Any = None) -> dict:
        params, number = load(path)["params"], 1
        kept = [params["conv0"]]
        for _, blocks in stages:
            kept += [params[f"conv{number}"], params[f"conv{number + 1}"]]
            number += 2 * blocks
        short = {f"conv{k}": layer for k, layer in enumerate(kept)}
        return {"params": {**short, "embedding": params["embedding"]}}

    patch.setattr(recognizer, "load_dlib_recognizer", load_short)
    patch.setitem(chips.SIZES, "dlib", 64)
    patch.setattr(network, "STAGES", tuple((channels, 1) for channels, _ in stages))
